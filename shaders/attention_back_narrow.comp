#version 450
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_control_flow_attributes : require
// attention_back.comp for CPU devices, in the manner of attention_narrow.comp: a workgroup is one
// subgroup of WG = 8 lanes. With z = 0 it covers one head of one row of dq and takes 32 keys at a
// time, with z = 1 one key head of one row of dk and dv and takes 8 queries at a time.
// Variants: SLICES = ceil(hd / 32). hd is a multiple of 16.
#define WG 8
layout(local_size_x = WG) in;
#include "push_attention.h"
#include "grid.glsl"
#include "activations.glsl"
layout(push_constant) uniform Push { push_attention p; };
layout(binding = 0) writeonly buffer DQ { vec4 dq[]; };
layout(binding = 1) writeonly buffer DK { vec4 dk[]; };
layout(binding = 2) writeonly buffer DV { vec4 dv[]; };
layout(binding = 3) uniform samplerBuffer dout;
layout(binding = 4) uniform samplerBuffer q;
layout(binding = 5) uniform samplerBuffer k_cache;
layout(binding = 6) uniform samplerBuffer v_cache;
layout(binding = 7) uniform samplerBuffer outs;
layout(binding = 8) readonly buffer Lse { float lse[]; };
layout(binding = 9) uniform usamplerBuffer rows;

uint lane, hd, stride; // set by main; all widths and offsets are in texels

// score becomes the capped score; the result is d capped / d raw.
float cap(inout float score)
{
	score *= p.scale;
	if (p.softcap == 0)
		return 1;
	const float t = tanh_of(score / p.softcap);
	score = p.softcap * t;
	return 1 - t * t;
}

// Dimension texel of slice n that this lane adds up; lanes past the end repeat the last.
uint dimension(uint n)
{
	return min(n * WG + lane, hd - 1);
}

void query_gradient(uint row, uint head)
{
	const uint forward_row = row % p.forward_rows;
	const uvec2 at = texelFetch(rows, int(forward_row)).xy;
	const uint first = p.window != 0 && at.y + 1 > p.window ? at.y + 1 - p.window : 0;
	const uint cache = at.x * p.context * stride + head / (p.heads / p.kv_heads) * hd;
	const uint query = (forward_row * p.heads + head) * hd;
	const uint gradient = (row * p.heads + head) * hd;
	const float query_lse = lse[forward_row * p.heads + head];
	float inner = 0;
	for (uint i = lane; i < hd; i += WG)
		inner += dot(texelFetch(dout, int(gradient + i)), texelFetch(outs, int(query + i)));
	inner = subgroupAdd(inner);
	vec4 sums[SLICES];
	[[unroll]] for (uint n = 0; n < SLICES; n++)
		sums[n] = vec4(0);
	for (uint chunk = first; chunk <= at.y; chunk += 4 * WG) {
		// Keys behind the last are the last again, with slope 0.
		const uvec4 number = chunk + lane + WG * uvec4(0, 1, 2, 3);
		const uvec4 key = min(number, at.y) * stride + cache;
		vec4 score = vec4(0), dw = vec4(0), slope;
		for (uint first_i = 0; first_i < hd; first_i += 4) {
			[[unroll]] for (uint u = 0; u < 4; u++) {
				const uint i = first_i + u;
				const vec4 q4 = texelFetch(q, int(query + i)), g4 = texelFetch(dout, int(gradient + i));
				[[unroll]] for (uint b = 0; b < 4; b++) {
					score[b] += dot(q4, texelFetch(k_cache, int(key[b] + i)));
					dw[b] += dot(g4, texelFetch(v_cache, int(key[b] + i)));
				}
			}
		}
		[[unroll]] for (uint b = 0; b < 4; b++) {
			const float capped = cap(score[b]);
			slope[b] = number[b] > at.y ? 0.0 : exp(score[b] - query_lse) * (dw[b] - inner) * capped;
		}
		[[unroll]] for (uint b = 0; b < 4; b++) {
			if (chunk + b * WG > at.y)
				break;
			[[unroll]] for (uint u = 0; u < WG; u++) {
				const float s = subgroupShuffle(slope[b], u);
				const uint k = min(chunk + b * WG + u, at.y) * stride + cache;
				[[unroll]] for (uint n = 0; n < SLICES; n++)
					sums[n] += s * texelFetch(k_cache, int(k + dimension(n)));
			}
		}
	}
	[[unroll]] for (uint n = 0; n < SLICES; n++)
		if (n * WG + lane < hd)
			dq[gradient + n * WG + lane] = p.scale * sums[n];
}

void key_value_gradient(uint row, uint kv_head)
{
	const uint forward_row = row % p.forward_rows;
	const uint gradient_rows = row - forward_row; // of this gradient's first row
	const uint group = p.heads / p.kv_heads;
	const uvec2 at = texelFetch(rows, int(forward_row)).xy;
	const uint key = (at.x * p.context + at.y) * stride + kv_head * hd;
	vec4 k_sums[SLICES], v_sums[SLICES];
	[[unroll]] for (uint n = 0; n < SLICES; n++)
		k_sums[n] = v_sums[n] = vec4(0);
	for (uint chunk = forward_row; chunk < p.forward_rows; chunk += WG) {
		// The rows of a sequence follow each other, positions ascending: those that see
		// the key come first.
		const uint r = min(chunk + lane, p.forward_rows - 1);
		const uvec2 other = texelFetch(rows, int(r)).xy;
		const bool sees = r == chunk + lane && other.x == at.x && (p.window == 0 || other.y - at.y < p.window);
		const uint count = subgroupAdd(sees ? 1 : 0);
		if (count == 0)
			break;
		for (uint head = kv_head * group; head < (kv_head + 1) * group; head++) {
			const uint own = chunk + min(lane, count - 1);
			const uint query = (own * p.heads + head) * hd;
			const uint gradient = ((gradient_rows + own) * p.heads + head) * hd;
			float score = 0, dw = 0; // dw: less the query's dout . out
			for (uint first_i = 0; first_i < hd; first_i += 4) {
				[[unroll]] for (uint u = 0; u < 4; u++) {
					const uint i = first_i + u;
					const vec4 g4 = texelFetch(dout, int(gradient + i));
					score += dot(texelFetch(q, int(query + i)), texelFetch(k_cache, int(key + i)));
					dw += dot(g4, texelFetch(v_cache, int(key + i)) - texelFetch(outs, int(query + i)));
				}
			}
			const float capped = cap(score);
			const float w = sees ? exp(score - lse[own * p.heads + head]) : 0.0;
			const float slope = w * dw * capped;
			[[unroll]] for (uint u = 0; u < WG; u++) {
				// Past the count: the last again, with weight 0.
				const float w_u = subgroupShuffle(w, u), s_u = subgroupShuffle(slope, u);
				const uint at_u = chunk + min(u, count - 1);
				const uint q_u = (at_u * p.heads + head) * hd;
				const uint g_u = ((gradient_rows + at_u) * p.heads + head) * hd;
				[[unroll]] for (uint n = 0; n < SLICES; n++) {
					k_sums[n] += s_u * texelFetch(q, int(q_u + dimension(n)));
					v_sums[n] += w_u * texelFetch(dout, int(g_u + dimension(n)));
				}
			}
		}
	}
	const uint to = (row * p.kv_heads + kv_head) * hd;
	[[unroll]] for (uint n = 0; n < SLICES; n++) {
		if (n * WG + lane < hd) {
			dk[to + n * WG + lane] = p.scale * k_sums[n];
			dv[to + n * WG + lane] = v_sums[n];
		}
	}
}

void main()
{
	const uint row = grid_group() / p.heads;
	const uint head = grid_group() % p.heads;
	lane = gl_SubgroupInvocationID;
	hd = p.head_dim / 4;
	stride = p.kv_heads * hd;
	if (row >= p.rows)
		return; // the whole workgroup, here and below
	if (gl_WorkGroupID.z == 0)
		query_gradient(row, head);
	else if (head < p.kv_heads)
		key_value_gradient(row, head);
}
