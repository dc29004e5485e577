/* y[r, j] = x[r, :] . w[ids[j], :], or of ids[r, j]. A workgroup takes one output: group (j, r). */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "push_linear.h"

layout(constant_id = 0) const uint WINDOWS_DTYPE = 0;
#define WINDOWS_AT 3
#include "windows.glsl"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push { push_gather p; };
layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer Ids { uint ids[]; };

shared float sums[64];

void main()
{
	uint lane = gl_LocalInvocationID.x, j = gl_WorkGroupID.x, r = gl_WorkGroupID.y;
	uint row = ids[r * p.ids_stride + j] - p.first_row; /* before the windows: wraps, and is too large */
	if (row >= p.row_count)
		return; /* the same in the whole workgroup */
	uint window = row / p.window_rows;
	uint at = p.w_shift + row % p.window_rows * p.k;
	float v = 0.0;
	for (uint k = lane; k < p.k; k += 64)
		v += x[r * p.k + k] * window_weight(window, at + k);
	sums[lane] = v;
	barrier();
	for (uint step = 32; step > 0; step >>= 1) {
		if (lane < step)
			sums[lane] += sums[lane + step];
		barrier();
	}
	if (lane == 0)
		y[r * p.ids + j] = sums[0];
}
