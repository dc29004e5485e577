/* Rows of delta that were found before and stay (METHOD 5, two stages): at their layer and
 * position they are added behind the clamp, in every pass over the clamped model. */
#ifndef REBOUND_FROZEN_H
#define REBOUND_FROZEN_H

#include "sessions/session.h"

/* The edits of one pass that add them, at most one a site. */
struct frozen_edits {
	struct frozen_edit *items; /* [sites] */
	int site_count;
	/* private */
	struct arena *arena;
};

/* Edits over the positions [first, total) of the session's frozen rows; rows before `first`
 * are left out, one at or behind `total` is STATUS_INVALID. */
enum status WARN_UNUSED frozen_edits_create(struct frozen_edits *edits, const struct session *session, int64_t first,
					    int64_t total, struct error *error);
void frozen_edits_done(struct frozen_edits *edits);
/* NULL if no row lies at that site. */
struct edit *frozen_edit_at(const struct frozen_edits *edits, int site);

/* Does the session have frozen rows at that site? */
bool frozen_at_site(const struct session *session, int site);

#endif
