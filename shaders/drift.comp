#version 450
#extension GL_EXT_control_flow_attributes : require
// change = z - z_ref, the drift penalty loss[s] of each sequence, and its gradient times
// scale. With c2 = sum change^2 of a segment, n its `entries`, r its `reference`, w its weight:
//   l2            loss = sqrt(sum c2)                dz = change / loss (0 at 0)
//   raw mse       loss = sum w c2 / n                dz = 2 w change / n
//   relative mse  loss = sum w (c2/n) / (r/n + 1e-6) dz = 2 w change / n / (r/n + 1e-6)
//   relative l2   loss = sum w c2 / (r + 1e-6)       dz = 2 w change / (r + 1e-6)
// All flat [elements]. Workgroup s < S covers the segments of sequence s, workgroup S the
// padding, which becomes 0.
layout(constant_id = 0) const uint KIND = 0; // enum op_drift_kind
#include "push_recover.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "each.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_segments p; };
layout(binding = 0) writeonly buffer Loss { float loss[]; };
layout(binding = 1) writeonly buffer DZ { float dz[]; };
layout(binding = 2) writeonly buffer Change { float change[]; };
INPUT(3, z);
INPUT(4, z_ref);
layout(binding = 5) readonly buffer Segments { uvec4 segments[]; };
layout(binding = 6) readonly buffer Entries { float entries[]; };
layout(binding = 7) readonly buffer Reference { float reference[]; };
layout(binding = 8) readonly buffer Weight { float weight[]; };
#include "segments.glsl"

// What multiplies the sum of squares of segment k.
float factor(uint k)
{
	switch (KIND) {
	case 1:
		return weight[k] / entries[k];
	case 2:
		return weight[k] / entries[k] / (reference[k] / entries[k] + 1e-6);
	case 3:
		return weight[k] / (reference[k] + 1e-6);
	default:
		return 1;
	}
}

void main()
{
	const uint s = grid_group();
	const uint lane = gl_LocalInvocationIndex;
	if (s > p.sequences)
		return; // the whole workgroup
	if (s == p.sequences) {
		for (uint k = 0; k <= p.segments; k++) {
			const uvec2 gap = segment_gap(k, p.segments, p.elements);
			FOR_EACH(i, gap.x, gap.y)
				change[i] = dz[i] = 0;
			END_EACH
		}
		return;
	}
	float total = 0;
	for (uint k = s; k < p.segments; k += p.sequences) {
		const uvec4 at = segments[k];
		float sum = 0;
		FOR_EACH(i, at.x, at.x + at.y)
			const float c = LOAD(z, i) - LOAD(z_ref, i);
			change[i] = c;
			sum += c * c;
		END_EACH
		total += factor(k) * reduce_sum(sum);
	}
	const float norm = sqrt(total);
	for (uint k = s; k < p.segments; k += p.sequences) {
		const uvec4 at = segments[k];
		float slope = p.scale * 2 * factor(k);
		if (KIND == 0)
			slope = norm == 0 ? 0 : p.scale / norm;
		FOR_EACH(i, at.x, at.x + at.y)
			dz[i] = slope * (LOAD(z, i) - LOAD(z_ref, i));
		END_EACH
	}
	if (lane == 0)
		loss[s] = KIND == 0 ? norm : total;
}
