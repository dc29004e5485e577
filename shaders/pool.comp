#version 450
// y[s, :] = mean of the rows of x [R, cols] whose sequence is s and whose position is at
// least `first`; 0 where there is none. rows [R] {sequence, position}. A workgroup covers WG
// columns of one sequence.
#define WG 32
layout(local_size_x = WG) in;
#include "push_elementwise.h"
#include "grid.glsl"
layout(push_constant) uniform Push { push_pool p; };
layout(binding = 0) writeonly buffer Y { float y[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer Rows { uvec2 rows[]; };

void main()
{
	const uint blocks = (p.cols + WG - 1) / WG;
	const uint s = grid_group() / blocks;
	const uint col = grid_group() % blocks * WG + gl_LocalInvocationIndex;
	if (s >= p.sequences || col >= p.cols)
		return;
	float sum = 0;
	uint count = 0;
	for (uint r = 0; r < p.rows; r++) {
		if (rows[r].x == s && rows[r].y >= p.first) {
			sum += x[r * p.cols + col];
			count++;
		}
	}
	y[s * p.cols + col] = count != 0 ? sum / float(count) : 0.0;
}
