#version 450
// norm[s] = length of all segments of sequence s together, dx = scale x / norm (0 where the
// norm is 0, and in padding). x, dx flat [elements]. Workgroup s < S covers the segments of
// sequence s, workgroup S the padding.
layout(constant_id = 0) const uint HAS_DX = 1;
#include "push_recover.h"
#include "grid.glsl"
#include "reduce.glsl"
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
			for (uint i = gap.x + lane; i < gap.y; i += WG)
				dx[i] = 0;
		}
		return;
	}
	float sum = 0;
	for (uint k = 0; k < p.segments; k++) {
		const uvec4 at = segments[k];
		for (uint i = at.x + lane; at.z == s && i < at.x + at.y; i += WG)
			sum += LOAD(x, i) * LOAD(x, i);
	}
	const float norm = sqrt(reduce_sum(sum));
	const float slope = norm == 0 ? 0 : p.scale / norm;
	for (uint k = 0; k < p.segments && HAS_DX != 0; k++) {
		const uvec4 at = segments[k];
		for (uint i = at.x + lane; at.z == s && i < at.x + at.y; i += WG)
			dx[i] = slope * LOAD(x, i);
	}
	if (lane == 0)
		norms[s] = norm;
}
