#version 450
// Gradients of attention.comp. For query r and key j, with w = exp(s - lse):
//   dw = dout_r . v_j,  ds = w (dw - dout_r . out_r) cap'(s),  cap'(s) = 1 - (s/c)^2 or 1
//   dq_r = scale sum_j ds k_j
//   dk_j = scale sum_r ds q_r,  dv_j = sum_r w dout_r
// where j runs over the cached keys that r sees, and r over the rows of this pass that see
// j, the row of this pass whose key it is, for all query heads that it serves.
// dq, dout [G*R, H hd], dk, dv [G*R, K hd]; q, out, lse, rows have R rows. A workgroup with
// z = 0 covers one head of one row of dq, with z = 1 one of dk and dv; it takes WG keys,
// resp. queries, at a time: an invocation computes one w and ds, then adds up for its
// dimensions.
layout(constant_id = 0) const uint PER_LANE = 1; // ceil(hd / WG)
#include "push_attention.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "activations.glsl"
layout(push_constant) uniform Push { push_attention p; };
layout(binding = 0) writeonly buffer DQ { float dq[]; };
layout(binding = 1) writeonly buffer DK { float dk[]; };
layout(binding = 2) writeonly buffer DV { float dv[]; };
layout(binding = 3) readonly buffer DOut { float dout[]; };
layout(binding = 4) readonly buffer Q { float q[]; };
layout(binding = 5) readonly buffer KCache { float k_cache[]; };
layout(binding = 6) readonly buffer VCache { float v_cache[]; };
layout(binding = 7) readonly buffer Out { float outs[]; };
layout(binding = 8) readonly buffer Lse { float lse[]; };
layout(binding = 9) readonly buffer Rows { uvec2 rows[]; };

shared float weights[WG];
shared float slopes[WG];

// w and ds of a query (its offset in q and out; in dout) and a key (its offset in the cache).
vec2 weight_and_slope(uint query, uint gradient, uint key, float query_lse, float inner)
{
	float score = 0, dw = 0;
	for (uint i = 0; i < p.head_dim; i++) {
		score += q[query + i] * k_cache[key + i];
		dw += dout[gradient + i] * v_cache[key + i];
	}
	score *= p.scale;
	float slope = 1;
	if (p.softcap != 0) {
		float t = tanh_of(score / p.softcap);
		score = p.softcap * t;
		slope = 1 - t * t;
	}
	float w = exp(score - query_lse);
	return vec2(w, w * (dw - inner) * slope);
}

// dout . out of a query.
float inner_product(uint query, uint gradient)
{
	float inner = 0;
	for (uint i = 0; i < p.head_dim; i++)
		inner += dout[gradient + i] * outs[query + i];
	return inner;
}

void query_gradient(uint row, uint head)
{
	const uint lane = gl_LocalInvocationIndex;
	const uint forward_row = row % p.forward_rows;
	const uint stride = p.kv_heads * p.head_dim;
	const uint position = rows[forward_row].y;
	const uint first = p.window != 0 && position + 1 > p.window ? position + 1 - p.window : 0;
	const uint cache = rows[forward_row].x * p.context * stride + head / (p.heads / p.kv_heads) * p.head_dim;
	const uint query = (forward_row * p.heads + head) * p.head_dim;
	const uint gradient = (row * p.heads + head) * p.head_dim;
	float part = 0;
	for (uint i = lane; i < p.head_dim; i += WG)
		part += dout[gradient + i] * outs[query + i];
	const float inner = reduce_sum(part);
	const float query_lse = lse[forward_row * p.heads + head];
	float sums[PER_LANE];
	for (uint n = 0; n < PER_LANE; n++)
		sums[n] = 0;
	for (uint chunk = first; chunk <= position; chunk += WG) {
		const uint key = chunk + lane;
		slopes[lane] = key > position ? 0 :
			weight_and_slope(query, gradient, cache + key * stride, query_lse, inner).y;
		barrier();
		const uint keys = min(WG, position + 1 - chunk);
		for (uint n = 0; n < PER_LANE; n++) {
			const uint i = n * WG + lane;
			if (i < p.head_dim)
				for (uint j = 0; j < keys; j++)
					sums[n] += slopes[j] * k_cache[cache + (chunk + j) * stride + i];
		}
		barrier();
	}
	for (uint n = 0; n < PER_LANE; n++) {
		const uint i = n * WG + lane;
		if (i < p.head_dim)
			dq[gradient + i] = p.scale * sums[n];
	}
}

void key_value_gradient(uint row, uint kv_head)
{
	const uint lane = gl_LocalInvocationIndex;
	const uint forward_row = row % p.forward_rows;
	const uint gradient_rows = row - forward_row; // of this gradient's first row
	const uint group = p.heads / p.kv_heads;
	const uint sequence = rows[forward_row].x, position = rows[forward_row].y;
	const uint key = ((sequence * p.context + position) * p.kv_heads + kv_head) * p.head_dim;
	float k_sums[PER_LANE], v_sums[PER_LANE];
	for (uint n = 0; n < PER_LANE; n++)
		k_sums[n] = v_sums[n] = 0;
	for (uint chunk = forward_row; chunk < p.forward_rows; chunk += WG) {
		// The rows of a sequence follow each other, positions ascending.
		if (rows[chunk].x != sequence || (p.window != 0 && rows[chunk].y - position >= p.window))
			break;
		const uint r = chunk + lane;
		const bool sees = r < p.forward_rows && rows[min(r, p.forward_rows - 1)].x == sequence &&
				  (p.window == 0 || rows[min(r, p.forward_rows - 1)].y - position < p.window);
		const uint count = uint(reduce_max(sees ? float(lane + 1) : 0.0));
		for (uint head = kv_head * group; head < (kv_head + 1) * group; head++) {
			vec2 both = vec2(0);
			if (sees) {
				const uint query = (r * p.heads + head) * p.head_dim;
				const uint gradient = ((gradient_rows + r) * p.heads + head) * p.head_dim;
				both = weight_and_slope(query, gradient, key, lse[r * p.heads + head],
							inner_product(query, gradient));
			}
			weights[lane] = both.x;
			slopes[lane] = both.y;
			barrier();
			for (uint n = 0; n < PER_LANE; n++) {
				const uint i = n * WG + lane;
				if (i < p.head_dim)
					for (uint j = 0; j < count; j++) {
						const uint at = (chunk + j) * p.heads + head;
						const uint gradient_at = (gradient_rows + chunk + j) * p.heads + head;
						k_sums[n] += slopes[j] * q[at * p.head_dim + i];
						v_sums[n] += weights[j] * dout[gradient_at * p.head_dim + i];
					}
			}
			barrier();
		}
	}
	const uint to = (row * p.kv_heads + kv_head) * p.head_dim;
	for (uint n = 0; n < PER_LANE; n++) {
		const uint i = n * WG + lane;
		if (i < p.head_dim) {
			dk[to + i] = p.scale * k_sums[n];
			dv[to + i] = v_sums[n];
		}
	}
}

void main()
{
	const uint row = grid_group() / p.heads;
	const uint head = grid_group() % p.heads;
	if (row >= p.rows)
		return; // the whole workgroup, here and below
	if (gl_WorkGroupID.z == 0)
		query_gradient(row, head);
	else if (head < p.kv_heads)
		key_value_gradient(row, head);
}
