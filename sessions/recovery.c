#include "sessions/recovery.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/cone.h"
#include "sessions/probes.h"

enum { IN_FLIGHT = 4 };

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

static bool projects_gradient(const struct recovery *r)
{
	return r->settings.project == PROJECT_ENCODER && r->settings.project_what != PROJECT_DELTA;
}

static bool projects_delta(const struct recovery *r)
{
	return r->settings.project == PROJECT_ENCODER && r->settings.project_what != PROJECT_GRADIENT;
}

/* ||h_def|| over the perturbed rows. */
static double perturbed_norm(const struct cone *cone)
{
	int64_t d = cone->session->model.arch.d;
	double sum = 0;
	for (int i = 0; i < cone->site_count; i++) {
		if (!cone->sites[i].has_delta)
			continue;
		const float *h = cone->measured->sites[cone->sites[i].index].h;
		for (int64_t p = 0; p < cone->position_count; p++)
			for (int64_t j = 0; j < d; j++) {
				double x = (double)h[cone->positions[p] * d + j];
				sum += x * x;
			}
	}
	return sqrt(sum);
}

static enum status check_settings(const struct recovery *r, struct error *error)
{
	const struct recovery_settings *s = &r->settings;
	if (s->project == PROJECT_JACOBIAN && r->cone.probing)
		return error_set(
			error, STATUS_INVALID,
			"--project jacobian needs an objective that reads logits; probe_logit takes none or encoder");
	if (s->corrections > 0 && s->project != PROJECT_JACOBIAN)
		return error_set(error, STATUS_INVALID, "--corrections belong to --project jacobian");
	for (int i = 0; i < r->cone.site_count; i++) {
		const struct cone_site *site = &r->cone.sites[i];
		if (site->has_delta && site->has_clamp && s->project == PROJECT_ENCODER && site->K > 512)
			return error_set(
				error, STATUS_INVALID,
				"--project encoder handles up to 512 clamped features a layer; layer %d has %lld",
				r->session->sites[site->index].sae.layer, (long long)site->K);
	}
	return STATUS_OK;
}

static void declare(struct recovery *r)
{
	struct cone *cone = &r->cone;
	int64_t d = r->session->model.arch.d, P = cone->delta_rows;
	arena_add(r->arena, &r->g_projected, DTYPE_F32, P, d);
	arena_add(r->arena, &r->m, DTYPE_F32, P, d);
	arena_add(r->arena, &r->v, DTYPE_F32, P, d);
	arena_add(r->arena, &r->g_delta, DTYPE_F32, P, d);
	arena_add(r->arena, &r->delta_kept, DTYPE_F32, P, d);
	arena_add(r->arena, &r->drift_loss, DTYPE_F32, 1, 1);
	arena_add(r->arena, &r->decode_norm, DTYPE_F32, 1, 1);
	arena_add(r->arena, &r->delta_norm, DTYPE_F32, 1, 1);
	arena_add(r->arena, &r->trace, DTYPE_F32, r->capacity, P * d);
	arena_add(r->arena, &r->final_logits, DTYPE_F32, 1, r->session->model.arch.vocab);
	arena_add(r->host, &r->ring, DTYPE_F32, r->capacity, OP_METRIC_COUNT);
	arena_add(r->host, &r->step, DTYPE_U32, 1, 1);
	arena_add(r->host, &r->rate, DTYPE_F32, 1, 1);
	arena_add(r->host, &r->budget_tensor, DTYPE_F32, 1, 1);
	if (r->settings.project == PROJECT_JACOBIAN) {
		arena_add(r->arena, &r->g_raw, DTYPE_F32, P, d);
		arena_add(r->arena, &r->g_total, DTYPE_F32, P, d);
		arena_add(r->arena, &r->drift_norm, DTYPE_F32, 1, 1);
		arena_add(r->host, &r->correction_rate, DTYPE_F32, 1, 1);
		if (r->table.count > 0)
			arena_add(r->arena, &r->probes, DTYPE_F32, r->table.steps, r->table.count * r->table.entries);
	}
	r->projectors = mem_alloc((size_t)cone->site_count, sizeof *r->projectors);
	for (int i = 0; i < cone->site_count && r->settings.project == PROJECT_ENCODER; i++) {
		struct cone_site *site = &cone->sites[i];
		if (!site->has_delta || !site->has_clamp)
			continue;
		struct projector *p = &r->projectors[r->projector_count++];
		p->site = site;
		arena_add(r->arena, &p->p, DTYPE_F32, site->K, d);
		arena_add(r->arena, &p->coefficients, DTYPE_F32, cone->position_count, site->K);
	}
}

/* Computes P for every perturbed site and checks that it is finite. */
static enum status make_projectors(struct recovery *r, struct error *error)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < r->projector_count && status == STATUS_OK; i++) {
		struct projector *p = &r->projectors[i];
		const struct clamp *clamp = &r->session->sites[p->site->index].clamp;
		struct arena *arena = arena_create(r->session->device, BUFFER_DEVICE, "the projection");
		struct tensor scratch;
		arena_add(arena, &scratch, DTYPE_F32, clamp->count, clamp->count);
		status = arena_allocate(arena, error);
		if (status == STATUS_OK) {
			struct recorder *rec = recorder_create(r->session->device, "projection");
			recorder_begin(rec);
			op_projector(rec, p->p, clamp->w_enc, scratch, r->settings.ridge);
			status = recorder_run(rec, error);
			recorder_destroy(&rec);
		}
		float *values = mem_alloc((size_t)tensor_count(p->p), sizeof *values);
		if (status == STATUS_OK)
			status = tensor_read(p->p, values, error);
		for (uint64_t j = 0; j < tensor_count(p->p) && status == STATUS_OK; j++)
			if (!isfinite(values[j]))
				status = error_set(
					error, STATUS_FAILED,
					"the encoder directions of the %lld clamped features of layer %d are too "
					"nearly dependent to project on; a larger --ridge helps (it is %g)",
					(long long)clamp->count, clamp->sae->layer, r->settings.ridge);
		free(values);
		arena_destroy(&arena);
	}
	return status;
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
	bool drifting = tensor_exists(cone->z);
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
		.penalty = drifting ? r->drift_loss : (struct tensor){0},
		.lambda_act = r->settings.lambda_act,
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
static enum status record_step(struct recovery *r, struct error *error)
{
	struct cone *cone = &r->cone;
	struct recorder *rec = r->step_recorder = recorder_create(r->session->device, "recovery step");
	recorder_begin(rec);
	cone->capturing = false;
	cone_record_forward(cone, rec);
	record_drift(r, rec, -r->settings.lambda_act, true);
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

static enum status record_evaluation(struct recovery *r, struct error *error)
{
	struct cone *cone = &r->cone;
	const struct arch *arch = &r->session->model.arch;
	struct recorder *rec = r->evaluate_recorder = recorder_create(r->session->device, "evaluation");
	recorder_begin(rec);
	cone->capturing = true;
	cone_record_forward(cone, rec);
	record_drift(r, rec, 0, true);
	if (!cone->probing) {
		struct tensor last = tensor_rows(cone->pass.final, 0, 1);
		op_linear(rec, r->final_logits, last, r->session->model.weights.model[WEIGHT_UNEMBED], OP_OUT_IN, NULL);
		if (arch->logit_softcap > 0)
			op_softcap(rec, r->final_logits, r->final_logits, arch->logit_softcap);
	}
	cone->capturing = false;
	return recorder_finish(rec, error);
}

static enum status run_evaluation(struct recovery *r, const float *delta, struct error *error)
{
	uint64_t ticket;
	enum status status = tensor_write(r->cone.delta, delta, error);
	if (status == STATUS_OK)
		status = recorder_submit(r->evaluate_recorder, &ticket, error);
	if (status == STATUS_OK)
		status = device_wait(r->session->device, ticket, error);
	return status;
}

static enum status copy_now(struct recovery *r, struct tensor to, struct tensor from, struct error *error)
{
	struct recorder *rec = recorder_create(r->session->device, "copy");
	recorder_begin(rec);
	record_copy_tensor(rec, to, from);
	enum status status = recorder_run(rec, error);
	recorder_destroy(&rec);
	return status;
}

static enum status fill_state(struct recovery *r, const float *start, struct error *error)
{
	struct cone *cone = &r->cone;
	size_t n = (size_t)tensor_count(cone->delta);
	float *zeros = mem_alloc(n, sizeof *zeros);
	float rate = (float)-r->lr, budget = (float)r->budget;
	uint32_t step = 0;
	enum status status = tensor_write(r->m, zeros, error);
	if (status == STATUS_OK)
		status = tensor_write(r->v, zeros, error);
	if (status == STATUS_OK)
		status = tensor_write(r->rate, &rate, error);
	if (status == STATUS_OK)
		status = tensor_write(r->budget_tensor, &budget, error);
	if (status == STATUS_OK)
		status = tensor_write(r->step, &step, error);
	float correction = (float)r->settings.correction_lr;
	if (status == STATUS_OK && tensor_exists(r->correction_rate))
		status = tensor_write(r->correction_rate, &correction, error);
	if (status == STATUS_OK && tensor_exists(r->probes))
		status = tensor_write(r->probes, r->table.values, error);
	/* The reference of drift comes from the same kernels as what is compared with it, so
	 * that drift without delta is exactly zero. With the order delta-clamp and with frozen rows
	 * the reference is the clamped run itself: a second clamp or those rows may move it. */
	if (status == STATUS_OK)
		status = run_evaluation(r, zeros, error);
	if (status == STATUS_OK && tensor_exists(cone->z)) {
		if (r->settings.order == ORDER_CLAMP_DELTA && !cone->scene->reference) {
			status = copy_now(r, cone->z_ref, cone->z, error);
		} else {
			for (int i = 0; i < cone->site_count && status == STATUS_OK; i++) {
				struct cone_site *s = &cone->sites[i];
				struct tensor part = s->z;
				if (!s->has_clamp)
					continue;
				part.buffer = cone->z_ref.buffer;
				part.offset = cone->z_ref.offset + (s->z.offset - cone->z.offset);
				status = tensor_write(part, cone->measured->sites[s->index].z + cone->first * s->K,
						      error);
			}
		}
	}
	if (status == STATUS_OK)
		status = tensor_write(cone->delta, start ? start : zeros, error);
	free(zeros);
	return status;
}

static enum status build(struct recovery *r, struct scene *clamped, const float *start, struct error *error)
{
	enum status status = settings_copy(&r->settings, &r->session->settings);
	if (status == STATUS_OK && r->settings.project == PROJECT_JACOBIAN)
		status = probe_table_make(&r->table, r->session, &r->settings, error);
	int64_t gradients = r->settings.project == PROJECT_JACOBIAN ? 3 + r->table.count : 1;
	if (status == STATUS_OK)
		status = cone_create(&r->cone, r->session, clamped, &r->settings, false, gradients, error);
	if (status == STATUS_OK)
		status = check_settings(r, error);
	if (status)
		return status;
	r->start_norm = perturbed_norm(&r->cone);
	r->lr = r->settings.lr.percent ? r->settings.lr.value / 100 * r->start_norm : r->settings.lr.value;
	r->budget =
		r->settings.budget.percent ? r->settings.budget.value / 100 * r->start_norm : r->settings.budget.value;
	r->capacity = r->settings.steps > 0 ? r->settings.steps : 1;
	r->history = mem_alloc((size_t)r->capacity, sizeof *r->history);
	r->logits = mem_alloc((size_t)r->session->model.arch.vocab, sizeof *r->logits);
	r->arena = arena_create(r->session->device, BUFFER_DEVICE, "the optimiser");
	r->host = arena_create(r->session->device, BUFFER_HOST, "the metrics");
	declare(r);
	status = arena_allocate(r->arena, error);
	if (status == STATUS_OK)
		status = arena_allocate(r->host, error);
	if (status == STATUS_OK)
		status = make_projectors(r, error);
	if (status == STATUS_OK)
		status = record_evaluation(r, error);
	if (status == STATUS_OK)
		status = record_step(r, error);
	if (status == STATUS_OK)
		status = fill_state(r, start, error);
	return status;
}

enum status recovery_create(struct recovery **out, struct session *session, struct scene *clamped, const float *start,
			    struct error *error)
{
	*out = NULL;
	struct recovery *r = mem_alloc(1, sizeof *r);
	r->session = session;
	enum status status = build(r, clamped, start, error);
	if (status) {
		recovery_destroy(&r);
		return status;
	}
	*out = r;
	return STATUS_OK;
}

void recovery_destroy(struct recovery **out)
{
	struct recovery *r = *out;
	if (!r)
		return;
	recorder_destroy(&r->step_recorder);
	recorder_destroy(&r->evaluate_recorder);
	if (r->cone.session)
		cone_done(&r->cone);
	arena_destroy(&r->arena);
	arena_destroy(&r->host);
	settings_done(&r->settings);
	probe_table_done(&r->table);
	free(r->projectors);
	free(r->history);
	free(r->logits);
	free(r);
	*out = NULL;
}

/* Takes the metrics of steps [r->steps, end) out of the ring. */
static enum status collect(struct recovery *r, int64_t end, struct error *error)
{
	const float *ring = (const float *)((const char *)buffer_mapped(r->ring.buffer) + r->ring.offset);
	enum status status = STATUS_OK;
	for (; r->steps < end && status == STATUS_OK; r->steps++) {
		const float *row = ring + r->steps * OP_METRIC_COUNT;
		struct recovery_metrics *m = &r->history[r->steps];
		*m = (struct recovery_metrics){
			.objective = (double)row[OP_METRIC_OBJECTIVE],
			.loss = (double)row[OP_METRIC_LOSS],
			.drift_l2 = (double)row[OP_METRIC_DRIFT],
			.decode_drift_l2 = (double)row[OP_METRIC_DECODE_DRIFT],
			.drift_relative_l2 = (double)row[OP_METRIC_DRIFT] / (r->cone.reference_norm + 1e-8),
			.delta_norm = (double)row[OP_METRIC_DELTA],
			.grad_norm = (double)row[OP_METRIC_GRADIENT],
			.projected_grad_norm = (double)row[OP_METRIC_PROJECTED],
			.projection_cosine = (double)row[OP_METRIC_COSINE],
		};
		double sum =
			m->objective + m->loss + m->drift_l2 + m->delta_norm + m->grad_norm + m->projected_grad_norm;
		if (!isfinite(sum))
			status = error_set(
				error, STATUS_FAILED,
				"the optimisation diverged at step %lld: a number is not finite; a smaller --lr "
				"(it is %g) or --budget helps",
				(long long)r->steps, r->lr);
	}
	return status;
}

enum status recovery_advance(struct recovery *r, int64_t count, struct error *error)
{
	int64_t end = r->steps + count;
	if (end > r->settings.steps)
		end = r->settings.steps;
	int64_t made = r->steps;
	uint64_t tickets[IN_FLIGHT];
	enum status status = STATUS_OK, stopped = STATUS_OK;
	while (made < end && status == STATUS_OK) {
		stopped = session_check_cancel(r->session, error);
		if (stopped)
			break;
		if (made - r->steps >= IN_FLIGHT)
			status = device_wait(r->session->device, tickets[made % IN_FLIGHT], error);
		if (status == STATUS_OK)
			status = recorder_submit(r->step_recorder, &tickets[made % IN_FLIGHT], error);
		if (status == STATUS_OK)
			made++;
	}
	if (status == STATUS_OK)
		status = device_wait_idle(r->session->device, stopped ? NULL : error);
	if (status == STATUS_OK)
		status = collect(r, made, stopped ? NULL : error);
	return status ? status : stopped;
}

int64_t recovery_steps(const struct recovery *r)
{
	return r->steps;
}

int64_t recovery_planned(const struct recovery *r)
{
	return r->settings.steps;
}

const struct recovery_metrics *recovery_history(const struct recovery *r)
{
	return r->history;
}

int64_t recovery_rows(const struct recovery *r)
{
	return r->cone.delta_rows;
}

static const struct cone_site *site_of_row(const struct recovery *r, int64_t row)
{
	for (int i = 0; i < r->cone.site_count; i++) {
		const struct cone_site *s = &r->cone.sites[i];
		if (s->has_delta && row >= s->first_row && row < s->first_row + r->cone.position_count)
			return s;
	}
	fatal("row %lld of delta does not exist", (long long)row);
}

int recovery_row_layer(const struct recovery *r, int64_t row)
{
	return r->session->sites[site_of_row(r, row)->index].sae.layer;
}

int64_t recovery_row_position(const struct recovery *r, int64_t row)
{
	return r->cone.positions[row - site_of_row(r, row)->first_row];
}

enum status recovery_delta(struct recovery *r, int64_t step, float *delta, struct error *error)
{
	if (step < 0 || step > r->steps)
		return error_set(error, STATUS_INVALID, "step %lld was not made; there are 0 to %lld", (long long)step,
				 (long long)r->steps);
	if (step == r->steps)
		return tensor_read(r->cone.delta, delta, error);
	return tensor_read(tensor_rows(r->trace, step, 1), delta, error);
}

/* Where a state stands among checkpoints: feasible ones first, then by score. */
struct rank {
	bool feasible;
	double score;
};

static struct rank rank_of(const struct recovery_settings *s, double objective, double drift_relative)
{
	const double weight = 10;
	double over = drift_relative - s->drift_threshold;
	if (s->checkpoint == CHECKPOINT_PENALTY_SCORE)
		return (struct rank){true, objective - weight * fmax(0, over)};
	return over <= 0 ? (struct rank){true, objective} : (struct rank){false, objective - weight * drift_relative};
}

static bool better(struct rank a, struct rank b)
{
	return a.feasible != b.feasible ? a.feasible : a.score > b.score;
}

/* Checkpoints are the states after step 0, every tenth step and the last. What a state is
 * worth stands in the history of the step that follows it; only the last is evaluated. */
enum status recovery_result(struct recovery *r, float *delta, int64_t *step, struct error *error)
{
	enum { EVERY = 10 };
	*step = r->steps;
	if (r->settings.checkpoint != CHECKPOINT_FINAL && r->steps > 0) {
		struct recovery_final last;
		enum status status = recovery_delta(r, r->steps, delta, error);
		if (status == STATUS_OK)
			status = recovery_evaluate(r, delta, &last, error);
		if (status)
			return status;
		struct rank best = {0};
		bool found = false;
		for (int64_t after = 1; after <= r->steps; after++) {
			if (after != 1 && after % EVERY != 0 && after != r->steps)
				continue;
			const struct recovery_metrics *m = &r->history[after];
			struct rank rank = after == r->steps
						   ? rank_of(&r->settings, last.objective, last.drift_relative_l2)
						   : rank_of(&r->settings, m->objective, m->drift_relative_l2);
			if (!found || better(rank, best)) {
				best = rank;
				*step = after;
				found = true;
			}
		}
	}
	return recovery_delta(r, *step, delta, error);
}

/* Does the clamp hold this feature down (so that rising is a violation)? */
static bool holds_down(const struct clamp_rule *rule)
{
	switch (rule->mode) {
	case OP_CLAMP_ABLATE:
		return true;
	case OP_CLAMP_SET:
	case OP_CLAMP_SET_ACTIVE:
		return rule->value <= 0;
	case OP_CLAMP_SCALE:
	case OP_CLAMP_SCALE_ACTIVE:
		return rule->value < 1;
	default:
		return false;
	}
}

/* Drift, floor violation and reactivation of one site from its activations in the cone. */
struct tally {
	double drift, decode, violation, mass;
	int64_t over, hits, eligible, total;
};

static void tally_site(struct tally *t, const struct recovery *r, const struct cone_site *s, const float *z,
		       const float *z_ref, const float *decoded)
{
	const struct cone *cone = &r->cone;
	const struct clamp_rule *rules = r->session->sites[s->index].rules;
	int64_t d = r->session->model.arch.d;
	for (int64_t row = 0; row < cone->rows; row++) {
		int64_t position = cone->first + row;
		if (position < cone->monitored_first || position >= cone->monitored_first + cone->monitored_count)
			continue;
		for (int64_t k = 0; k < s->K; k++) {
			double change = (double)z[row * s->K + k] - (double)z_ref[row * s->K + k];
			double gap = holds_down(&rules[k]) ? change : -change;
			t->drift += change * change;
			if (gap > 0)
				t->violation += gap * gap;
			t->over += gap > 1e-6;
		}
		for (int64_t j = 0; j < d; j++)
			t->decode += (double)decoded[row * d + j] * (double)decoded[row * d + j];
	}
}

/* Over perturbed positions and clamped features (METHOD 8, reactivated fraction). z is NULL
 * for sites that delta can't reach. */
static void tally_reactivation(struct tally *t, const struct cone *cone, int site, const float *z)
{
	const float *before = cone->measured->sites[site].z;
	int64_t K = cone->session->sites[site].rule_count;
	for (int64_t i = 0; i < cone->position_count; i++)
		for (int64_t k = 0; k < K; k++) {
			double was = (double)before[cone->positions[i] * K + k];
			double is = z ? (double)z[(cone->positions[i] - cone->first) * K + k] : was;
			t->total++;
			t->eligible += was <= 0;
			if (was <= 0 && is > 0) {
				t->hits++;
				t->mass += is;
			}
		}
}

static enum status tally_all(struct tally *t, struct recovery *r, struct error *error)
{
	struct cone *cone = &r->cone;
	enum status status = STATUS_OK;
	bool reached[SESSION_MAX_SITES] = {false};
	for (int i = 0; i < cone->site_count && status == STATUS_OK; i++) {
		struct cone_site *s = &cone->sites[i];
		if (!s->has_clamp)
			continue;
		size_t n = (size_t)(cone->rows * s->K);
		float *z = mem_alloc(n, sizeof *z), *z_ref = mem_alloc(n, sizeof *z_ref);
		float *decoded = mem_alloc((size_t)tensor_count(s->decoded), sizeof *decoded);
		struct tensor reference = s->z;
		reference.buffer = cone->z_ref.buffer;
		reference.offset = cone->z_ref.offset + (s->z.offset - cone->z.offset);
		status = tensor_read(s->z, z, error);
		if (status == STATUS_OK)
			status = tensor_read(reference, z_ref, error);
		if (status == STATUS_OK)
			status = tensor_read(s->decoded, decoded, error);
		if (status == STATUS_OK) {
			tally_site(t, r, s, z, z_ref, decoded);
			tally_reactivation(t, cone, s->index, z);
			reached[s->index] = true;
		}
		free(z);
		free(z_ref);
		free(decoded);
	}
	for (int i = 0; i < r->session->site_count && status == STATUS_OK; i++)
		if (!reached[i] && r->session->sites[i].rule_count > 0)
			tally_reactivation(t, cone, i, NULL);
	return status;
}

static double norm_of(const float *x, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

enum status recovery_evaluate(struct recovery *r, const float *delta, struct recovery_final *final, struct error *error)
{
	struct cone *cone = &r->cone;
	*final = (struct recovery_final){.logits = r->logits};
	float J = 0;
	enum status status = session_check_cancel(r->session, error);
	if (status == STATUS_OK)
		status = copy_now(r, r->delta_kept, cone->delta, error);
	if (status)
		return status;
	status = run_evaluation(r, delta, error);
	if (status == STATUS_OK)
		status = tensor_read(cone->readout.J, &J, error);
	if (status == STATUS_OK && !cone->probing)
		status = tensor_read(r->final_logits, r->logits, error);
	struct tally t = {0};
	if (status == STATUS_OK)
		status = tally_all(&t, r, error);
	if (status == STATUS_OK)
		status = copy_now(r, cone->delta, r->delta_kept, error);
	if (status)
		return status;
	double reference = cone->reference_norm + 1e-8;
	final->objective = (double)J;
	final->delta_norm = norm_of(delta, (size_t)tensor_count(cone->delta));
	final->delta_relative = final->delta_norm / (r->start_norm + 1e-8);
	final->drift_l2 = sqrt(t.drift);
	final->drift_relative_l2 = final->drift_l2 / reference;
	final->decode_drift_l2 = sqrt(t.decode);
	final->floor_violation_l2 = sqrt(t.violation);
	final->floor_violation_relative_l2 = final->floor_violation_l2 / reference;
	if (cone->monitored_entries > 0)
		final->floor_violation_fraction = (double)t.over / (double)cone->monitored_entries;
	if (t.total > 0)
		final->reactivated_fraction = (double)t.hits / (double)t.total;
	if (t.eligible > 0)
		final->reactivated_fraction_of_eligible = (double)t.hits / (double)t.eligible;
	final->reactivated_mass = t.mass;
	final->present = objective_present(&r->session->objective, cone->probing ? NULL : r->logits,
					   r->session->model.arch.vocab, final->objective);
	r->evaluated = true;
	if (!isfinite(final->objective) || !isfinite(final->drift_l2))
		return error_set(error, STATUS_FAILED, "the recovered state is not finite");
	return STATUS_OK;
}

enum status recovery_state(struct recovery *r, int site, enum recovery_state_kind kind, float *h, struct error *error)
{
	struct cone *cone = &r->cone;
	size_t d = (size_t)r->session->model.arch.d;
	if (!r->evaluated)
		fatal("recovery_state before recovery_evaluate");
	memcpy(h, cone->scene->sites[site].h, (size_t)cone->total * d * sizeof *h);
	for (int i = 0; i < cone->site_count; i++) {
		struct cone_site *s = &cone->sites[i];
		if (s->index != site)
			continue;
		struct tensor from = kind == RECOVERY_BEFORE ? s->before : kind == RECOVERY_ADDED ? s->added : s->out;
		return tensor_read(from, h + (size_t)cone->first * d, error);
	}
	return STATUS_OK;
}

enum status recovery_activations(struct recovery *r, int site, float *z, struct error *error)
{
	struct cone *cone = &r->cone;
	for (int i = 0; i < cone->site_count; i++)
		if (cone->sites[i].index == site && cone->sites[i].has_clamp)
			return tensor_read(cone->sites[i].z, z, error);
	int64_t K = r->session->sites[site].rule_count;
	memcpy(z, cone->scene->sites[site].z + cone->first * K, (size_t)(cone->rows * K) * sizeof *z);
	return STATUS_OK;
}

int64_t recovery_first_position(const struct recovery *r)
{
	return r->cone.first;
}

double recovery_budget(const struct recovery *r)
{
	return r->budget;
}

double recovery_reference_norm(const struct recovery *r)
{
	return r->cone.reference_norm;
}

struct recovery_cost recovery_get_cost(const struct recovery *r)
{
	struct recorder_counts counts = recorder_get_counts(r->step_recorder);
	return (struct recovery_cost){counts.dispatches, counts.barriers, counts.bytes_bound};
}
