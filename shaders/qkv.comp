#version 450
// Splits qkv [R, (H+2K) hd] into q [R, H hd] and the rows' keys and values in the cache
// [S*context, K hd]. q and k are normalised per head (if NORM), then the first n =
// rope_dims values of a head are rotated in halves, a = position * inverse[i]:
//   y[i]       = x[i] cos a - x[i + n/2] sin a
//   y[i + n/2] = x[i + n/2] cos a + x[i] sin a
// A workgroup covers one head of q, k or v of one row.
#define WG 32
#include "push_attention.h"
#include "qkv_head.glsl"
#include "grid.glsl"
#include "reduce.glsl"
#include "input.glsl"
#include "rotation.glsl"
layout(push_constant) uniform Push { push_qkv p; };
layout(binding = 0) writeonly buffer Q { float q[]; };
layout(binding = 1) writeonly buffer KCache { float k_cache[]; };
layout(binding = 2) writeonly buffer VCache { float v_cache[]; };
INPUT(3, qkv);
layout(binding = 4) readonly buffer Rows { uvec2 rows[]; };
INPUT(5, inverse);
INPUT(6, q_norm);
INPUT(7, k_norm);

void main()
{
	const uint slots = p.heads + 2 * p.kv_heads;
	const uint row = grid_group() / slots;
	if (row >= p.rows)
		return; // the whole workgroup
	const qkv_slot s = qkv_find(grid_group() % slots, p);
	const uint lane = gl_LocalInvocationIndex;
	const uint from = row * slots * p.head_dim + s.column;
	const uvec2 at = rows[row];
	const uint cached = (at.x * p.context + at.y) * p.kv_heads * p.head_dim + s.head * p.head_dim;
	if (s.part == PART_V) {
		for (uint i = lane; i < p.head_dim; i += WG)
			v_cache[cached + i] = LOAD(qkv, from + i);
		return;
	}
	float mean = 0, scale = 1;
	if (NORM != 0) {
		float sum = 0;
		if (NORM == 1) {
			for (uint i = lane; i < p.head_dim; i += WG)
				sum += LOAD(qkv, from + i);
			mean = reduce_sum(sum) / float(p.head_dim);
		}
		float squares = 0;
		for (uint i = lane; i < p.head_dim; i += WG)
			squares += (LOAD(qkv, from + i) - mean) * (LOAD(qkv, from + i) - mean);
		scale = 1.0 / sqrt(reduce_sum(squares) / float(p.head_dim) + p.eps);
	}
	const uint half_dims = p.rope_dims / 2;
	for (uint i = lane; i < p.head_dim; i += WG) {
		const bool second = i >= half_dims;
		const uint partner = i >= p.rope_dims ? i : second ? i - half_dims : i + half_dims;
		float own = LOAD(qkv, from + i);
		float other = LOAD(qkv, from + partner);
		if (NORM != 0) {
			float w = s.part == PART_Q ? LOAD(q_norm, p.q_norm_shift + i) : LOAD(k_norm, p.k_norm_shift + i);
			float w_other = s.part == PART_Q ? LOAD(q_norm, p.q_norm_shift + partner) : LOAD(k_norm, p.k_norm_shift + partner);
			own = (own - mean) * scale * (NORM == 3 ? 1.0 + w : w);
			other = (other - mean) * scale * (NORM == 3 ? 1.0 + w_other : w_other);
		}
		if (i < p.rope_dims) {
			vec2 turn = p.rope_scale * cos_sin_of(float(at.y) * LOAD(inverse, second ? i - half_dims : i));
			own = own * turn.x + (second ? other : -other) * turn.y;
		}
		if (s.part == PART_Q)
			q[row * p.heads * p.head_dim + s.head * p.head_dim + i] = own;
		else
			k_cache[cached + i] = own;
	}
}
