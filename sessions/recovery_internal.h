/* What the files of recovery.h share: the optimiser's state around its cone. recovery.c plans
 * and advances, recovery_record.c records the submissions, recovery_measure.c evaluates. */
#ifndef REBOUND_RECOVERY_INTERNAL_H
#define REBOUND_RECOVERY_INTERNAL_H

#include "sessions/cone.h"
#include "sessions/probes.h"
#include "sessions/recovery.h"

/* The projection at one perturbed site: P = -(A^T A + ridge I)^-1 A^T. */
struct projector {
	struct cone_site *site;
	struct tensor p, coefficients;
};

struct recovery {
	struct session *session;
	struct cone cone;
	struct recovery_settings settings; /* as they were at the start */
	double lr, budget;		   /* absolute */
	double start_norm;		   /* ||h_def|| at the perturbed positions */

	struct tensor g_projected, m, v, g_delta, delta_kept;
	struct tensor step, rate, budget_tensor; /* host-visible */
	struct tensor drift_loss, decode_norm, delta_norm;
	/* METHOD 5 */
	struct probe_table table;
	struct tensor probes, drift_norm, g_raw, g_total, correction_rate;
	struct tensor ring, trace;
	struct tensor final_logits; /* [1, V] */
	struct projector *projectors;
	int projector_count;
	struct arena *arena, *host;

	struct recorder *step_recorder, *evaluate_recorder;
	int64_t steps, capacity;
	struct recovery_metrics *history;
	float *logits;
	bool evaluated;
};

/* recovery_record.c: the two submissions, recorded once. */
enum status WARN_UNUSED recovery_record_step(struct recovery *r, struct error *error);
enum status WARN_UNUSED recovery_record_evaluation(struct recovery *r, struct error *error);

/* recovery.c: runs the evaluation with a delta, which stays; copies a tensor now. */
enum status WARN_UNUSED recovery_run_evaluation(struct recovery *r, const float *delta, struct error *error);
enum status WARN_UNUSED recovery_copy_now(struct recovery *r, struct tensor to, struct tensor from,
					  struct error *error);

#endif
