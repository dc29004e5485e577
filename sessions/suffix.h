/* The suffix baseline (METHOD 11): placeholder tokens are inserted behind the prompt, and their
 * embeddings are trained with every clamp active.
 *
 * delta has one row for each placeholder, at LAYER_EMBEDDING: it is added to the token's
 * embedding before the scale that some families put on it (as an embedding that is handed to
 * the model would be) and before learned positions. Everything else is a recovery
 * (recovery.h): Adam, the bound on the norm of delta, metrics, record. Its loss is
 *
 *   -J + monitor_weight * monitor / initial monitor
 *
 * with J the session's objective and the monitor of monitor.h over all rows from the suffix on.
 */
#ifndef REBOUND_SUFFIX_H
#define REBOUND_SUFFIX_H

#include "sessions/session.h"

/* Appends `count` placeholders to the prompt. STATUS_INVALID if they do not fit the model's
 * context or there is one already; an id outside the vocabulary as for session_set_tokens. */
enum status WARN_UNUSED session_add_suffix(struct session *session, int64_t count, int32_t placeholder,
					   double monitor_weight, struct error *error);
/* Takes it off the prompt again and returns it; count 0 without one. */
struct suffix session_take_suffix(struct session *session);
/* Puts back the suffix that was last taken off a prompt; nothing if there was none. The prompt must not have
 * changed meanwhile: it still has the placeholders behind it. */
void session_return_suffix(struct session *session, struct suffix suffix);

/* The edit that adds delta to the embeddings: rows [0, n) of a pass that starts at point 0. */
struct suffix_edit {
	struct edit edit;	/* first */
	struct tensor delta, g; /* [n, d]; g receives the gradient by delta */
	double scale;
};
void suffix_edit_init(struct suffix_edit *edit, const struct session *session, struct tensor delta, struct tensor g);

#endif
