/* Choosing the features to clamp over a set of prompts, or two (METHOD 10), one prompt at a
 * time: what was seen is kept whenever it stops.
 *
 *   attribution  mean over the prompts of z dJ/dz (attribute.h), each with its own objective
 *   sparsity     how often a feature fires on the first set (forget), for those that fire on
 *                the second (retain) at most as often as a threshold
 *   difference   mean activation on the first set less that on the second
 *   probe        that difference, where positive, times w . W_dec[i] of the probe of the
 *                session's objective probe_logit
 *
 * Activations are read at the last prompt position, or at every position behind BOS: frequencies
 * and means are then per position. sparsity and probe read every position by default.
 */
#ifndef REBOUND_SELECT_H
#define REBOUND_SELECT_H

#include "sessions/prompts.h"
#include "sessions/session.h"

enum select_method { SELECT_ATTRIBUTION, SELECT_SPARSITY, SELECT_DIFFERENCE, SELECT_PROBE, SELECT_METHOD_COUNT };
/* "attribution" and so on; false if there is no such method. */
bool select_method_parse(const char *text, enum select_method *method);
const char *select_method_name(enum select_method method);

struct selected {
	int layer;
	uint32_t feature;
	double score;
	double mean[2], frequency[2]; /* on the first and the second set; 0 where a set is empty */
};
struct selection {
	struct selected *items; /* the largest score first, then by layer and number */
	int64_t count;
	int64_t inputs[2], positions[2]; /* that were read */
	int64_t skipped;		 /* prompts that could not be read */
};

struct select_options {
	enum select_method method;
	/* Borrowed; `second` may be empty for attribution only. */
	const struct prompt *const *sets[2];
	int64_t counts[2];
	bool all_positions;
	int only_site; /* -1: all */
	double retain_threshold;
	bool own_objectives; /* attribution: each prompt's own instead of the session's */
	bool chat, no_bos, special;
	/* After each prompt; `problem` says why it was skipped, or is NULL. May be NULL itself. */
	void (*on_prompt)(void *context, int64_t done, int64_t total, const struct prompt *prompt,
			  const struct error *problem);
	void *context;
};
/* Blocks; looks at the session's cancel flag. The two sets are taken alternately. After
 * STATUS_CANCELLED *out ranks what was read until then. The session's input (and with
 * own_objectives its objective) is the last prompt's afterwards. */
enum status WARN_UNUSED select_features(struct selection *out, struct session *session,
					const struct select_options *options, struct error *error);
void selection_done(struct selection *selection);

#endif
