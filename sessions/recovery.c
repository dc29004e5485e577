#include "sessions/recovery_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

enum { IN_FLIGHT = 4 };

/* Norm of the suffix's embeddings at the start. */
static enum status suffix_norm(double *norm, struct cone *cone, struct error *error)
{
	const struct model *model = &cone->session->model;
	struct pass *pass = &cone->pass;
	struct tensor ids = pass->ids, rows = tensor_rows(pass->rows, 0, cone->delta_rows), none = {0};
	ids.cols = cone->delta_rows;
	struct recorder *rec = recorder_create(cone->session->device, "embeddings");
	recorder_begin(rec);
	op_embed(rec, cone->g, ids, rows, model->weights.model[WEIGHT_WTE], none, 1);
	enum status status = recorder_run(rec, error);
	recorder_destroy(&rec);
	size_t n = (size_t)tensor_count(cone->g);
	float *x = mem_alloc(n, sizeof *x);
	if (status == STATUS_OK)
		status = tensor_read(cone->g, x, error);
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	*norm = sqrt(sum);
	free(x);
	return status;
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
	if (recovery_is_suffix(r) &&
	    (s->project != PROJECT_NONE || s->lambda_act > 0 || s->lambda_decode > 0 || s->lambda_delta > 0))
		return error_set(
			error, STATUS_INVALID,
			"a suffix has a loss of its own (METHOD 11): --project has to be none and --lambda-act, "
			"--lambda-decode and --lambda-delta 0");
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

void recovery_declare(struct recovery *r)
{
	struct cone *cone = &r->cone;
	int64_t d = r->session->model.arch.d, P = cone->delta_rows, S = cone->sequences;
	arena_add(r->arena, &r->g_projected, DTYPE_F32, P, d);
	arena_add(r->arena, &r->m, DTYPE_F32, P, d);
	arena_add(r->arena, &r->v, DTYPE_F32, P, d);
	arena_add(r->arena, &r->g_delta, DTYPE_F32, P, d);
	arena_add(r->arena, &r->delta_kept, DTYPE_F32, P, d);
	arena_add(r->arena, &r->drift_loss, DTYPE_F32, 1, S);
	arena_add(r->arena, &r->decode_norm, DTYPE_F32, 1, S);
	arena_add(r->arena, &r->delta_norm, DTYPE_F32, 1, S);
	arena_add(r->arena, &r->trace, DTYPE_F32, r->capacity, P * d);
	if (S == 1)
		arena_add(r->arena, &r->final_logits, DTYPE_F32, 1, r->session->model.arch.vocab);
	arena_add(r->host, &r->ring, DTYPE_F32, r->capacity, S * OP_METRIC_COUNT);
	arena_add(r->host, &r->step, DTYPE_U32, 1, 1);
	arena_add(r->host, &r->rate, DTYPE_F32, 1, S);
	arena_add(r->host, &r->budget_tensor, DTYPE_F32, 1, S);
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
enum status recovery_make_projectors(struct recovery *r, struct error *error)
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

enum status recovery_run_evaluation(struct recovery *r, const float *delta, struct error *error)
{
	uint64_t ticket;
	enum status status = tensor_write(r->cone.delta, delta, error);
	if (status == STATUS_OK)
		status = recorder_submit(r->evaluate_recorder, &ticket, error);
	if (status == STATUS_OK)
		status = device_wait(r->session->device, ticket, error);
	return status;
}

enum status recovery_copy_now(struct recovery *r, struct tensor to, struct tensor from, struct error *error)
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
		status = recovery_run_evaluation(r, zeros, error);
	if (status == STATUS_OK && recovery_is_suffix(r))
		status = monitor_set_initial(&cone->monitor, error);
	if (status == STATUS_OK && tensor_exists(cone->z)) {
		if (r->settings.order == ORDER_CLAMP_DELTA && !cone->scene->reference) {
			status = recovery_copy_now(r, cone->z_ref, cone->z, error);
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
	if (recovery_is_suffix(r))
		status = suffix_norm(&r->start_norm, &r->cone, error);
	if (status)
		return status;
	r->lr = r->settings.lr.percent ? r->settings.lr.value / 100 * r->start_norm : r->settings.lr.value;
	r->budget =
		r->settings.budget.percent ? r->settings.budget.value / 100 * r->start_norm : r->settings.budget.value;
	r->capacity = r->settings.steps > 0 ? r->settings.steps : 1;
	r->history = mem_alloc((size_t)r->capacity, sizeof *r->history);
	r->logits = mem_alloc((size_t)r->session->model.arch.vocab, sizeof *r->logits);
	r->arena = arena_create(r->session->device, BUFFER_DEVICE, "the optimiser");
	r->host = arena_create(r->session->device, BUFFER_HOST, "the metrics");
	recovery_declare(r);
	status = arena_allocate(r->arena, error);
	if (status == STATUS_OK)
		status = arena_allocate(r->host, error);
	if (status == STATUS_OK)
		status = recovery_make_projectors(r, error);
	if (status == STATUS_OK)
		status = recovery_record_evaluation(r, error);
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

enum status recovery_collect(struct recovery *r, const float *ring, int64_t stride, int64_t end, struct error *error)
{
	enum status status = STATUS_OK;
	for (; r->steps < end && status == STATUS_OK; r->steps++) {
		const float *row = ring + r->steps * stride;
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
			.monitor_relative = recovery_is_suffix(r) ? (double)row[OP_METRIC_PENALTY] : 0,
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

enum status recovery_submit_steps(struct recovery *r, int64_t *made, int64_t end, struct error *error)
{
	int64_t first = *made;
	uint64_t tickets[IN_FLIGHT];
	enum status status = STATUS_OK, stopped = STATUS_OK;
	while (*made < end && status == STATUS_OK) {
		stopped = session_check_cancel(r->session, error);
		if (stopped)
			break;
		if (*made - first >= IN_FLIGHT)
			status = device_wait(r->session->device, tickets[*made % IN_FLIGHT], error);
		if (status == STATUS_OK)
			status = recorder_submit(r->step_recorder, &tickets[*made % IN_FLIGHT], error);
		if (status == STATUS_OK)
			(*made)++;
	}
	if (status == STATUS_OK)
		status = device_wait_idle(r->session->device, stopped ? NULL : error);
	return status ? status : stopped;
}

enum status recovery_advance(struct recovery *r, int64_t count, struct error *error)
{
	int64_t end = r->steps + count, made = r->steps;
	const float *ring = (const float *)((const char *)buffer_mapped(r->ring.buffer) + r->ring.offset);
	if (end > r->settings.steps)
		end = r->settings.steps;
	enum status status = r->step_recorder ? STATUS_OK : recovery_record_step(r, error);
	if (status) {
		recorder_destroy(&r->step_recorder);
		return status;
	}
	status = recovery_submit_steps(r, &made, end, error);
	if (status && status != STATUS_CANCELLED)
		return status;
	enum status collected = recovery_collect(r, ring, OP_METRIC_COUNT, made, status ? NULL : error);
	return collected ? collected : status;
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
	if (recovery_is_suffix(r))
		return LAYER_EMBEDDING;
	return r->session->sites[site_of_row(r, row)->index].sae.layer;
}

int64_t recovery_row_position(const struct recovery *r, int64_t row)
{
	if (recovery_is_suffix(r))
		return r->cone.positions[row];
	return r->cone.positions[row - site_of_row(r, row)->first_row];
}

bool recovery_is_suffix(const struct recovery *r)
{
	return r->cone.lowest < 0;
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
	struct recorder_counts counts = {0};
	if (r->step_recorder)
		counts = recorder_get_counts(r->step_recorder);
	return (struct recovery_cost){counts.dispatches, counts.barriers, counts.bytes_bound};
}
