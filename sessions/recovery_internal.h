/* What the files of recovery.h and batch.h share: the optimiser's state around its cone. recovery.c
 * plans and advances, recovery_record.c records the submissions, recovery_measure.c evaluates;
 * batch.c has one whose cone covers several prompts (S of them, else S is 1). */
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
	struct tensor step;				   /* u32 [1, 1]; this and the next host-visible */
	struct tensor rate, budget_tensor;		   /* [1, S] */
	struct tensor drift_loss, decode_norm, delta_norm; /* [1, S] */
	/* METHOD 5 */
	struct probe_table table;
	struct tensor probes, drift_norm, g_raw, g_total, correction_rate;
	struct tensor ring;	    /* [capacity, S * OP_METRIC_COUNT], host-visible */
	struct tensor trace;	    /* [capacity, delta rows * d] */
	struct tensor final_logits; /* [1, V]; with one prompt */
	struct projector *projectors;
	int projector_count;
	struct arena *arena, *host;

	/* The step is recorded when the first is made: in a batch none is. */
	struct recorder *step_recorder, *evaluate_recorder;
	int64_t steps, capacity;
	struct recovery_metrics *history;
	float *logits;
	bool evaluated;
};

/* recovery_record.c: the two submissions, recorded once. */
enum status WARN_UNUSED recovery_record_step(struct recovery *r, struct error *error);
enum status WARN_UNUSED recovery_record_evaluation(struct recovery *r, struct error *error);

/* recovery.c: declares the optimiser's tensors in arena and host, the cone being there; computes
 * the projectors. */
void recovery_declare(struct recovery *r);
enum status WARN_UNUSED recovery_make_projectors(struct recovery *r, struct error *error);
/* Submits steps from number *made up to `end`, a few in flight, counting them in *made, and waits
 * for them; looks at the cancel flag in between. */
enum status WARN_UNUSED recovery_submit_steps(struct recovery *r, int64_t *made, int64_t end, struct error *error);
/* Takes the metrics of steps [r->steps, end) from `ring`, where step i's are at i * stride;
 * STATUS_FAILED at the first that is not finite. */
enum status WARN_UNUSED recovery_collect(struct recovery *r, const float *ring, int64_t stride, int64_t end,
					 struct error *error);

/* recovery.c: runs the evaluation with a delta, which stays; copies a tensor now. */
enum status WARN_UNUSED recovery_run_evaluation(struct recovery *r, const float *delta, struct error *error);
enum status WARN_UNUSED recovery_copy_now(struct recovery *r, struct tensor to, struct tensor from,
					  struct error *error);

#endif
