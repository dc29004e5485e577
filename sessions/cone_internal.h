/* What the files of cone.h share: cone_plan.c says what a cone of one prompt covers, cone_edits.c
 * what acts in it, cone.c builds and records it; cone_join.c makes one of several prompts, with
 * tensors and edits alike. */
#ifndef REBOUND_CONE_INTERNAL_H
#define REBOUND_CONE_INTERNAL_H

#include "sessions/cone.h"

/* The edits of a cone, all of one shape: which site, and what is done there. */
struct cone_edit {
	struct edit edit; /* first */
	struct cone *cone;
	struct cone_site *site;
	struct tensor *capture; /* capture edits: where to */
};

/* Fills sites, positions, first and rows of a cone whose prompt, total and settings are known. */
enum status WARN_UNUSED cone_plan(struct cone *cone, struct error *error);
/* Of the residual stream that a probe objective reads. */
int cone_probe_point(const struct session *session);
int cone_clamped_sites(const struct cone *cone);
/* Declares the tensors in arena and tables; once they have memory, cone_set_views makes those
 * of the sites. Sites, rows, positions and sequences are known by then. */
void cone_declare(struct cone *cone);
void cone_set_views(struct cone *cone);
/* After the clamps are made: everything that acts on the residual, in order. */
void cone_list_edits(struct cone *cone);

#endif
