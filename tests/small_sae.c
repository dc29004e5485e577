#include "tests/small_sae.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "models/sae_reference.h"
#include "tests/scratch.h"

const float small_W_enc[] = {1, 0, -1, /**/ 0, 2, 1};
const float small_W_dec[] = {1, 0, /**/ 0, 1, /**/ 3, 4};
const float small_b_enc[] = {0.5f, -1, 0};
const float small_b_dec[] = {0.25f, -0.25f};
const float small_threshold[] = {0.5f, 0.25f, 1};

void small_sae_add(struct st_writer *w, const char *name, int rank, int64_t rows, int64_t cols, const float *numbers)
{
	size_t count = (size_t)(rows * (rank == 2 ? cols : 1));
	st_writer_add(w, name, "F32", rank, (int64_t[]){rows, cols}, numbers, count * sizeof *numbers);
}

enum status small_sae_open(struct sae_spec *spec, const char *cfg, const struct sae_options *options,
			   struct error *error)
{
	struct st_writer w = {0};
	small_sae_add(&w, "W_enc", 2, 2, 3, small_W_enc);
	small_sae_add(&w, "W_dec", 2, 3, 2, small_W_dec);
	small_sae_add(&w, "b_enc", 1, 3, 0, small_b_enc);
	small_sae_add(&w, "b_dec", 1, 2, 0, small_b_dec);
	small_sae_add(&w, "threshold", 1, 3, 0, small_threshold);
	free(st_writer_end(&w, "small/sae_weights.safetensors"));
	free(scratch_file("small/cfg.json", cfg, strlen(cfg)));
	char *folder = scratch_path("small");
	enum status status = sae_file_open(spec, folder, options, error);
	free(folder);
	if (status == STATUS_OK)
		status = sae_file_load(spec, NULL, error);
	if (status)
		sae_spec_done(spec);
	return status;
}

void small_sae_expect(const struct sae_spec *spec, const char *name, const double expected_z[3],
		      const double expected_y[2])
{
	static const double x[2] = {1.25, 0.75};
	double z[3], y[2];
	sae_reference_encode(spec, 1, x, z, NULL);
	sae_reference_decode(spec, 1, x, z, y);
	for (int i = 0; i < 3; i++)
		if (!(fabs(z[i] - expected_z[i]) < 1e-6))
			fail_msg("%s: z[%d] is %g, not %g", name, i, z[i], expected_z[i]);
	for (int i = 0; i < 2; i++)
		if (!(fabs(y[i] - expected_y[i]) < 1e-6))
			fail_msg("%s: y[%d] is %g, not %g", name, i, y[i], expected_y[i]);
}
