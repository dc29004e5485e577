/* The suffix baseline (METHOD 11) on a refused answer: a suffix behind the prompt is trained to
 * bring it back, then the model generates freely behind the suffix with every clamp active.
 *
 *   loss = 0.9 * (answer cross entropy + 0.3 * softplus(best refusal logprob - target logprob))
 *        + 0.1 * monitor / initial monitor
 *
 * The two log-probabilities are the means over the first tokens that anti_refusal compares
 * (METHOD 6). Valid flips, drift and reactivation are measured against the clamped run without
 * a suffix (scene.h), so that its figures stand beside those of two_stage.h.
 */
#ifndef REBOUND_SUFFIX_BASELINE_H
#define REBOUND_SUFFIX_BASELINE_H

#include "sessions/refusal.h"
#include "sessions/suffix_tokens.h"

struct suffix_options {
	int64_t tokens;	   /* n */
	char *placeholder; /* a text of one token, or its id; owned */
	struct recovery_settings settings;
};
/* METHOD 11: 16 tokens, 120 steps, rate 0.01, budget 40, an answer of at most 48 tokens, no
 * projection; the placeholder "!". Owned: free with suffix_options_done. */
void suffix_options_init(struct suffix_options *suffix);
void suffix_options_done(struct suffix_options *suffix);

/* Sets one by its option's name without dashes: "suffix" (the tokens), "suffix-token", or one of
 * the recovery's settings that mean something for a suffix; the rest of METHOD 11 is fixed. Any
 * other name is STATUS_NOTHING, a bad value as in settings_set. */
enum status WARN_UNUSED suffix_options_set(struct suffix_options *suffix, const char *name, const char *value,
					   struct error *error);
/* The value of one as suffix_options_set would take it; a new string. */
char *suffix_options_get(const struct suffix_options *suffix, const char *name);
/* The options that make it, the fewest: "--suffix 16 --lr 0.02"; a new string. */
char *suffix_options_command(const struct suffix_options *suffix);
/* The i-th of the names, with what settings.h says of each, for forms; a name of NULL ends them. */
struct setting_name suffix_setting_name(int i);

/* Runs it on the session's input and clamps; blocks, looks at the session's cancel flag. The
 * session's objective and settings are the baseline's afterwards; its prompt is as it was.
 * Errors are those of refusal_begin, and STATUS_INVALID for a suffix or an answer that does not
 * fit and a placeholder that is no token. */
enum status WARN_UNUSED suffix_baseline_run(struct refusal *out, struct session *session,
					    const struct refusal_options *options, const struct suffix_options *suffix,
					    struct error *error);
/* Its part between refusal_begin and the first step, for a caller that makes the steps itself:
 * the suffix is appended to the prompt, the objective and settings are the baseline's.
 * session_take_suffix takes the suffix off again. */
enum status WARN_UNUSED suffix_baseline_prepare(const struct refusal *refusal, const struct refusal_options *options,
						const struct suffix_options *suffix, struct error *error);
/* What the suffix of a complete one reads as: nearest [suffix->tokens]. The session has the prompt
 * that it was trained behind. */
enum status WARN_UNUSED suffix_baseline_read(const struct refusal *refusal, const struct suffix_options *suffix,
					     struct nearest_token *nearest, struct error *error);

#endif
