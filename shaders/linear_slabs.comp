/* y = norm(x) w and what follows it for one or two rows of x, for CPU devices: w is
 * [K, N] (IN_OUT). Made for reading w at the speed of memory: a workgroup goes down w over
 * a strip of STRIP tiles of columns, whose sums it holds in registers and on the stack,
 * SLAB rows at a time; then over its next strip. If a strip is as wide as w (WHOLE), that
 * is one sequential stream, and the groups in y share the rows of w between them, each
 * leaving partial sums; else the rows of a slab are as many streams. A tile is SUBGROUP
 * texels of a row of w. Sums go down the rows in order, whatever the strip. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "linear_texel.glsl"

layout(constant_id = 8) const uint STRIP = 1;
layout(constant_id = 9) const uint WHOLE = 0;

const uint MAX_SLAB = 8; /* prefetchers lose track of many more streams */
const uint SLAB = WHOLE != 0 ? 4 : MAX_SLAB;
const uint SLAB_QUADS = SLAB / 4;
const uint MAX_SUMS = 32; /* STRIP * TILE * QUADS */

shared vec4 kept[MAX_SUMS * 32]; /* SLAB_LANES in compute/ops_linear.c */

vec4 sum[MAX_SUMS];
float values[2 * MAX_SLAB]; /* of x, for the rows of the slab */

/* Adds texel `at`, row j of the slab, to the sums of tile c. */
void add_texel(uint c, uint j, uint at)
{
	vec4 weights[QUADS];
	fetch_weights(weights, at);
	UNROLL for (uint t = 0; t < TILE; t++)
		UNROLL for (uint i = 0; i < QUADS; i++)
			sum[(c * TILE + t) * QUADS + i] += values[t * SLAB + j] * weights[i];
}

void main()
{
	measure_row(0);
	uint texels = p.n / PER_TEXEL, last_texel = texels - (SHIFT != 0 ? 0 : 1);
	uint base = (p.w_shift - SHIFT) / PER_TEXEL;
	uint tile_end = min((gl_WorkGroupID.x + 1) * p.tiles_each, p.tiles);
	uint k_begin = gl_WorkGroupID.y * p.k_part, k_end = min(k_begin + p.k_part, p.k_count);
	for (uint tile = gl_WorkGroupID.x * p.tiles_each; tile < tile_end; tile += STRIP) {
		/* tiles behind the end are read as the last texel; their sums go nowhere */
		uint texel[MAX_SUMS];
		UNROLL for (uint c = 0; c < STRIP; c++)
			texel[c] = base + min((tile + c) * SUBGROUP + lane, last_texel);
		UNROLL for (uint i = 0; i < STRIP * TILE * QUADS; i++)
			sum[i] = vec4(0.0);
		for (uint k0 = k_begin; k0 < k_end; k0 += SLAB) {
			uint row[MAX_SLAB];
			uint last = k_end - 1 - k0; /* rows behind the last are read as the last, times 0 */
			UNROLL for (uint j = 0; j < SLAB; j++)
				row[j] = (k0 + min(j, last)) * texels;
			UNROLL for (uint t = 0; t < TILE; t++) {
				vec4 held = fetch_x(t, (p.k_first + k0) / 4 + lane % SLAB_QUADS);
				UNROLL for (uint j = 0; j < SLAB_QUADS; j++) {
					vec4 v = subgroupShuffle(held, j);
					UNROLL for (uint e = 0; e < 4; e++)
						values[t * SLAB + 4 * j + e] = 4 * j <= last ? v[e] : 0.0;
				}
			}
			if (WHOLE != 0) {
				UNROLL for (uint j = 0; j < SLAB; j++)
					UNROLL for (uint c = 0; c < STRIP; c++)
						add_texel(c, j, texel[c] + row[j]);
			} else {
				UNROLL for (uint c = 0; c < STRIP; c++)
					UNROLL for (uint j = 0; j < SLAB; j++)
						add_texel(c, j, texel[c] + row[j]);
			}
		}
		/* What follows the sums is done in a loop: unrolled, it would be compiled for each of
		 * them. They wait in shared memory, each lane using only its own places. */
		UNROLL for (uint i = 0; i < STRIP * TILE * QUADS; i++)
			kept[i * SUBGROUP + lane] = sum[i];
		for (uint i = 0; i < STRIP * TILE * QUADS; i++) {
			vec4 v = kept[i * SUBGROUP + lane];
			uint c = i / (TILE * QUADS), t = i / QUADS % TILE;
			uint n = ((tile + c) * SUBGROUP + lane) * PER_TEXEL + 4 * (i % QUADS) - SHIFT; /* may wrap below 0 */
			UNROLL for (uint e = 0; e < 4; e++)
				if (tile + c < tile_end && n + e < p.n)
					leave(t, n + e, v[e], p.part + gl_WorkGroupID.y);
		}
	}
}
