/* Recovery: a perturbation delta of the residual stream is optimised under the clamp
 * (METHOD 4). One step is one recorded submission over the light cone; its metrics and
 * its delta stay on the device in rings until they are asked for.
 */
#ifndef REBOUND_RECOVERY_H
#define REBOUND_RECOVERY_H

#include "sessions/scene.h"

/* A step's metrics, before its update (CLI.md, history). */
struct recovery_metrics {
	double objective, loss, drift_l2, decode_drift_l2, drift_relative_l2, delta_norm, grad_norm,
		projected_grad_norm, projection_cosine;
	double monitor_relative; /* a suffix: monitor / initial monitor (monitor.h); else 0 */
};
/* Of one state. */
struct recovery_final {
	double objective, delta_norm, drift_l2, drift_relative_l2, decode_drift_l2;
	double floor_violation_l2, floor_violation_relative_l2, floor_violation_fraction;
	double reactivated_fraction, reactivated_fraction_of_eligible, reactivated_mass;
	double delta_relative;	      /* ||delta|| over ||h_def|| at the perturbed positions */
	double monitor_relative;      /* as in recovery_metrics */
	bool present;		      /* is the behaviour back? */
	float *logits;		      /* [V] at the last prompt position; owned by the recovery */
	struct logit_summary summary; /* of them */
};

struct recovery;

/* Prepares a recovery from the clamped scene (borrowed, must outlive it) with the
 * session's settings. A scene with frozen rows keeps them throughout; drift, reactivation and
 * h_def are those of scene_reference(clamped), so that step 0 may show drift. Nothing to perturb, a perturbed layer
 * without an SAE, positions that the objective can't see and the like are STATUS_INVALID. `start` (rows x d, NULL:
 * zero) is the first delta. */
enum status WARN_UNUSED recovery_create(struct recovery **out, struct session *session, struct scene *clamped,
					const float *start, struct error *error);
void recovery_destroy(struct recovery **recovery);

/* Makes up to `count` more steps (not beyond the planned number); looks at the session's
 * cancel flag between submissions. Returns STATUS_CANCELLED with what was done kept, or
 * STATUS_FAILED if a number is not finite. */
enum status WARN_UNUSED recovery_advance(struct recovery *recovery, int64_t count, struct error *error);

int64_t recovery_steps(const struct recovery *recovery); /* made so far */
int64_t recovery_planned(const struct recovery *recovery);
const struct recovery_metrics *recovery_history(const struct recovery *recovery); /* [steps] */

/* Rows of delta: layers ascending, then positions as given. A suffix has its own rows, at
 * LAYER_EMBEDDING. */
int64_t recovery_rows(const struct recovery *recovery);
int recovery_row_layer(const struct recovery *recovery, int64_t row);
int64_t recovery_row_position(const struct recovery *recovery, int64_t row);
/* delta before step i's update, [rows, d]; i == steps: the current one. */
enum status WARN_UNUSED recovery_delta(struct recovery *recovery, int64_t step, float *delta, struct error *error);
/* The delta that counts as the result: the current one, or the best checkpoint. */
enum status WARN_UNUSED recovery_result(struct recovery *recovery, float *delta, int64_t *step, struct error *error);

/* The state under a given delta: nothing is updated. Fills `final`; the arrays of
 * recovery_state are then those of this delta. */
enum status WARN_UNUSED recovery_evaluate(struct recovery *recovery, const float *delta, struct recovery_final *final,
					  struct error *error);
/* After an evaluation: residuals [T + A, d] of a site that delta or a clamp touches.
 * `before`: clamped, the row's delta not yet added; `added`: with it; `out`: what the next
 * block receives. Rows below the light cone are those of the clamped scene. */
enum recovery_state_kind { RECOVERY_BEFORE, RECOVERY_ADDED, RECOVERY_OUT };
enum status WARN_UNUSED recovery_state(struct recovery *recovery, int site, enum recovery_state_kind kind, float *h,
				       struct error *error);
/* Activations z_S [cone rows, K] of a clamped site after an evaluation, for positions from
 * recovery_first_position on. */
enum status WARN_UNUSED recovery_activations(struct recovery *recovery, int site, float *z, struct error *error);
int64_t recovery_first_position(const struct recovery *recovery);
double recovery_budget(const struct recovery *recovery); /* absolute */
double recovery_reference_norm(const struct recovery *recovery);
bool recovery_is_suffix(const struct recovery *recovery);

struct recovery_cost {
	int dispatches, barriers;
	uint64_t bytes; /* bound by the dispatches of one step */
};
/* Once a step was made. */
struct recovery_cost recovery_get_cost(const struct recovery *recovery);

#endif
