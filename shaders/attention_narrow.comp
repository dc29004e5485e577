#version 450
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_control_flow_attributes : require
// attention.comp for devices whose vectors are the lanes of one core (CPUs): a workgroup is
// one subgroup of WG = 8 lanes, needs no barrier, and fetches texels of 4 values. It covers one
// head of one row and takes 32 keys at a time: a lane scores 4 of them, then the lanes
// share the weights and add up values, lane i for dimensions 4 i .. 4 i + 3 of every 32.
// Variants: SLICES = ceil(hd / 32). hd is a multiple of 16 (loops are unrolled, README.md says why).
#define WG 8
layout(local_size_x = WG) in;
#include "push_attention.h"
#include "grid.glsl"
#include "activations.glsl"
layout(push_constant) uniform Push { push_attention p; };
layout(binding = 0) writeonly buffer Out { vec4 outs[]; };
layout(binding = 1) writeonly buffer Lse { float lse[]; };
layout(binding = 2) uniform samplerBuffer q;
layout(binding = 3) uniform samplerBuffer k_cache;
layout(binding = 4) uniform samplerBuffer v_cache;
layout(binding = 5) uniform usamplerBuffer rows;

void main()
{
	const uint row = grid_group() / p.heads;
	const uint head = grid_group() % p.heads;
	if (row >= p.rows)
		return; // the whole workgroup
	const uint lane = gl_SubgroupInvocationID;
	const uint hd = p.head_dim / 4; // in texels, as all below
	const uint stride = p.kv_heads * hd;
	const uvec2 at = texelFetch(rows, int(row)).xy;
	const uint first = p.window != 0 && at.y + 1 > p.window ? at.y + 1 - p.window : 0;
	const uint cache = at.x * p.context * stride + head / (p.heads / p.kv_heads) * hd;
	const uint query = (row * p.heads + head) * hd;
	vec4 sums[SLICES];
	[[unroll]] for (uint n = 0; n < SLICES; n++)
		sums[n] = vec4(0);
	float most = -3.0e38, total = 0;
	for (uint chunk = first; chunk <= at.y; chunk += 4 * WG) {
		// Keys behind the last are the last again, with weight 0.
		uvec4 key = min(chunk + lane + WG * uvec4(0, 1, 2, 3), at.y) * stride + cache;
		vec4 score = vec4(0);
		for (uint first_i = 0; first_i < hd; first_i += 4) {
			[[unroll]] for (uint u = 0; u < 4; u++) {
				const uint i = first_i + u;
				const vec4 q4 = texelFetch(q, int(query + i));
				[[unroll]] for (uint b = 0; b < 4; b++)
					score[b] += dot(q4, texelFetch(k_cache, int(key[b] + i)));
			}
		}
		score *= p.scale;
		if (p.softcap != 0)
			[[unroll]] for (uint b = 0; b < 4; b++)
				score[b] = p.softcap * tanh_of(score[b] / p.softcap);
		score = mix(vec4(-3.0e38), score, lessThanEqual(chunk + lane + WG * uvec4(0, 1, 2, 3), uvec4(at.y)));
		const float most_now = max(most, subgroupMax(max(max(score.x, score.y), max(score.z, score.w))));
		const vec4 weight = exp(score - most_now);
		const float shrink = exp(most - most_now);
		most = most_now;
		total = total * shrink + subgroupAdd((weight.x + weight.y) + (weight.z + weight.w));
		[[unroll]] for (uint n = 0; n < SLICES; n++)
			sums[n] *= shrink;
		[[unroll]] for (uint b = 0; b < 4; b++) {
			if (chunk + b * WG > at.y)
				break;
			[[unroll]] for (uint u = 0; u < WG; u++) {
				const float w = subgroupShuffle(weight[b], u);
				const uint v = min(chunk + b * WG + u, at.y) * stride + cache;
				[[unroll]] for (uint n = 0; n < SLICES; n++)
					sums[n] += w * texelFetch(v_cache, int(v + min(n * WG + lane, hd - 1)));
			}
		}
	}
	[[unroll]] for (uint n = 0; n < SLICES; n++)
		if (n * WG + lane < hd)
			outs[query + n * WG + lane] = sums[n] / total;
	if (lane == 0)
		lse[row * p.heads + head] = most + log(total);
}
