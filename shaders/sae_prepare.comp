#version 450
// Rows on their way into an SAE (models/sae_file.h): v = (x - mean) q - b_dec, with
//   constant  q = sqrt(d) / |x - mean|
//   layer     q = 1 / (sd + 1e-5), sd unbiased
// The mean is subtracted if CENTER or layer, b_dec if SUBTRACT. stats [R, 4] = {mean, q,
// scale and offset of the reconstruction}: |x - mean| / sqrt(d) and 0, or sd and the mean (0
// if CENTER took it away for good). x, v [R, d]. A workgroup covers a row; the deviations
// are summed in a second pass, so that a large mean costs no digits.
layout(constant_id = 0) const uint NORM = 0; // enum op_sae_norm
layout(constant_id = 1) const uint CENTER = 0;
layout(constant_id = 2) const uint SUBTRACT = 0;
#include "push_sae.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_sae_rows p; };
layout(binding = 0) writeonly buffer V { float v[]; };
layout(binding = 1) writeonly buffer Stats { vec4 stats[]; };
INPUT(2, x);
INPUT(3, b_dec);
#define NORM_CONSTANT 1
#define NORM_LAYER    2

void main()
{
	const uint row = grid_group();
	if (row >= p.rows)
		return; // the whole workgroup
	const uint base = row * p.d, lane = gl_LocalInvocationIndex;
	const float d = float(p.d);
	float mean = 0.0;
	if (CENTER != 0 || NORM == NORM_LAYER) {
		float sum = 0.0;
		for (uint j = lane; j < p.d; j += WG)
			sum += LOAD(x, base + j);
		mean = reduce_sum(sum) / d;
	}
	float q = 1.0, scale = 1.0;
	if (NORM != 0) {
		float squares = 0.0;
		for (uint j = lane; j < p.d; j += WG) {
			const float c = LOAD(x, base + j) - mean;
			squares += c * c;
		}
		squares = reduce_sum(squares);
		scale = sqrt(squares / (NORM == NORM_LAYER ? d - 1.0 : d));
		q = NORM == NORM_LAYER ? 1.0 / (scale + 1e-5) : 1.0 / scale;
	}
	for (uint j = lane; j < p.d; j += WG) {
		const float u = (LOAD(x, base + j) - mean) * q;
		v[base + j] = SUBTRACT != 0 ? u - LOAD(b_dec, p.b_dec_shift + j) : u;
	}
	if (lane == 0)
		stats[row] = vec4(mean, q, scale, NORM == NORM_LAYER && CENTER == 0 ? mean : 0.0);
}
