#version 450
// dx[r, :] = dy[s(r), :] / n_s where row r has a position of at least `first`, else 0; n_s
// is the number of such rows of sequence s. dx [G*R, cols], dy [G*S, cols]. A workgroup
// covers one gradient row.
#include "push_elementwise.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_pool p; };
layout(binding = 0) writeonly buffer DX { float dx[]; };
INPUT(1, dy);
layout(binding = 2) readonly buffer Rows { uvec2 rows[]; };

void main()
{
	const uint row = grid_group();
	if (row >= p.rows)
		return; // the whole workgroup
	const uvec2 at = rows[row % p.forward_rows];
	uint count = 0;
	for (uint r = gl_LocalInvocationIndex; r < p.forward_rows; r += WG)
		count += rows[r].x == at.x && rows[r].y >= p.first ? 1 : 0;
	const float n = reduce_sum(float(count));
	const uint from = (row / p.forward_rows * p.sequences + at.x) * p.cols;
	for (uint i = gl_LocalInvocationIndex; i < p.cols; i += WG)
		dx[row * p.cols + i] = at.y >= p.first ? LOAD(dy, from + i) / n : 0.0;
}
