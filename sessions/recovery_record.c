/* The submissions of a recovery, recorded once: a step, and an evaluation. */
#include "sessions/recovery_internal.h"

static bool projects_gradient(const struct recovery *r)
{
	return r->settings.project == PROJECT_ENCODER && r->settings.project_what != PROJECT_DELTA;
}

static bool projects_delta(const struct recovery *r)
{
	return r->settings.project == PROJECT_ENCODER && r->settings.project_what != PROJECT_GRADIENT;
}

/* rows += (rows P^T) A^T for each projected site; rows is delta or its gradient. */
static void record_projection(struct recovery *r, struct recorder *rec, struct tensor to, struct tensor from)
{
	struct cone *cone = &r->cone;
	for (int i = 0; i < r->projector_count; i++) {
		struct projector *p = &r->projectors[i];
		const struct clamp *clamp = &r->session->sites[p->site->index].clamp;
		struct tensor x = tensor_rows(from, p->site->first_row, cone->position_count);
		struct tensor y = tensor_rows(to, p->site->first_row, cone->position_count);
		op_linear(rec, p->coefficients, x, p->p, OP_OUT_IN, NULL);
		op_linear(rec, y, p->coefficients, clamp->w_enc, OP_IN_OUT, &(struct op_linear){.residual = x});
	}
}

/* Drift, `scale` times its penalty's gradient in dz, and the drift seen through the decoder. */
static void record_drift(struct recovery *r, struct recorder *rec, double scale, bool decode)
{
	struct cone *cone = &r->cone;
	if (!tensor_exists(cone->z))
		return;
	struct op_drift drift = {
		.segments = cone->z_segments,
		.entries = cone->entries,
		.reference = cone->reference,
		.weight = cone->weight,
		.kind = r->settings.act_loss,
		.scale = scale,
	};
	op_drift(rec, r->drift_loss, cone->dz, cone->change, cone->z, cone->z_ref, &drift);
	for (int i = 0; i < cone->site_count && decode; i++) {
		struct cone_site *s = &cone->sites[i];
		if (s->has_clamp)
			op_linear(rec, s->decoded, s->change, r->session->sites[s->index].clamp.w_dec, OP_IN_OUT, NULL);
	}
}

/* Adds the gradient of the penalty on decoded drift to dz. */
static void record_decode_penalty(struct recovery *r, struct recorder *rec)
{
	struct cone *cone = &r->cone;
	if (!tensor_exists(cone->z) || r->settings.lambda_decode <= 0)
		return;
	op_group_norm(rec, r->decode_norm, cone->ddecoded, cone->decoded, cone->decoded_segments,
		      -r->settings.lambda_decode);
	for (int i = 0; i < cone->site_count; i++) {
		struct cone_site *s = &cone->sites[i];
		if (s->has_clamp)
			op_linear(rec, s->dz, s->ddecoded, r->session->sites[s->index].clamp.w_dec, OP_OUT_IN,
				  &(struct op_linear){.residual = s->dz});
	}
}

static void record_metrics(struct recovery *r, struct recorder *rec, struct tensor raw, struct tensor projected)
{
	struct cone *cone = &r->cone;
	bool drifting = tensor_exists(cone->z), suffix = recovery_is_suffix(r);
	struct op_metrics metrics = {
		.J = cone->readout.J,
		.g_raw = raw,
		.g_projected = projected,
		.delta = cone->delta,
		.delta_segments = cone->delta_segments,
		.change = cone->change,
		.change_segments = cone->z_segments,
		.decoded = cone->decoded,
		.decoded_segments = cone->decoded_segments,
		.penalty = suffix     ? cone->monitor.ratio
			   : drifting ? r->drift_loss
				      : (struct tensor){0},
		.lambda_act = suffix ? r->session->suffix.monitor_weight : r->settings.lambda_act,
		.lambda_decode = r->settings.lambda_decode,
		.lambda_delta = r->settings.lambda_delta,
	};
	op_metrics(rec, r->ring, r->trace, r->step, &metrics);
}

/* The rest of a step under the Jacobian projection (METHOD 5): one backward pass carries the
 * behaviour's gradient, the penalty's, and the vector-Jacobian products of all probes. */
static void record_jacobian_step(struct recovery *r, struct recorder *rec)
{
	struct cone *cone = &r->cone;
	bool penalty = r->settings.lambda_act > 0;
	if (tensor_exists(cone->z))
		op_group_norm(rec, r->drift_norm, (struct tensor){0}, cone->change, cone->z_segments, 0);
	for (int i = 0; i < cone->site_count; i++) {
		struct cone_site *s = &cone->sites[i];
		if (!s->has_clamp)
			continue;
		int64_t from = cone->monitored_first - cone->first;
		struct op_probes probes = {
			.first_row = from > 0 ? from : 0,
			.last_row = from + cone->monitored_count,
			.entry = s->entry - from * s->K,
			.entries = r->table.entries,
			.count = r->table.count,
			.penalty = penalty,
			.drift = r->settings.drift_probe,
		};
		if (probes.last_row < probes.first_row)
			probes.last_row = probes.first_row;
		op_probes(rec, s->dz_probes, s->change, penalty ? s->dz : (struct tensor){0}, r->drift_norm, r->probes,
			  r->step, &probes);
	}
	cone_record_backward(cone, rec);
	op_jacobian_project(rec, r->g_raw, r->g_projected, r->g_total, cone->g_all, cone->delta_site_count,
			    cone->gradients, penalty);
	record_metrics(r, rec, r->g_raw, r->g_projected);
	op_adam(rec, cone->delta, r->m, r->v, r->g_total, cone->delta_segments, r->step, r->rate, r->budget_tensor,
		true);
	for (int64_t i = 0; i < r->settings.corrections; i++) {
		cone_record_monitors(cone, rec);
		record_drift(r, rec, 1, false);
		cone_record_monitors_back(cone, rec);
		op_descend(rec, cone->delta, cone->g, cone->delta_segments, r->correction_rate, r->budget_tensor);
	}
}

/* One step. The gradients are those of J minus the penalties, which is climbed: the rate
 * is stored with a minus sign, and Adam is odd in its gradient. */
enum status recovery_record_step(struct recovery *r, struct error *error)
{
	struct cone *cone = &r->cone;
	struct recorder *rec = r->step_recorder = recorder_create(r->session->device, "recovery step");
	recorder_set_rows_alike(rec, r->settings.rows_alike);
	recorder_begin(rec);
	cone->capturing = false;
	cone_record_forward(cone, rec);
	record_drift(r, rec, -r->settings.lambda_act, true);
	if (recovery_is_suffix(r))
		monitor_record(&cone->monitor, rec, -r->session->suffix.monitor_weight);
	if (r->settings.project == PROJECT_JACOBIAN) {
		record_jacobian_step(r, rec);
		return recorder_finish(rec, error);
	}
	record_decode_penalty(r, rec);
	cone_record_backward(cone, rec);
	if (r->settings.lambda_delta > 0) {
		op_group_norm(rec, r->delta_norm, r->g_delta, cone->delta, cone->delta_segments,
			      -r->settings.lambda_delta);
		op_add(rec, cone->g, cone->g, r->g_delta, 1);
	}
	struct tensor g = cone->g;
	if (projects_gradient(r) && r->projector_count > 0) {
		g = r->g_projected;
		/* Rows of perturbed layers without a clamp stay as they are. */
		if (r->projector_count < cone->delta_site_count)
			record_copy_tensor(rec, g, cone->g);
		record_projection(r, rec, g, cone->g);
	}
	record_metrics(r, rec, cone->g, g);
	op_adam(rec, cone->delta, r->m, r->v, g, cone->delta_segments, r->step, r->rate, r->budget_tensor,
		!projects_delta(r));
	if (projects_delta(r)) {
		record_projection(r, rec, cone->delta, cone->delta);
		op_budget(rec, cone->delta, cone->delta_segments, r->budget_tensor);
	}
	return recorder_finish(rec, error);
}

enum status recovery_record_evaluation(struct recovery *r, struct error *error)
{
	struct cone *cone = &r->cone;
	const struct arch *arch = &r->session->model.arch;
	struct recorder *rec = r->evaluate_recorder = recorder_create(r->session->device, "evaluation");
	recorder_set_rows_alike(rec, r->settings.rows_alike);
	recorder_begin(rec);
	cone->capturing = true;
	cone_record_forward(cone, rec);
	record_drift(r, rec, 0, true);
	if (recovery_is_suffix(r))
		monitor_record(&cone->monitor, rec, 0);
	if (!cone->probing) {
		struct tensor last = tensor_rows(cone->pass.final, 0, 1);
		op_linear(rec, r->final_logits, last, r->session->model.weights.model[WEIGHT_UNEMBED], OP_OUT_IN, NULL);
		if (arch->logit_softcap > 0)
			op_softcap(rec, r->final_logits, r->final_logits, arch->logit_softcap);
	}
	cone->capturing = false;
	return recorder_finish(rec, error);
}
