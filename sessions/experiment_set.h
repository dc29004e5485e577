/* The same recovery for each of many prompts, a batch of them at a time (batch.h).
 *
 *   prompts ── in chunks of `batch`: input, base run, clamped run, recovery prepared
 *           ── those that go together make their steps in one batch, the others one by one
 *           ── result and final state of each, in the prompts' order, to the caller
 *
 * What comes out for a prompt does not depend on `batch` (batch.h says how exactly), for all are
 * recovered with the setting rows_alike; records name it.
 */
#ifndef REBOUND_EXPERIMENT_SET_H
#define REBOUND_EXPERIMENT_SET_H

#include "sessions/experiment.h"
#include "sessions/prompts.h"

struct experiment_set_options {
	const struct prompt *const *prompts; /* borrowed, as all here */
	int64_t count;
	int64_t batch; /* 1: one by one */
	/* Objectives for all; none: each prompt's own (prompt_objectives). */
	const char *const *objectives;
	int objective_count;
	bool chat, no_bos, special; /* as session_set_text; a prompt can ask for chat itself */
	bool only_valid;	    /* a prompt that is no valid flip (METHOD 3) is not recovered */
	/* A prompt is done, the session having its input: x is complete, or left behind its two runs with
	 * only_valid, or `outcome` says why it isn't. The callee may keep nothing of x. A status
	 * other than OK ends the whole. */
	enum status (*on_result)(void *context, const struct prompt *prompt, struct experiment *x, enum status outcome,
				 const struct error *problem, struct error *error);
	void *context;
};

/* Base model has it, clamped model has not. */
bool experiment_valid_flip(const struct experiment *x);

/* Uses the session's clamps and settings, and sets rows_alike meanwhile; blocks, looks at the cancel flag. A prompt
 * that can't be tried (STATUS_INVALID) or whose optimisation diverges is reported and the others go on.
 * STATUS_CANCELLED: prompts of the chunk under way were reported with what they have. The
 * session's input and objective are the last prompt's afterwards. */
enum status WARN_UNUSED experiment_set_run(struct session *session, const struct experiment_set_options *options,
					   struct error *error);

#endif
