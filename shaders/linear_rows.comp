/* y = norm(x) w^T and what follows it, for CPU devices: w is [N, K] (OUT_IN). A lane owns
 * ROWS_EACH rows of w (columns of y) and TILE rows of x; it reads its rows of w from left
 * to right, texel by texel, so that a thread reads SUBGROUP * ROWS_EACH sequential
 * streams. The values of x are spread over the lanes and passed around by shuffles (unrolled:
 * llvmpipe blends everything that a loop changes with a mask, turn by turn).
 * A tile is SUBGROUP * ROWS_EACH columns of y. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "linear_texel.glsl"

/* Texels of a row of w that are loaded before the first is used; 1, 2 or 4. A cache line holds
 * four: where the streams meet in a few sets of the cache, a line is gone before its next
 * texel is asked for. */
layout(constant_id = 8) const uint AHEAD = 1;

const uint MAX_TILE = 8, MAX_AHEAD = 4;

/* Texels c + j to c + j + AHEAD of the lanes' rows of w, times the quads of x that lanes j to
 * j + AHEAD hold. */
void add_texels(inout float sum[ROWS_EACH * MAX_TILE], vec4 held[MAX_TILE * QUADS], uint first[ROWS_EACH], uint c,
		uint j, uint last)
{
	vec4 weights[ROWS_EACH * MAX_AHEAD][QUADS];
	UNROLL for (uint v = 0; v < ROWS_EACH; v++)
		UNROLL for (uint a = 0; a < AHEAD; a++)
			fetch_weights(weights[v * MAX_AHEAD + a], first[v] + c + min(j + a, last));
	UNROLL for (uint a = 0; a < AHEAD; a++)
		UNROLL for (uint t = 0; t < TILE; t++)
			UNROLL for (uint i = 0; i < QUADS; i++) {
				vec4 values = subgroupShuffle(held[t * QUADS + i], j + a);
				UNROLL for (uint v = 0; v < ROWS_EACH; v++)
					sum[v * MAX_TILE + t] = dot_ordered(weights[v * MAX_AHEAD + a][i], values,
									    sum[v * MAX_TILE + t]);
			}
}

/* The first and the last texel of a row hold elements of its neighbours if SHIFT != 0. */
void add_edge(inout float sum[ROWS_EACH * MAX_TILE], uint first[ROWS_EACH], uint r0, uint texel)
{
	uint element = texel * PER_TEXEL - SHIFT;
	UNROLL for (uint v = 0; v < ROWS_EACH; v++) {
		vec4 weights[QUADS];
		fetch_weights(weights, first[v] + texel);
		UNROLL for (uint i = 0; i < QUADS; i++)
			UNROLL for (uint e = 0; e < 4; e++)
				if (element + 4 * i + e >= p.k)
					weights[i][e] = 0.0;
		UNROLL for (uint t = 0; t < TILE; t++) {
			vec4 quads[QUADS];
			fetch_chunk(quads, min(r0 + t, p.rows - 1), texel - lane);
			UNROLL for (uint i = 0; i < QUADS; i++)
				sum[v * MAX_TILE + t] = dot_ordered(weights[i], quads[i], sum[v * MAX_TILE + t]);
		}
	}
}

void main()
{
	measure_row(0);
	uint texels = p.k / PER_TEXEL; /* of a row, not counting one more if SHIFT != 0 */
	uint begin = SHIFT != 0 ? 1 : 0, end = texels;
	uint tile_end = min((gl_WorkGroupID.x + 1) * p.tiles_each, p.tiles);
	uint row_end = min((gl_WorkGroupID.y + 1) * p.rows_each, p.rows);
	for (uint tile = gl_WorkGroupID.x * p.tiles_each; tile < tile_end; tile++) {
		uint column = tile * SUBGROUP * ROWS_EACH + lane;
		uint first[ROWS_EACH]; /* texel of each row of w */
		UNROLL for (uint v = 0; v < ROWS_EACH; v++)
			first[v] = (p.w_shift - SHIFT) / PER_TEXEL + min(column + v * SUBGROUP, p.n_count - 1) * texels;
		for (uint r0 = gl_WorkGroupID.y * p.rows_each; r0 < row_end; r0 += TILE) {
			float sum[ROWS_EACH * MAX_TILE];
			UNROLL for (uint i = 0; i < ROWS_EACH * MAX_TILE; i++)
				sum[i] = 0.0;
			if (SHIFT != 0)
				add_edge(sum, first, r0, 0);
			for (uint c = begin; c < end; c += SUBGROUP) {
				vec4 held[MAX_TILE * QUADS];
				UNROLL for (uint t = 0; t < TILE; t++) {
					vec4 quads[QUADS];
					fetch_chunk(quads, min(r0 + t, p.rows - 1), c);
					UNROLL for (uint i = 0; i < QUADS; i++)
						held[t * QUADS + i] = c + lane < end ? quads[i] : vec4(0.0);
				}
				uint last = end - 1 - c; /* texels behind the last are read as the last, times 0 */
				UNROLL for (uint j = 0; j < SUBGROUP; j += AHEAD)
					add_texels(sum, held, first, c, j, last);
			}
			if (SHIFT != 0)
				add_edge(sum, first, r0, texels);
			UNROLL for (uint v = 0; v < ROWS_EACH; v++)
				UNROLL for (uint t = 0; t < TILE; t++)
					if (r0 + t < p.rows && column + v * SUBGROUP < p.n_count)
						leave(r0 + t, p.n_first + column + v * SUBGROUP, sum[v * MAX_TILE + t], p.part);
		}
	}
}
