/* Recovery of a refused answer in two stages (METHOD 5 and 6).
 *
 * Stage 1, the anchor: delta at the last prompt position alone is optimised to win the first
 * tokens; its rows are then frozen. Stage 2: delta at the answer positions is optimised under
 * teacher forcing. Then the model generates freely with every clamp active, the anchor's rows
 * at the last prompt position and stage 2's rows at the positions they were made for;
 * positions behind those get the clamp and no delta.
 *
 * The target is, if none is given, the base model's own greedy answer where the judges find no
 * refusal in it, and the prompt set's answer otherwise. An input is a valid flip if the base
 * model's answer is neither a refusal nor has a safety cue and the clamped one is a refusal; it
 * is recovered if the recovered text is no refusal.
 */
#ifndef REBOUND_TWO_STAGE_H
#define REBOUND_TWO_STAGE_H

#include "sessions/experiment.h"
#include "sessions/judge.h"

enum { STAGE_ANCHOR, STAGE_ANSWER, STAGE_COUNT };
enum { TWO_STAGE_BASE, TWO_STAGE_CLAMPED, TWO_STAGE_RECOVERED, TWO_STAGE_TEXTS };

struct two_stage_options {
	/* Of each stage; positions are set by the stage. two_stage_settings gives the paper's. */
	struct recovery_settings settings[STAGE_COUNT];
	const char *target;	     /* a text; NULL: see above */
	const char *answer;	     /* of the prompt set; NULL if there is none */
	const char *const *refusals; /* discouraged openings; none: the judges' first ones */
	int refusal_count;
	const struct judge_lists *judges;
	int64_t max_new; /* tokens generated at most */
	bool only_valid; /* an input that is no valid flip is left at its first two texts */
	/* Where the record goes: NULL, or one from experiment_open_journal. Borrowed. */
	struct journal *journal;
	/* Told what begins ("stage 1: the anchor"); may be NULL. */
	void (*on_phase)(void *context, const char *what);
	void *context;
};
/* The settings of METHOD 6: stage 1 20 steps, rate 0.08, budget 30; stage 2 80, 0.03, 40 and an
 * answer of 48 tokens, the first 16 weighted 2; jacobian, 8 probes and the drift probe,
 * lambda_act 200 on relative_l2, 5 corrections at 0.05, drift_constrained within 0.03. Owned:
 * free with two_stage_settings_done. */
void two_stage_settings(struct two_stage_options *options);
void two_stage_settings_done(struct two_stage_options *options);

struct two_stage {
	struct session *session;		/* borrowed */
	struct token_list target;		/* the answer that was forced */
	struct token_list ids[TWO_STAGE_TEXTS]; /* generated */
	char *texts[TWO_STAGE_TEXTS];
	struct judge_verdict verdicts[TWO_STAGE_TEXTS];
	bool valid_flip, recovered;
	struct experiment stages[STAGE_COUNT];
	struct delta_rows delta;	    /* of both stages */
	double drift_l2, drift_relative_l2; /* of both, over the answer positions: stage 2's final */
};

/* Runs it on the session's input and clamps; blocks, looks at the session's cancel flag. The
 * session's objective, settings and frozen rows are those of the last stage afterwards.
 * STATUS_INVALID: no clamp, no tokenizer, nothing that can be the target, an answer that does
 * not fit. After any failure the finished stages are kept; two_stage_done is needed in any
 * case. */
enum status WARN_UNUSED two_stage_run(struct two_stage *out, struct session *session,
				      const struct two_stage_options *options, struct error *error);
void two_stage_done(struct two_stage *two_stage);

#endif
