/* The light cone of a recovery: the pass over what delta can change, with everything that
 * acts on it (later clamps, delta itself, monitors), on the device.
 *
 * It starts from the clamped scene's residual at the lowest perturbed layer and covers
 * the positions from the first perturbed one (or the first readout, if earlier) to the
 * end. The scene's frozen rows of delta act inside the cone as they do in the scene: behind the
 * clamp of their layer, before delta. recovery.c records its steps and evaluations on top.
 *
 * With a suffix (suffix.h) delta is added to the embeddings instead: the cone starts at the
 * embeddings of the suffix's first position, all clamps act in it, and it has a monitor.
 *
 * Cones of several prompts (sequences) can be joined into one (cone_join): their rows stand one
 * behind the other in the same products, each attends to its own keys, and what a prompt's rows
 * compute depends on no other's. Shapes below are those of one prompt unless `sequences` says
 * otherwise; then R, positions and rows of delta are counted over all of them.
 */
#ifndef REBOUND_CONE_H
#define REBOUND_CONE_H

#include "sessions/frozen.h"
#include "sessions/monitor.h"
#include "sessions/readout.h"
#include "sessions/scene.h"
#include "sessions/suffix.h"

/* A hooked layer inside the cone. */
struct cone_site {
	int index; /* of session.sites */
	bool has_delta, has_clamp;
	int64_t first_row; /* of delta, where has_delta */
	int64_t K;
	struct tensor z, h, dz, change;	 /* [R, K]; z, dz, change are views of the flat tensors */
	struct tensor dz_probes;	 /* [G*R, K] where the cone carries G > 1 gradients */
	struct tensor decoded, ddecoded; /* [R, d] views */
	struct tensor dh;		 /* scratch */
	struct sae_scratch scratch;
	struct tensor delta, g;		  /* [positions, d] views */
	struct tensor g_replicas;	  /* [G*positions, d] view of g_all */
	int64_t entry;			  /* of its monitored activations among all of the session's */
	struct tensor before, added, out; /* [R, d]: filled while capturing */
	struct clamp_edit clamp_first;	  /* what earlier rows caused is clamped */
	struct clamp_edit clamp_again;	  /* order delta-clamp */
	bool has_first, has_again;
};

/* Where a prompt's share of a joined cone begins. */
struct cone_part {
	int64_t row, position, readout;
};

struct cone {
	struct session *session;
	const struct recovery_settings *settings; /* which layers and positions, order, penalties; borrowed */
	bool ignore_clamps;			  /* the base model: no clamp acts, nothing is monitored */
	int64_t sequences;			  /* prompts */
	struct scene *scene;			  /* borrowed; NULL of several prompts */
	const struct scene *measured;		  /* scene_reference(scene): what drift is measured against */
	int64_t prompt, total;
	int64_t first, rows; /* positions [first, first + rows) */
	int lowest;	     /* index of the lowest perturbed site; -1: the embeddings */
	struct cone_site *sites;
	int site_count, delta_site_count;
	int64_t *positions; /* perturbed, as given */
	int64_t position_count;
	int64_t delta_rows;			  /* delta_site_count * position_count */
	int64_t monitored_first, monitored_count; /* positions */

	struct pass pass;
	struct kv_cache joint_cache; /* of several prompts: copies of theirs */
	struct cone_part *parts;     /* [sequences], of several prompts */
	struct readout readout;
	int64_t gradients;	/* G */
	struct tensor delta, g; /* [delta_rows, d] */
	struct tensor g_all;	/* [delta sites * G, positions * d] where G > 1 */
	struct tensor delta_segments;
	struct tensor index;	 /* u32 [1, positions]: their rows in the cone */
	bool rows_are_positions; /* every cone row is perturbed, in order */
	/* defended activations of all sites, flat; absent without clamps in the cone */
	struct tensor z, z_ref, dz, change, z_segments;
	struct tensor entries, reference, weight;
	struct tensor decoded, ddecoded, decoded_segments;
	double reference_norm;	   /* ||z_S(h_def)|| over all monitored positions and sites */
	int64_t monitored_entries; /* all of them, also outside the cone */

	/* with a suffix */
	struct suffix_edit suffix;
	struct monitor monitor;

	/* probe objective: scores of rows, see probe.h */
	struct tensor probe_w, probe_scores, probe_dlast;
	bool probing;

	bool capturing; /* record the captures too */
	bool penalties; /* dz has to be propagated */
	/* private */
	struct cone_edit *edits;
	struct frozen_edits frozen;
	struct edit **edit_list;
	int edit_count;
	struct arena *arena, *tables;
};

/* Plans and allocates; z_ref is left unset (the caller runs the cone at delta = 0). `scene`
 * is the run that the cone starts from: the clamped one, or with ignore_clamps the base.
 * `gradients` is G, how many a backward pass can carry. */
enum status WARN_UNUSED cone_create(struct cone *cone, struct session *session, struct scene *scene,
				    const struct recovery_settings *settings, bool ignore_clamps, int64_t gradients,
				    struct error *error);
void cone_done(struct cone *cone);

/* Can these two be joined? They have the same layers, clamps and kind of readout; and neither
 * has what a joined cone does not carry: probe objectives, frozen rows, several gradients. */
bool cone_joins(const struct cone *a, const struct cone *b);
/* The cone over the prompts of all `count` members, in order; `settings` is borrowed. Keys,
 * values and start residuals are copied from the members as they are now; z_ref is left unset.
 * Only cone_record_forward and _backward are for it. The members' session must keep its clamps;
 * its input is not looked at. */
enum status WARN_UNUSED cone_join(struct cone *joint, struct cone *const *members, int64_t count,
				  const struct recovery_settings *settings, struct error *error);

/* Forward from the start residual to J (readout.J), with captures if cone.capturing. */
void cone_record_forward(struct cone *cone, struct recorder *rec);
/* Backward into g: dJ/d delta plus what dz (scaled penalties) adds. With G > 1 into g_all,
 * from dz_probes. */
void cone_record_backward(struct cone *cone, struct recorder *rec);
/* Forward up to the last monitored layer only, and backward from there into g, from dz. */
void cone_record_monitors(struct cone *cone, struct recorder *rec);
void cone_record_monitors_back(struct cone *cone, struct recorder *rec);

#endif
