/* rebound encode: an SAE alone, on given rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "models/sae_reference.h"
#include "sessions/encode.h"
#include "tui/cli.h"

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

/* The SAE and its rows, in doubles; computed on the device, or on the host what does not
 * run there. */
struct encode_job {
	struct sae_spec spec;
	struct device *device; /* NULL: the host */
	struct sae sae;
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

static float *to_floats(const double *x, int64_t n)
{
	float *out = mem_alloc((size_t)n, sizeof *out);
	for (int64_t i = 0; i < n; i++)
		out[i] = (float)x[i];
	return out;
}

static void to_doubles(double *out, const float *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = (double)x[i];
}

/* Transcoders have no kernels; a machine without a device still encodes, unless one was
 * asked for. */
static enum status choose_device(struct encode_job *job, const struct options *o, struct error *error)
{
	struct error why;
	struct device_options options = {.selector = o->device, .validation = getenv("REBOUND_VALIDATION") != NULL};
	if (sae_check(&job->spec, &why) != STATUS_OK)
		return STATUS_OK;
	enum status status = device_create(&job->device, &options, &why);
	if (status != STATUS_OK && o->device)
		return error_set(error, status, "%s", why.text);
	if (status != STATUS_OK) {
		job->device = NULL;
		fprintf(stderr, "computed on the host: %s\n", why.text);
		return STATUS_OK;
	}
	return sae_create(&job->sae, job->device, &job->spec, (int)job->spec.layer, HOOK_RESID_PRE, error);
}

static enum status encode_forward(struct encode_job *job, struct error *error)
{
	const struct sae_spec *spec = &job->spec;
	if (!job->device) {
		sae_reference_encode(spec, job->T, job->x, job->z, NULL);
		sae_reference_decode(spec, job->T, job->x, job->z, job->y);
		return STATUS_OK;
	}
	float *x = to_floats(job->x, job->T * spec->d_in);
	float *z = mem_alloc((size_t)(job->T * spec->F), sizeof *z);
	float *y = mem_alloc((size_t)(job->T * spec->d_out), sizeof *y);
	enum status status = encode_rows(&job->sae, x, job->T, z, y, error);
	to_doubles(job->z, z, job->T * spec->F);
	to_doubles(job->y, y, job->T * spec->d_out);
	free(x);
	free(z);
	free(y);
	return status;
}

/* All rules of --clamp; a new array. */
static enum status list_rules(struct clamp_rule **out, int64_t *count, const struct encode_job *job,
			      const struct options *o, struct error *error)
{
	size_t capacity = 0;
	enum status status = STATUS_OK;
	*out = NULL;
	*count = 0;
	for (int i = 0; i < o->clamps.count && status == STATUS_OK; i++) {
		struct encode_clamp clamp;
		status = parse_clamp(&clamp, o->clamps.items[i], job->spec.F, error);
		for (int64_t k = 0; k < clamp.count && status == STATUS_OK; k++) {
			mem_reserve((void **)out, &capacity, (size_t)*count + 1, sizeof **out);
			(*out)[(*count)++] = (struct clamp_rule){(uint32_t)clamp.features[k], clamp.mode, clamp.value};
		}
		free(clamp.features);
	}
	return status;
}

/* The defended rows without a clamp: alpha of the error. */
static void encode_unclamped(struct encode_job *job)
{
	for (int64_t i = 0; i < job->T * job->spec.d_out; i++)
		job->defended[i] = job->y[i] + job->alpha * (job->x[i] - job->y[i]);
}

static void encode_clamped_on_host(struct encode_job *job, const struct clamp_rule *rules, int64_t count)
{
	const struct sae_spec *spec = &job->spec;
	double *z = mem_copy(job->z, (size_t)(job->T * spec->F) * sizeof *z);
	for (int64_t t = 0; t < job->T; t++)
		for (int64_t k = 0; k < count; k++) {
			double *at = &z[t * spec->F + rules[k].feature];
			*at = sae_reference_clamp_value(rules[k].mode, (double)rules[k].value, *at);
		}
	/* D(clamp z) + alpha (x - D(z)) */
	sae_reference_decode(spec, job->T, job->x, z, job->defended);
	for (int64_t i = 0; i < job->T * spec->d_out; i++)
		job->defended[i] += job->alpha * (job->x[i] - job->y[i]);
	free(z);
}

static enum status encode_clamped(struct encode_job *job, const struct clamp_rule *rules, int64_t count,
				  struct error *error)
{
	int64_t numbers = job->T * job->spec.d_out;
	enum status status = sae_check_clampable(&job->spec, error);
	if (status)
		return status;
	if (!job->device) {
		encode_clamped_on_host(job, rules, count);
		return STATUS_OK;
	}
	float *x = to_floats(job->x, numbers), *out = mem_alloc((size_t)numbers, sizeof *out);
	status = encode_clamped_rows(&job->sae, rules, count, job->alpha, x, job->T, out, error);
	to_doubles(job->defended, out, numbers);
	free(x);
	free(out);
	return status;
}

static enum status encode_defended(struct encode_job *job, const struct options *o, struct error *error)
{
	struct clamp_rule *rules;
	int64_t count;
	enum status status = list_rules(&rules, &count, job, o, error);
	if (status == STATUS_OK && count > 0)
		status = encode_clamped(job, rules, count, error);
	else if (status == STATUS_OK)
		encode_unclamped(job);
	free(rules);
	if (status == STATUS_OK)
		status = write_rows(o->out, "defended.npy", job->defended, job->T, job->spec.d_out, error);
	return status;
}

/* dx from job->grad, the gradient by the reconstruction or by the features. */
static enum status encode_back(struct encode_job *job, bool recon, struct error *error)
{
	const struct sae_spec *spec = &job->spec;
	if (!job->device) {
		if (recon)
			sae_reference_recon_back(spec, job->T, job->x, job->grad, job->dx);
		else
			sae_reference_encode_back(spec, job->T, job->x, job->grad, job->dx);
		return STATUS_OK;
	}
	int64_t numbers = job->T * spec->d_in;
	float *x = to_floats(job->x, numbers), *dx = mem_alloc((size_t)numbers, sizeof *dx);
	float *up = to_floats(job->grad, job->T * (recon ? spec->d_out : spec->F));
	enum status status = encode_rows_back(&job->sae, x, job->T, recon ? NULL : up, recon ? up : NULL, dx, error);
	to_doubles(job->dx, dx, numbers);
	free(x);
	free(dx);
	free(up);
	return status;
}

static enum status encode_gradient(struct encode_job *job, const char *path, bool recon, const char *folder,
				   struct error *error)
{
	const struct sae_spec *spec = &job->spec;
	int64_t T;
	if (!path)
		return STATUS_OK;
	enum status status = read_rows(path, recon ? "grad-recon" : "grad-features", recon ? spec->d_out : spec->F,
				       job->T, &job->grad, &T, error);
	if (status == STATUS_OK)
		status = encode_back(job, recon, error);
	if (status == STATUS_OK)
		status = write_rows(folder, recon ? "grad_from_recon.npy" : "grad_from_features.npy", job->dx, job->T,
				    spec->d_in, error);
	free(job->grad);
	job->grad = NULL;
	return status;
}

static enum status encode_run(struct encode_job *job, const struct options *o, struct error *error)
{
	struct sae_spec *spec = &job->spec;
	enum status status = sae_file_load(spec, NULL, error);
	if (status == STATUS_OK)
		status = read_rows(o->input, "input", spec->d_in, 0, &job->x, &job->T, error);
	if (status == STATUS_OK)
		status = encode_error(&job->alpha, o->error, error);
	if (status == STATUS_OK && o->clamps.count > 0)
		status = sae_check_clampable(spec, error);
	if (status == STATUS_OK)
		status = choose_device(job, o, error);
	if (status == STATUS_OK)
		status = file_make_folder(o->out, error);
	if (status)
		return status;
	job->z = mem_alloc((size_t)(job->T * spec->F), sizeof *job->z);
	job->y = mem_alloc((size_t)(job->T * spec->d_out), sizeof *job->y);
	job->defended = mem_alloc((size_t)(job->T * spec->d_out), sizeof *job->defended);
	job->dx = mem_alloc((size_t)(job->T * spec->d_in), sizeof *job->dx);
	status = encode_forward(job, error);
	if (status == STATUS_OK)
		status = write_rows(o->out, "features.npy", job->z, job->T, spec->F, error);
	if (status == STATUS_OK)
		status = write_rows(o->out, "recon.npy", job->y, job->T, spec->d_out, error);
	if (status == STATUS_OK && !spec->transcoder)
		status = encode_defended(job, o, error);
	if (status == STATUS_OK)
		status = encode_gradient(job, o->grad_recon, true, o->out, error);
	if (status == STATUS_OK)
		status = encode_gradient(job, o->grad_features, false, o->out, error);
	return status;
}

static void job_done(struct encode_job *job)
{
	sae_done(&job->sae);
	device_destroy(&job->device);
	free(job->x);
	free(job->z);
	free(job->y);
	free(job->defended);
	free(job->grad);
	free(job->dx);
	sae_spec_done(&job->spec);
}

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
	job_done(&job);
	return status;
}
