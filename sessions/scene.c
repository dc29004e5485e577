#include "sessions/scene.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/encode.h"
#include "sessions/frozen.h"
#include "sessions/hooked_sae.h"
#include "sessions/probe.h"
#include "sessions/readout.h"
#include "sessions/suffix.h"

/* Copies the residual as it leaves a site, and re-encodes the defended features there. */
struct capture {
	struct edit edit;
	struct site *site;
	struct tensor h;      /* [T + A, d] */
	struct tensor z, pre; /* [T + A, K] */
	struct sae_scratch scratch;
};

static void capture_forward(struct edit *base, struct recorder *rec, struct tensor x)
{
	struct capture *c = (struct capture *)base;
	record_copy_tensor(rec, c->h, x);
	if (tensor_exists(c->z))
		clamp_record_encode(&c->site->clamp, rec, c->z, c->pre, &c->scratch, x);
}

/* What lives only while a scene is being computed. */
struct scene_work {
	struct capture *captures;
	struct clamp_edit *clamps;
	int clamp_count;
	struct frozen_edits frozen;
	struct edit **edits;
	int edit_count;
	struct arena *arena;
	struct pass pass;
	struct readout readout;
	struct recorder *rec;
};

static void work_done(struct scene_work *w)
{
	recorder_destroy(&w->rec);
	readout_done(&w->readout);
	if (w->pass.points)
		pass_done(&w->pass);
	for (int i = 0; i < w->clamp_count; i++)
		clamp_edit_done(&w->clamps[i]);
	frozen_edits_done(&w->frozen);
	arena_destroy(&w->arena);
	free(w->captures);
	free(w->clamps);
	free(w->edits);
}

static enum status make_edits(struct scene *scene, struct scene_work *w, struct error *error)
{
	struct session *session = scene->session;
	size_t n = (size_t)session->site_count;
	w->captures = mem_alloc(n, sizeof *w->captures);
	w->clamps = mem_alloc(n, sizeof *w->clamps);
	w->edits = mem_alloc(3 * n, sizeof *w->edits);
	w->arena = arena_create(session->device, BUFFER_DEVICE, "the hooked residuals");
	enum status status = STATUS_OK;
	if (scene->reference)
		status = frozen_edits_create(&w->frozen, session, 0, scene->total, error);
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++) {
		struct site *site = &session->sites[i];
		if (scene->clamped && site->rule_count > 0) {
			struct clamp_edit *clamp = &w->clamps[w->clamp_count];
			status = clamp_edit_create(clamp, &site->clamp, site->point, session->error_alpha, scene->total,
						   1, false, error);
			if (status)
				break;
			w->clamp_count++;
			status = session_write_clamp_rows(session, clamp, 0, scene->total, error);
			w->edits[w->edit_count++] = &clamp->edit;
		}
		struct edit *frozen = frozen_edit_at(&w->frozen, i);
		if (frozen)
			w->edits[w->edit_count++] = frozen;
		struct capture *c = &w->captures[i];
		*c = (struct capture){.edit = {.point = site->point, .forward = capture_forward}, .site = site};
		c->h = scene->h_device[i];
		if (site->rule_count > 0) {
			arena_add(w->arena, &c->z, DTYPE_F32, scene->total, site->rule_count);
			arena_add(w->arena, &c->pre, DTYPE_F32, scene->total, site->rule_count);
			sae_scratch_declare(&c->scratch, &site->sae, w->arena, SAE_SCRATCH_SELECTED, scene->total, 0);
		}
		w->edits[w->edit_count++] = &c->edit;
	}
	if (status == STATUS_OK)
		status = arena_allocate(w->arena, error);
	return status;
}

static enum status make_pass(struct scene *scene, struct scene_work *w, struct error *error)
{
	struct session *session = scene->session;
	const struct model *model = &session->model;
	int64_t answer = session_answer_length(session);
	struct pass_config config = {
		.arch = &model->arch,
		.weights = &model->weights,
		.cache = &scene->cache,
		.rows = scene->total,
		.embed = true,
		.last_point = 2 * model->arch.layers,
		.logits = LOGITS_ALL,
		.readouts = answer > 0 ? answer : 1,
		.edits = w->edits,
		.edit_count = w->edit_count,
	};
	for (int r = 0; r < model->arch.n_ropes; r++)
		if (model->arch.ropes[r].inverse_long && scene->total > model->arch.ropes[r].original_context)
			config.long_rope = true;
	enum status status = pass_check_memory(session->device, &config, 1, scene->total, error);
	if (status == STATUS_OK)
		status = kv_cache_create(&scene->cache, session->device, &model->arch, 1, scene->total, error);
	if (status == STATUS_OK)
		status = pass_create(&w->pass, session->device, &config, error);
	if (status)
		return status;
	uint32_t *ids = mem_alloc((size_t)scene->total, sizeof *ids);
	for (size_t i = 0; i < session->prompt.count; i++)
		ids[i] = (uint32_t)session->prompt.ids[i];
	for (int64_t i = 0; i < answer; i++)
		ids[scene->prompt + i] = (uint32_t)session->objective.answer.ids[i];
	status = tensor_write(w->pass.ids, ids, error);
	for (int64_t i = 0; i < config.readouts; i++)
		ids[i] = (uint32_t)(scene->prompt - 1 + i);
	if (status == STATUS_OK)
		status = buffer_write(w->pass.readout.buffer, w->pass.readout.offset, ids,
				      (uint64_t)config.readouts * sizeof *ids, error);
	free(ids);
	if (status == STATUS_OK)
		status = pass_set_rows(&w->pass, 0, 0, error);
	return status;
}

static enum status read_results(struct scene *scene, struct scene_work *w, struct error *error)
{
	struct session *session = scene->session;
	int64_t V = session->model.arch.vocab;
	scene->logits = mem_alloc((size_t)V, sizeof *scene->logits);
	enum status status = tensor_read(tensor_rows(w->pass.logits, 0, 1), scene->logits, error);
	for (int64_t i = 0; i < V && status == STATUS_OK; i++)
		if (!isfinite(scene->logits[i]))
			status = error_set(
				error, STATUS_FAILED,
				"the logits are not finite (token %lld): the weights, the clamp or the device "
				"is at fault",
				(long long)i);
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++) {
		const struct capture *c = &w->captures[i];
		scene->sites[i].h = mem_alloc((size_t)tensor_count(c->h), sizeof(float));
		status = tensor_read(c->h, scene->sites[i].h, error);
		if (status == STATUS_OK && tensor_exists(c->z)) {
			scene->sites[i].z = mem_alloc((size_t)tensor_count(c->z), sizeof(float));
			status = tensor_read(c->z, scene->sites[i].z, error);
		}
	}
	if (status || !w->readout.has_terms)
		return status;
	float J;
	status = tensor_read(w->readout.J, &J, error);
	scene->reads = mem_alloc((size_t)w->readout.plan.read_count, sizeof *scene->reads);
	if (status == STATUS_OK)
		status = tensor_read(w->readout.values, scene->reads, error);
	scene->J = (double)J;
	scene->has_objective = true;
	return status;
}

static enum status compute(struct scene *scene, struct scene_work *w, struct error *error)
{
	struct session *session = scene->session;
	enum status status = make_edits(scene, w, error);
	if (status == STATUS_OK)
		status = make_pass(scene, w, error);
	if (status == STATUS_OK && session->has_objective)
		status = readout_create(&w->readout, session->device, &session->objective, &session->settings.answer,
					true, false, session->model.arch.vocab, error);
	if (status)
		return status;
	w->rec = recorder_create(session->device, "scene");
	recorder_begin(w->rec);
	pass_record_forward(&w->pass, w->rec);
	if (w->readout.has_terms)
		readout_record(&w->readout, w->rec, &w->pass);
	status = recorder_run(w->rec, error);
	if (status == STATUS_OK)
		status = read_results(scene, w, error);
	return status;
}

static enum status run_scene(struct scene *scene, struct session *session, bool clamped, struct scene *reference,
			     struct error *error);

/* A run without frozen rows or a suffix; its device memory is given back. */
static enum status run_plain(struct scene *scene, struct session *session, bool clamped, struct error *error)
{
	struct suffix suffix = session_take_suffix(session);
	enum status status = run_scene(scene, session, clamped, NULL, error);
	session_return_suffix(session, suffix);
	if (status)
		return status;
	kv_cache_done(&scene->cache);
	arena_destroy(&scene->arena);
	free(scene->h_device);
	scene->h_device = NULL;
	return STATUS_OK;
}

/* What a scene with frozen rows or a suffix is measured against. */
static enum status run_reference(struct scene **out, struct session *session, struct error *error)
{
	*out = NULL;
	if (session->settings.order != ORDER_CLAMP_DELTA)
		return error_set(error, STATUS_INVALID,
				 "with frozen rows of delta or a suffix the order has to be clamp-delta; --order is "
				 "delta-clamp");
	struct scene *reference = mem_alloc(1, sizeof *reference);
	enum status status = run_plain(reference, session, true, error);
	if (status) {
		free(reference);
		return status;
	}
	*out = reference;
	return STATUS_OK;
}

/* Rows of `width` numbers of a run without a suffix, spread out to where their tokens are with
 * it; the rows between are those of `with`. Takes x; NULL stays NULL. */
static float *spread_rows(float *x, const float *with, const struct scene *scene, int64_t suffix, int64_t width)
{
	if (!x)
		return NULL;
	size_t row = (size_t)width * sizeof *x;
	int64_t before = scene->prompt - suffix, behind = scene->total - scene->prompt;
	float *out = mem_copy(with, (size_t)scene->total * row);
	memcpy(out, x, (size_t)before * row);
	memcpy(out + scene->prompt * width, x + before * width, (size_t)behind * row);
	free(x);
	return out;
}

/* Gives a plain run the positions of a scene with the suffix. */
static void spread(struct scene *plain, const struct scene *with)
{
	const struct session *session = with->session;
	int64_t suffix = session->suffix.count;
	for (int i = 0; i < session->site_count; i++) {
		struct scene_site *site = &plain->sites[i];
		site->h = spread_rows(site->h, with->sites[i].h, with, suffix, session->model.arch.d);
		site->z = spread_rows(site->z, with->sites[i].z, with, suffix, session->sites[i].rule_count);
	}
	plain->prompt = with->prompt;
	plain->total = with->total;
}

static enum status run_base_of_suffix(struct scene *scene, struct session *session, struct error *error)
{
	struct scene with;
	enum status status = run_plain(scene, session, false, error);
	if (status)
		return status;
	status = run_scene(&with, session, false, NULL, error);
	if (status) {
		scene_done(scene);
		return status;
	}
	spread(scene, &with);
	scene_done(&with);
	return STATUS_OK;
}

enum status scene_run(struct scene *scene, struct session *session, bool clamped, struct error *error)
{
	bool suffix = session->suffix.count > 0;
	struct scene *reference = NULL;
	enum status status = STATUS_OK;
	*scene = (struct scene){0};
	if (!clamped)
		return suffix ? run_base_of_suffix(scene, session, error)
			      : run_scene(scene, session, false, NULL, error);
	if (session->frozen.count > 0 || suffix)
		status = run_reference(&reference, session, error);
	if (status == STATUS_OK)
		status = run_scene(scene, session, true, reference, error);
	if (status == STATUS_OK && suffix)
		spread(scene->reference, scene);
	return status;
}

/* Takes the reference. */
static enum status run_scene(struct scene *scene, struct session *session, bool clamped, struct scene *reference,
			     struct error *error)
{
	*scene = (struct scene){
		.reference = reference,
		.session = session,
		.clamped = clamped,
		.prompt = (int64_t)session->prompt.count,
		.total = session_total_length(session),
	};
	enum status status = session_check_cancel(session, error);
	if (status == STATUS_OK && scene->prompt == 0)
		status = error_set(error, STATUS_INVALID, "there is no input; give --text, --tokens or --prompt");
	if (status == STATUS_OK && scene->total > session->model.arch.context)
		status = error_set(error, STATUS_INVALID,
				   "the input has %lld tokens and its answer %lld; together they exceed the model's "
				   "context of %lld",
				   (long long)scene->prompt, (long long)(scene->total - scene->prompt),
				   (long long)session->model.arch.context);
	if (status == STATUS_OK)
		status = session_prepare_clamps(session, error);
	if (status) {
		scene_done(scene);
		return status;
	}
	size_t n = (size_t)session->site_count;
	scene->sites = mem_alloc(n, sizeof *scene->sites);
	scene->h_device = mem_alloc(n, sizeof *scene->h_device);
	scene->arena = arena_create(session->device, BUFFER_DEVICE, "the hooked residuals");
	for (size_t i = 0; i < n; i++)
		arena_add(scene->arena, &scene->h_device[i], DTYPE_F32, scene->total, session->model.arch.d);
	status = arena_allocate(scene->arena, error);
	struct scene_work work = {0};
	if (status == STATUS_OK)
		status = compute(scene, &work, error);
	work_done(&work);
	if (status) {
		scene_done(scene);
		return status;
	}
	if (session->has_objective && probe_objective(&session->objective)) {
		status = probe_value(session, scene, &scene->J, error);
		if (status) {
			scene_done(scene);
			return status;
		}
		scene->has_objective = true;
	}
	logit_summary_make(&scene->summary, scene->logits, session->model.arch.vocab);
	if (scene->has_objective)
		scene->present =
			objective_present(&session->objective, scene->logits, session->model.arch.vocab, scene->J);
	return STATUS_OK;
}

void scene_done(struct scene *scene)
{
	if (!scene->session)
		return;
	for (int i = 0; scene->sites && i < scene->session->site_count; i++) {
		free(scene->sites[i].h);
		free(scene->sites[i].z);
	}
	free(scene->sites);
	free(scene->h_device);
	free(scene->logits);
	free(scene->reads);
	if (scene->cache.arena)
		kv_cache_done(&scene->cache);
	arena_destroy(&scene->arena);
	if (scene->reference)
		scene_done(scene->reference);
	free(scene->reference);
	*scene = (struct scene){0};
}

const struct scene *scene_reference(const struct scene *scene)
{
	return scene->reference ? scene->reference : scene;
}

enum status scene_features(struct scene *scene, int site, int64_t position, float *z, struct error *error)
{
	const struct sae *sae;
	enum status status = session_sae(&sae, scene->session, site, error);
	if (status)
		return status;
	return encode_rows(sae, scene->sites[site].h + position * sae->d, 1, z, NULL, error);
}

/* Keeps the k largest; *largest and *sum are those of a softmax. */
static int rank_logits(const float *logits, int64_t vocab, int k, struct top_logit *out, double *largest, double *sum)
{
	int n = 0;
	*largest = -INFINITY;
	*sum = 0;
	for (int64_t i = 0; i < vocab; i++)
		*largest = fmax(*largest, (double)logits[i]);
	for (int64_t i = 0; i < vocab; i++) {
		*sum += exp((double)logits[i] - *largest);
		if (n == k && logits[i] <= out[n - 1].logit)
			continue;
		int at = n;
		while (at > 0 && logits[i] > out[at - 1].logit)
			at--;
		if (at >= k)
			continue;
		if (n < k)
			n++;
		memmove(out + at + 1, out + at, (size_t)(n - 1 - at) * sizeof *out);
		out[at] = (struct top_logit){(int32_t)i, logits[i], 0};
	}
	for (int i = 0; i < n; i++)
		out[i].probability = (float)(exp((double)out[i].logit - *largest) / *sum);
	return n;
}

int top_logits(const float *logits, int64_t vocab, int k, struct top_logit *out)
{
	double largest, sum;
	return rank_logits(logits, vocab, k, out, &largest, &sum);
}

void logit_summary_make(struct logit_summary *summary, const float *logits, int64_t vocab)
{
	summary->count = rank_logits(logits, vocab, LOGITS_SHOWN, summary->top, &summary->largest, &summary->sum);
}

double logit_summary_probability(const struct logit_summary *summary, float logit)
{
	return exp((double)logit - summary->largest) / summary->sum;
}
