/* The golden SAEs on the device (models/sae.h, sessions/encode.h): what it makes of the golden rows under
 * each reading, forwards, backwards and clamped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "sessions/encode.h"
#include "tests/golden_saes.h"
#include "tests/on_device.h"
#include "tests/scratch.h"

static double *doubles(const float *x, size_t n)
{
	double *out = mem_alloc(n, sizeof *out);
	for (size_t i = 0; i < n; i++)
		out[i] = (double)x[i];
	return out;
}

static float *floats(const double *x, size_t n)
{
	float *out = mem_alloc(n, sizeof *out);
	for (size_t i = 0; i < n; i++)
		out[i] = (float)x[i];
	return out;
}

static void compare(const struct golden_sae *g, const char *file, const float *got, size_t n)
{
	double *wide = doubles(got, n);
	golden_sae_compare(g, file, wide, n);
	free(wide);
}

static float *read_upstream(const struct golden_sae *g, const char *file, size_t n)
{
	double *wide = golden_sae_array(g->inputs, file, n);
	float *narrow = floats(wide, n);
	free(wide);
	return narrow;
}

static void check_arrays(const struct golden_sae *g, const struct sae *sae, const float *x)
{
	size_t latents = (size_t)(g->T * sae->features), numbers = (size_t)(g->T * sae->d);
	float *z = mem_alloc(latents, sizeof *z), *y = mem_alloc(numbers, sizeof *y),
	      *dx = mem_alloc(numbers, sizeof *dx);
	struct error error;
	if (encode_rows(sae, x, g->T, z, y, &error))
		test_stop(g->name, &error);
	compare(g, "features.npy", z, latents);
	double *wide = doubles(z, latents);
	golden_sae_check_exact(g, wide);
	free(wide);
	compare(g, "recon.npy", y, numbers);

	float *up = read_upstream(g, "g_features.npy", latents);
	if (encode_rows_back(sae, x, g->T, up, NULL, dx, &error))
		test_stop(g->name, &error);
	compare(g, "grad_x_from_features.npy", dx, numbers);
	free(up);
	up = read_upstream(g, "g_recon.npy", numbers);
	if (encode_rows_back(sae, x, g->T, NULL, up, dx, &error))
		test_stop(g->name, &error);
	compare(g, "grad_x_from_recon.npy", dx, numbers);
	free(up);
	free(z);
	free(y);
	free(dx);
}

static void check_clamps(const struct golden_sae *g, const struct sae *sae, const float *x)
{
	int64_t features[GOLDEN_CLAMPED_MAX], K = golden_sae_clamped(g, features);
	size_t numbers = (size_t)(g->T * sae->d);
	float *out = mem_alloc(numbers, sizeof *out);
	struct error error;
	const cJSON *one;
	cJSON_ArrayForEach(one, json_member(g->about, "clamps"))
	{
		struct golden_clamp clamp = golden_clamp_of(one);
		struct clamp_rule rules[GOLDEN_CLAMPED_MAX];
		for (int64_t i = 0; i < K; i++)
			rules[i] = (struct clamp_rule){(uint32_t)features[i], clamp.mode, (float)clamp.value};
		if (encode_clamped_rows(sae, rules, K, clamp.error_scale, x, g->T, out, &error))
			test_stop(g->name, &error);
		compare(g, clamp.file, out, numbers);
	}
	free(out);
}

static int ran;

static void check_reading(const struct golden_sae *g)
{
	struct error error;
	bool runs = sae_check_clampable(g->spec, &error) == STATUS_OK;
	assert_int_equal(runs, !g->spec->transcoder);
	if (!runs) {
		assert_true(scratch_says(error.text, "transcoder"));
		return;
	}
	struct sae sae;
	if (sae_create(&sae, test_device, g->spec, 4, HOOK_RESID_PRE, &error))
		test_stop(g->name, &error);
	float *x = floats(g->x, (size_t)(g->T * g->spec->d_in));
	check_arrays(g, &sae, x);
	check_clamps(g, &sae, x);
	free(x);
	sae_done(&sae);
	ran += !g->other_reading;
}

static void test_readings(void **state)
{
	(void)state;
	test_device_need();
	ran = 0;
	int there = golden_saes_each(check_reading);
	print_message("# %d of %d golden SAEs ran, the others are transcoders\n", ran, there);
	assert_true(ran >= 30);
	assert_int_equal(device_validation_messages(test_device), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readings),
	};
	return cmocka_run_group_tests_name("sae_device_golden", tests, test_device_open, test_device_close);
}
