/* Commands that concern SAEs: encode, features, attribute. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "models/sae_file.h"
#include "models/sae_reference.h"
#include "sessions/attribute.h"
#include "sessions/labels.h"
#include "tui/cli.h"

/* ---- encode: an SAE alone, on given rows ---- */

/* The rows of an input file as doubles: [T, width]. */
static enum status read_rows(const char *path, const char *option, int64_t width, int64_t rows, double **out,
			     int64_t *T, struct error *error)
{
	struct array_view view;
	size_t count;
	enum status status = npy_read_double(path, out, &count, &view, error);
	if (status)
		return status;
	/* [T, heads, head width] counts as [T, d]. */
	int64_t n = view.rank > 0 ? view.shape[0] : 0;
	if (n < 1 || count != (size_t)n * (size_t)width)
		return error_set(error, STATUS_INVALID, "--%s '%s' does not hold rows of %lld numbers", option, path,
				 (long long)width);
	if (rows > 0 && n != rows)
		return error_set(error, STATUS_INVALID, "--%s '%s' has %lld rows; --input has %lld", option, path,
				 (long long)n, (long long)rows);
	for (size_t i = 0; i < count; i++)
		if (!isfinite((*out)[i]))
			return error_set(error, STATUS_INVALID, "--%s '%s' holds a number that is not finite", option,
					 path);
	*T = n;
	return STATUS_OK;
}

static enum status write_rows(const char *folder, const char *name, const double *values, int64_t rows, int64_t cols,
			      struct error *error)
{
	char *path = path_join(folder, name);
	float *floats = mem_alloc((size_t)(rows * cols), sizeof *floats);
	int64_t shape[] = {rows, cols};
	for (int64_t i = 0; i < rows * cols; i++)
		floats[i] = (float)values[i];
	enum status status = npy_write_float(path, floats, 2, shape, error);
	free(floats);
	free(path);
	return status;
}

/* Clamps of encode name features only: "F[,F...]=MODE". */
struct encode_clamp {
	int64_t *features;
	int64_t count;
	enum op_clamp_mode mode;
	float value;
};

static enum status parse_clamp(struct encode_clamp *clamp, const char *text, int64_t F, struct error *error)
{
	*clamp = (struct encode_clamp){0};
	const char *equals = strchr(text, '=');
	if (!equals)
		return error_set(error, STATUS_INVALID, "the clamp '%s' is not of the form F[,F...]=MODE", text);
	enum status status = clamp_mode_parse(equals + 1, &clamp->mode, &clamp->value, error);
	if (status)
		return status;
	size_t capacity = 0;
	for (const char *at = text; at <= equals;) {
		size_t n = strcspn(at, ",=");
		char *part = mem_strndup(at, n);
		int64_t feature;
		bool good = text_int(part, &feature) && feature >= 0 && feature < F;
		free(part);
		if (!good)
			return error_set(error, STATUS_INVALID,
					 "the clamp '%s' names '%.*s'; the SAE has features 0 to %lld", text, (int)n,
					 at, (long long)F - 1);
		mem_reserve((void **)&clamp->features, &capacity, (size_t)clamp->count + 1, sizeof *clamp->features);
		clamp->features[clamp->count++] = feature;
		at += n + 1;
	}
	return STATUS_OK;
}

struct encode_job {
	struct sae_spec spec;
	int64_t T;
	double *x, *z, *y, *defended, *grad, *dx;
	double alpha;
};

static enum status encode_error(double *alpha, const char *text, struct error *error)
{
	*alpha = 1;
	if (!text || strcmp(text, "keep") == 0)
		return STATUS_OK;
	*alpha = 0;
	if (strcmp(text, "drop") == 0 || text_double(text, alpha))
		return STATUS_OK;
	return error_set(error, STATUS_INVALID, "--error is '%s'; expected keep, drop or a number", text);
}

/* The defended rows: all clamps together, each feature once. */
static enum status encode_defended(struct encode_job *job, const struct options *o, struct error *error)
{
	const struct sae_spec *spec = &job->spec;
	int64_t T = job->T, F = spec->F;
	double *clamped = mem_copy(job->z, (size_t)(T * F) * sizeof *clamped);
	double *again = mem_alloc((size_t)(T * spec->d_out), sizeof *again);
	enum status status = STATUS_OK;
	for (int i = 0; i < o->clamps.count && status == STATUS_OK; i++) {
		struct encode_clamp clamp;
		status = parse_clamp(&clamp, o->clamps.items[i], F, error);
		for (int64_t t = 0; t < T && status == STATUS_OK; t++)
			for (int64_t k = 0; k < clamp.count; k++) {
				double *z = &clamped[t * F + clamp.features[k]];
				*z = sae_reference_clamp_value(clamp.mode, (double)clamp.value, *z);
			}
		free(clamp.features);
	}
	if (status == STATUS_OK) {
		/* D(clamp z) + alpha (x - D(z)) */
		sae_reference_decode(spec, T, job->x, clamped, again);
		for (int64_t i = 0; i < T * spec->d_out; i++)
			job->defended[i] = again[i] + job->alpha * (job->x[i] - job->y[i]);
	}
	free(again);
	free(clamped);
	return status;
}

static enum status encode_gradients(struct encode_job *job, const struct options *o, struct error *error)
{
	const struct sae_spec *spec = &job->spec;
	enum status status = STATUS_OK;
	int64_t T;
	job->dx = mem_alloc((size_t)(job->T * spec->d_in), sizeof *job->dx);
	if (o->grad_recon) {
		status = read_rows(o->grad_recon, "grad-recon", spec->d_out, job->T, &job->grad, &T, error);
		if (status == STATUS_OK) {
			sae_reference_recon_back(spec, job->T, job->x, job->grad, job->dx);
			status = write_rows(o->out, "grad_from_recon.npy", job->dx, job->T, spec->d_in, error);
		}
		free(job->grad);
		job->grad = NULL;
	}
	if (status == STATUS_OK && o->grad_features) {
		status = read_rows(o->grad_features, "grad-features", spec->F, job->T, &job->grad, &T, error);
		if (status == STATUS_OK) {
			sae_reference_encode_back(spec, job->T, job->x, job->grad, job->dx);
			status = write_rows(o->out, "grad_from_features.npy", job->dx, job->T, spec->d_in, error);
		}
	}
	return status;
}

static enum status encode_run(struct encode_job *job, const struct options *o, struct error *error)
{
	struct sae_spec *spec = &job->spec;
	enum status status = sae_file_load(spec, error);
	if (status == STATUS_OK)
		status = read_rows(o->input, "input", spec->d_in, 0, &job->x, &job->T, error);
	if (status == STATUS_OK)
		status = encode_error(&job->alpha, o->error, error);
	if (status == STATUS_OK && o->clamps.count > 0 && spec->transcoder)
		status = error_set(
			error, STATUS_INVALID,
			"'%s' is a transcoder: it reads one place and writes another, so its input can't be clamped",
			spec->path);
	if (status == STATUS_OK)
		status = file_make_folder(o->out, error);
	if (status)
		return status;
	job->z = mem_alloc((size_t)(job->T * spec->F), sizeof *job->z);
	job->y = mem_alloc((size_t)(job->T * spec->d_out), sizeof *job->y);
	job->defended = mem_alloc((size_t)(job->T * spec->d_out), sizeof *job->defended);
	sae_reference_encode(spec, job->T, job->x, job->z, NULL);
	sae_reference_decode(spec, job->T, job->x, job->z, job->y);
	status = write_rows(o->out, "features.npy", job->z, job->T, spec->F, error);
	if (status == STATUS_OK)
		status = write_rows(o->out, "recon.npy", job->y, job->T, spec->d_out, error);
	if (status == STATUS_OK && !spec->transcoder) {
		status = encode_defended(job, o, error);
		if (status == STATUS_OK)
			status = write_rows(o->out, "defended.npy", job->defended, job->T, spec->d_out, error);
	}
	if (status == STATUS_OK)
		status = encode_gradients(job, o, error);
	return status;
}

/* An SAE alone is computed on the host in double precision: every format that can be read
 * works here, also those that need more than the kernels have. */
enum status cli_encode(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	if (o->saes.count != 1 || !o->input || !o->out)
		return error_set(error, STATUS_INVALID, "encode needs one --sae, --input and --out");
	struct encode_job job = {0};
	enum status status = sae_file_open(&job.spec, o->saes.items[0], NULL, error);
	if (status)
		return status;
	status = encode_run(&job, o, error);
	if (status == STATUS_OK && o->json) {
		cJSON *json = cJSON_CreateObject();
		cJSON_AddNumberToObject(json, "rows", (double)job.T);
		cJSON_AddNumberToObject(json, "features", (double)job.spec.F);
		cJSON_AddStringToObject(json, "out", o->out);
		status = cli_print_json(json, error);
	} else if (status == STATUS_OK) {
		printf("%lld rows encoded by %lld %s features into %s\n", (long long)job.T, (long long)job.spec.F,
		       sae_act_name(job.spec.act), o->out);
	}
	free(job.x);
	free(job.z);
	free(job.y);
	free(job.defended);
	free(job.grad);
	free(job.dx);
	sae_spec_done(&job.spec);
	return status;
}

/* ---- features ---- */

struct ranked {
	uint32_t feature;
	float activation;
};

static int by_activation(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->activation != y->activation)
		return x->activation > y->activation ? -1 : 1;
	return (x->feature > y->feature) - (x->feature < y->feature);
}

static cJSON *position_json(const struct session *session, const struct site *site, int64_t position, const float *z,
			    int64_t k, bool print)
{
	int64_t F = site->sae.features, n = 0;
	struct ranked *all = mem_alloc((size_t)F, sizeof *all);
	for (int64_t f = 0; f < F; f++)
		if (z[f] != 0)
			all[n++] = (struct ranked){(uint32_t)f, z[f]};
	qsort(all, (size_t)n, sizeof *all, by_activation);
	char *token = cli_piece(session, session->prompt.ids[position]);
	cJSON *json = cJSON_CreateObject(), *features = cJSON_CreateArray();
	cJSON_AddNumberToObject(json, "position", (double)position);
	cJSON_AddStringToObject(json, "token", token);
	cJSON_AddItemToObject(json, "features", features);
	if (print)
		printf("position %lld  %s  (%lld active)\n", (long long)position, token, (long long)n);
	for (int64_t i = 0; i < n && i < k; i++) {
		const char *label = labels_get(site->labels, all[i].feature);
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "feature", all[i].feature);
		cJSON_AddNumberToObject(item, "activation", (double)all[i].activation);
		cJSON_AddStringToObject(item, "label", label);
		cJSON_AddItemToArray(features, item);
		if (print)
			printf("  %7u  %10.4f  %s\n", all[i].feature, (double)all[i].activation, label);
	}
	free(token);
	free(all);
	return json;
}

/* Which site a command means: the only one, or that of --layer. */
static enum status choose_site(const struct session *session, const struct options *o, int *site, struct error *error)
{
	int64_t layer;
	if (session->site_count == 0)
		return error_set(error, STATUS_INVALID, "%s needs an SAE; give one with --sae", o->command);
	enum status status = options_int(o->layer, "layer", 0, ARCH_MAX_LAYERS - 1,
					 session->sites[session->site_count - 1].sae.layer, &layer, error);
	if (status)
		return status;
	*site = session_site_of_layer(session, (int)layer);
	if (*site < 0)
		return error_set(error, STATUS_INVALID, "layer %lld has no SAE", (long long)layer);
	return STATUS_OK;
}

enum status cli_features(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct opened opened;
	int64_t k, position = -1;
	enum status status = options_int(o->top, "top", 1, INT32_MAX, 20, &k, error);
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_INPUT | NEED_SAES, error);
	if (status)
		return status;
	struct session *session = opened.session;
	int64_t T = (int64_t)session->prompt.count;
	const char *which = o->position ? o->position : "last";
	bool all = strcmp(which, "all") == 0;
	struct scene scene = {0};
	struct scene_fit fit;
	int site = 0;
	status = choose_site(session, o, &site, error);
	if (status == STATUS_OK && !all && strcmp(which, "last") != 0)
		status = options_int(which, "position", 0, T - 1, 0, &position, error);
	if (position < 0)
		position = T - 1;
	if (status == STATUS_OK)
		status = scene_run(&scene, session, session_has_clamps(session), error);
	if (status == STATUS_OK)
		status = scene_fit(&scene, site, &fit, error);
	const struct site *s = &session->sites[site];
	cJSON *json = cJSON_CreateObject(), *positions = cJSON_CreateArray();
	float *z = status == STATUS_OK ? mem_alloc((size_t)s->sae.features, sizeof *z) : NULL;
	int64_t F = status == STATUS_OK ? s->sae.features : 0;
	float *rows = status == STATUS_OK && o->npy ? mem_alloc((size_t)(T * F), sizeof *rows) : NULL;
	if (status == STATUS_OK) {
		cJSON_AddNumberToObject(json, "layer", s->sae.layer);
		cJSON_AddStringToObject(json, "hook", hook_name(s->sae.hook));
		cJSON_AddNumberToObject(json, "fvu", fit.fvu);
		cJSON_AddNumberToObject(json, "l0", fit.l0);
		if (!o->json)
			printf("layer %d %s: fvu %.4f, L0 %.1f\n", s->sae.layer, hook_name(s->sae.hook), fit.fvu,
			       fit.l0);
	}
	cJSON_AddItemToObject(json, "positions", positions);
	int64_t written = 0;
	for (int64_t p = all ? 0 : position; p < (all ? T : position + 1) && status == STATUS_OK; p++) {
		status = scene_features(&scene, site, p, z, error);
		if (status == STATUS_OK)
			cJSON_AddItemToArray(positions, position_json(session, s, p, z, k, !o->json));
		if (status == STATUS_OK && rows)
			memcpy(rows + F * written++, z, (size_t)F * sizeof *z);
	}
	if (status == STATUS_OK && rows) {
		int64_t shape[] = {written, F};
		status = npy_write_float(o->npy, rows, 2, shape, error);
	}
	if (status == STATUS_OK && o->json)
		status = cli_print_json(json, error);
	else
		cJSON_Delete(json);
	free(rows);
	free(z);
	scene_done(&scene);
	options_close(&opened);
	return status;
}

/* ---- attribute ---- */

static int by_attribution(const void *a, const void *b)
{
	const struct attribution *x = a, *y = b;
	if (x->attribution != y->attribution)
		return x->attribution > y->attribution ? -1 : 1;
	return (x->layer > y->layer) - (x->layer < y->layer);
}

/* All sites' rankings in one list, or that of --layer. */
static enum status rank_sites(struct session *session, struct scene *base, int only, struct attribution **out,
			      int64_t *count, struct error *error)
{
	enum status status = STATUS_OK;
	*out = NULL;
	*count = 0;
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++) {
		struct attribution *part;
		int64_t n;
		if (only >= 0 && i != only)
			continue;
		status = attribute_rank(&part, &n, session, base, i, error);
		if (status)
			break;
		*out = mem_resize(*out, (size_t)(*count + n), sizeof **out);
		memcpy(*out + *count, part, (size_t)n * sizeof *part);
		*count += n;
		free(part);
	}
	if (status == STATUS_OK && *count > 0)
		qsort(*out, (size_t)*count, sizeof **out, by_attribution);
	return status;
}

enum status cli_attribute(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct opened opened;
	int64_t k;
	enum status status = options_int(o->top, "top", 1, INT32_MAX, 20, &k, error);
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_INPUT | NEED_SAES, error);
	if (status)
		return status;
	struct session *session = opened.session;
	struct scene base = {0};
	struct attribution *items = NULL;
	int64_t count = 0;
	int only = -1;
	if (!session->has_objective)
		status = error_set(error, STATUS_INVALID, "attribution needs an objective; give --objective");
	if (status == STATUS_OK && (o->layer || session->site_count == 0))
		status = choose_site(session, o, &only, error);
	if (status == STATUS_OK)
		status = scene_run(&base, session, false, error);
	if (status == STATUS_OK)
		status = rank_sites(session, &base, only, &items, &count, error);
	cJSON *json = cJSON_CreateObject(), *features = cJSON_AddArrayToObject(json, "features");
	for (int64_t i = 0; i < count && i < k && status == STATUS_OK; i++) {
		const struct site *site = &session->sites[session_site_of_layer(session, items[i].layer)];
		const char *label = labels_get(site->labels, items[i].feature);
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "layer", items[i].layer);
		cJSON_AddNumberToObject(item, "feature", items[i].feature);
		cJSON_AddNumberToObject(item, "attribution", items[i].attribution);
		cJSON_AddNumberToObject(item, "activation", items[i].activation);
		cJSON_AddNumberToObject(item, "gradient", items[i].gradient);
		cJSON_AddStringToObject(item, "label", label);
		cJSON_AddItemToArray(features, item);
		if (!o->json)
			printf("%2d:%-7u attribution %+9.4f  activation %9.4f  gradient %+9.4f  %s\n", items[i].layer,
			       items[i].feature, items[i].attribution, items[i].activation, items[i].gradient, label);
	}
	if (status == STATUS_OK && o->json)
		status = cli_print_json(json, error);
	else
		cJSON_Delete(json);
	free(items);
	scene_done(&base);
	options_close(&opened);
	return status;
}
