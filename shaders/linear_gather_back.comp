/* dx[r, :] = sum_j dy[r, j] w[ids[j], :], or of ids[r, j]. A lane owns one element of dx:
 * columns in x, rows in y. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "push_linear.h"

layout(constant_id = 0) const uint WINDOWS_DTYPE = 0;
#define WINDOWS_AT 3
#include "windows.glsl"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push { push_gather p; };
layout(binding = 0) buffer Dx { float dx[]; };
layout(binding = 1) readonly buffer Dy { float dy[]; };
layout(binding = 2) readonly buffer Ids { uint ids[]; };

void main()
{
	uint k = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
	if (k >= p.k)
		return;
	float v = p.add != 0 ? dx[r * p.k + k] : 0.0;
	for (uint first = 0; first < p.ids; first += 4) {
		[[unroll]] for (uint i = 0; i < 4; i++) {
			uint j = first + i, row = j < p.ids ? ids[r * p.ids_stride + j] - p.first_row : p.row_count;
			if (row < p.row_count)
				v += dy[r * p.ids + j] *
				     window_weight(row / p.window_rows, p.w_shift + row % p.window_rows * p.k + k);
		}
	}
	dx[r * p.k + k] = v;
}
