/* models/sae_sparsity.h: the firing rates beside SAELens' weights, sound ones and malformed
 * ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/sae_sparsity.h"
#include "tests/scratch.h"
#include "tests/small_sae.h"

static const char file_name[] = "small/sparsity.safetensors";

static void remove_file(void)
{
	char *path = scratch_path(file_name);
	remove(path);
	free(path);
}

/* The small SAE beside a tensor of that name and shape. */
static enum status open_beside(struct sae_spec *spec, const char *name, int rank, int64_t rows, int64_t cols,
			       const float *numbers, struct error *error)
{
	struct st_writer w = {0};
	small_sae_add(&w, name, rank, rows, cols, numbers);
	free(st_writer_end(&w, file_name));
	enum status status = small_sae_open(spec, "{}", NULL, error);
	remove_file();
	return status;
}

static void test_rates(void **state)
{
	(void)state;
	struct sae_spec spec;
	struct error error;
	assert_int_equal(small_sae_open(&spec, "{}", NULL, &error), STATUS_OK);
	assert_null(spec.training_rates);
	sae_spec_done(&spec);
	/* A feature that never fired is log10(0 + 1e-10), one that always does may be just above 0. */
	static const float logs[] = {-10, -5.5f, 1e-7f}, none[] = {-INFINITY, -2, -1};
	if (open_beside(&spec, "sparsity", 1, 3, 0, logs, &error))
		fail_msg("%s", error.text);
	assert_true(spec.training_rates[0] == 0 && spec.training_rates[2] == 1);
	assert_true(fabs((double)spec.training_rates[1] / pow(10, -5.5) - 1) < 1e-5);
	struct sae_training t = sae_training_of(spec.training_rates, 3);
	assert_int_equal(t.never, 1);
	assert_int_equal(t.dead, 2);
	assert_true(t.median == (double)spec.training_rates[1]);
	sae_file_unload(&spec);
	assert_non_null(spec.training_rates);
	sae_spec_done(&spec);
	assert_int_equal(open_beside(&spec, "sparsity", 1, 3, 0, none, &error), STATUS_OK);
	assert_true(spec.training_rates[0] == 0);
	sae_spec_done(&spec);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		int rank;
		int64_t rows, cols;
		float numbers[4];
		const char *says;
	} bad[] = {
		{"sparsity", 1, 2, 0, {-1, -2}, "shape mismatch: \"sparsity\" is [2]"},
		{"sparsity", 1, 4, 0, {-1, -2, -3, -4}, "3 features"},
		{"sparsity", 2, 3, 1, {-1, -2, -3}, "shape mismatch"},
		{"sparsity", 1, 3, 0, {-1, NAN, -3}, "feature 1 has nan"},
		{"sparsity", 1, 3, 0, {-1, -2, INFINITY}, "feature 2 has inf"},
		{"sparsity", 1, 3, 0, {0.25f, -2, -3}, "at most 0"},
		{"density", 1, 3, 0, {-1, -2, -3}, "missing tensor"},
	};
	struct sae_spec spec;
	struct error error;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (open_beside(&spec, bad[i].name, bad[i].rank, bad[i].rows, bad[i].cols, bad[i].numbers, &error) !=
		    STATUS_INVALID)
			fail_msg("accepted: %s", bad[i].says);
		if (!scratch_says(error.text, bad[i].says) || !scratch_says(error.text, file_name))
			fail_msg("at: %s", bad[i].says);
	}
	/* No numbers; cut off; no safetensors file at all. */
	static const char header[] = "{\"sparsity\":{\"dtype\":\"I32\",\"shape\":[3],\"data_offsets\":[0,12]}}";
	static const struct {
		const char *header, *data;
		size_t size;
		const char *says;
	} raw[] = {
		{header, "123412341234", 12, "I32"},
		{header, "12341234123", 11, file_name},
		{"", "", 0, file_name},
	};
	for (size_t i = 0; i < ARRAY_LEN(raw); i++) {
		free(st_write(file_name, raw[i].header, raw[i].data, raw[i].size));
		assert_int_equal(small_sae_open(&spec, "{}", NULL, &error), STATUS_INVALID);
		assert_true(scratch_says(error.text, raw[i].says));
	}
	remove_file();
	assert_int_equal(small_sae_open(&spec, "{}", NULL, &error), STATUS_OK);
	sae_spec_done(&spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests_name("sae_sparsity", tests, NULL, NULL);
}
