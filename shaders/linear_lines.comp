/* y = norm(x) w^T and what follows it for one or two rows of x, for CPU devices: w is
 * [N, K] (OUT_IN), its rows of moderate length. Made for reading w at the speed of memory:
 * the lanes read side by side, one row of w after the other, which is one sequential stream.
 * x waits in registers and on the stack: CHUNKS times SUBGROUP texels make up a row. A
 * result is the sum of the lanes' sums, in their order. A tile is SUBGROUP columns of y. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "linear_texel.glsl"

layout(constant_id = 8) const uint CHUNKS = 1;

const uint MAX_HELD = 128; /* CHUNKS * TILE * QUADS, LINES_HELD in compute/ops_linear.c */

void main()
{
	measure_row(0);
	uint texels = p.k / PER_TEXEL; /* of a row, not counting one more if SHIFT != 0 */
	uint last = texels - (SHIFT != 0 ? 0 : 1);
	uint base = (p.w_shift - SHIFT) / PER_TEXEL;
	vec4 held[MAX_HELD];
	UNROLL for (uint c = 0; c < CHUNKS; c++)
		UNROLL for (uint t = 0; t < TILE; t++) {
			vec4 quads[QUADS];
			fetch_chunk(quads, t, c * SUBGROUP);
			UNROLL for (uint i = 0; i < QUADS; i++)
				held[(c * TILE + t) * QUADS + i] = quads[i];
		}
	uint tile_end = min((gl_WorkGroupID.x + 1) * p.tiles_each, p.tiles);
	for (uint tile = gl_WorkGroupID.x * p.tiles_each; tile < tile_end; tile++) {
		float mine[2]; /* lane v leaves column v */
		UNROLL for (uint t = 0; t < TILE; t++)
			mine[t] = 0.0;
		for (uint v = 0; v < SUBGROUP; v++) {
			uint first = base + min(tile * SUBGROUP + v, p.n_count - 1) * texels;
			vec4 sum[2];
			UNROLL for (uint t = 0; t < TILE; t++)
				sum[t] = vec4(0.0);
			UNROLL for (uint c = 0; c < CHUNKS; c++) {
				/* texels behind the last are read as the last, times 0 */
				uint at = min(c * SUBGROUP + lane, last);
				vec4 weights[QUADS];
				fetch_weights(weights, first + at);
				/* the first and the last texel hold elements of the row's neighbours */
				if (SHIFT != 0)
					UNROLL for (uint i = 0; i < QUADS; i++)
						UNROLL for (uint e = 0; e < 4; e++)
							weights[i][e] = at * PER_TEXEL - SHIFT + 4 * i + e < p.k ? weights[i][e] : 0.0;
				UNROLL for (uint t = 0; t < TILE; t++)
					UNROLL for (uint i = 0; i < QUADS; i++)
						sum[t] += weights[i] * held[(c * TILE + t) * QUADS + i];
			}
			UNROLL for (uint t = 0; t < TILE; t++) {
				float total = subgroup_total((sum[t].x + sum[t].y) + (sum[t].z + sum[t].w));
				mine[t] = lane == v ? total : mine[t];
			}
		}
		UNROLL for (uint t = 0; t < TILE; t++)
			if (tile * SUBGROUP + lane < p.n_count)
				leave(t, p.n_first + tile * SUBGROUP + lane, mine[t], p.part);
	}
}
