#include "models/sae_sparsity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/safetensors.h"

/* Between the 1e-10 of a feature that never fired and the rate of one that did once, among
 * as many tokens as anyone samples. */
static const double least_rate = 1e-9;

static enum status check_tensor(const struct st_tensor *t, const char *path, int64_t F, struct error *error)
{
	if (!t)
		return error_set(error, STATUS_INVALID,
				 "'%s': missing tensor: \"sparsity\" was expected; without the file the SAE can be "
				 "used all the same",
				 path);
	char shape[128];
	if (t->rank != 1 || t->shape[0] != F)
		return error_set(error, STATUS_INVALID,
				 "'%s': shape mismatch: \"sparsity\" is %s, and the SAE beside it has %lld features; "
				 "without the file it can be used all the same",
				 path, array_view_shape_text(shape, sizeof shape, t->rank, t->shape), (long long)F);
	return STATUS_OK;
}

/* log10 of rates to rates, in place. */
static enum status convert(float *values, int64_t F, const char *path, struct error *error)
{
	for (int64_t i = 0; i < F; i++) {
		/* The 1e-10 and rounding may carry a feature that always fires past 0. */
		if (isnan(values[i]) || values[i] > 1e-4f)
			return error_set(error, STATUS_INVALID,
					 "'%s': bad sparsity: feature %lld has %g, and log10 of a rate is at most 0; "
					 "without the file the SAE can be used all the same",
					 path, (long long)i, (double)values[i]);
		double rate = fmin(pow(10, (double)values[i]), 1);
		values[i] = rate < least_rate ? 0 : (float)rate;
	}
	return STATUS_OK;
}

enum status sae_sparsity_read(float **rates, const char *weights_path, int64_t F, struct error *error)
{
	size_t n = (size_t)(path_base(weights_path) - weights_path);
	char *path = mem_printf("%.*ssparsity.safetensors", (int)n, weights_path);
	struct safetensors *file = NULL;
	*rates = NULL;
	enum status status = file_exists(path) ? safetensors_open(&file, path, error) : STATUS_NOTHING;
	if (status == STATUS_OK) {
		const struct st_tensor *t = safetensors_find(file, "sparsity");
		status = check_tensor(t, path, F, error);
		if (status == STATUS_OK) {
			*rates = mem_alloc((size_t)F, sizeof **rates);
			status = st_tensor_copy_rows(t, 0, F, *rates, path, error);
		}
		if (status == STATUS_OK)
			status = convert(*rates, F, path, error);
	}
	safetensors_close(&file);
	free(path);
	if (status == STATUS_NOTHING)
		return STATUS_OK;
	if (status) {
		free(*rates);
		*rates = NULL;
	}
	return status;
}

static int rising(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

struct sae_training sae_training_of(const float *rates, int64_t F)
{
	struct sae_training all = {0};
	float *sorted = mem_alloc((size_t)F, sizeof *sorted);
	memcpy(sorted, rates, (size_t)F * sizeof *sorted);
	qsort(sorted, (size_t)F, sizeof *sorted, rising);
	for (int64_t i = 0; i < F; i++) {
		all.never += sorted[i] == 0;
		all.dead += (double)sorted[i] < SAE_DEAD_RATE;
	}
	all.median = 0.5 * ((double)sorted[(F - 1) / 2] + (double)sorted[F / 2]);
	free(sorted);
	return all;
}
