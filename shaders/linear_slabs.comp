/* y = norm(x) w and what follows it for one or two rows of x, for CPU devices: w is
 * [K, N] (IN_OUT). Made for reading w at the speed of memory: a thread takes a run of
 * columns and goes over it again and again, SLAB rows of w at a time, which are as many
 * sequential streams. Sums wait in shared memory, each lane using only its own places.
 * A tile is SUBGROUP texels of a row of w. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "linear_texel.glsl"

const uint SLAB = 16; /* more streams than this were slower */
const uint SLAB_QUADS = SLAB / 4;

/* [tile][row][quad][lane], SHARED_VECTORS in compute/ops_linear.c */
shared vec4 sums[1024];

uint place(uint tile, uint t, uint quad)
{
	return ((tile * TILE + t) * QUADS + quad) * SUBGROUP + lane;
}

void main()
{
	measure_row();
	uint texels = p.n / PER_TEXEL, row_texels = texels + (SHIFT != 0 ? 1 : 0);
	uint base = (p.w_shift - SHIFT) / PER_TEXEL;
	uint first_tile = gl_WorkGroupID.x * p.tiles_each;
	uint tiles = min(p.tiles_each, p.tiles - first_tile);
	uint first_texel = first_tile * SUBGROUP + lane;
	for (uint tile = 0; tile < tiles; tile++)
		UNROLL for (uint t = 0; t < TILE; t++)
			UNROLL for (uint i = 0; i < QUADS; i++)
				sums[place(tile, t, i)] = vec4(0.0);
	for (uint k0 = 0; k0 < p.k_count; k0 += SLAB) {
		float values[SLAB * TILE];
		UNROLL for (uint t = 0; t < TILE; t++) {
			uint q = k0 / 4 + lane % SLAB_QUADS;
			vec4 held = fetch_x(t, p.k_first / 4 + q);
			UNROLL for (uint j = 0; j < SLAB_QUADS; j++) {
				vec4 v = subgroupShuffle(held, j);
				UNROLL for (uint e = 0; e < 4; e++)
					values[t * SLAB + 4 * j + e] = k0 + 4 * j < p.k_count ? v[e] : 0.0;
			}
		}
		uint last = p.k_count - 1 - k0; /* rows behind the last are read as the last, times 0 */
		uint row = base + k0 * texels;
		for (uint tile = 0; tile < tiles; tile++) {
			uint at = row + min(first_texel + tile * SUBGROUP, row_texels - 1);
			vec4 sum[TILE * QUADS];
			UNROLL for (uint t = 0; t < TILE; t++)
				UNROLL for (uint i = 0; i < QUADS; i++)
					sum[t * QUADS + i] = sums[place(tile, t, i)];
			UNROLL for (uint j = 0; j < SLAB; j++) {
				vec4 weights[QUADS];
				fetch_weights(weights, at + min(j, last) * texels);
				UNROLL for (uint t = 0; t < TILE; t++)
					UNROLL for (uint i = 0; i < QUADS; i++)
						sum[t * QUADS + i] += values[t * SLAB + j] * weights[i];
			}
			UNROLL for (uint t = 0; t < TILE; t++)
				UNROLL for (uint i = 0; i < QUADS; i++)
					sums[place(tile, t, i)] = sum[t * QUADS + i];
		}
	}
	for (uint tile = 0; tile < tiles; tile++)
		UNROLL for (uint t = 0; t < TILE; t++)
			UNROLL for (uint i = 0; i < QUADS; i++) {
				vec4 sum = sums[place(tile, t, i)];
				UNROLL for (uint e = 0; e < 4; e++) {
					uint n = (first_texel + tile * SUBGROUP) * PER_TEXEL + 4 * i + e - SHIFT;
					if (n < p.n)
						leave(t, n, sum[e], p.part);
				}
			}
}
