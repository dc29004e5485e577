#version 450
// dlogits [Q, V] from dreads: with a and b the sums over the row's LOGPROB and SUM reads,
//   dlogits[q, c] = b - a exp(logits[q, c] - logsumexp) + the LOGIT and LOGPROB reads of (q, c)
// A workgroup covers CHUNK columns of a row; one invocation adds the single reads, in order.
#define CHUNK 2048
#include "push_recover.h"
#include "grid.glsl"
#include "reduce.glsl"
layout(push_constant) uniform Push { push_objective p; };
struct read_entry { uint kind, row, column, unused; };
layout(binding = 0) coherent buffer DLogits { float dlogits[]; };
layout(binding = 1) uniform samplerBuffer logits;
layout(binding = 2) readonly buffer Reads { read_entry reads[]; };
layout(binding = 3) readonly buffer Stats { vec2 stats[]; };
layout(binding = 4) readonly buffer DReads { float dreads[]; };

#define READ_LOGPROB 1u
#define READ_SUM 2u

void main()
{
	const uint chunks = (p.cols + CHUNK - 1) / CHUNK;
	const uint row = grid_group() / chunks;
	if (row >= p.rows)
		return; // the whole workgroup
	const uint first = grid_group() % chunks * CHUNK;
	const uint end = min(first + CHUNK, p.cols);
	const uint lane = gl_LocalInvocationIndex;
	vec2 sums = vec2(0);
	for (uint i = lane; i < p.reads; i += WG) {
		if (reads[i].row == row && reads[i].kind == READ_LOGPROB)
			sums.x += dreads[i];
		if (reads[i].row == row && reads[i].kind == READ_SUM)
			sums.y += dreads[i];
	}
	sums = reduce_sum2(sums);
	const float all = stats[row].x;
	for (uint c = first + lane; c < end; c += WG) {
		const uint at = row * p.cols + c;
		float v = sums.y;
		if (sums.x != 0)
			v -= sums.x * exp(texelFetch(logits, int(at)).x - all);
		dlogits[at] = v;
	}
	memoryBarrierBuffer();
	barrier();
	if (lane != 0)
		return; // no barrier follows
	for (uint i = 0; i < p.reads; i++) {
		const uint c = reads[i].column;
		if (reads[i].row == row && reads[i].kind != READ_SUM && c >= first && c < end)
			dlogits[row * p.cols + c] += dreads[i];
	}
}
