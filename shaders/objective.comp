#version 450
// The objective of each sequence (enum op_read_kind, op_term_kind): the reads, the terms,
// J[s] = sum of weight * term, and dreads[i] = dJ / d read i. Where SPREAD is 0, no read
// needs a whole row and dlogits [Q, cols] is written here; otherwise objective_spread.comp
// does it. One workgroup covers everything: an invocation a read, then a term, then a
// sequence or a read; sums follow the order of the tables.
#define WG 64
layout(local_size_x = WG) in;
layout(constant_id = 0) const uint SPREAD = 0;
#include "push_recover.h"
layout(push_constant) uniform Push { push_objective p; };
struct read_entry { uint kind, row, column, unused; };
struct term_entry {
	uint kind, sequence, first, count;
	float weight;
	uint groups, unused0, unused1;
};
layout(binding = 0) writeonly buffer Objective { float objective[]; };
layout(binding = 1) coherent buffer DLogits { float dlogits[]; };
layout(binding = 2) coherent buffer Values { float values[]; };
layout(binding = 3) readonly buffer Logits { float logits[]; };
layout(binding = 4) readonly buffer Reads { read_entry reads[]; };
layout(binding = 5) readonly buffer Coefficients { float coefficients[]; };
layout(binding = 6) readonly buffer Terms { term_entry terms[]; };
layout(binding = 7) readonly buffer Stats { vec2 stats[]; };
layout(binding = 8) coherent buffer DReads { float dreads[]; };
layout(binding = 9) coherent buffer TermStats { vec4 term_stats[]; };

#define READ_LOGPROB 1u
#define READ_SUM 2u
#define TERM_LINEAR 0u
#define TERM_CROSS_ENTROPY 1u
#define TERM_MARGIN 2u
#define TERM_MEAN_MARGIN 3u
#define TERM_SOFT_MARGIN 4u

float read_value(read_entry r)
{
	if (r.kind == READ_SUM)
		return stats[r.row].y;
	const float v = logits[r.row * p.cols + r.column];
	return r.kind == READ_LOGPROB ? v - stats[r.row].x : v;
}

// Mean and number of the reads of one group; {0, 0} if it has none.
vec2 group_mean(term_entry t, uint group)
{
	float sum = 0, count = 0;
	for (uint i = t.first; i < t.first + t.count; i++) {
		if (coefficients[i] == float(group)) {
			sum += values[i];
			count += 1;
		}
	}
	return vec2(count > 0 ? sum / count : 0, count);
}

// The term's value in x; in y, z, w what its slopes need.
vec4 term_value(term_entry t)
{
	const uint end = t.first + t.count;
	switch (t.kind) {
	case TERM_LINEAR: {
		float sum = 0;
		for (uint i = t.first; i < end; i++)
			sum += coefficients[i] * values[i];
		return vec4(sum, 0, 0, 0);
	}
	case TERM_CROSS_ENTROPY: {
		float most = values[t.first];
		for (uint i = t.first + 1; i < end; i++)
			most = max(most, values[i]);
		float sum = 0;
		for (uint i = t.first; i < end; i++)
			sum += exp(values[i] - most);
		const float all = most + log(sum);
		return vec4(values[t.first] - all, all, 0, 0);
	}
	case TERM_MARGIN: {
		uint best = t.first;
		for (uint i = t.first + 1; i < end; i++)
			if (best == t.first || values[i] > values[best])
				best = i;
		const float rest = best == t.first ? 0.0 : values[best];
		return vec4(values[t.first] - rest, uintBitsToFloat(best), 0, 0);
	}
	default: {
		const vec2 own = group_mean(t, 0);
		vec2 most = vec2(0);
		uint best = 0;
		for (uint g = 1; g < t.groups; g++) {
			const vec2 mean = group_mean(t, g);
			if (mean.y > 0 && (best == 0 || mean.x > most.x)) {
				most = mean;
				best = g;
			}
		}
		const float margin = own.x - most.x;
		if (t.kind == TERM_MEAN_MARGIN)
			return vec4(margin, float(best), 1.0 / own.y, 1.0 / most.y);
		// -softplus(-margin); its slope is the sigmoid of -margin.
		const float e = exp(-abs(margin));
		const float slope = (margin > 0 ? e : 1.0) / (1 + e);
		return vec4(min(margin, 0.0) - log(1 + e), float(best), slope / own.y, slope / most.y);
	}
	}
}

// d term / d read i
float term_slope(term_entry t, vec4 stat, uint i)
{
	switch (t.kind) {
	case TERM_LINEAR:
		return coefficients[i];
	case TERM_CROSS_ENTROPY:
		return (i == t.first ? 1.0 : 0.0) - exp(values[i] - stat.y);
	case TERM_MARGIN:
		return i == t.first ? 1.0 : i == floatBitsToUint(stat.y) ? -1.0 : 0.0;
	default:
		return coefficients[i] == 0.0 ? stat.z :
		       stat.y != 0.0 && coefficients[i] == stat.y ? -stat.w : 0.0;
	}
}

void everyone()
{
	memoryBarrierBuffer();
	barrier();
}

void main()
{
	const uint lane = gl_LocalInvocationIndex;
	for (uint i = lane; i < p.reads; i += WG)
		values[i] = read_value(reads[i]);
	if (SPREAD == 0)
		for (uint i = lane; i < p.rows * p.cols; i += WG)
			dlogits[i] = 0;
	everyone();
	for (uint t = lane; t < p.terms; t += WG)
		term_stats[t] = term_value(terms[t]);
	everyone();
	for (uint s = lane; s < p.sequences; s += WG) {
		float sum = 0;
		for (uint t = 0; t < p.terms; t++)
			if (terms[t].sequence == s)
				sum += terms[t].weight * term_stats[t].x;
		objective[s] = sum;
	}
	for (uint i = lane; i < p.reads; i += WG) {
		float slope = 0;
		for (uint t = 0; t < p.terms; t++)
			if (i >= terms[t].first && i - terms[t].first < terms[t].count)
				slope += terms[t].weight * term_slope(terms[t], term_stats[t], i);
		dreads[i] = slope;
	}
	everyone();
	if (SPREAD == 0) {
		// Several reads may share a logit: its invocation adds them in order.
		for (uint i = 0; i < p.reads; i++) {
			const uint to = reads[i].row * p.cols + reads[i].column;
			if (to % WG == lane)
				dlogits[to] += dreads[i];
		}
	}
}
