/* A whole forward pass over the session's prompt (and answer), base or clamped, and what
 * it leaves behind: caches, residuals at the hooked layers, activations, logits.
 *
 * A clamped scene contains the session's frozen rows of delta, where there are any: each is
 * added at its position behind the clamp of its layer, and the clamps above act on what that
 * causes. `reference` is then the clamped run without any delta, which valid flips, drift and
 * reactivation are measured against.
 *
 * With a suffix (suffix.h) the base run and `reference` are those of the prompt without it, with
 * their results on the host alone. Their rows are spread out to the positions that their tokens
 * have behind the suffix; at the suffix itself they are those of a base or clamped run with the
 * untrained placeholders.
 */
#ifndef REBOUND_SCENE_H
#define REBOUND_SCENE_H

#include "sessions/session.h"

struct top_logit {
	int32_t id;
	float logit, probability;
};
/* The k largest of logits[V], largest first; the lower id of equals first. Returns how many. */
int top_logits(const float *logits, int64_t vocab, int k, struct top_logit *out);

/* What is shown of logits[V], computed once: a large vocabulary takes milliseconds. */
enum { LOGITS_SHOWN = 10 };
struct logit_summary {
	int count;
	struct top_logit top[LOGITS_SHOWN];
	double largest, sum; /* of exp(logit - largest) */
};
void logit_summary_make(struct logit_summary *summary, const float *logits, int64_t vocab);
double logit_summary_probability(const struct logit_summary *summary, float logit);

struct scene_site {
	float *h; /* [T + A, d] residual behind the clamp (what the next block receives) */
	float *z; /* [T + A, K] defended activations re-encoded from h; NULL without a clamp */
};

struct scene {
	struct session *session;
	bool clamped;
	int64_t prompt, total;
	struct kv_cache cache;
	struct tensor *h_device;  /* [sites] of [T + A, d], as scene_site.h */
	struct scene_site *sites; /* [sites] */
	float *logits;		  /* [V] at the last prompt position */
	struct logit_summary summary;
	bool has_objective;
	double J;
	float *reads; /* the objective's reads */
	bool present; /* the behaviour is there (objective_present) */
	/* With frozen rows or a suffix: the clamped run without them (its results on the host; no
	 * cache and no h_device, as of a base run with a suffix). Owned; NULL without. */
	struct scene *reference;
	/* private */
	struct arena *arena;
};

/* Runs it; blocks until done. `clamped` with no clamps set is the base run. */
enum status WARN_UNUSED scene_run(struct scene *scene, struct session *session, bool clamped, struct error *error);
void scene_done(struct scene *scene);
/* scene->reference where there is one, else the scene itself. */
const struct scene *scene_reference(const struct scene *scene);

/* Full feature activations [F] of site at a position, encoded from h. */
enum status WARN_UNUSED scene_features(struct scene *scene, int site, int64_t position, float *z, struct error *error);

#endif
