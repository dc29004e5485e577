/* linear_gather.comp for CPU devices: y[r, j] = x[r, :] . w[ids, :], j in x, rows in y. A workgroup
 * of one subgroup takes one output; its lanes add every 8th texel of the row of w, then their
 * sums are added. k is a multiple of PER_TEXEL. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#define WG 8
#include "push_linear.h"
#include "weights.glsl"
layout(local_size_x = WG) in;
layout(constant_id = 0) const uint DTYPE = 0;
#include "weights_texel.glsl"

layout(push_constant) uniform Push { push_gather p; };
layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 1, rgba32f) uniform readonly imageBuffer x;
layout(binding = 3) readonly buffer Ids { uint ids[]; };

void main()
{
	uint lane = gl_LocalInvocationIndex, j = gl_WorkGroupID.x, r = gl_WorkGroupID.y;
	uint texels = p.k / PER_TEXEL, first = p.w_shift / PER_TEXEL + ids[r * p.ids_stride + j] * texels;
	float sum = 0.0;
	for (uint t = lane; t < texels; t += WG) {
		vec4 weights[QUADS];
		fetch_weights(weights, first + t);
		UNROLL for (uint i = 0; i < QUADS; i++)
			sum += dot(weights[i], imageLoad(x, int((r * texels + t) * QUADS + i)));
	}
	sum = subgroupAdd(sum);
	if (lane == 0)
		y[r * p.ids + j] = sum;
}
