#include "sessions/select.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/attribute.h"
#include "sessions/encode.h"
#include "sessions/hooked_sae.h"
#include "sessions/probe.h"

static const char *const names[SELECT_METHOD_COUNT] = {"attribution", "sparsity", "difference", "probe"};

const char *select_method_name(enum select_method method)
{
	return names[method];
}

bool select_method_parse(const char *text, enum select_method *method)
{
	for (int i = 0; i < SELECT_METHOD_COUNT; i++)
		if (strcmp(names[i], text) == 0) {
			*method = (enum select_method)i;
			return true;
		}
	return false;
}

/* Sums at one site. */
struct sums {
	int64_t F;
	double *activation[2], *fired[2], *attribution; /* [F] */
};

struct selector {
	struct session *session;
	const struct select_options *options;
	struct selection *out;
	struct sums *sites; /* [sites]; F 0: left out */
};

static void make_sums(struct selector *s)
{
	s->sites = mem_alloc((size_t)s->session->site_count, sizeof *s->sites);
	for (int i = 0; i < s->session->site_count; i++) {
		struct sums *sums = &s->sites[i];
		if (s->options->only_site >= 0 && s->options->only_site != i)
			continue;
		sums->F = s->session->sites[i].sae.features;
		size_t F = (size_t)sums->F;
		for (int k = 0; k < 2; k++) {
			sums->activation[k] = mem_alloc(F, sizeof(double));
			sums->fired[k] = mem_alloc(F, sizeof(double));
		}
		sums->attribution = mem_alloc(F, sizeof(double));
	}
}

static void free_sums(struct selector *s)
{
	for (int i = 0; i < s->session->site_count; i++) {
		for (int k = 0; k < 2; k++) {
			free(s->sites[i].activation[k]);
			free(s->sites[i].fired[k]);
		}
		free(s->sites[i].attribution);
	}
	free(s->sites);
}

static enum status set_prompt(struct selector *s, const struct prompt *p, struct error *error)
{
	const struct select_options *o = s->options;
	enum status status = session_set_text(s->session, p->text, strlen(p->text), o->chat || p->chat, o->no_bos,
					      o->special, error);
	if (status || o->method != SELECT_ATTRIBUTION || !o->own_objectives)
		return status;
	char *spec[1];
	if (prompt_objectives(p, spec, 1) == 0)
		return error_set(error, STATUS_INVALID, "the prompt has no objective of its own; give --objective");
	const char *specs[] = {spec[0]};
	status = session_set_objective(s->session, specs, 1, error);
	free(spec[0]);
	return status;
}

/* What one site's activations at the chosen positions add. */
static enum status add_activations(struct selector *s, const struct scene *scene, int site, int set, int64_t first,
				   struct error *error)
{
	struct sums *sums = &s->sites[site];
	const struct sae *sae;
	enum status status = session_sae(&sae, s->session, site, error);
	if (status)
		return status;
	int64_t rows = scene->prompt - first;
	float *z = mem_alloc((size_t)(rows * sums->F), sizeof *z);
	status = encode_rows(sae, scene->sites[site].h + first * sae->d, rows, z, NULL, error);
	for (int64_t i = 0; i < rows * sums->F && status == STATUS_OK; i++) {
		sums->activation[set][i % sums->F] += (double)z[i];
		sums->fired[set][i % sums->F] += z[i] > 0;
	}
	free(z);
	return status;
}

static enum status add_attributions(struct selector *s, struct scene *scene, int site, struct error *error)
{
	struct attribution *items;
	int64_t count;
	enum status status = attribute_rank(&items, &count, s->session, scene, site, error);
	for (int64_t i = 0; i < count && status == STATUS_OK; i++)
		s->sites[site].attribution[items[i].feature] += items[i].attribution;
	free(items);
	return status;
}

static enum status add_prompt(struct selector *s, const struct prompt *p, int set, struct error *error)
{
	struct session *session = s->session;
	struct scene scene = {0};
	enum status status = set_prompt(s, p, error);
	if (status == STATUS_OK)
		status = scene_run(&scene, session, false, error);
	/* All sites or none, so that every site has seen the same prompts. */
	if (status) {
		scene_done(&scene);
		return status;
	}
	int64_t first = s->options->all_positions ? probe_first_position(session) : scene.prompt - 1;
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++) {
		if (s->sites[i].F == 0)
			continue;
		if (s->options->method == SELECT_ATTRIBUTION)
			status = add_attributions(s, &scene, i, error);
		if (status == STATUS_OK)
			status = add_activations(s, &scene, i, set, first, error);
	}
	if (status == STATUS_OK) {
		s->out->inputs[set]++;
		s->out->positions[set] += scene.prompt - first;
	} else if (status == STATUS_INVALID) {
		/* Some sites may have counted it: not a prompt's fault. */
		status = STATUS_FAILED;
	}
	scene_done(&scene);
	return status;
}

/* w . W_dec[i] of the objective's probe. */
static enum status probe_alignment(struct session *session, int site, float *out, struct error *error)
{
	const struct sae *sae;
	struct probe probe;
	enum status status = session_sae(&sae, session, site, error);
	if (status == STATUS_OK)
		status = probe_load(&probe, session, error);
	if (status)
		return status;
	struct arena *arena = arena_create(session->device, BUFFER_DEVICE, "the probe");
	struct tensor w, by_feature;
	arena_add(arena, &w, DTYPE_F32, 1, sae->d);
	arena_add(arena, &by_feature, DTYPE_F32, 1, sae->features);
	status = arena_allocate(arena, error);
	if (status == STATUS_OK)
		status = tensor_write(w, probe.weight, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(session->device, "probe by feature");
		recorder_begin(rec);
		op_linear(rec, by_feature, w, sae->w_dec, OP_OUT_IN, NULL);
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(by_feature, out, error);
	arena_destroy(&arena);
	probe_done(&probe);
	return status;
}

static int by_score(const void *a, const void *b)
{
	const struct selected *x = a, *y = b;
	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return (x->feature > y->feature) - (x->feature < y->feature);
}

static double over(double sum, int64_t n)
{
	return n > 0 ? sum / (double)n : 0;
}

static enum status rank_site(struct selector *s, int site, struct error *error)
{
	struct selection *out = s->out;
	const struct sums *sums = &s->sites[site];
	enum select_method method = s->options->method;
	float *alignment = method == SELECT_PROBE ? mem_alloc((size_t)sums->F, sizeof *alignment) : NULL;
	enum status status = alignment ? probe_alignment(s->session, site, alignment, error) : STATUS_OK;
	for (int64_t f = 0; f < sums->F && status == STATUS_OK; f++) {
		struct selected item = {.layer = s->session->sites[site].sae.layer, .feature = (uint32_t)f};
		for (int k = 0; k < 2; k++) {
			item.mean[k] = over(sums->activation[k][f], out->positions[k]);
			item.frequency[k] = over(sums->fired[k][f], out->positions[k]);
		}
		double difference = item.mean[0] - item.mean[1];
		switch (method) {
		case SELECT_ATTRIBUTION:
			item.score = over(sums->attribution[f], out->inputs[0]);
			break;
		case SELECT_SPARSITY:
			if (item.frequency[1] > s->options->retain_threshold || item.frequency[0] == 0)
				continue;
			item.score = item.frequency[0];
			break;
		case SELECT_PROBE:
			item.score = difference > 0 ? difference * (double)alignment[f] : 0;
			break;
		default:
			item.score = difference;
		}
		out->items[out->count++] = item;
	}
	free(alignment);
	return status;
}

static enum status rank(struct selector *s, struct error *error)
{
	int64_t most = 0;
	enum status status = STATUS_OK;
	for (int i = 0; i < s->session->site_count; i++)
		most += s->sites[i].F;
	s->out->items = mem_alloc((size_t)most, sizeof *s->out->items);
	for (int i = 0; i < s->session->site_count && status == STATUS_OK; i++)
		if (s->sites[i].F > 0)
			status = rank_site(s, i, error);
	qsort(s->out->items, (size_t)s->out->count, sizeof *s->out->items, by_score);
	return status;
}

static enum status check(const struct session *session, const struct select_options *o, struct error *error)
{
	if (session->site_count == 0)
		return error_set(error, STATUS_INVALID, "features are chosen from an SAE; give one with --sae");
	if (o->counts[0] == 0 || (o->method != SELECT_ATTRIBUTION && o->counts[1] == 0))
		return error_set(error, STATUS_INVALID, "--method %s compares two sets of prompts; the %s is empty",
				 names[o->method], o->counts[0] == 0 ? "first" : "second");
	if (o->method == SELECT_PROBE && (!session->has_objective || !probe_objective(&session->objective)))
		return error_set(error, STATUS_INVALID,
				 "--method probe needs the probe: --objective probe_logit:CLASS@LAYER");
	if (o->method == SELECT_PROBE && o->only_site != probe_site(session))
		return error_set(error, STATUS_INVALID,
				 "--method probe chooses features of the layer that the probe reads");
	return STATUS_OK;
}

enum status select_features(struct selection *out, struct session *session, const struct select_options *options,
			    struct error *error)
{
	*out = (struct selection){0};
	enum status status = check(session, options, error);
	if (status)
		return status;
	struct selector s = {session, options, out, NULL};
	make_sums(&s);
	int64_t done = 0, total = options->counts[0] + options->counts[1];
	int64_t longer = options->counts[0] > options->counts[1] ? options->counts[0] : options->counts[1];
	for (int64_t i = 0; i < 2 * longer && status == STATUS_OK; i++) {
		int set = (int)(i % 2);
		struct error problem = {0};
		if (i / 2 >= options->counts[set])
			continue;
		const struct prompt *p = options->sets[set][i / 2];
		status = add_prompt(&s, p, set, &problem);
		bool skip = status == STATUS_INVALID;
		if (status && !skip) {
			if (error)
				*error = problem;
			break;
		}
		status = STATUS_OK;
		out->skipped += skip;
		done++;
		if (options->on_prompt)
			options->on_prompt(options->context, done, total, p, skip ? &problem : NULL);
	}
	if (status == STATUS_OK && out->inputs[0] + out->inputs[1] == 0)
		status = error_set(error, STATUS_INVALID, "none of the %lld prompts could be read", (long long)total);
	/* An interrupt keeps what was read. */
	if (status == STATUS_OK || status == STATUS_CANCELLED) {
		enum status ranked = rank(&s, status ? NULL : error);
		status = status ? status : ranked;
	}
	free_sums(&s);
	return status;
}

void selection_done(struct selection *selection)
{
	free(selection->items);
	*selection = (struct selection){0};
}
