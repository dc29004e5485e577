#version 450
// The index of the largest of each group of `slice` neighbours, the first of equals: cut
// [rows, k]. A workgroup covers a group: group (group, row).
#define WG 64
layout(local_size_x = WG) in;
#include "push_sae.h"
#include "sae_key.glsl"
layout(push_constant) uniform Push { push_sae_select p; };
layout(binding = 0) writeonly buffer Cut { uint cut[]; };
layout(binding = 1) readonly buffer H { float h[]; };
shared uvec2 best[WG]; // key, index

void main()
{
	const uint group = gl_WorkGroupID.x, row = gl_WorkGroupID.y, lane = gl_LocalInvocationIndex;
	const uint first = group * p.slice;
	uvec2 mine = uvec2(0, first + p.slice);
	for (uint i = first + lane; i < first + p.slice; i += WG) {
		const uint key = select_key(0, h[row * p.n + i]);
		if (mine.y == first + p.slice || key > mine.x)
			mine = uvec2(key, i);
	}
	best[lane] = mine;
	barrier();
	if (lane == 0) {
		for (uint i = 1; i < WG; i++)
			if (best[i].x > mine.x || (best[i].x == mine.x && best[i].y < mine.y))
				mine = best[i];
		cut[row * p.k + group] = mine.y;
	}
}
