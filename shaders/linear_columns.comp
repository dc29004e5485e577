/* y = x w and what follows it, for CPU devices: w is [K, N] (IN_OUT). A lane owns the
 * columns of a texel of w and TILE rows of x, summed in registers over all of K. A tile
 * is SUBGROUP texels of a row of w. Reads short runs of w: good where arithmetic
 * prevails, many rows; linear_slabs.comp is for few. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "linear_texel.glsl"

const uint MAX_TILE = 8;

void main()
{
	measure_row();
	uint texels = p.n / PER_TEXEL, row_texels = texels + (SHIFT != 0 ? 1 : 0);
	uint base = (p.w_shift - SHIFT) / PER_TEXEL;
	uint tile_end = min((gl_WorkGroupID.x + 1) * p.tiles_each, p.tiles);
	uint row_end = min((gl_WorkGroupID.y + 1) * p.rows_each, p.rows);
	uint quad_first = p.k_first / 4, quad_end = quad_first + p.k_count / 4;
	for (uint tile = gl_WorkGroupID.x * p.tiles_each; tile < tile_end; tile++) {
		uint texel = tile * SUBGROUP + lane;
		for (uint r0 = gl_WorkGroupID.y * p.rows_each; r0 < row_end; r0 += TILE) {
			vec4 sum[MAX_TILE * QUADS];
			for (uint i = 0; i < MAX_TILE * QUADS; i++)
				sum[i] = vec4(0.0);
			uint at = base + min(texel, row_texels - 1);
			for (uint q = quad_first; q < quad_end; q += SUBGROUP) {
				vec4 held[MAX_TILE];
				for (uint t = 0; t < TILE; t++)
					held[t] = fetch_x(min(r0 + t, p.rows - 1), q + lane);
				uint most = min(SUBGROUP, quad_end - q);
				for (uint j = 0; j < most; j++) {
					vec4 values[MAX_TILE];
					for (uint t = 0; t < TILE; t++)
						values[t] = subgroupShuffle(held[t], j);
					for (uint e = 0; e < 4; e++) {
						vec4 weights[QUADS];
						fetch_weights(weights, at);
						for (uint t = 0; t < TILE; t++)
							for (uint i = 0; i < QUADS; i++)
								sum[t * QUADS + i] += values[t][e] * weights[i];
						at += texels;
					}
				}
			}
			for (uint t = 0; t < TILE; t++)
				for (uint i = 0; i < QUADS; i++)
					for (uint e = 0; e < 4; e++) {
						uint n = texel * PER_TEXEL + 4 * i + e - SHIFT; /* may wrap below 0 */
						if (r0 + t < p.rows && n < p.n)
							leave(r0 + t, n, sum[t * QUADS + i][e], p.part);
					}
		}
	}
}
