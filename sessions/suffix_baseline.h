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

struct suffix_options {
	int64_t tokens;		 /* n */
	const char *placeholder; /* a text of one token, or its id */
	struct recovery_settings settings;
};
/* METHOD 11: 16 tokens, 120 steps, rate 0.01, budget 40, an answer of at most 48 tokens, no
 * projection; the placeholder "!". Owned: free with suffix_options_done. */
void suffix_options_init(struct suffix_options *suffix);
void suffix_options_done(struct suffix_options *suffix);

/* Runs it on the session's input and clamps; blocks, looks at the session's cancel flag. The
 * session's objective and settings are the baseline's afterwards; its prompt is as it was.
 * Errors are those of refusal_begin, and STATUS_INVALID for a suffix or an answer that does not
 * fit and a placeholder that is no token. */
enum status WARN_UNUSED suffix_baseline_run(struct refusal *out, struct session *session,
					    const struct refusal_options *options, const struct suffix_options *suffix,
					    struct error *error);

#endif
