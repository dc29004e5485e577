#version 450
// The gradient of sae_prepare.comp by x, the statistics' part included, added to dx if ADD.
// With u = v + b_dec, n = p.d, ds and do the gradients by the reconstruction's scale s and offset:
//   none      g = dv
//   constant  g = q dv + (ds / sqrt(n) - sum(dv u) / (s sqrt(n))) u / sqrt(n)
//   layer     g = q (dv - mean dv) + (ds - q sum(dv u)) u / (q (n - 1) s) + do / n
// less the mean of g if CENTER. OUT says what the scale multiplied, `a` being the gradient by
// the output and `b` the output:
//   MOVES  the moved features: a [G*R, terms] by the scaled moves b [R, terms]; ds = sum a b / s
//   WHOLE  b [R, d] before the scale, a [G*R, d]: ds = sum a b, do = sum a
// dx, dv [G*R, d], v [R, d]. A workgroup covers a gradient row.
layout(constant_id = 0) const uint NORM = 0; // enum op_sae_norm
layout(constant_id = 1) const uint CENTER = 0;
layout(constant_id = 2) const uint SUBTRACT = 0;
layout(constant_id = 3) const uint OUT = 0;
layout(constant_id = 4) const uint ADD = 0;
#include "push_sae.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_sae_rows p; };
layout(binding = 0) buffer DX { float dx[]; };
INPUT(1, dv);
INPUT(2, v);
INPUT(3, b_dec);
layout(binding = 4) readonly buffer Stats { vec4 stats[]; };
INPUT(5, a);
INPUT(6, b);
#define NORM_CONSTANT 1
#define NORM_LAYER    2
#define OUT_MOVES     1
#define OUT_WHOLE     2

void main()
{
	const uint row = grid_group();
	if (row >= p.rows)
		return; // the whole workgroup
	const uint base = row * p.d, r = row % p.forward_rows, v_base = r * p.d, lane = gl_LocalInvocationIndex;
	const float n = float(p.d), q = stats[r].y, s = stats[r].z;
	vec2 by_out = vec2(0.0); // ds, do
	if (OUT != 0) {
		for (uint i = lane; i < p.terms; i += WG) {
			const float up = LOAD(a, row * p.terms + i);
			by_out += vec2(up * LOAD(b, r * p.terms + i), up);
		}
		by_out = reduce_sum2(by_out);
		if (OUT == OUT_MOVES)
			by_out = vec2(s > 0.0 ? by_out.x / s : 0.0, 0.0);
		if (NORM != NORM_LAYER || CENTER != 0)
			by_out.y = 0.0;
	}
	vec2 sums = vec2(0.0); // of dv u and of dv
	for (uint j = lane; j < p.d; j += WG) {
		const float u = SUBTRACT != 0 ? LOAD(v, v_base + j) + LOAD(b_dec, p.b_dec_shift + j) : LOAD(v, v_base + j);
		sums += vec2(LOAD(dv, base + j) * u, LOAD(dv, base + j));
	}
	sums = reduce_sum2(sums);
	const float mean = CENTER != 0 || NORM == NORM_LAYER ? sums.y / n : 0.0;
	float along = 0.0; // times u
	if (NORM == NORM_LAYER && s > 0.0)
		along = (by_out.x - q * sums.x) / (q * (n - 1.0) * s);
	else if (NORM == NORM_CONSTANT)
		along = (by_out.x - sums.x / s) / n;
	for (uint j = lane; j < p.d; j += WG) {
		const float u = SUBTRACT != 0 ? LOAD(v, v_base + j) + LOAD(b_dec, p.b_dec_shift + j) : LOAD(v, v_base + j);
		const float g = q * (LOAD(dv, base + j) - mean) + along * u + by_out.y / n;
		dx[base + j] = ADD != 0 ? dx[base + j] + g : g;
	}
}
