/* Recovery of a refused answer in two stages (METHOD 5 and 6).
 *
 * Stage 1, the anchor: delta at the last prompt position alone is optimised to win the first
 * tokens; its rows are then frozen. Stage 2: delta at the answer positions is optimised under
 * teacher forcing. Then the model generates freely with every clamp active, the anchor's rows
 * at the last prompt position and stage 2's rows at the positions they were made for;
 * positions behind those get the clamp and no delta.
 */
#ifndef REBOUND_TWO_STAGE_H
#define REBOUND_TWO_STAGE_H

#include "sessions/refusal.h"

enum { STAGE_ANCHOR, STAGE_ANSWER, STAGE_COUNT };

/* Of each stage; positions are set by the stage. two_stage_settings gives those of METHOD 6:
 * stage 1 20 steps, rate 0.08, budget 30; stage 2 80, 0.03, 40 and an answer of 48 tokens, the
 * first 16 weighted 2; jacobian, 8 probes and the drift probe, lambda_act 200 on relative_l2,
 * 5 corrections at 0.05, drift_constrained within 0.03. Owned: free with
 * two_stage_settings_done. */
void two_stage_settings(struct recovery_settings settings[STAGE_COUNT]);
void two_stage_settings_done(struct recovery_settings settings[STAGE_COUNT]);

/* Runs it on the session's input and clamps; blocks, looks at the session's cancel flag. The
 * session's objective, settings and frozen rows are those of the last stage afterwards. Errors
 * are those of refusal_begin, and STATUS_INVALID for an answer that does not fit. */
enum status WARN_UNUSED two_stage_run(struct refusal *out, struct session *session,
				      const struct refusal_options *options,
				      const struct recovery_settings settings[STAGE_COUNT], struct error *error);

#endif
