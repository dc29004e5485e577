#version 450
// LayerNorm and RMSNorm of each row:
//   layer     y = (x - mean) / sqrt(var + eps) * w (+ b), population variance
//   rms       y = x / sqrt(mean x^2 + eps) * w
//   rms plus  y = x / sqrt(mean x^2 + eps) * (1 + w)
// x, y [rows, d]; w, b [d]. A workgroup covers a row; the variance is that of the
// deviations (a second pass), so that a large mean costs no digits.
layout(constant_id = 0) const uint KIND = 1; // enum op_norm: 1 layer, 2 rms, 3 rms plus
#include "push_norm.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_norm p; };
layout(binding = 0) writeonly buffer Y { float y[]; };
INPUT(1, x);
INPUT(2, w);
INPUT(3, b);

void main()
{
	const uint row = grid_group();
	if (row >= p.rows)
		return; // the whole workgroup
	const uint base = row * p.d;
	const uint lane = gl_LocalInvocationIndex;
	float mean = 0;
	if (KIND == 1) {
		float sum = 0;
		for (uint i = lane; i < p.d; i += WG)
			sum += LOAD(x, base + i);
		mean = reduce_sum(sum) / float(p.d);
	}
	float squares = 0;
	for (uint i = lane; i < p.d; i += WG) {
		float v = LOAD(x, base + i) - mean;
		squares += v * v;
	}
	const float scale = 1.0 / sqrt(reduce_sum(squares) / float(p.d) + p.eps);
	for (uint i = lane; i < p.d; i += WG) {
		float v = (LOAD(x, base + i) - mean) * scale * (KIND == 3 ? 1.0 + LOAD(w, p.w_shift + i) : LOAD(w, p.w_shift + i));
		y[base + i] = p.has_bias != 0 ? v + LOAD(b, p.b_shift + i) : v;
	}
}
