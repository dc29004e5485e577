/* The model in plain float64 on the host: slow, readable, and what the kernels are
 * compared with, in tests and in the self-test at start-up.
 *
 * The equations are those of METHOD 1 and FORMATS 2; arch.h says which of them a
 * model uses. One thread; nothing blocks but the reading of weights.
 */
#ifndef REBOUND_REFERENCE_H
#define REBOUND_REFERENCE_H

#include "models/arch.h"
#include "models/safetensors.h"
#include "models/weight_map.h"

/* Weights as float64. Every matrix is [out, in] (y = x W^T) and q, k, v, gate and
 * up are apart, whatever the file's layout; an absent weight is NULL. */
struct reference {
	const struct arch *arch; /* borrowed */
	double *model[WEIGHT_COUNT];
	double *layer[ARCH_MAX_LAYERS][WEIGHT_COUNT];
};

/* Reads all weights: 2 to 4 times the size of the files. Fails if that is more than
 * `limit` bytes, or if a weight is not finite. */
enum status WARN_UNUSED reference_load(struct reference **out, const struct arch *arch, const struct weight_map *map,
				       const struct weight_files *files, size_t limit, struct error *error);
void reference_destroy(struct reference **reference);
/* Outputs and inputs of a weight in that form; inputs 0: a vector. False if the
 * model has no such weight. */
bool reference_shape(const struct arch *arch, enum weight_role role, int64_t *out, int64_t *in);

/* Adds `add` [T, d] to the residual stream at a hook, or changes it there with `apply`: not at
 * resid_mid, and without a backward pass through it. */
struct reference_edit {
	int layer;
	enum hook hook;
	const double *add; /* NULL with `apply` */
	void (*apply)(void *context, double *x, int T);
	void *context;
};

/* What a forward pass computed. */
struct reference_run {
	const struct reference *reference;
	int T;
	int rows;		   /* logits are those of the last `rows` positions */
	double *resid[HOOK_COUNT]; /* [layers, T, d]; resid_mid NULL with parallel residual */
	double *final;		   /* [T, d]: resid_post of the last layer */
	double *logits;		   /* [rows, V], after the soft cap */
	double *edits_mid;	   /* [layers, T, d]: sums of the edits at resid_mid; NULL without any */
};

/* ids[T]; 1 <= rows <= T. Values at a hook include the edits made there. Fails on an
 * id outside the vocabulary or more tokens than there are learned positions. */
enum status WARN_UNUSED reference_forward(struct reference_run *run, const struct reference *reference,
					  const int64_t *ids, int T, int rows, const struct reference_edit *edits,
					  size_t n_edits, struct error *error);
void reference_run_done(struct reference_run *run);

/* Gradients of a J with dJ/dlogits = dlogits [rows, V]: writes grad[hook] [layers, T, d]
 * for every hook whose pointer is not NULL. */
void reference_backward(const struct reference_run *run, const double *dlogits, double *const grad[HOOK_COUNT]);

/* Objectives of the golden files, as dlogits. J = logits[last, a] - logits[last, b]. */
double reference_logit_difference(const struct reference_run *run, int64_t a, int64_t b, double *dlogits);
/* J2 = mean over t = 1..T-1 of log_softmax(logits[t-1])[ids[t]]; needs rows == T > 1. */
double reference_mean_log_probability(const struct reference_run *run, const int64_t *ids, double *dlogits);
/* The id with the largest logit at the last position; the first of equals. */
int64_t reference_argmax(const struct reference_run *run);

#endif
