#include "sessions/whole.h"

#include <math.h>
#include <stdlib.h>

#include "compute/base/mem.h"
#include "sessions/probe.h"
#include "sessions/readout.h"

/* Copies what passes by at one point. */
struct watch {
	struct edit edit;
	struct tensor kept;
	bool gradient;
};

static void watch_forward(struct edit *edit, struct recorder *rec, struct tensor x)
{
	struct watch *w = (struct watch *)edit;
	if (!w->gradient)
		record_copy_tensor(rec, w->kept, x);
}

static void watch_backward(struct edit *edit, struct recorder *rec, struct tensor dx)
{
	struct watch *w = (struct watch *)edit;
	if (w->gradient)
		record_copy_tensor(rec, w->kept, dx);
}

struct work {
	struct session *session;
	const struct whole_request *request;
	int64_t prompt, total;
	struct kv_cache cache;
	struct watch watch;
	struct clamp_edit *clamps;
	int clamp_count;
	struct edit *edits[SESSION_MAX_SITES + 1];
	int edit_count;
	struct arena *arena;
	struct pass pass;
	struct readout readout;
	struct recorder *rec;
};

static void work_done(struct work *w)
{
	recorder_destroy(&w->rec);
	readout_done(&w->readout);
	if (w->pass.points)
		pass_done(&w->pass);
	for (int i = 0; i < w->clamp_count; i++)
		clamp_edit_done(&w->clamps[i]);
	free(w->clamps);
	arena_destroy(&w->arena);
	if (w->cache.arena)
		kv_cache_done(&w->cache);
}

/* The clamps, and the watch behind those of its point. */
static enum status make_edits(struct work *w, struct error *error)
{
	struct session *session = w->session;
	enum status status = STATUS_OK;
	w->clamps = mem_alloc((size_t)session->site_count, sizeof *w->clamps);
	for (int i = 0; i < session->site_count && w->request->clamped && status == STATUS_OK; i++) {
		struct site *site = &session->sites[i];
		if (site->rule_count == 0)
			continue;
		struct clamp_edit *clamp = &w->clamps[w->clamp_count];
		status = clamp_edit_create(clamp, &site->clamp, site->point, session->error_alpha, w->total, 1, true,
					   error);
		if (status)
			break;
		w->clamp_count++;
		w->edits[w->edit_count++] = &clamp->edit;
		status = session_write_clamp_rows(session, clamp, 0, w->total, error);
	}
	if (status || w->request->kind == WHOLE_LOGITS)
		return status;
	int point;
	if (!point_of_hook(&session->model.arch, w->request->layer, w->request->hook, &point))
		return error_set(error, STATUS_INVALID, "the model has no %s at layer %d; its layers are 0 to %d%s",
				 hook_name(w->request->hook), w->request->layer, session->model.arch.layers - 1,
				 session->model.arch.parallel_residual ? " and it has no resid_mid" : "");
	w->watch.edit = (struct edit){.point = point, .forward = watch_forward, .backward = watch_backward};
	w->watch.gradient = w->request->kind == WHOLE_GRADIENT;
	w->arena = arena_create(session->device, BUFFER_DEVICE, "the watched residual");
	arena_add(w->arena, &w->watch.kept, DTYPE_F32, w->total, session->model.arch.d);
	w->edits[w->edit_count++] = &w->watch.edit;
	return arena_allocate(w->arena, error);
}

/* Rows of logits that are computed at a time: a large vocabulary times all positions would
 * fill gigabytes on the device. */
static int64_t logit_rows(const struct work *w)
{
	const int64_t most = (int64_t)1 << 24; /* numbers */
	int64_t rows = most / w->session->model.arch.vocab;
	return rows < 1 ? 1 : rows < w->total ? rows : w->total;
}

static enum status make_pass(struct work *w, struct error *error)
{
	struct session *session = w->session;
	const struct arch *arch = &session->model.arch;
	bool gradient = w->request->kind == WHOLE_GRADIENT;
	int64_t answer = w->total - w->prompt;
	struct pass_config config = {
		.arch = arch,
		.weights = &session->model.weights,
		.cache = &w->cache,
		.rows = w->total,
		.embed = true,
		.last_point = 2 * arch->layers,
		.backward = gradient,
		.logits = w->request->kind == WHOLE_RESIDUAL ? LOGITS_NONE : LOGITS_ALL,
		.readouts = gradient ? (answer > 0 ? answer : 1) : 0,
		.edits = w->edits,
		.edit_count = w->edit_count,
	};
	if (w->request->kind == WHOLE_RESIDUAL)
		config.last_point = w->watch.edit.point;
	if (w->request->kind == WHOLE_LOGITS)
		config.readouts = w->request->last_only ? 1 : logit_rows(w);
	for (int r = 0; r < arch->n_ropes; r++)
		if (arch->ropes[r].inverse_long && w->total > arch->ropes[r].original_context)
			config.long_rope = true;
	enum status status = pass_check_memory(session->device, &config, 1, w->total, error);
	if (status == STATUS_OK)
		status = kv_cache_create(&w->cache, session->device, arch, 1, w->total, error);
	if (status == STATUS_OK)
		status = pass_create(&w->pass, session->device, &config, error);
	if (status)
		return status;
	uint32_t *words = mem_alloc((size_t)w->total, sizeof *words);
	for (int64_t i = 0; i < w->total; i++)
		words[i] = (uint32_t)(i < w->prompt ? session->prompt.ids[i]
						    : session->objective.answer.ids[i - w->prompt]);
	status = tensor_write(w->pass.ids, words, error);
	int64_t first = w->request->kind == WHOLE_LOGITS && !w->request->last_only ? 0 : w->prompt - 1;
	for (int64_t i = 0; i < config.readouts; i++)
		words[i] = (uint32_t)(first + i);
	if (status == STATUS_OK && config.readouts > 0)
		status = tensor_write(w->pass.readout, words, error);
	free(words);
	if (status == STATUS_OK)
		status = pass_set_rows(&w->pass, 0, 0, error);
	if (status == STATUS_OK && gradient)
		status = readout_create(&w->readout, session->device, &session->objective, &session->settings.answer,
					true, true, arch->vocab, error);
	return status;
}

static enum status compute(struct work *w, struct error *error)
{
	enum status status = session_prepare_clamps(w->session, error);
	if (status == STATUS_OK)
		status = make_edits(w, error);
	if (status == STATUS_OK)
		status = make_pass(w, error);
	if (status)
		return status;
	w->rec = recorder_create(w->session->device, "whole pass");
	recorder_begin(w->rec);
	pass_record_forward(&w->pass, w->rec);
	if (w->request->kind == WHOLE_GRADIENT) {
		readout_record(&w->readout, w->rec, &w->pass);
		pass_record_backward(&w->pass, w->rec, (struct tensor){0});
	}
	return recorder_run(w->rec, error);
}

static enum status check_finite(const float *values, uint64_t count, struct error *error)
{
	for (uint64_t i = 0; i < count; i++)
		if (!isfinite(values[i]))
			return error_set(error, STATUS_FAILED, "a number of the result is not finite (element %llu)",
					 (unsigned long long)i);
	return STATUS_OK;
}

/* Logits of all positions: the first rows are there, the others follow from the last residual. */
static enum status read_logits(struct work *w, float *out, struct error *error)
{
	int64_t at_once = w->pass.logits.rows, V = w->pass.logits.cols, total = w->total;
	uint32_t *rows = mem_alloc((size_t)at_once, sizeof *rows);
	enum status status = tensor_read(w->pass.logits, out, error);
	if (status == STATUS_OK && at_once < total) {
		recorder_begin(w->rec);
		pass_record_readout(&w->pass, w->rec);
		status = recorder_finish(w->rec, error);
	}
	for (int64_t first = at_once; first < total && status == STATUS_OK; first += at_once) {
		if (first + at_once > total)
			first = total - at_once;
		for (int64_t i = 0; i < at_once; i++)
			rows[i] = (uint32_t)(first + i);
		status = session_check_cancel(w->session, error);
		if (status == STATUS_OK)
			status = tensor_write(w->pass.readout, rows, error);
		uint64_t ticket;
		if (status == STATUS_OK)
			status = recorder_submit(w->rec, &ticket, error);
		if (status == STATUS_OK) /* reading waits for it */
			status = tensor_read(w->pass.logits, out + first * V, error);
	}
	free(rows);
	return status;
}

enum status whole_run(float **out, int64_t *rows, int64_t *cols, struct session *session,
		      const struct whole_request *request, struct error *error)
{
	*out = NULL;
	struct work w = {.session = session, .request = request, .prompt = (int64_t)session->prompt.count};
	w.total = request->kind == WHOLE_GRADIENT ? session_total_length(session) : w.prompt;
	if (w.prompt == 0)
		return error_set(error, STATUS_INVALID, "there is no input; give --text, --tokens or --prompt");
	if (request->kind == WHOLE_GRADIENT && !session->has_objective)
		return error_set(error, STATUS_INVALID, "a gradient needs an objective; give --objective");
	if (request->kind == WHOLE_GRADIENT && probe_objective(&session->objective))
		return error_set(
			error, STATUS_INVALID,
			"the gradient of a probe's logit is its weight over the number of pooled positions; this "
			"command is for objectives that read logits");
	enum status status = compute(&w, error);
	if (status == STATUS_OK) {
		struct tensor t = request->kind == WHOLE_LOGITS ? w.pass.logits : w.watch.kept;
		bool all = request->kind == WHOLE_LOGITS && !request->last_only;
		*rows = all ? w.total : t.rows;
		*cols = t.cols;
		*out = mem_alloc((size_t)*rows * (size_t)*cols, sizeof **out);
		status = all ? read_logits(&w, *out, error) : tensor_read(t, *out, error);
		if (status == STATUS_OK)
			status = check_finite(*out, (uint64_t)*rows * (uint64_t)*cols, error);
	}
	work_done(&w);
	if (status) {
		free(*out);
		*out = NULL;
	}
	return status;
}
