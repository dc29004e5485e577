/* A session on a model of GPT-2's architecture with made-up weights, for benchmarks: no
 * files are read or written. */
#ifndef REBOUND_RANDOM_SESSION_H
#define REBOUND_RANDOM_SESSION_H

#include "sessions/session.h"

struct random_shape {
	int layers, d, heads, f;
	int64_t vocab, context;
	enum dtype dtype; /* of the matrices */
	/* one SAE */
	int sae_layer;
	enum hook sae_hook;
	int64_t features;
};
enum status WARN_UNUSED random_session_open(struct session **out, const struct random_shape *shape,
					    struct error *error);
/* Not session_close: the model has no files. */
void random_session_close(struct session **session);

#endif
