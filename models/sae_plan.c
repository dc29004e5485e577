#include "models/sae_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

enum { SIZE_LIMIT = 1 << 28 }; /* of d_in, d_out and F: so that products of two fit everywhere */

enum status sae_plan_take(struct sae_reader *r, enum sae_role role, const char *name, bool transposed, bool optional,
			  struct error *error)
{
	const struct container_entry *entry = container_find(r->container, name);
	if (entry && !entry->is_tensor)
		return error_set(error, STATUS_INVALID, "'%s': \"%s\" is not a tensor", r->spec->weights_path, name);
	if (!entry && !optional)
		return error_set(error, STATUS_INVALID, "'%s': missing tensor: there is no \"%s\", which %s%s%s needs",
				 r->spec->weights_path, name, sae_format_name(r->spec->format),
				 r->spec->architecture ? " " : "", r->spec->architecture ? r->spec->architecture : "");
	r->plan.tensor[role] = entry;
	r->plan.transposed[role] = transposed;
	return STATUS_OK;
}

/* The tensor of a role must be of that shape (as stored: a matrix may be transposed). */
static enum status check_shape(const struct sae_reader *r, enum sae_role role, int rank, int64_t rows, int64_t cols,
			       struct error *error)
{
	const struct container_entry *entry = r->plan.tensor[role];
	if (!entry)
		return STATUS_OK;
	const struct array_view *shape = &entry->shape;
	if (!st_dtype_is_weight(shape->dtype))
		return error_set(error, STATUS_INVALID,
				 "'%s': unsupported dtype %s of tensor \"%s\"; weights are F32, F16, BF16 or F64",
				 r->spec->weights_path, st_dtype_name(shape->dtype), entry->name);
	int64_t expected[2] = {rows, cols};
	if (rank == 2 && r->plan.transposed[role]) {
		expected[0] = cols;
		expected[1] = rows;
	}
	if (shape->rank == rank && shape->shape[0] == expected[0] && (rank == 1 || shape->shape[1] == expected[1]))
		return STATUS_OK;
	char found[200], wanted[200];
	return error_set(error, STATUS_INVALID, "'%s': shape mismatch: tensor \"%s\" is %s; %s was expected",
			 r->spec->weights_path, entry->name,
			 array_view_shape_text(found, sizeof found, shape->rank, shape->shape),
			 array_view_shape_text(wanted, sizeof wanted, rank, expected));
}

static enum status matrix_size(const struct sae_reader *r, enum sae_role role, int64_t *rows, int64_t *cols,
			       struct error *error)
{
	const struct container_entry *entry = r->plan.tensor[role];
	const struct array_view *shape = &entry->shape;
	char text[200];
	array_view_shape_text(text, sizeof text, shape->rank, shape->shape);
	if (shape->rank == 3)
		return error_set(
			error, STATUS_INVALID,
			"'%s': unsupported architecture: tensor \"%s\" is %s, as in cross-layer transcoders and "
			"crosscoders, which are not read",
			r->spec->weights_path, entry->name, text);
	if (shape->rank != 2)
		return error_set(error, STATUS_INVALID,
				 "'%s': shape mismatch: tensor \"%s\" is %s; a matrix was expected",
				 r->spec->weights_path, entry->name, text);
	bool t = r->plan.transposed[role];
	*rows = shape->shape[t ? 1 : 0];
	*cols = shape->shape[t ? 0 : 1];
	if (*rows < 1 || *cols < 1 || *rows > SIZE_LIMIT || *cols > SIZE_LIMIT)
		return error_set(error, STATUS_INVALID,
				 "'%s': shape mismatch: tensor \"%s\" is %s; sizes from 1 to %d are read",
				 r->spec->weights_path, entry->name, text, SIZE_LIMIT);
	return STATUS_OK;
}

enum status sae_plan_check(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	int64_t decoder_rows = 0;
	enum status status = matrix_size(r, ROLE_W_ENC, &s->F, &s->d_in, error);
	if (status == STATUS_OK)
		status = matrix_size(r, ROLE_W_DEC, &decoder_rows, &s->d_out, error);
	/* A decoder of the wrong orientation is told apart from a transcoder's by F. */
	if (status == STATUS_OK)
		status = check_shape(r, ROLE_W_ENC, 2, s->F, s->d_in, error);
	if (status == STATUS_OK)
		status = check_shape(r, ROLE_W_DEC, 2, s->F, s->transcoder ? s->d_out : s->d_in, error);
	if (status)
		return status;
	static const enum sae_role per_latent[] = {ROLE_B_ENC, ROLE_THRESHOLD, ROLE_B_GATE,
						   ROLE_B_MAG, ROLE_R_MAG,     ROLE_DECODE_SCALE};
	for (size_t i = 0; i < ARRAY_LEN(per_latent) && status == STATUS_OK; i++)
		status = check_shape(r, per_latent[i], 1, s->F, 0, error);
	if (status == STATUS_OK)
		status = check_shape(r, ROLE_B_DEC, 1, s->d_out, 0, error);
	if (status == STATUS_OK)
		status = check_shape(r, ROLE_W_SKIP, 2, s->d_in, s->d_out, error);
	s->has_skip = r->plan.tensor[ROLE_W_SKIP] != NULL;
	s->stored_dtype = r->plan.tensor[ROLE_W_ENC]->shape.dtype;
	return status;
}

enum status sae_config_expect(struct sae_reader *r, const char *key, int64_t found, struct error *error)
{
	const cJSON *member = r->config ? json_member(r->config, key) : NULL;
	if (!member)
		return STATUS_OK;
	double value = member->valuedouble;
	if (!cJSON_IsNumber(member) || !(value >= 1) || value != floor(value)) {
		char *text = cJSON_PrintUnformatted(member);
		enum status status =
			error_set(error, STATUS_INVALID, "%s: \"%s\" is %.60s; a whole number from 1 was expected",
				  r->config_what, key, text ? text : "unreadable");
		cJSON_free(text);
		return status;
	}
	if (value != (double)found)
		return error_set(error, STATUS_INVALID,
				 "'%s': shape mismatch: \"%s\" is %.0f, but the tensors of '%s' have %lld",
				 r->spec->config_path, key, value, r->spec->weights_path, (long long)found);
	return STATUS_OK;
}

enum status sae_check_k(struct sae_reader *r, double k, const char *source, struct error *error)
{
	if (k >= 1 && k <= (double)r->spec->F && k == floor(k))
		return STATUS_OK;
	return error_set(error, STATUS_INVALID,
			 "'%s': bad k: %g; a whole number from 1 to the %lld latents was expected", source, k,
			 (long long)r->spec->F);
}

enum status sae_read_scalar(struct sae_reader *r, const char *name, double *out, struct error *error)
{
	const struct container_entry *entry = container_find(r->container, name);
	if (!entry)
		return error_set(error, STATUS_INVALID, "'%s': missing tensor: there is no \"%s\"",
				 r->spec->weights_path, name);
	if (!entry->is_tensor) {
		*out = entry->number;
		return entry->text ? error_set(error, STATUS_INVALID, "'%s': \"%s\" is text; a number was expected",
					       r->spec->weights_path, name)
				   : STATUS_OK;
	}
	if (array_view_count(&entry->shape) != 1 || !st_dtype_is_number(entry->shape.dtype)) {
		char text[200];
		return error_set(error, STATUS_INVALID,
				 "'%s': shape mismatch: tensor \"%s\" is %s of %s; one number was expected",
				 r->spec->weights_path, name,
				 array_view_shape_text(text, sizeof text, entry->shape.rank, entry->shape.shape),
				 st_dtype_name(entry->shape.dtype));
	}
	struct array_view view;
	enum status status = container_load(r->container, entry, &view, error);
	if (status)
		return status;
	array_view_read_double(&view, out);
	if (!isfinite(*out))
		return error_set(error, STATUS_INVALID, "'%s': not finite: \"%s\" is %g", r->spec->weights_path, name,
				 *out);
	return STATUS_OK;
}

enum status sae_config_string(struct sae_reader *r, const cJSON *object, const char *key, char **out,
			      struct error *error)
{
	const char *text = NULL;
	enum status status = object ? json_get_string(object, key, &text, r->config_what, error) : STATUS_OK;
	if (text) {
		free(*out);
		*out = mem_strdup(text);
	}
	return status;
}

void sae_note(struct sae_reader *r, const char *format, ...)
{
	char line[400];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	char *notes = mem_printf("%s%s\n", r->spec->notes, line);
	free(r->spec->notes);
	r->spec->notes = notes;
}

void sae_set_hook(struct sae_reader *r, const char *name)
{
	enum sae_site site;
	int64_t layer;
	if (sae_site_parse(name, &site, &layer)) {
		r->spec->site_in = site;
		if (r->spec->site_out == SAE_SITE_UNKNOWN)
			r->spec->site_out = site;
	}
	if (layer >= 0)
		r->spec->layer = layer;
}

const char *sae_path_part(const struct sae_reader *r, int n, char out[256])
{
	const char *end = r->where + strlen(r->where);
	for (;;) {
		const char *start = end;
		while (start > r->where && start[-1] != '/')
			start--;
		if (n-- == 0) {
			snprintf(out, 256, "%.*s", (int)(end - start > 255 ? 255 : end - start), start);
			return out;
		}
		if (start == r->where) {
			out[0] = '\0';
			return out;
		}
		end = start - 1;
	}
}
