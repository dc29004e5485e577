/* y = x w and what follows it for three rows of x or more, for CPU devices: w is [K, N]
 * (IN_OUT). A lane owns the columns of a texel of w and TILE rows of x, summed in
 * registers over all of K. A tile is SUBGROUP texels of a row of w. Rows of w lie apart, where no
 * prefetcher follows: AHEAD of them are loaded before the first is used. */
#version 450
#extension GL_GOOGLE_include_directive : require
#define X_FORMAT r32f
#include "linear_texel.glsl"

const uint MAX_TILE = 8;
const uint MAX_AHEAD = 8, AHEAD = SUBGROUP < MAX_AHEAD ? SUBGROUP : MAX_AHEAD;

void main()
{
	uint texels = p.n / PER_TEXEL, last_texel = texels - (SHIFT != 0 ? 0 : 1);
	uint base = (p.w_shift - SHIFT) / PER_TEXEL;
	uint tile_end = min((gl_WorkGroupID.x + 1) * p.tiles_each, p.tiles);
	uint row_end = min((gl_WorkGroupID.y + 1) * p.rows_each, p.rows);
	for (uint tile = gl_WorkGroupID.x * p.tiles_each; tile < tile_end; tile++) {
		uint texel = tile * SUBGROUP + lane;
		for (uint r0 = gl_WorkGroupID.y * p.rows_each; r0 < row_end; r0 += TILE) {
			vec4 sum[MAX_TILE * QUADS];
			UNROLL for (uint i = 0; i < TILE * QUADS; i++)
				sum[i] = vec4(0.0);
			uint at = base + min(texel, last_texel);
			for (uint k = 0; k < p.k_count; k += SUBGROUP) {
				/* x is bound as single floats here */
				float held[MAX_TILE];
				uint inside = p.k_first + min(k + lane, p.k_count - 1);
				UNROLL for (uint t = 0; t < TILE; t++) {
					held[t] = imageLoad(x, int(min(r0 + t, p.rows - 1) * p.k + inside)).x;
					held[t] = k + lane < p.k_count ? held[t] : 0.0;
				}
				uint last = p.k_count - 1 - k; /* rows behind the last are read as the last, times 0 */
				UNROLL for (uint j0 = 0; j0 < SUBGROUP; j0 += AHEAD) {
					vec4 weights[MAX_AHEAD][QUADS];
					UNROLL for (uint j = 0; j < AHEAD; j++)
						fetch_weights(weights[j], at + min(j0 + j, last) * texels);
					UNROLL for (uint j = 0; j < AHEAD; j++) {
						float values[MAX_TILE];
						UNROLL for (uint t = 0; t < TILE; t++)
							values[t] = subgroupShuffle(held[t], j0 + j);
						UNROLL for (uint i = 0; i < QUADS; i++)
							UNROLL for (uint t = 0; t < TILE; t++)
								sum[t * QUADS + i] += values[t] * weights[j][i];
					}
				}
				at += SUBGROUP * texels;
			}
			UNROLL for (uint t = 0; t < TILE; t++)
				UNROLL for (uint i = 0; i < QUADS; i++)
					UNROLL for (uint e = 0; e < 4; e++) {
						uint n = texel * PER_TEXEL + 4 * i + e - SHIFT; /* may wrap below 0 */
						if (r0 + t < p.rows && n < p.n)
							leave(r0 + t, n, sum[t * QUADS + i][e], p.part);
					}
		}
	}
}
