#version 450
#extension GL_EXT_control_flow_attributes : require
// The numbers of a step (enum op_metric) of each sequence into row (*step mod steps) of ring
// [steps, S * 16], and delta into the same row of trace [steps, elements]. A workgroup covers
// one sequence, and its S-th part of the trace. With one sequence it also increments the
// step; otherwise step_add.comp does, when all have read it.
#define WG 128
#define METRICS 16
layout(constant_id = 0) const uint HAS_TRACE = 1;
#include "push_recover.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "each.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_metrics p; };
layout(binding = 0) writeonly buffer Ring { float ring[]; };
layout(binding = 1) writeonly buffer Trace { float trace[]; };
layout(binding = 2) buffer Step { uint step_number; };
layout(binding = 3) readonly buffer J { float objective[]; };
INPUT(4, g_raw);
INPUT(5, g_projected);
INPUT(6, delta);
layout(binding = 7) readonly buffer DeltaSegments { uvec4 delta_segments[]; };
INPUT(8, change);
layout(binding = 9) readonly buffer ChangeSegments { uvec4 change_segments[]; };
INPUT(10, decoded);
layout(binding = 11) readonly buffer DecodedSegments { uvec4 decoded_segments[]; };
layout(binding = 12) readonly buffer Penalty { float penalty[]; };

void main()
{
	const uint s = grid_group();
	if (s >= p.sequences)
		return; // the whole workgroup
	const uint lane = gl_LocalInvocationIndex;
	const uint row = step_number % p.steps;
	if (HAS_TRACE != 0) {
		const uint part = (p.elements + p.sequences - 1) / p.sequences;
		const uint end = min((s + 1) * part, p.elements);
		FOR_EACH(i, s * part, end)
			trace[row * p.elements + i] = LOAD(delta, i);
		END_EACH
	}
	vec2 gradients = vec2(0), mixed = vec2(0), drifts = vec2(0);
	for (uint k = s; k < p.delta_segments; k += p.sequences) {
		const uvec4 at = delta_segments[k];
		FOR_EACH(i, at.x, at.x + at.y)
			const float raw = LOAD(g_raw, i), projected = LOAD(g_projected, i), d = LOAD(delta, i);
			gradients += vec2(raw * raw, projected * projected);
			mixed += vec2(raw * projected, d * d);
		END_EACH
	}
	for (uint k = s; k < p.change_segments; k += p.sequences) {
		const uvec4 at = change_segments[k];
		FOR_EACH(i, at.x, at.x + at.y)
			drifts.x += LOAD(change, i) * LOAD(change, i);
		END_EACH
	}
	for (uint k = s; k < p.decoded_segments; k += p.sequences) {
		const uvec4 at = decoded_segments[k];
		FOR_EACH(i, at.x, at.x + at.y)
			drifts.y += LOAD(decoded, i) * LOAD(decoded, i);
		END_EACH
	}
	gradients = sqrt(reduce_sum2(gradients));
	mixed = reduce_sum2(mixed);
	drifts = sqrt(reduce_sum2(drifts));
	const float cosine = gradients.x > 0 && gradients.y > 0 ? mixed.x / gradients.x / gradients.y :
			     gradients.x == 0 || gradients.y == 0 ? 0.0 : gradients.x + gradients.y; // NaN stays
	const float delta_norm = sqrt(mixed.y);
	const float drift_penalty = p.has_penalty != 0 ? penalty[s] : 0.0;
	if (lane != 0)
		return; // no barrier follows
	const uint to = (row * p.sequences + s) * METRICS;
	ring[to + 0] = objective[s];
	ring[to + 1] = -objective[s] + p.lambda_act * drift_penalty + p.lambda_decode * drifts.y +
		       p.lambda_delta * delta_norm;
	ring[to + 2] = drifts.x;
	ring[to + 3] = drifts.y;
	ring[to + 4] = delta_norm;
	ring[to + 5] = gradients.x;
	ring[to + 6] = gradients.y;
	ring[to + 7] = cosine;
	ring[to + 8] = drift_penalty;
	for (uint i = 9; i < METRICS; i++)
		ring[to + i] = 0;
	if (p.sequences == 1)
		step_number++;
}
