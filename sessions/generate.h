/* Generation under clamp and perturbation, through the key/value cache: the same ids as
 * without it. Clamps act on prompt, generated or all positions as the session says; rows
 * of delta act at the positions they were made for. */
#ifndef REBOUND_GENERATE_H
#define REBOUND_GENERATE_H

#include "sessions/session.h"

/* A perturbation for generation: rows at (layer, position), LAYER_EMBEDDING a suffix's.
 * Borrowed. */
struct generate_delta {
	int64_t rows;
	const int *layers;
	const int64_t *positions;
	const float *values; /* [rows, d] */
};

struct generate_options {
	bool clamped;
	const struct generate_delta *delta; /* NULL: none */
	int64_t max_new;
	bool ignore_stops;
	double temperature; /* 0: greedy */
	int64_t top_k;	    /* 0: all */
	double top_p;	    /* 0 or 1: all */
	uint64_t seed;
	/* Called with each new id; false stops. May be NULL. */
	bool (*on_token)(void *context, int32_t id);
	void *context;
};

/* Appends the new ids; stops at a stop id (which is appended), at max_new, or at the
 * context's end. Blocks; looks at the session's cancel flag at each token and then
 * returns STATUS_CANCELLED with what was made kept. */
enum status WARN_UNUSED generate(struct session *session, const struct generate_options *options,
				 struct token_list *new_ids, struct error *error);

#endif
