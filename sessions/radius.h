/* The recovery radius: the smallest budget at which a recovery brings the behaviour back,
 * found by bisection.
 *
 * The largest budget is tried first, from zero; each later trial starts from the smallest
 * delta that recovered so far, scaled to its budget (a warm start), and, should that fail, from zero.
 * A trial is over as soon as a state recovers, which is looked for every few steps; its delta's
 * own norm then bounds the radius, as it may be below the budget. "Does not recover" means: not within
 * the session's number of steps. The bracket is thus an upper bound that was shown and a lower one
 * that holds for this optimiser.
 */
#ifndef REBOUND_RADIUS_H
#define REBOUND_RADIUS_H

#include "sessions/recovery.h"

enum { RADIUS_MOST_TRIALS = 64 };

struct radius_trial {
	double budget;
	bool recovered;
	double objective, drift_relative_l2, delta_norm; /* of the state that recovered, else of the last */
	int64_t steps;					 /* made, both starts together */
};
struct radius {
	bool found;	     /* some trial recovered */
	double lower, upper; /* absolute; upper is meaningful if found */
	struct radius_trial trials[RADIUS_MOST_TRIALS];
	int trial_count;
	float *delta; /* [rows, d] with norm `upper`; NULL if none recovered */
	int64_t rows;
};
struct radius_options {
	double tolerance; /* ends when upper - lower <= tolerance * upper */
	int most_trials;  /* 1 to RADIUS_MOST_TRIALS */
	/* Called after each trial; may be NULL. */
	void (*on_trial)(void *context, const struct radius_trial *trial);
	/* Called at each look at a trial's recovery, of which `radius` does not know yet; may be NULL. */
	void (*on_steps)(void *context, const struct radius *radius, const struct recovery *recovery);
	void *context;
};

/* Searches between 0 and the session's budget, from the clamped scene; blocks, looks at the
 * session's cancel flag. After STATUS_CANCELLED the trials made are kept. A behaviour that the
 * clamp does not remove has radius 0, without a trial. The settings are left as they were. */
enum status WARN_UNUSED radius_find(struct radius *radius, struct session *session, struct scene *clamped,
				    const struct radius_options *options, struct error *error);
void radius_done(struct radius *radius);

#endif
