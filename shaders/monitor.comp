#version 450
#extension GL_EXT_control_flow_attributes : require
// ratio[s] = mean over the segments of sequence s of their largest entry of z, divided by
// initial[s]; dz = scale dratio/dz, evenly among the equal largest, 0 in padding. All 0 where
// initial is not above 0. z, dz flat [elements]. Workgroup s < S covers the segments of
// sequence s, workgroup S the padding.
#include "push_recover.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "each.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_segments p; };
layout(binding = 0) writeonly buffer Ratio { float ratios[]; };
layout(binding = 1) writeonly buffer DZ { float dz[]; };
INPUT(2, z);
layout(binding = 3) readonly buffer Segments { uvec4 segments[]; };
layout(binding = 4) readonly buffer Initial { float initial[]; };
#include "segments.glsl"

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
				dz[i] = 0;
			END_EACH
		}
		return;
	}
	float count = 0;
	for (uint k = 0; k < p.segments; k++)
		count += segments[k].z == s ? 1.0 : 0.0;
	const float weight = initial[s] > 0 ? 1 / (count * initial[s]) : 0;
	float total = 0;
	for (uint k = 0; k < p.segments; k++) {
		const uvec4 at = segments[k];
		if (at.z != s)
			continue;
		float largest = -3.4e38;
		FOR_EACH(i, at.x, at.x + at.y)
			largest = max(largest, LOAD(z, i));
		END_EACH
		largest = reduce_max(largest);
		float equal = 0;
		FOR_EACH(i, at.x, at.x + at.y)
			equal += LOAD(z, i) == largest ? 1.0 : 0.0;
		END_EACH
		equal = reduce_sum(equal);
		const float slope = p.scale * weight / max(equal, 1.0);
		FOR_EACH(i, at.x, at.x + at.y)
			dz[i] = LOAD(z, i) == largest ? slope : 0.0;
		END_EACH
		total += weight * largest;
	}
	if (lane == 0)
		ratios[s] = total;
}
