/* linear_norm.comp for CPU devices: a workgroup of one subgroup takes a row, and sums in the
 * order of the kernels that normalise their only row themselves. So a row's product has the
 * same bits whether it goes alone or among others. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "linear_texel.glsl"

void main()
{
	for (uint r = gl_WorkGroupID.x; r < p.rows; r += gl_NumWorkGroups.x) {
		measure_row(r);
		for (uint q = lane; q < p.k / 4; q += SUBGROUP) {
			vec4 v = fetch_x(r, q);
			UNROLL for (uint e = 0; e < 4; e++)
				y[r * p.k + 4 * q + e] = v[e];
		}
	}
}
