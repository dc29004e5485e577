/* x[r, :] = wte[ids[r], :] * scale (+ wpe[position of r, :]). A lane owns one element:
 * columns in x, rows in y. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "push_linear.h"

layout(constant_id = 0) const uint WINDOWS_DTYPE = 0;
layout(constant_id = 1) const uint WPE = 0; /* 1 + its dtype; 0: there is none */
#define WINDOWS_AT 4
#include "windows.glsl"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push { push_embed p; };
layout(binding = 0) writeonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Ids { uint ids[]; };
layout(binding = 2) readonly buffer Rows { uint rows[]; }; /* [R, 2]: sequence, position */
layout(binding = 3) readonly buffer Wpe { uint wpe[]; };

void main()
{
	uint c = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
	uint row = ids[r] - p.first_row;
	if (c >= p.width || row >= p.row_count)
		return;
	float v = p.scale * window_weight(row / p.window_rows, p.w_shift + row % p.window_rows * p.width + c);
	if (WPE != 0) {
		uint at = p.wpe_shift + rows[2 * r + 1] * p.width + c;
		v += WPE == 1 + DTYPE_F32 ? uintBitsToFloat(wpe[at]) : weight_of_half(WPE - 1, wpe[at >> 1], at);
	}
	x[r * p.width + c] = v;
}
