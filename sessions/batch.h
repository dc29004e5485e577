/* Recoveries of several prompts, optimised together: a step is one submission in which their
 * rows stand one behind the other in the same matrix products (DESIGN, "many at once"), and
 * weights are read once for all.
 *
 *   recovery 0: scene, cone, delta ─┐ copied in: start residuals, keys and values, tables, delta
 *   recovery 1: ...                 ├─ one joined cone, [sum of rows, d] ─ one Adam and budget each
 *   recovery B-1: ...              ─┘ copied out: metrics, every step's delta, Adam's moments
 *
 * Afterwards each recovery stands as if it had made the steps itself, and what asks it for its
 * result, state or next steps sees no difference. Each keeps its own number of tokens, defended
 * state, keys and values, perturbed positions, target tokens, learning rate and budget; a prompt's
 * numbers depend on no other's, for all sums run within its rows. Members have the setting
 * rows_alike, with which kernels add in the same order whatever the rows (test_rows_apart of
 * test_ops_linear.c): on lavapipe a member's numbers are those of recovery_advance with that
 * setting to the bit. Without it a recovery takes the faster kernels for one and two rows, and its
 * last digits may differ. So they may on a GPU, whose compiler may contract the kernels' variants
 * for one and for several rows differently.
 *
 * METHOD 4 and 6 with every clamp mode, logit objective, projection (none and encoder), order and
 * penalty. Not covered, and to be advanced one by one: METHOD 5 (--project jacobian carries many
 * gradients of one prompt), probe objectives, frozen rows of delta.
 */
#ifndef REBOUND_BATCH_H
#define REBOUND_BATCH_H

#include "sessions/recovery.h"

enum {
	BATCH_DEFAULT = 24,
	BATCH_MOST = 256,
};

/* Can the recovery, at its first step and with rows_alike, take part in a batch at all; and together with another,
 * that can? Same session, settings and kind of objective. */
bool batch_takes(const struct recovery *recovery);
bool batch_takes_both(const struct recovery *a, const struct recovery *b);
/* How many of these in a row can go together, counted from the first: at least 1; at most
 * BATCH_MOST, and as long as their sums stay in the kernels that each takes alone. */
int64_t batch_fitting(struct recovery *const *recoveries, int64_t count);

struct batch;

/* Joins 2 or more recoveries (batch_fitting says how many) that have made no step; they are borrowed
 * and must outlive it, the session's clamps must stay, its input is not looked at. Device
 * memory is estimated first: STATUS_FAILED says what was needed. */
enum status WARN_UNUSED batch_create(struct batch **out, struct recovery *const *recoveries, int64_t count,
				     struct error *error);
void batch_destroy(struct batch **batch);

/* Up to `count` more steps for all, as recovery_advance. A recovery whose numbers diverge ends there
 * (batch_member_status) and the others go on. Returns STATUS_CANCELLED with what was done kept,
 * or STATUS_FAILED if the device failed. */
enum status WARN_UNUSED batch_advance(struct batch *batch, int64_t count, struct error *error);
/* STATUS_OK, or STATUS_FAILED and why. */
enum status batch_member_status(const struct batch *batch, int64_t member, struct error *error);
/* Of a step of all members. */
struct recovery_cost batch_get_cost(const struct batch *batch);

#endif
