/* linear_gather_back.comp for CPU devices: dx[r, :] = sum_j dy[r, j] w[ids, :], rows in y. A lane
 * owns a texel's elements of dx; a workgroup of one subgroup takes 8 texels (in x) and all j in
 * order. k is a multiple of PER_TEXEL. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define WG 8
#include "push_linear.h"
#include "weights.glsl"
layout(local_size_x = WG) in;
layout(constant_id = 0) const uint DTYPE = 0;
#include "weights_texel.glsl"

layout(push_constant) uniform Push { push_gather p; };
layout(binding = 0) writeonly buffer Dx { vec4 dx[]; };
layout(binding = 1, r32f) uniform readonly imageBuffer dy;
layout(binding = 3) readonly buffer Ids { uint ids[]; };

void main()
{
	uint texels = p.k / PER_TEXEL, t = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
	uint inside = p.w_shift / PER_TEXEL + min(t, texels - 1);
	vec4 sums[QUADS];
	UNROLL for (uint i = 0; i < QUADS; i++)
		sums[i] = vec4(0.0);
	for (uint j = 0; j < p.ids; j++) {
		vec4 weights[QUADS];
		fetch_weights(weights, inside + ids[r * p.ids_stride + j] * texels);
		UNROLL for (uint i = 0; i < QUADS; i++)
			sums[i] += imageLoad(dy, int(r * p.ids + j)).x * weights[i];
	}
	if (t < texels)
		UNROLL for (uint i = 0; i < QUADS; i++)
			dx[(r * texels + t) * QUADS + i] = sums[i];
}
