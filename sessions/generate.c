#include "sessions/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* Adds the rows of delta that belong to a pass's positions: a table over its rows. */
struct delta_edit {
	struct edit edit;
	struct tensor add; /* [R, d], zero where there is none */
	int layer;	   /* LAYER_EMBEDDING: of the token embeddings */
	double scale;
};

static void delta_forward(struct edit *edit, struct recorder *rec, struct tensor x)
{
	struct delta_edit *e = (struct delta_edit *)edit;
	op_add(rec, x, x, e->add, e->scale);
}

/* A pass over some positions with its edits: one for the prompt, one for a new token. */
struct stage {
	struct session *session;
	const struct generate_options *options;
	int64_t rows;
	struct clamp_edit first[SESSION_MAX_SITES], again[SESSION_MAX_SITES];
	struct delta_edit deltas[SESSION_MAX_SITES + 1]; /* the embeddings' and the sites' */
	int delta_count;
	bool has_first[SESSION_MAX_SITES], has_again[SESSION_MAX_SITES];
	struct edit *edits[3 * SESSION_MAX_SITES + 1];
	int edit_count;
	struct pass pass;
	struct arena *arena;
	struct recorder *rec;
};

static bool delta_at_layer(const struct generate_delta *delta, int layer)
{
	for (int64_t i = 0; delta && i < delta->rows; i++)
		if (delta->layers[i] == layer)
			return true;
	return false;
}

static void stage_close(struct stage *s)
{
	if (!s->session)
		return;
	recorder_destroy(&s->rec);
	if (s->pass.points)
		pass_done(&s->pass);
	for (int i = 0; i < s->session->site_count; i++) {
		if (s->has_first[i])
			clamp_edit_done(&s->first[i]);
		if (s->has_again[i])
			clamp_edit_done(&s->again[i]);
	}
	arena_destroy(&s->arena);
	s->session = NULL;
}

static enum status add_clamp(struct stage *s, struct clamp_edit *edit, bool *has, struct site *site,
			     struct error *error)
{
	enum status status =
		clamp_edit_create(edit, &site->clamp, site->point, s->session->error_alpha, s->rows, 1, false, error);
	*has = status == STATUS_OK;
	s->edits[s->edit_count++] = &edit->edit;
	return status;
}

static void add_delta(struct stage *s, int layer, int point, double scale)
{
	struct delta_edit *e = &s->deltas[s->delta_count++];
	*e = (struct delta_edit){.edit = {.point = point, .forward = delta_forward}, .layer = layer, .scale = scale};
	arena_add(s->arena, &e->add, DTYPE_F32, s->rows, s->session->model.arch.d);
	s->edits[s->edit_count++] = &e->edit;
}

static enum status stage_open(struct stage *s, struct session *session, const struct generate_options *options,
			      struct kv_cache *cache, int64_t rows, bool long_rope, struct error *error)
{
	*s = (struct stage){.session = session, .options = options, .rows = rows};
	s->arena = arena_create(session->device, BUFFER_HOST, "delta for generation");
	enum status status = STATUS_OK;
	if (delta_at_layer(options->delta, LAYER_EMBEDDING))
		add_delta(s, LAYER_EMBEDDING, 0, session->model.arch.embed_scale);
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++) {
		struct site *site = &session->sites[i];
		bool clamped = options->clamped && site->rule_count > 0;
		if (clamped)
			status = add_clamp(s, &s->first[i], &s->has_first[i], site, error);
		if (!delta_at_layer(options->delta, site->sae.layer))
			continue;
		add_delta(s, site->sae.layer, site->point, 1);
		if (clamped && status == STATUS_OK && session->settings.order == ORDER_DELTA_CLAMP)
			status = add_clamp(s, &s->again[i], &s->has_again[i], site, error);
	}
	if (status == STATUS_OK)
		status = arena_allocate(s->arena, error);
	struct pass_config config = {
		.arch = &session->model.arch,
		.weights = &session->model.weights,
		.cache = cache,
		.rows = rows,
		.embed = true,
		.last_point = 2 * session->model.arch.layers,
		.logits = LOGITS_ALL,
		.readouts = 1,
		.long_rope = long_rope,
		.edits = s->edits,
		.edit_count = s->edit_count,
	};
	if (status == STATUS_OK)
		status = pass_create(&s->pass, session->device, &config, error);
	if (status == STATUS_OK) {
		s->rec = recorder_create(session->device, "generation");
		recorder_begin(s->rec);
		pass_record_forward(&s->pass, s->rec);
		status = recorder_finish(s->rec, error);
	}
	return status;
}

/* Is a position clamped? Generated ones exist only here, so lists end at the prompt. */
static bool clamped_at(const struct session *session, int64_t position)
{
	const struct positions *p = &session->clamp_positions;
	int64_t prompt = (int64_t)session->prompt.count;
	switch (p->rule) {
	case POSITIONS_ALL:
		return true;
	case POSITIONS_PROMPT:
		return position < prompt;
	case POSITIONS_GENERATED:
	case POSITIONS_ANSWER:
		return position >= prompt;
	case POSITIONS_LAST:
		return position == prompt - 1;
	default:
		for (int64_t i = 0; i < p->count; i++)
			if (p->list[i] == position)
				return true;
		return false;
	}
}

/* Writes the tables of the positions [first, first + rows). */
static enum status stage_write(struct stage *s, const int32_t *ids, int64_t first, struct error *error)
{
	struct session *session = s->session;
	int64_t d = session->model.arch.d;
	uint32_t *words = mem_alloc((size_t)s->rows, sizeof *words);
	for (int64_t r = 0; r < s->rows; r++)
		words[r] = (uint32_t)ids[first + r];
	enum status status = tensor_write(s->pass.ids, words, error);
	for (int64_t r = 0; r < s->rows; r++)
		words[r] = clamped_at(session, first + r);
	uint32_t last = (uint32_t)s->rows - 1;
	if (status == STATUS_OK)
		status = pass_set_rows(&s->pass, 0, first, error);
	if (status == STATUS_OK)
		status = tensor_write(s->pass.readout, &last, error);
	const struct generate_delta *delta = s->options->delta;
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++) {
		if (s->has_first[i])
			status = tensor_write(s->first[i].on, words, error);
		if (s->has_again[i] && status == STATUS_OK)
			status = tensor_write(s->again[i].on, words, error);
	}
	for (int i = 0; i < s->delta_count && status == STATUS_OK; i++) {
		float *add = mem_alloc((size_t)(s->rows * d), sizeof *add);
		for (int64_t row = 0; row < delta->rows; row++) {
			int64_t at = delta->positions[row] - first;
			if (delta->layers[row] == s->deltas[i].layer && at >= 0 && at < s->rows)
				memcpy(add + at * d, delta->values + row * d, (size_t)d * sizeof *add);
		}
		status = tensor_write(s->deltas[i].add, add, error);
		free(add);
	}
	free(words);
	return status;
}

static enum status stage_run(struct stage *s, float *logits, struct error *error)
{
	uint64_t ticket;
	enum status status = recorder_submit(s->rec, &ticket, error);
	if (status == STATUS_OK)
		status = device_wait(s->session->device, ticket, error);
	if (status == STATUS_OK)
		status = tensor_read(s->pass.logits, logits, error);
	for (int64_t v = 0; v < s->session->model.arch.vocab && status == STATUS_OK; v++)
		if (!isfinite(logits[v]))
			status = error_set(error, STATUS_FAILED, "a logit is not finite while generating");
	return status;
}

/* A small generator whose sequence is fixed by its seed alone (PCG32: O'Neill, 2014). */
static double uniform(uint64_t *state)
{
	uint64_t old = *state;
	*state = old * 6364136223846793005u + 1442695040888963407u;
	uint32_t mixed = (uint32_t)(((old >> 18) ^ old) >> 27), turn = (uint32_t)(old >> 59);
	uint32_t word = mixed >> turn | mixed << (-turn & 31);
	return (double)word / 4294967296.0;
}

struct candidate {
	int32_t id;
	double logit;
};

static int by_logit(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	if (x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static int32_t choose(const float *logits, int64_t vocab, const struct generate_options *options, uint64_t *random)
{
	if (options->temperature <= 0) {
		int64_t best = 0;
		for (int64_t v = 1; v < vocab; v++)
			if (logits[v] > logits[best])
				best = v;
		return (int32_t)best;
	}
	struct candidate *all = mem_alloc((size_t)vocab, sizeof *all);
	for (int64_t v = 0; v < vocab; v++)
		all[v] = (struct candidate){(int32_t)v, (double)logits[v] / options->temperature};
	qsort(all, (size_t)vocab, sizeof *all, by_logit);
	int64_t n = options->top_k > 0 && options->top_k < vocab ? options->top_k : vocab;
	double sum = 0, kept = 0;
	for (int64_t i = 0; i < n; i++)
		sum += exp(all[i].logit - all[0].logit);
	/* top-p: the fewest of the most probable that reach p together. */
	if (options->top_p > 0 && options->top_p < 1)
		for (int64_t i = 0; i < n; i++) {
			kept += exp(all[i].logit - all[0].logit);
			if (kept >= options->top_p * sum)
				n = i + 1;
		}
	else
		kept = sum;
	double at = uniform(random) * kept;
	int64_t i = 0;
	for (; i < n - 1; i++) {
		at -= exp(all[i].logit - all[0].logit);
		if (at < 0)
			break;
	}
	int32_t id = all[i].id;
	free(all);
	return id;
}

static bool is_stop(const struct session *session, int32_t id)
{
	const struct arch *arch = &session->model.arch;
	for (int i = 0; i < arch->n_stops; i++)
		if (arch->stop[i] == id)
			return true;
	for (int i = 0; i < session->model.stop_count; i++)
		if (session->model.stops[i] == id)
			return true;
	return session->model.tokenizer && tokenizer_eos(session->model.tokenizer) == id;
}

static bool needs_long_rope(const struct arch *arch, int64_t total)
{
	for (int r = 0; r < arch->n_ropes; r++)
		if (arch->ropes[r].inverse_long && total > arch->ropes[r].original_context)
			return true;
	return false;
}

struct run {
	struct session *session;
	const struct generate_options *options;
	struct kv_cache cache;
	struct stage prompt, token;
	struct token_list ids; /* prompt and what came since */
	float *logits;
	bool long_rope;
};

/* Computes all positions so far anew: at the start, and where longrope's factors change. */
static enum status prefill(struct run *run, struct error *error)
{
	int64_t rows = (int64_t)run->ids.count;
	stage_close(&run->prompt);
	stage_close(&run->token);
	enum status status =
		stage_open(&run->prompt, run->session, run->options, &run->cache, rows, run->long_rope, error);
	if (status == STATUS_OK)
		status = stage_write(&run->prompt, run->ids.ids, 0, error);
	if (status == STATUS_OK)
		status = stage_run(&run->prompt, run->logits, error);
	if (status == STATUS_OK)
		status = stage_open(&run->token, run->session, run->options, &run->cache, 1, run->long_rope, error);
	return status;
}

static enum status advance(struct run *run, struct error *error)
{
	int64_t count = (int64_t)run->ids.count;
	if (needs_long_rope(&run->session->model.arch, count) != run->long_rope) {
		run->long_rope = !run->long_rope;
		return prefill(run, error);
	}
	enum status status = stage_write(&run->token, run->ids.ids, count - 1, error);
	return status ? status : stage_run(&run->token, run->logits, error);
}

static enum status loop(struct run *run, int64_t context, struct token_list *new_ids, struct error *error)
{
	struct session *session = run->session;
	const struct generate_options *options = run->options;
	uint64_t random = options->seed * 2 + 1;
	enum status status = prefill(run, error);
	for (int64_t i = 0; i < options->max_new && status == STATUS_OK; i++) {
		int32_t id = choose(run->logits, session->model.arch.vocab, options, &random);
		token_list_add(new_ids, id);
		token_list_add(&run->ids, id);
		if ((options->on_token && !options->on_token(options->context, id)) ||
		    (!options->ignore_stops && is_stop(session, id)) || i + 1 == options->max_new ||
		    (int64_t)run->ids.count == context)
			break;
		status = session_check_cancel(session, error);
		if (status == STATUS_OK)
			status = advance(run, error);
	}
	return status;
}

static enum status check_delta(const struct session *session, const struct generate_delta *delta, struct error *error)
{
	for (int64_t i = 0; delta && i < delta->rows; i++)
		if (delta->layers[i] != LAYER_EMBEDDING && session_site_of_layer(session, delta->layers[i]) < 0)
			return error_set(error, STATUS_INVALID,
					 "the perturbation has a row at layer %d, where no SAE is hooked in",
					 delta->layers[i]);
	return STATUS_OK;
}

enum status generate(struct session *session, const struct generate_options *options, struct token_list *new_ids,
		     struct error *error)
{
	int64_t context = (int64_t)session->prompt.count + options->max_new;
	if (session->prompt.count == 0)
		return error_set(error, STATUS_INVALID, "there is no input; give --text, --tokens or --prompt");
	if (context > session->model.arch.context)
		context = session->model.arch.context;
	enum status status = check_delta(session, options->delta, error);
	if (status == STATUS_OK)
		status = session_prepare_clamps(session, error);
	struct run run = {.session = session, .options = options};
	if (status == STATUS_OK)
		status = kv_cache_create(&run.cache, session->device, &session->model.arch, 1, context, error);
	if (status)
		return status;
	run.logits = mem_alloc((size_t)session->model.arch.vocab, sizeof *run.logits);
	for (size_t i = 0; i < session->prompt.count; i++)
		token_list_add(&run.ids, session->prompt.ids[i]);
	run.long_rope = needs_long_rope(&session->model.arch, (int64_t)run.ids.count);
	status = loop(&run, context, new_ids, error);
	stage_close(&run.prompt);
	stage_close(&run.token);
	kv_cache_done(&run.cache);
	token_list_done(&run.ids);
	free(run.logits);
	return status;
}
