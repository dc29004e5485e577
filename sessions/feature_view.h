/* One feature by itself: its directions, the tokens that it promotes, its neighbours, its
 * activation along a text. Nothing here depends on the prompt set (feature_usage.h). All
 * block; the session's thread.
 */
#ifndef REBOUND_FEATURE_VIEW_H
#define REBOUND_FEATURE_VIEW_H

#include "sessions/session.h"

enum { FEATURE_BEST = 12 };

struct feature_score {
	uint32_t id; /* of a token, or of a feature */
	float score;
};
struct feature_facts {
	double encoder_norm, decoder_norm;
	bool has_alignment;
	double alignment; /* cosine of the feature's encoder and decoder rows */
	/* The logit lens: logits that one unit of the direction adds through the final norm's
	 * weight and the unembedding, largest first and most negative first. The norm's own
	 * scale depends on the rest of the residual and is left out; under a layer norm the
	 * direction is centred, as the norm does. */
	int promoted_count, demoted_count;
	struct feature_score promoted[FEATURE_BEST], demoted[FEATURE_BEST];
	/* Other features by the cosine of the decoder rows, largest first. */
	int near_count;
	struct feature_score near[FEATURE_BEST];
};

/* A feature that the SAE lacks is STATUS_INVALID. Reads the whole decoder back, some rows
 * at a time, and looks at the session's cancel flag in between. */
enum status WARN_UNUSED feature_facts_find(struct feature_facts *out, struct session *session, int site,
					   uint32_t feature, struct error *error);
/* z [rows] of the feature for residual rows h [rows, d] of its site. */
enum status WARN_UNUSED feature_along(struct session *session, int site, uint32_t feature, const float *h, int64_t rows,
				      float *z, struct error *error);
/* Its page on Neuronpedia, where the SAE's file names the source; NULL if not. A new,
 * printable string. */
char *feature_page(const struct site *site, uint32_t feature);

#endif
