/* What the features of one SAE do over a prompt set: how often each fires, and where most.
 *
 * All features are counted together, since the passes of the model cost most: once a set
 * was read, every feature's view is there at once. Prompts are read one at a time, so the
 * work can be stopped anywhere; what is done is kept in the user's cache folder under the
 * SHA-256 of model, SAE and prompts, and gone on with later. The first token of a prompt
 * (BOS, where most models put an outlier) is not counted if there is another. The session's
 * thread.
 */
#ifndef REBOUND_FEATURE_USAGE_H
#define REBOUND_FEATURE_USAGE_H

#include "sessions/prompts.h"
#include "sessions/session.h"

enum { USAGE_EXAMPLES = 6 };

/* The strongest activation within a prompt; activation 0: none. */
struct usage_example {
	uint32_t prompt, position;
	float activation;
};
struct feature_usage {
	int site;
	int64_t features;
	int prompts;	     /* of the set */
	int done, skipped;   /* prompts read; of these, unreadable ones (too long, for instance) */
	int64_t tokens;	     /* counted so far */
	uint32_t *on_tokens; /* [F] tokens at which the feature is not 0 */
	uint32_t *on_prompts;
	struct usage_example *examples; /* [F, USAGE_EXAMPLES], by size, largest first */
	/* private */
	char key[65];
	int saved; /* prompts that the file has */
};

/* With what an earlier call has kept, if it can be read. Sums the files of the model once. */
enum status WARN_UNUSED feature_usage_open(struct feature_usage **out, const struct session *session, int site,
					   const struct prompt_set *set, bool no_bos, struct error *error);
void feature_usage_destroy(struct feature_usage **usage);
/* Reads the next prompt of the set: a pass of the model without clamps. The session's input
 * is as before afterwards. */
enum status WARN_UNUSED feature_usage_next(struct feature_usage *usage, struct session *session,
					   const struct prompt_set *set, bool no_bos, struct error *error);
bool feature_usage_complete(const struct feature_usage *usage);
/* Keeps it; a folder that can't be written is no failure. */
void feature_usage_save(struct feature_usage *usage);

/* An example's text around its token, printable. */
struct usage_context {
	char before[160], token[48], after[80];
};
/* The session's input is as before afterwards. */
enum status WARN_UNUSED feature_usage_context(struct usage_context *out, struct session *session,
					      const struct prompt *prompt, uint32_t position, bool no_bos,
					      struct error *error);

#endif
