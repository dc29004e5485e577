#version 450
// The gradient of norm.comp by x, plus a residual gradient. With u = dy * w (or 1 + w) and
// s = 1 / sqrt(var + eps), all means over the row:
//   layer  dx = s (u - mean u - n mean(u n)),  n = (x - mean) s
//   rms    dx = s (u - n mean(u n)),           n = x s
// dx, dy, residual [G*R, d], x [R, d]. A workgroup covers a gradient row. dx may be dy or
// the residual: an element is read and written by one invocation.
layout(constant_id = 0) const uint KIND = 1;
#include "push_norm.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_norm p; };
layout(binding = 0) buffer DX { float dx[]; };
INPUT(1, dy);
INPUT(2, x);
INPUT(3, w);
INPUT(4, residual);

float weight(uint i)
{
	return KIND == 3 ? 1.0 + LOAD(w, p.w_shift + i) : LOAD(w, p.w_shift + i);
}

void main()
{
	const uint row = grid_group();
	if (row >= p.rows)
		return; // the whole workgroup
	const uint base = row * p.d;
	const uint x_base = row % p.forward_rows * p.d;
	const uint lane = gl_LocalInvocationIndex;
	vec2 means = vec2(0); // of x and of u
	if (KIND == 1) {
		vec2 sums = vec2(0);
		for (uint i = lane; i < p.d; i += WG)
			sums += vec2(LOAD(x, x_base + i), LOAD(dy, base + i) * weight(i));
		means = reduce_sum2(sums) / float(p.d);
	}
	vec2 sums = vec2(0); // of v^2 and of u v, v = x - mean
	for (uint i = lane; i < p.d; i += WG) {
		float v = LOAD(x, x_base + i) - means.x;
		sums += vec2(v * v, LOAD(dy, base + i) * weight(i) * v);
	}
	sums = reduce_sum2(sums) / float(p.d);
	const float scale = 1.0 / sqrt(sums.x + p.eps);
	const float slope = sums.y * scale * scale; // mean(u n) s
	for (uint i = lane; i < p.d; i += WG) {
		float u = LOAD(dy, base + i) * weight(i);
		float v = scale * (u - means.y - (LOAD(x, x_base + i) - means.x) * slope);
		dx[base + i] = p.has_bias != 0 ? v + LOAD(residual, base + i) : v;
	}
}
