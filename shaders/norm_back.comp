#version 450
// The gradient of norm.comp by x, plus a residual gradient. With u = dy * w (or 1 + w) and
// s = 1 / sqrt(var + eps), all means over the row:
//   layer  dx = s (u - mean u - n mean(u n)),  n = (x - mean) s
//   rms    dx = s (u - n mean(u n)),           n = x s
// dx, dy, residual [G*R, d], x [R, d]. A workgroup covers a gradient row. dx may be dy or
// the residual: an element is read and written by one invocation.
#define WG 64
layout(local_size_x = WG) in;
layout(constant_id = 0) const uint KIND = 1;
#include "push_norm.h"
#include "grid.glsl"
#include "reduce.glsl"
layout(push_constant) uniform Push { push_norm p; };
layout(binding = 0) buffer DX { float dx[]; };
layout(binding = 1) buffer DY { float dy[]; };
layout(binding = 2) readonly buffer X { float x[]; };
layout(binding = 3) readonly buffer W { float w[]; };
layout(binding = 4) buffer Residual { float residual[]; };

float weight(uint i)
{
	return KIND == 3 ? 1.0 + w[p.w_shift + i] : w[p.w_shift + i];
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
			sums += vec2(x[x_base + i], dy[base + i] * weight(i));
		means = reduce_sum2(sums) / float(p.d);
	}
	vec2 sums = vec2(0); // of v^2 and of u v, v = x - mean
	for (uint i = lane; i < p.d; i += WG) {
		float v = x[x_base + i] - means.x;
		sums += vec2(v * v, dy[base + i] * weight(i) * v);
	}
	sums = reduce_sum2(sums) / float(p.d);
	const float scale = 1.0 / sqrt(sums.x + p.eps);
	const float slope = sums.y * scale * scale; // mean(u n) s
	for (uint i = lane; i < p.d; i += WG) {
		float u = dy[base + i] * weight(i);
		float v = scale * (u - means.y - (x[x_base + i] - means.x) * slope);
		dx[base + i] = p.has_bias != 0 ? v + residual[base + i] : v;
	}
}
