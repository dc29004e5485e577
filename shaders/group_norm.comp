#version 450
#extension GL_EXT_control_flow_attributes : require
// norm[s] = length of all segments of sequence s together, dx = scale x / norm (0 where the
// norm is 0, and in padding). x, dx flat [elements]. Workgroup s < S covers the segments of
// sequence s, workgroup S the padding.
layout(constant_id = 0) const uint HAS_DX = 1;
#include "push_recover.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "each.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_segments p; };
layout(binding = 0) writeonly buffer Norm { float norms[]; };
layout(binding = 1) writeonly buffer DX { float dx[]; };
INPUT(2, x);
layout(binding = 3) readonly buffer Segments { uvec4 segments[]; };
#include "segments.glsl"

void main()
{
	const uint s = grid_group();
	const uint lane = gl_LocalInvocationIndex;
	if (s > p.sequences)
		return; // the whole workgroup
	if (s == p.sequences) {
		for (uint k = 0; k <= p.segments && HAS_DX != 0; k++) {
			const uvec2 gap = segment_gap(k, p.segments, p.elements);
			FOR_EACH(i, gap.x, gap.y)
				dx[i] = 0;
			END_EACH
		}
		return;
	}
	float sum = 0;
	for (uint k = s; k < p.segments; k += p.sequences) {
		const uvec4 at = segments[k];
		FOR_EACH(i, at.x, at.x + at.y)
			sum += LOAD(x, i) * LOAD(x, i);
		END_EACH
	}
	const float norm = sqrt(reduce_sum(sum));
	const float slope = norm == 0 ? 0 : p.scale / norm;
	for (uint k = s; k < p.segments && HAS_DX != 0; k += p.sequences) {
		const uvec4 at = segments[k];
		FOR_EACH(i, at.x, at.x + at.y)
			dx[i] = slope * LOAD(x, i);
		END_EACH
	}
	if (lane == 0)
		norms[s] = norm;
}
