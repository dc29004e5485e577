#version 450
// The reverse of qkv.comp: dqkv [G*R, (H+2K) hd] from dq [G*R, H hd] and dk, dv [G*R, K hd].
// The gradient is rotated by the negative angle and taken back through the norm (see
// norm_back.comp). A workgroup covers one head of q, k or v of one gradient row.
#define WG 32
#include "push_attention.h"
#include "qkv_head.glsl"
#include "grid.glsl"
#include "reduce.glsl"
#include "input.glsl"
#include "rotation.glsl"
layout(push_constant) uniform Push { push_qkv p; };
layout(binding = 0) writeonly buffer DQKV { float dqkv[]; };
INPUT(1, dq);
INPUT(2, dk);
INPUT(3, dv);
INPUT(4, qkv);
layout(binding = 5) readonly buffer Rows { uvec2 rows[]; };
INPUT(6, inverse);
INPUT(7, q_norm);
INPUT(8, k_norm);

uint gradient_from; // of this head, in dq or dk
bool is_query;
uint position;

float gradient(uint i)
{
	return is_query ? LOAD(dq, gradient_from + i) : LOAD(dk, gradient_from + i);
}

// The gradient by the i-th value before the rotation, times the norm's weight.
float turned_back(uint i)
{
	float g = gradient(i);
	if (i < p.rope_dims) {
		const uint half_dims = p.rope_dims / 2;
		const bool second = i >= half_dims;
		float other = gradient(second ? i - half_dims : i + half_dims);
		vec2 turn = p.rope_scale * cos_sin_of(float(position) * LOAD(inverse, second ? i - half_dims : i));
		g = g * turn.x + (second ? -other : other) * turn.y;
	}
	if (NORM != 0) {
		float w = is_query ? LOAD(q_norm, p.q_norm_shift + i) : LOAD(k_norm, p.k_norm_shift + i);
		g *= NORM == 3 ? 1.0 + w : w;
	}
	return g;
}

void main()
{
	const uint slots = p.heads + 2 * p.kv_heads;
	const uint row = grid_group() / slots;
	if (row >= p.rows)
		return; // the whole workgroup
	const qkv_slot s = qkv_find(grid_group() % slots, p);
	const uint lane = gl_LocalInvocationIndex;
	const uint to = row * slots * p.head_dim + s.column;
	const uint forward_row = row % p.forward_rows;
	is_query = s.part == PART_Q;
	position = rows[forward_row].y;
	gradient_from = (row * (is_query ? p.heads : p.kv_heads) + s.head) * p.head_dim;
	if (s.part == PART_V) {
		for (uint i = lane; i < p.head_dim; i += WG)
			dqkv[to + i] = LOAD(dv, gradient_from + i);
		return;
	}
	if (NORM == 0) {
		for (uint i = lane; i < p.head_dim; i += WG)
			dqkv[to + i] = turned_back(i);
		return;
	}
	const uint from = forward_row * slots * p.head_dim + s.column;
	vec2 means = vec2(0); // of x and of u
	if (NORM == 1) {
		vec2 sums = vec2(0);
		for (uint i = lane; i < p.head_dim; i += WG)
			sums += vec2(LOAD(qkv, from + i), turned_back(i));
		means = reduce_sum2(sums) / float(p.head_dim);
	}
	vec2 sums = vec2(0);
	for (uint i = lane; i < p.head_dim; i += WG) {
		float v = LOAD(qkv, from + i) - means.x;
		sums += vec2(v * v, turned_back(i) * v);
	}
	sums = reduce_sum2(sums) / float(p.head_dim);
	const float scale = 1.0 / sqrt(sums.x + p.eps);
	const float slope = sums.y * scale * scale;
	for (uint i = lane; i < p.head_dim; i += WG)
		dqkv[to + i] = scale * (turned_back(i) - means.y - (LOAD(qkv, from + i) - means.x) * slope);
}
