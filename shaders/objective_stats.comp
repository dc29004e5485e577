#version 450
#extension GL_EXT_control_flow_attributes : require
// stats[q] = {logsumexp, sum} of row q of logits [Q, V], the largest logit taken out first.
// A workgroup covers a row.
#define WG 128
#include "push_recover.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "each.glsl"
layout(push_constant) uniform Push { push_objective p; };
layout(binding = 0) writeonly buffer Stats { vec2 stats[]; };
layout(binding = 1) uniform samplerBuffer logits;

void main()
{
	const uint row = grid_group();
	if (row >= p.rows)
		return; // the whole workgroup
	const uint base = row * p.cols;
	const uint lane = gl_LocalInvocationIndex;
	float most = -3.4e38;
	FOR_EACH(i, 0, p.cols)
		most = max(most, texelFetch(logits, int(base + i)).x);
	END_EACH
	most = reduce_max(most);
	vec2 sums = vec2(0);
	FOR_EACH(i, 0, p.cols)
		const float v = texelFetch(logits, int(base + i)).x;
		sums += vec2(exp(v - most), v);
	END_EACH
	sums = reduce_sum2(sums);
	if (lane == 0)
		stats[row] = vec2(most + log(sums.x), sums.y);
}
