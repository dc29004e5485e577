/* A whole forward pass over the session's prompt (and answer), base or clamped, and what
 * it leaves behind: caches, residuals at the hooked layers, activations, logits.
 */
#ifndef REBOUND_SCENE_H
#define REBOUND_SCENE_H

#include "sessions/session.h"

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
	bool has_objective;
	double J;
	float *reads; /* the objective's reads */
	bool present; /* the behaviour is there (objective_present) */
	/* private */
	struct arena *arena;
};

/* Runs it; blocks until done. `clamped` with no clamps set is the base run. */
enum status WARN_UNUSED scene_run(struct scene *scene, struct session *session, bool clamped, struct error *error);
void scene_done(struct scene *scene);

/* Full feature activations [F] of site at a position, encoded from h. */
enum status WARN_UNUSED scene_features(struct scene *scene, int site, int64_t position, float *z, struct error *error);
/* FVU over positions from `first` on, mean L0 and so on, of the site's SAE on this prompt. */
struct scene_fit {
	double fvu, l0, cosine, dead;
};
enum status WARN_UNUSED scene_fit(struct scene *scene, int site, struct scene_fit *fit, struct error *error);

struct top_logit {
	int32_t id;
	float logit, probability;
};
/* The k largest of logits[V], largest first; the lower id of equals first. Returns how many. */
int top_logits(const float *logits, int64_t vocab, int k, struct top_logit *out);

#endif
