/* y = x w^T and what follows it, for GPUs: w is [N, K] (OUT_IN). A workgroup takes one row
 * of w and TILE rows of x: its lanes read neighbouring weights and add up their sums in
 * shared memory. Any width and alignment. Groups: x and z together count the rows of w. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "linear.glsl"

layout(local_size_x = 64) in;

layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer W { uint w[]; };

const uint MAX_TILE = 8;
shared float sums[MAX_TILE][64];

float weight(uint i)
{
	return DTYPE == DTYPE_F32 ? uintBitsToFloat(w[i]) : weight_of_half(DTYPE, w[i >> 1], i);
}

void main()
{
	uint me = gl_LocalInvocationID.x;
	uint column = gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x;
	if (column >= p.n_count)
		return; /* the same in the whole workgroup */
	uint r0 = gl_WorkGroupID.y * TILE;
	float sum[MAX_TILE];
	[[unroll]] for (uint t = 0; t < TILE; t++)
		sum[t] = 0.0;
	uint at = p.w_shift + column * p.k;
	for (uint k = me; k < p.k; k += 64) {
		float wk = weight(at + k);
		[[unroll]] for (uint t = 0; t < TILE; t++)
			sum[t] += wk * x[min(r0 + t, p.rows - 1) * p.k + k];
	}
	[[unroll]] for (uint t = 0; t < TILE; t++)
		sums[t][me] = sum[t];
	barrier();
	for (uint step = 32; step > 0; step >>= 1) {
		[[unroll]] for (uint t = 0; t < TILE; t++)
			if (me < step)
				sums[t][me] += sums[t][me + step];
		barrier();
	}
	if (me < TILE && r0 + me < p.rows)
		leave(r0 + me, p.n_first + column, sums[me][0], p.part);
}
