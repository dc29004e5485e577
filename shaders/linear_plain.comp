/* y = x W and what follows it, on any device: neither subgroups nor texel buffers,
 * any width, any alignment. A lane owns one column of y and TILE rows; a workgroup covers
 * 64 columns. Also the kernel for IN_OUT on GPUs, where neighbouring lanes read
 * neighbouring weights. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "linear.glsl"

layout(local_size_x = 64) in;

layout(constant_id = 0) const uint LAYOUT = 0; /* enum op_layout */
#define OUT_IN 0

layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer W { uint w[]; };

const uint MAX_TILE = 8;

float weight(uint i)
{
	return DTYPE == DTYPE_F32 ? uintBitsToFloat(w[i]) : weight_of_half(DTYPE, w[i >> 1], i);
}

void main()
{
	uint column = gl_GlobalInvocationID.x;
	if (column >= p.n_count)
		return;
	uint r0 = gl_WorkGroupID.y * TILE;
	float sum[MAX_TILE];
	[[unroll]] for (uint t = 0; t < TILE; t++)
		sum[t] = 0.0;
	uint begin = gl_WorkGroupID.z * p.k_part;
	uint end = min(begin + p.k_part, p.k_count);
	uint at = p.w_shift + (LAYOUT == OUT_IN ? column * p.k + p.k_first + begin : begin * p.n + column);
	uint stride = LAYOUT == OUT_IN ? 1 : p.n;
	for (uint i = begin; i < end; i++, at += stride) {
		float wi = weight(at);
		[[unroll]] for (uint t = 0; t < TILE; t++)
			sum[t] += wi * x[min(r0 + t, p.rows - 1) * p.k + p.k_first + i];
	}
	[[unroll]] for (uint t = 0; t < TILE; t++)
		if (r0 + t < p.rows)
			leave(r0 + t, p.n_first + column, sum[t], p.part + gl_WorkGroupID.z);
}
