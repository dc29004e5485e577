/* From a plan to arrays: reads, orients, folds in double, rounds once. */
#include "models/sae_reader.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* What the roles' arrays are called where they end up. */
struct arrays {
	float *of[ROLE_COUNT];
	double *norms; /* [F], of the decoder's rows as stored; NULL if not needed */
};

static enum status check_finite(const struct sae_reader *r, const char *name, const float *data, size_t count,
				size_t width, struct error *error)
{
	for (size_t i = 0; i < count; i++)
		if (!isfinite(data[i]))
			return error_set(
				error, STATUS_INVALID,
				"'%s': not finite: \"%s\" holds %g at row %zu, column %zu; a damaged or diverged SAE",
				r->spec->weights_path, name, (double)data[i], width > 1 ? i / width : i,
				width > 1 ? i % width : 0);
	return STATUS_OK;
}

/* Copies all elements of a view, some rows at a time: the pages of a mapped file come from
 * the disk as they are touched, which may take long. */
static enum status read_view(struct sae_reader *r, const char *name, const struct array_view *view, float *out,
			     struct error *error)
{
	enum { CHUNK_NUMBERS = 4 << 20 };
	int64_t rows = view->rank > 0 ? view->shape[0] : 1;
	int64_t width = rows > 0 ? (int64_t)array_view_count(view) / rows : 0;
	int64_t step = width > 0 && width < CHUNK_NUMBERS ? CHUNK_NUMBERS / width : 1;
	for (int64_t first = 0; first < rows; first += step) {
		int64_t n = rows - first < step ? rows - first : step;
		struct array_view part = view->rank > 0 ? array_view_rows(view, first, n) : *view;
		array_view_read_float(&part, out + first * width);
		r->read += (uint64_t)(n * width) * sizeof *out;
		uint64_t done = r->read < r->to_read ? r->read : r->to_read;
		if (!progress_report(r->progress, "reading the SAE", done, r->to_read))
			return error_set(error, STATUS_CANCELLED, "reading '%s' was stopped", r->spec->weights_path);
	}
	return check_finite(r, name, out, array_view_count(view), view->rank == 2 ? (size_t)view->shape[1] : 1, error);
}

/* The array of a role in canonical orientation, as float32; NULL if the plan has none. */
static enum status read_role(struct sae_reader *r, enum sae_role role, float **out, struct error *error)
{
	*out = NULL;
	const struct container_entry *entry = r->plan.tensor[role];
	if (!entry)
		return STATUS_OK;
	struct array_view view;
	enum status status = container_load(r->container, entry, &view, error);
	if (status)
		return status;
	if (r->plan.transposed[role])
		view = array_view_transposed(&view);
	size_t count = array_view_count(&view);
	*out = malloc(count * sizeof **out);
	if (!*out)
		return error_set(error, STATUS_FAILED, "no memory for tensor \"%s\" of '%s' (%zu bytes)", entry->name,
				 r->spec->weights_path, count * sizeof **out);
	return read_view(r, entry->name, &view, *out, error);
}

static void scale_array(float *data, size_t count, double scale)
{
	if (data && scale != 1)
		for (size_t i = 0; i < count; i++)
			data[i] = (float)(data[i] * scale);
}

/* Row i times scale * by[i]. */
static void scale_rows(float *data, int64_t rows, int64_t cols, double scale, const double *by)
{
	for (int64_t i = 0; i < rows; i++)
		scale_array(data + i * cols, (size_t)cols, scale * by[i]);
}

/* Rounds towards minus infinity: for any float32 h, h > result just if h > value. */
static float round_down(double value)
{
	float f = (float)value;
	return f > value ? nextafterf(f, -INFINITY) : f;
}

static double *row_norms(const float *data, int64_t rows, int64_t cols)
{
	double *norms = mem_alloc((size_t)rows, sizeof *norms);
	for (int64_t i = 0; i < rows; i++) {
		double sum = 0;
		for (int64_t j = 0; j < cols; j++)
			sum += (double)data[i * cols + j] * data[i * cols + j];
		norms[i] = sqrt(sum);
	}
	return norms;
}

static enum status make_thresholds(struct sae_reader *r, struct arrays *a, struct error *error)
{
	const struct sae_plan *plan = &r->plan;
	struct sae_spec *s = r->spec;
	if (s->act != SAE_JUMPRELU)
		return STATUS_OK;
	const float *stored = a->of[ROLE_THRESHOLD];
	s->threshold = mem_alloc((size_t)s->F, sizeof *s->threshold);
	for (int64_t i = 0; i < s->F; i++) {
		double value = plan->one_threshold ? plan->threshold : stored[i];
		if (plan->log_threshold)
			value = exp(value);
		value *= plan->scale[ROLE_THRESHOLD];
		if (plan->norms == NORMS_TO_GATE) {
			value /= a->norms[i];
			/* A latent without a direction can never pass. */
			s->threshold[i] = value < FLT_MAX ? round_down(value) : FLT_MAX;
		} else {
			s->threshold[i] = (float)value;
		}
	}
	return check_finite(r, "threshold", s->threshold, (size_t)s->F, 1, error);
}

static enum status fold_decode_scale(struct sae_reader *r, struct arrays *a, struct error *error)
{
	const float *factor = a->of[ROLE_DECODE_SCALE];
	struct sae_spec *s = r->spec;
	if (!factor)
		return STATUS_OK;
	for (int64_t i = 0; i < s->F; i++) {
		if (r->plan.decode_scale_is_ones && factor[i] != 1)
			return error_set(error, STATUS_INVALID,
					 "'%s': bad config: it holds factors (\"%s\", %g for latent %lld) that "
					 "finetuning_scaling_factor should announce, but the configuration doesn't",
					 s->weights_path, r->plan.tensor[ROLE_DECODE_SCALE]->name, (double)factor[i],
					 (long long)i);
		scale_array(s->W_dec + i * s->d_out, (size_t)s->d_out, factor[i]);
	}
	return STATUS_OK;
}

static void fold_norms_to_encoder(struct sae_reader *r, struct arrays *a)
{
	struct sae_spec *s = r->spec;
	double *n = a->norms, *inverse = mem_alloc((size_t)s->F, sizeof *inverse);
	for (int64_t i = 0; i < s->F; i++) {
		inverse[i] = n[i] > 0 ? 1 / n[i] : 0;
		n[i] *= r->plan.scale[ROLE_W_DEC];
	}
	scale_rows(s->W_dec, s->F, s->d_out, 1, inverse); /* the decoder's own scale cancels */
	scale_rows(s->W_enc, s->F, s->d_in, r->plan.scale[ROLE_W_ENC], n);
	scale_rows(s->b_enc, s->F, 1, r->plan.scale[ROLE_B_ENC], n);
	free(inverse);
}

static enum status fold(struct sae_reader *r, struct arrays *a, struct error *error)
{
	struct sae_spec *s = r->spec;
	const double *scale = r->plan.scale;
	size_t F = (size_t)s->F, d_in = (size_t)s->d_in, d_out = (size_t)s->d_out;
	if (r->plan.norms == NORMS_TO_ENCODER) {
		fold_norms_to_encoder(r, a);
	} else {
		scale_array(s->W_enc, F * d_in, scale[ROLE_W_ENC]);
		scale_array(s->b_enc, F, scale[ROLE_B_ENC]);
		scale_array(s->W_dec, F * d_out, scale[ROLE_W_DEC]);
	}
	scale_array(s->b_dec, d_out, scale[ROLE_B_DEC]);
	for (size_t i = 0; s->mag_scale && i < F; i++)
		s->mag_scale[i] = (float)exp((double)s->mag_scale[i]);
	enum status status = fold_decode_scale(r, a, error);
	if (status == STATUS_OK)
		status = make_thresholds(r, a, error);
	/* Scales could overflow what was finite in the file. */
	if (status == STATUS_OK && s->mag_scale)
		status = check_finite(r, "exp(r_mag)", s->mag_scale, F, 1, error);
	if (status == STATUS_OK)
		status = check_finite(r, "W_enc, scaled,", s->W_enc, F * d_in, d_in, error);
	if (status == STATUS_OK && s->b_enc)
		status = check_finite(r, "b_enc, scaled,", s->b_enc, F, 1, error);
	if (status == STATUS_OK)
		status = check_finite(r, "W_dec, scaled,", s->W_dec, F * d_out, d_out, error);
	if (status == STATUS_OK)
		status = check_finite(r, "b_dec, scaled,", s->b_dec, d_out, 1, error);
	return status;
}

enum status sae_plan_load(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	struct arrays a = {0};
	enum status status = STATUS_OK;
	for (int role = 0; role < ROLE_COUNT && status == STATUS_OK; role++)
		status = read_role(r, (enum sae_role)role, &a.of[role], error);
	s->W_enc = a.of[ROLE_W_ENC];
	s->W_dec = a.of[ROLE_W_DEC];
	s->b_enc = a.of[ROLE_B_ENC];
	s->b_dec = a.of[ROLE_B_DEC];
	s->b_gate = a.of[ROLE_B_GATE];
	s->b_mag = a.of[ROLE_B_MAG];
	s->mag_scale = a.of[ROLE_R_MAG];
	s->W_skip = a.of[ROLE_W_SKIP];
	if (status == STATUS_OK) {
		if (!s->b_dec)
			s->b_dec = mem_alloc((size_t)s->d_out, sizeof *s->b_dec);
		if (r->plan.norms != NORMS_KEEP)
			a.norms = row_norms(s->W_dec, s->F, s->d_out);
		status = fold(r, &a, error);
	}
	free(a.of[ROLE_THRESHOLD]);
	free(a.of[ROLE_DECODE_SCALE]);
	free(a.norms);
	if (status)
		sae_file_unload(s);
	else
		s->loaded_bytes = sae_file_load_bytes(s);
	return status;
}
