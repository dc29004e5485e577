/* A refused answer and what was done to bring it back (METHOD 3, 6, 9): the texts of the three
 * states, whether they are a valid flip, and the recoveries that were run. How it is recovered
 * is a method's matter: two_stage.h, suffix_baseline.h; both report through this.
 *
 * The target is, if none is given, the base model's own greedy answer where the judges find no
 * refusal in it, and the prompt set's answer otherwise. An input is a valid flip if the base
 * model's answer is neither a refusal nor has a safety cue and the clamped one is a refusal; it
 * is recovered if the recovered text is no refusal.
 */
#ifndef REBOUND_REFUSAL_H
#define REBOUND_REFUSAL_H

#include "sessions/experiment.h"
#include "sessions/judge.h"

enum refusal_state { REFUSAL_BASE, REFUSAL_CLAMPED, REFUSAL_RECOVERED, REFUSAL_STATES };
enum { REFUSAL_MOST_STAGES = 2 };
/* "base", "clamped", "recovered". */
const char *refusal_state_name(enum refusal_state state);

struct refusal_options {
	const char *target;	     /* a text; NULL: see above */
	const char *answer;	     /* of the prompt set; NULL if there is none */
	const char *const *refusals; /* discouraged openings; none: the judges' first ones */
	int refusal_count;
	const struct judge_lists *judges;
	int64_t max_new; /* tokens generated at most */
	bool only_valid; /* an input that is no valid flip is left at its first two texts */
	/* Where the record goes: NULL, or one from experiment_open_journal. Borrowed. */
	struct journal *journal;
	/* Told what begins ("stage 1: the anchor"), and of steps as they are made; may be NULL. */
	void (*on_phase)(void *context, const char *what);
	void (*on_steps)(void *context, const struct recovery *recovery);
	void *context;
};

struct refusal {
	struct session *session;	       /* borrowed */
	struct token_list target;	       /* the answer that was forced */
	struct token_list ids[REFUSAL_STATES]; /* generated */
	char *texts[REFUSAL_STATES];
	struct judge_verdict verdicts[REFUSAL_STATES];
	bool valid_flip, recovered;
	struct experiment stages[REFUSAL_MOST_STAGES]; /* those that were begun */
	int stage_count;
	struct delta_rows delta; /* of all stages */
	bool complete;		 /* all stages and the recovered text are there */
};
/* After any failure the finished parts are kept; refusal_done is needed in any case. */
void refusal_done(struct refusal *refusal);
/* The last stage's final state, with the metrics of the whole perturbation over the answer
 * positions; for a complete one. */
const struct recovery_final *refusal_final(const struct refusal *refusal);

/* ---- what methods are made of; all block and look at the session's cancel flag ---- */

/* The first two texts, valid_flip, and the target cut to `limit` tokens (0: no limit); *go_on:
 * there is something to recover. STATUS_INVALID: no clamp, no tokenizer, nothing that can be
 * the target. */
enum status WARN_UNUSED refusal_begin(struct refusal *refusal, struct session *session,
				      const struct refusal_options *options, int64_t limit, bool *go_on,
				      struct error *error);

/* A term of a method's objective: NAME:target, with the discouraged openings behind it where
 * `prefixes` says so, times a weight. */
struct refusal_term {
	const char *name;
	bool prefixes;
	double weight;
};
/* The session's objective and settings become a stage's: the sum of `count` terms, the given
 * settings. */
enum status WARN_UNUSED refusal_prepare_stage(const struct refusal *refusal, const struct refusal_options *options,
					      const struct refusal_term *terms, int count,
					      const struct recovery_settings *settings, struct error *error);
/* One recovery with the session as it is, up to its record; its rows of delta are added to
 * refusal->delta. */
enum status WARN_UNUSED refusal_run_stage(struct refusal *refusal, const struct refusal_options *options,
					  struct error *error);
/* The recovered text, with all rows of delta. */
enum status WARN_UNUSED refusal_finish(struct refusal *refusal, const struct refusal_options *options,
				       struct error *error);
void refusal_say(const struct refusal_options *options, const char *what);

#endif
