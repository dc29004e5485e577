#ifndef REBOUND_PUSH_RECOVER_H
#define REBOUND_PUSH_RECOVER_H
#include "push.h"

struct push_objective {
	uint rows, cols; /* of the logits */
	uint reads, terms, sequences;
};
PUSH_ASSERT(push_objective)

/* Flat tensors of `elements`, in segments of which each belongs to a sequence. */
struct push_segments {
	uint segments;
	uint elements;
	uint sequences;
	float scale; /* of the gradient */
};
PUSH_ASSERT(push_segments)

struct push_metrics {
	uint steps; /* rows of the ring and of the trace */
	uint sequences;
	uint elements; /* of delta */
	uint delta_segments, change_segments, decoded_segments;
	uint has_penalty;
	float lambda_act, lambda_decode, lambda_delta;
};
PUSH_ASSERT(push_metrics)

struct push_projector {
	uint n, d; /* A^T is [n, d] */
	float ridge;
};
PUSH_ASSERT(push_projector)

#endif
