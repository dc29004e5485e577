#version 450
#extension GL_EXT_control_flow_attributes : require
// A step of delta, then the budget, for each sequence apart:
//   adam     m = .9 m + .1 g, v = .999 v + .001 g^2,
//            delta -= rate (m / (1 - .9^t)) / (sqrt(v / (1 - .999^t)) + 1e-8), t = *step
//   descend  delta -= rate g
//   none
//   delta *= budget / (norm + 1e-8) if norm > budget (if RESCALE)
// delta, m, v, g flat [elements]; rate, budget [S]. A workgroup covers the segments of one
// sequence; an element belongs to one invocation throughout.
#define WG 128
layout(constant_id = 0) const uint MODE = 0; // 0 none, 1 adam, 2 descend
layout(constant_id = 1) const uint RESCALE = 1;
#include "push_recover.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "each.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_segments p; };
layout(binding = 0) buffer Delta { float delta[]; };
layout(binding = 1) buffer M { float m[]; };
layout(binding = 2) buffer V { float v[]; };
INPUT(3, g);
layout(binding = 4) readonly buffer Segments { uvec4 segments[]; };
layout(binding = 5) readonly buffer Step { uint step_number; };
layout(binding = 6) readonly buffer Rate { float rates[]; };
layout(binding = 7) readonly buffer Budget { float budgets[]; };
// delta, m and v as they were: read before the same invocation writes them.
INPUT(8, old_delta);
INPUT(9, old_m);
INPUT(10, old_v);

// 1 - exp(x) for x <= 0, without cancellation near 0: a pow would lose four digits of
// 1 - .999^t at the first steps.
float one_minus_exp(float x)
{
	return x < -0.35 ? 1 - exp(x) :
		-x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7))))));
}

void main()
{
	const uint s = grid_group();
	if (s >= p.sequences)
		return; // the whole workgroup
	const uint lane = gl_LocalInvocationIndex;
	float rate = 0, correct_m = 1, correct_v = 1;
	if (MODE != 0)
		rate = rates[s];
	if (MODE == 1) {
		correct_m = one_minus_exp(float(step_number) * -0.105360515657826301); // ln .9
		correct_v = one_minus_exp(float(step_number) * -0.00100050033358353350); // ln .999
	}
	float sum = 0;
	for (uint k = s; k < p.segments; k += p.sequences) {
		const uvec4 at = segments[k];
		FOR_EACH(i, at.x, at.x + at.y)
			float d = LOAD(old_delta, i);
			if (MODE == 1) {
				const float gradient = LOAD(g, i);
				const float m_now = 0.9 * LOAD(old_m, i) + 0.1 * gradient;
				const float v_now = 0.999 * LOAD(old_v, i) + 0.001 * gradient * gradient;
				m[i] = m_now;
				v[i] = v_now;
				d -= rate * (m_now / correct_m) / (sqrt(v_now / correct_v) + 1e-8);
			} else if (MODE == 2) {
				d -= rate * LOAD(g, i);
			}
			if (MODE != 0)
				delta[i] = d;
			sum += d * d;
		END_EACH
	}
	if (RESCALE == 0)
		return; // the whole workgroup
	const float norm = sqrt(reduce_sum(sum));
	const float budget = budgets[s];
	if (!(norm > budget))
		return; // the whole workgroup
	const float factor = budget / (norm + 1e-8);
	for (uint k = s; k < p.segments; k += p.sequences) {
		const uvec4 at = segments[k];
		FOR_EACH(i, at.x, at.x + at.y)
			delta[i] *= factor;
		END_EACH
	}
}
