#include "sessions/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "models/safetensors.h"

bool probe_objective(const struct objective *objective)
{
	return objective->count > 0 && objective->terms[0].kind == OBJECTIVE_PROBE_LOGIT;
}

int probe_site(const struct session *session)
{
	int layer = session->objective.terms[0].probe_layer;
	if (layer < 0)
		return session->site_count - 1;
	return session_site_of_layer(session, layer);
}

int64_t probe_first_position(const struct session *session)
{
	int64_t bos = session->model.arch.bos;
	return session->prompt.count > 1 && bos >= 0 && session->prompt.ids[0] == bos ? 1 : 0;
}

/* The number of a class in probes.json, or of its text if it is a number. */
static enum status find_class(const char *path, const char *name, int64_t *index, struct error *error)
{
	cJSON *json;
	enum status status = json_read(&json, path, (size_t)1 << 20, error);
	if (status)
		return status;
	struct strbuf names = {0};
	const cJSON *classes = json_member(json, "classes");
	*index = -1;
	for (int i = 0; i < cJSON_GetArraySize(classes); i++) {
		const cJSON *item = cJSON_GetArrayItem(classes, i);
		if (!cJSON_IsString(item))
			continue;
		strbuf_printf(&names, "%s%s", names.length ? ", " : "", item->valuestring);
		if (strcmp(item->valuestring, name) == 0)
			*index = i;
	}
	if (*index < 0)
		status = error_set(error, STATUS_INVALID, "'%s' has no probe for the class '%s'; it has %s", path, name,
				   names.length ? names.data : "none");
	strbuf_done(&names);
	cJSON_Delete(json);
	return status;
}

static enum status read_row(const struct safetensors *file, const char *name, int64_t row, int64_t cols, float *out,
			    struct error *error)
{
	const struct st_tensor *tensor = safetensors_find(file, name);
	if (!tensor)
		return error_set(error, STATUS_INVALID, "'%s' has no tensor '%s'", safetensors_path(file), name);
	if (tensor->rank < 1 || row >= tensor->shape[0] || (int64_t)st_tensor_count(tensor) != tensor->shape[0] * cols)
		return error_set(error, STATUS_INVALID, "'%s': '%s' does not have the shape of a probe of width %lld",
				 safetensors_path(file), name, (long long)cols);
	return st_tensor_copy_rows(tensor, row, 1, out, safetensors_path(file), error);
}

enum status probe_load(struct probe *probe, const struct session *session, struct error *error)
{
	*probe = (struct probe){0};
	const struct objective_term *term = &session->objective.terms[0];
	int site = probe_site(session);
	if (site < 0)
		return error_set(error, STATUS_INVALID,
				 "'%s' reads a layer with no SAE; a probe is read where one is hooked in",
				 session->objective.text);
	probe->layer = session->sites[site].sae.layer;
	if (session->sites[site].sae.hook != HOOK_RESID_POST)
		return error_set(error, STATUS_INVALID, "probes are for resid_post; the SAE of layer %d is at %s",
				 probe->layer, hook_name(session->sites[site].sae.hook));
	char *names = path_join(session->model.folder, "probes.json");
	char *tensors = path_join(session->model.folder, "probes.safetensors");
	struct safetensors *file = NULL;
	int64_t class = 0;
	char name[64];
	enum status status = find_class(names, term->probe_class, &class, error);
	if (status == STATUS_OK)
		status = safetensors_open(&file, tensors, error);
	probe->weight = mem_alloc((size_t)session->model.arch.d, sizeof *probe->weight);
	if (status == STATUS_OK) {
		snprintf(name, sizeof name, "probe.%d.weight", probe->layer);
		status = read_row(file, name, class, session->model.arch.d, probe->weight, error);
	}
	if (status == STATUS_OK) {
		snprintf(name, sizeof name, "probe.%d.bias", probe->layer);
		status = read_row(file, name, class, 1, &probe->bias, error);
	}
	probe->name = mem_strdup(term->probe_class);
	safetensors_close(&file);
	free(names);
	free(tensors);
	if (status)
		probe_done(probe);
	return status;
}

void probe_done(struct probe *probe)
{
	free(probe->weight);
	free(probe->name);
	*probe = (struct probe){0};
}

/* Sum over positions [from, to) of h . w, in double. */
static double sum_scores(const float *h, const float *w, int64_t d, int64_t from, int64_t to)
{
	double sum = 0;
	for (int64_t p = from; p < to; p++)
		for (int64_t i = 0; i < d; i++)
			sum += (double)h[p * d + i] * (double)w[i];
	return sum;
}

enum status probe_value(const struct session *session, const struct scene *scene, double *J, struct error *error)
{
	struct probe probe;
	enum status status = probe_load(&probe, session, error);
	if (status)
		return status;
	int64_t first = probe_first_position(session);
	const float *h = scene->sites[probe_site(session)].h;
	double weight = session->objective.terms[0].weight;
	double sum = sum_scores(h, probe.weight, session->model.arch.d, first, scene->prompt);
	*J = weight * (sum / (double)(scene->prompt - first) + (double)probe.bias);
	probe_done(&probe);
	return STATUS_OK;
}

/* Reads: the score of each row, then one row that holds the constant part. */
enum status probe_readout_create(struct readout *readout, const struct session *session, int64_t rows,
				 struct error *error)
{
	*readout = (struct readout){.has_terms = true};
	struct objective_plan *plan = &readout->plan;
	size_t n = (size_t)rows + 1;
	plan->rows = rows + 1;
	plan->read_count = rows + 1;
	plan->reads = mem_alloc(n, sizeof *plan->reads);
	plan->coefficients = mem_alloc(n, sizeof *plan->coefficients);
	plan->op_terms = mem_alloc(1, sizeof *plan->op_terms);
	plan->term_count = 1;
	int64_t first = probe_first_position(session);
	int64_t begin = (int64_t)session->prompt.count - rows; /* the cone's first position: no answer here */
	double pooled = (double)((int64_t)session->prompt.count - first);
	for (size_t i = 0; i < n; i++) {
		plan->reads[i] = (struct op_read){OP_READ_LOGIT, (uint32_t)i, 0, 0};
		bool counts = i < (size_t)rows && begin + (int64_t)i >= first;
		plan->coefficients[i] = i == (size_t)rows ? 1.0f : counts ? (float)(1 / pooled) : 0.0f;
	}
	plan->op_terms[0] = (struct op_term){
		.kind = OP_TERM_LINEAR, .count = (uint32_t)n, .weight = (float)session->objective.terms[0].weight};
	readout->arena = arena_create(session->device, BUFFER_DEVICE, "the probe");
	arena_add(readout->arena, &readout->reads, DTYPE_U32, (int64_t)n, 4);
	arena_add(readout->arena, &readout->coefficients, DTYPE_F32, 1, (int64_t)n);
	arena_add(readout->arena, &readout->terms, DTYPE_U32, 1, 8);
	arena_add(readout->arena, &readout->J, DTYPE_F32, 1, 1);
	arena_add(readout->arena, &readout->values, DTYPE_F32, 1, (int64_t)n);
	arena_add(readout->arena, &readout->scratch, DTYPE_F32, (int64_t)n, 2);
	arena_add(readout->arena, &readout->dlogits_unused, DTYPE_F32, (int64_t)n, 1);
	enum status status = arena_allocate(readout->arena, error);
	if (status == STATUS_OK)
		status = tensor_write(readout->reads, plan->reads, error);
	if (status == STATUS_OK)
		status = tensor_write(readout->coefficients, plan->coefficients, error);
	if (status == STATUS_OK)
		status = tensor_write(readout->terms, plan->op_terms, error);
	if (status)
		readout_done(readout);
	return status;
}

enum status probe_write(struct cone *cone, struct error *error)
{
	const struct session *session = cone->session;
	struct probe probe;
	enum status status = probe_load(&probe, session, error);
	if (status)
		return status;
	int64_t first = probe_first_position(session), d = session->model.arch.d;
	const float *h = cone->scene->sites[probe_site(session)].h;
	double constant = sum_scores(h, probe.weight, d, first, cone->first) / (double)(cone->prompt - first);
	float *scores = mem_alloc((size_t)cone->rows + 1, sizeof *scores);
	scores[cone->rows] = (float)(constant + (double)probe.bias);
	status = tensor_write(cone->probe_scores, scores, error);
	if (status == STATUS_OK)
		status = tensor_write(cone->probe_w, probe.weight, error);
	free(scores);
	probe_done(&probe);
	return status;
}

void probe_record(struct cone *cone, struct recorder *rec)
{
	struct tensor last = cone->pass.points[cone->pass.config.last_point];
	struct readout *r = &cone->readout;
	op_linear(rec, tensor_rows(cone->probe_scores, 0, cone->rows), last, cone->probe_w, OP_OUT_IN, NULL);
	struct op_objective o = {.reads = r->reads, .coefficients = r->coefficients, .terms = r->terms};
	op_objective(rec, r->J, r->dlogits_unused, r->values, cone->probe_scores, r->scratch, &o);
}

void probe_record_back(struct cone *cone, struct recorder *rec)
{
	op_linear(rec, cone->probe_dlast, tensor_rows(cone->readout.dlogits_unused, 0, cone->rows), cone->probe_w,
		  OP_IN_OUT, NULL);
}
