/* Choosing features by attribution (METHOD 10): z_i dJ/dz_i on the base run, the gradient
 * taken through the decoder with the reconstruction residual held constant, so that
 * dJ/dz_i = W_dec[i] . dJ/dh. Read at the last prompt position; for a probe, summed over
 * the pooled positions. */
#ifndef REBOUND_ATTRIBUTE_H
#define REBOUND_ATTRIBUTE_H

#include "sessions/scene.h"

struct attribution {
	int layer;
	uint32_t feature;
	double attribution, activation, gradient;
};

/* All F features of a site, largest attribution first (the lower number of equals first);
 * *out is malloc'ed, *count is F. */
enum status WARN_UNUSED attribute_rank(struct attribution **out, int64_t *count, struct session *session,
				       struct scene *base, int site, struct error *error);

#endif
