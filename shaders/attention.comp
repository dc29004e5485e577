#version 450
// Causal attention of one pass over cached keys, with the softmax computed online:
//   s_j   = cap(scale q . k_j),  cap(s) = c tanh(s / c) or s
//   out   = sum_j exp(s_j - lse) v_j,  lse = log sum_j exp s_j
// over the keys j of the row's sequence with position - window < j <= position.
// q, out [R, H hd], lse [R, H], caches [S*context, K hd]; key head h / (H/K) serves query
// head h. A workgroup covers one head of one row and takes WG keys at a time: first an
// invocation scores a key, then it adds up values for its dimensions.
layout(constant_id = 0) const uint PER_LANE = 1; // ceil(hd / WG)
#include "push_attention.h"
#include "grid.glsl"
#include "reduce.glsl"
#include "activations.glsl"
layout(push_constant) uniform Push { push_attention p; };
layout(binding = 0) writeonly buffer Out { float outs[]; };
layout(binding = 1) writeonly buffer Lse { float lse[]; };
layout(binding = 2) readonly buffer Q { float q[]; };
layout(binding = 3) readonly buffer KCache { float k_cache[]; };
layout(binding = 4) readonly buffer VCache { float v_cache[]; };
layout(binding = 5) readonly buffer Rows { uvec2 rows[]; };

shared float weights[WG];

void main()
{
	const uint row = grid_group() / p.heads;
	const uint head = grid_group() % p.heads;
	if (row >= p.rows)
		return; // the whole workgroup
	const uint lane = gl_LocalInvocationIndex;
	const uint stride = p.kv_heads * p.head_dim;
	const uint sequence = rows[row].x, position = rows[row].y;
	const uint first = p.window != 0 && position + 1 > p.window ? position + 1 - p.window : 0;
	const uint cache = sequence * p.context * stride + head / (p.heads / p.kv_heads) * p.head_dim;
	const uint query = (row * p.heads + head) * p.head_dim;
	float sums[PER_LANE];
	for (uint n = 0; n < PER_LANE; n++)
		sums[n] = 0;
	float most = -3.0e38, total = 0;
	for (uint chunk = first; chunk <= position; chunk += WG) {
		const uint key = chunk + lane;
		float score = -3.0e38;
		if (key <= position) {
			float dot_product = 0;
			for (uint i = 0; i < p.head_dim; i++)
				dot_product += q[query + i] * k_cache[cache + key * stride + i];
			score = p.scale * dot_product;
			if (p.softcap != 0)
				score = p.softcap * tanh_of(score / p.softcap);
		}
		const float most_now = max(most, reduce_max(score));
		const float weight = key <= position ? exp(score - most_now) : 0.0;
		const float shrink = exp(most - most_now);
		most = most_now;
		weights[lane] = weight;
		total = total * shrink + reduce_sum(weight); // its barriers also publish the weights
		const uint keys = min(WG, position + 1 - chunk);
		for (uint n = 0; n < PER_LANE; n++) {
			const uint i = n * WG + lane;
			if (i < p.head_dim) {
				float sum = 0;
				for (uint j = 0; j < keys; j++)
					sum += weights[j] * v_cache[cache + (chunk + j) * stride + i];
				sums[n] = sums[n] * shrink + sum;
			}
		}
		barrier(); // the weights are overwritten
	}
	for (uint n = 0; n < PER_LANE; n++) {
		const uint i = n * WG + lane;
		if (i < p.head_dim)
			outs[query + i] = sums[n] / total;
	}
	if (lane == 0)
		lse[row * p.heads + head] = most + log(total);
}
