/* One whole pass that is asked for one array: the residual, a gradient or all logits, at
 * any hook, with the session's clamps active or not. */
#ifndef REBOUND_WHOLE_H
#define REBOUND_WHOLE_H

#include "sessions/session.h"

enum whole_kind {
	WHOLE_RESIDUAL, /* [T, d] behind the clamp, if one acts at that hook */
	WHOLE_GRADIENT, /* [T + A, d] dJ/d(residual), at the same place */
	WHOLE_LOGITS,	/* [T, V], or with last_only [1, V] */
};
struct whole_request {
	enum whole_kind kind;
	bool clamped;
	bool last_only; /* logits: of the last position */
	int layer;	/* not for logits */
	enum hook hook;
};
/* *out is malloc'ed, [*rows, *cols]. */
enum status WARN_UNUSED whole_run(float **out, int64_t *rows, int64_t *cols, struct session *session,
				  const struct whole_request *request, struct error *error);

#endif
