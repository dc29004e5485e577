/* The recovery path's parts (METHOD 7): which part of delta carries it? Components are
 * reported by norm and cosine, and tested by replay (that part alone under the active
 * clamp) and knockout (everything but it).
 *
 * A suffix's delta lies in token embeddings, where there is no SAE. What is decomposed of it is
 * the change that it makes in the residual stream at the lowest clamped layer: the residual
 * behind the suffix's last token, where the answer is read, minus that behind the prompt's last
 * token in the clamped run without a suffix. It is a perturbation of one row at that layer and
 * the prompt's last position, and is replayed as such, without a suffix: of what the suffix does
 * only what passes through that residual is there, so that replaying all of it need not recover.
 */
#ifndef REBOUND_DECOMPOSE_H
#define REBOUND_DECOMPOSE_H

#include "sessions/recovery.h"

enum component_kind {
	COMPONENT_FULL,
	COMPONENT_CLAMPED,
	COMPONENT_NON_CLAMPED,
	COMPONENT_TOP_K,
	COMPONENT_RESIDUAL,
	COMPONENT_TOP_K_KNOCKOUT,
	COMPONENT_COUNT,
};
/* As in the JSON: "full", "clamped_features" and so on. */
const char *component_name(enum component_kind kind);

struct component_feature {
	int layer;
	uint32_t feature;
	float change; /* summed over the rows, by largest absolute value */
};

struct component {
	float *rows; /* [delta rows, d] */
	double norm, cosine;
	double objective, drift_l2, drift_relative_l2; /* replayed alone */
	bool recovered;
	bool has_knockout;
	double knockout_objective;
	bool knockout_recovered;
	struct component_feature *top; /* features that make it up, strongest first */
	int top_count;
};

struct decomposition {
	int64_t rows, d, top_k;
	int64_t *positions; /* [rows] */
	bool suffix;	    /* of the change that a suffix makes, */
	int suffix_layer;   /* at this layer */
	bool clamped_run;   /* the reference of later layers: see below */
	struct component components[COMPONENT_COUNT];
	double identity_error; /* max |clamped + non-clamped + residual - full| */
	float **delta_z;       /* per perturbed layer, [positions, F] */
	int layer_count;
};

/* With delta at several layers h_def at a later one is the state that its row is added
 * to (false), or the run without any delta (clamped_run true). Looks at the session's
 * cancel flag between evaluations. Leaves the recovery as it was. The session has the
 * recovery's input and objective. */
enum status WARN_UNUSED decompose(struct decomposition *out, struct session *session, struct recovery *recovery,
				  struct scene *clamped, const float *delta, int64_t top_k, bool clamped_run,
				  struct error *error);
void decomposition_done(struct decomposition *decomposition);

#endif
