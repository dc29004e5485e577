/* SAEs on the device (models/sae.h, sessions/encode.h): random ones of every activation and normalisation
 * against models/sae_reference.h, forwards, backwards and clamped. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/sae_reference.h"
#include "sessions/encode.h"
#include "sessions/sae_fit.h"
#include "tests/on_device.h"
#include "tests/random_sae.h"
#include "tests/scratch.h"

static float *floats(const double *x, size_t n)
{
	float *out = mem_alloc(n, sizeof *out);
	for (size_t i = 0; i < n; i++)
		out[i] = (float)x[i];
	return out;
}

/* max|a - b| <= tolerance max|b|; NaN fails. */
static void check_same(const char *name, const char *what, const float *a, const double *b, size_t n, double tolerance)
{
	double worst = 0, largest = 0;
	bool finite = true;
	for (size_t i = 0; i < n; i++) {
		finite = finite && isfinite(a[i]);
		worst = fmax(worst, fabs((double)a[i] - b[i]));
		largest = fmax(largest, fabs(b[i]));
	}
	if (!finite || !(worst <= tolerance * largest))
		fail_msg("%s, %s: off by %.2e of the largest, %g", name, what, worst / largest, largest);
}

static void check_encode(const struct sae_spec *s, const struct sae *sae, int64_t T, const double *x)
{
	size_t latents = (size_t)(T * s->F), numbers = (size_t)(T * s->d_in);
	float *xf = floats(x, numbers), *z = mem_alloc(latents, sizeof *z), *y = mem_alloc(numbers, sizeof *y);
	double *z_want = mem_alloc(latents, sizeof *z_want), *y_want = mem_alloc(numbers, sizeof *y_want);
	struct error error;
	if (encode_rows(sae, xf, T, z, y, &error))
		test_stop(random_sae_name(s), &error);
	sae_reference_encode(s, T, x, z_want, NULL);
	sae_reference_decode(s, T, x, z_want, y_want);
	for (size_t i = 0; i < latents; i++)
		if ((z[i] != 0) != (z_want[i] != 0))
			fail_msg("%s: latent %zu is %g, expected %g", random_sae_name(s), i, (double)z[i], z_want[i]);
	check_same(random_sae_name(s), "features", z, z_want, latents, 2e-5);
	check_same(random_sae_name(s), "reconstruction", y, y_want, numbers, 2e-5);

	double *up = random_sae_rows(T, s->F > s->d_in ? s->F : s->d_in);
	float *upf = floats(up, latents > numbers ? latents : numbers);
	for (int which = 0; which < 2; which++) {
		if (encode_rows_back(sae, xf, T, which ? NULL : upf, which ? upf : NULL, y, &error))
			test_stop(random_sae_name(s), &error);
		if (which)
			sae_reference_recon_back(s, T, x, up, y_want);
		else
			sae_reference_encode_back(s, T, x, up, y_want);
		check_same(random_sae_name(s), which ? "gradient from the reconstruction" : "gradient from features", y,
			   y_want, numbers, 1e-4);
	}
	free(up);
	free(upf);
	free(xf);
	free(z);
	free(y);
	free(z_want);
	free(y_want);
}

enum { GRADIENTS = 2 };

/* The edit, rows r % 3 == 1 off: what it makes of x, and the gradients by x of two sums. */
static void run_edit(const struct sae *sae, const struct clamp_rule *rules, int64_t K, double alpha, int64_t T,
		     const float *x, const float *up, float *out, float *dx, const char *name)
{
	struct clamp clamp;
	struct clamp_edit edit;
	struct error error;
	if (clamp_create(&clamp, sae, rules, K, &error) ||
	    clamp_edit_create(&edit, &clamp, 0, alpha, T, GRADIENTS, true, &error))
		test_stop(name, &error);
	struct arena *arena = arena_create(test_device, BUFFER_DEVICE, "test");
	struct tensor xt, g;
	arena_add(arena, &xt, DTYPE_F32, T, sae->d);
	arena_add(arena, &g, DTYPE_F32, GRADIENTS * T, sae->d);
	uint32_t on[16];
	for (int64_t r = 0; r < T; r++)
		on[r] = r % 3 != 1;
	if (arena_allocate(arena, &error) || tensor_write(edit.on, on, &error) || tensor_write(xt, x, &error) ||
	    tensor_write(g, up, &error))
		test_stop("test", &error);
	struct recorder *rec = recorder_create(test_device, "test");
	recorder_begin(rec);
	edit.edit.forward(&edit.edit, rec, xt);
	edit.edit.backward(&edit.edit, rec, g);
	if (recorder_run(rec, &error) || tensor_read(xt, out, &error) || tensor_read(g, dx, &error))
		test_stop(name, &error);
	recorder_destroy(&rec);
	arena_destroy(&arena);
	clamp_edit_done(&edit);
	clamp_done(&clamp);
}

/* The edit in doubles; each feature has its own rule. */
static void reference_edit(const struct sae_spec *s, const struct clamp_rule *rules, int64_t K, double alpha, int64_t T,
			   const double *x, double *out)
{
	size_t latents = (size_t)(T * s->F), numbers = (size_t)(T * s->d_in);
	double *z = mem_alloc(latents, sizeof *z), *y = mem_alloc(numbers, sizeof *y);
	sae_reference_encode(s, T, x, z, NULL);
	sae_reference_decode(s, T, x, z, y);
	for (int64_t t = 0; t < T; t++)
		for (int64_t i = 0; i < K; i++) {
			double *at = &z[t * s->F + rules[i].feature];
			*at = sae_reference_clamp_value(rules[i].mode, (double)rules[i].value, *at);
		}
	sae_reference_decode(s, T, x, z, out);
	for (int64_t i = 0; i < T * s->d_in; i++)
		out[i] = i / s->d_in % 3 == 1 ? x[i] : out[i] + alpha * (x[i] - y[i]);
	free(z);
	free(y);
}

static void check_clamp(const struct sae_spec *s, const struct sae *sae, int64_t T, double *x)
{
	enum { K = 7 };
	size_t numbers = (size_t)(T * s->d_in);
	struct clamp_rule rules[K];
	for (int64_t i = 0; i < K; i++) /* descending, every mode */
		rules[i] = (struct clamp_rule){(uint32_t)(s->F - 1 - i * (s->F / K)), (enum op_clamp_mode)(i % 6),
					       (float)random_sae_uniform(-2, 2)};
	float *xf = floats(x, numbers), *out = mem_alloc(numbers, sizeof *out);
	float *up = random_sae_floats(GRADIENTS * numbers, -1, 1), *dx = mem_alloc(GRADIENTS * numbers, sizeof *dx);
	double *want = mem_alloc(numbers, sizeof *want), *above = mem_alloc(numbers, sizeof *above);
	double *slopes = mem_alloc(GRADIENTS * numbers, sizeof *slopes);
	for (int half = 0; half < 2; half++) {
		double alpha = half ? 0.3 : 1;
		run_edit(sae, rules, K, alpha, T, xf, up, out, dx, random_sae_name(s));
		reference_edit(s, rules, K, alpha, T, x, want);
		check_same(random_sae_name(s), half ? "clamp with 0.3 of the error" : "clamp", out, want, numbers,
			   2e-5);
		for (size_t i = 0; i < numbers; i++) {
			const double step = 1e-6;
			double at = x[i];
			x[i] = at + step;
			reference_edit(s, rules, K, alpha, T, x, above);
			x[i] = at - step;
			reference_edit(s, rules, K, alpha, T, x, want);
			x[i] = at;
			for (size_t g = 0; g < GRADIENTS; g++) {
				double sum = 0;
				for (size_t j = 0; j < numbers; j++)
					sum += (double)up[g * numbers + j] * (above[j] - want[j]);
				slopes[g * numbers + i] = sum / (2 * step);
			}
		}
		check_same(random_sae_name(s), half ? "clamp's gradient with 0.3 of the error" : "clamp's gradient", dx,
			   slopes, GRADIENTS * numbers, 1e-4);
	}
	free(xf);
	free(out);
	free(up);
	free(dx);
	free(want);
	free(above);
	free(slopes);
}

static void check_spec(const struct sae_spec *s, int64_t T, bool clamps)
{
	struct sae sae;
	struct error error;
	assert_int_equal(sae_check(s, &error), STATUS_OK);
	if (sae_create(&sae, test_device, s, 0, HOOK_RESID_PRE, &error))
		test_stop(random_sae_name(s), &error);
	double *x = random_sae_rows(T, s->d_in);
	check_encode(s, &sae, T, x);
	if (s->act == SAE_BATCHTOPK) {
		struct clamp clamp;
		struct clamp_rule rule = {0};
		assert_int_equal(clamp_create(&clamp, &sae, &rule, 1, &error), STATUS_INVALID);
		assert_true(scratch_says(error.text, "BatchTopK"));
		assert_int_equal(sae_check_clampable(s, &error), STATUS_INVALID);
		assert_true(scratch_says(error.text, "BatchTopK"));
	} else if (clamps) {
		check_clamp(s, &sae, T, x);
	}
	free(x);
	sae_done(&sae);
}

static void test_every_kind(void **state)
{
	(void)state;
	test_device_need();
	for (int act = 0; act < SAE_ACT_COUNT; act++)
		for (int norm = 0; norm <= SAE_NORM_LAYER; norm++)
			for (int center = 0; center < 2; center++) {
				struct sae_spec s;
				random_sae_make(&s, (enum sae_act)act, (enum sae_norm)norm, center, 13, 60, 5);
				check_spec(&s, 5, true);
				sae_spec_done(&s);
			}
	assert_int_equal(device_validation_messages(test_device), 0);
}

/* A norm on the way in that isn't undone on the way out, as transcoders' and some SAEs'. */
static void test_norm_not_undone(void **state)
{
	(void)state;
	test_device_need();
	for (int norm = 1; norm <= SAE_NORM_LAYER; norm++) {
		struct sae_spec s;
		random_sae_make(&s, SAE_RELU, (enum sae_norm)norm, false, 11, 24, 5);
		s.norm_out = false;
		check_spec(&s, 4, true);
		sae_spec_done(&s);
	}
}

/* With a small binding limit everything is split: W over its rows, features over rows. */
static void test_split_over_small_bindings(void **state)
{
	(void)state;
	test_device_need();
	struct device_info *info = (struct device_info *)(uintptr_t)device_get_info(test_device);
	uint64_t limit = info->max_binding_bytes;
	info->max_binding_bytes = 4096;
	for (int act = 0; act < SAE_BATCHTOPK; act++)
		for (int norm = 0; norm <= SAE_NORM_LAYER; norm += 2) {
			struct sae_spec s;
			random_sae_make(&s, (enum sae_act)act, (enum sae_norm)norm, false, 16, 480, 5);
			check_spec(&s, 7, true);
			sae_spec_done(&s);
		}
	info->max_binding_bytes = limit;
	assert_int_equal(device_validation_messages(test_device), 0);
}

/* The scale on the host is the one on the device: moving a feature by 1 moves x by it. */
static void test_restored_scale(void **state)
{
	(void)state;
	test_device_need();
	for (int norm = 0; norm <= SAE_NORM_LAYER; norm++) {
		struct sae_spec s;
		struct sae sae;
		struct error error;
		random_sae_make(&s, SAE_RELU, (enum sae_norm)norm, norm == 1, 17, 20, 4);
		if (sae_create(&sae, test_device, &s, 0, HOOK_RESID_PRE, &error))
			test_stop("test", &error);
		double *x = random_sae_rows(1, s.d_in), z[20], a[17], b[17];
		float *xf = floats(x, 17);
		sae_reference_encode(&s, 1, x, z, NULL);
		sae_reference_decode(&s, 1, x, z, a);
		z[3] += 1;
		sae_reference_decode(&s, 1, x, z, b);
		double moved = (b[5] - a[5]) / (double)s.W_dec[3 * 17 + 5];
		assert_true(fabs(moved - sae_restored_scale(&sae, xf)) < 1e-6 * moved);
		free(x);
		free(xf);
		sae_done(&sae);
		sae_spec_done(&s);
	}
}

/* What a poor fit is said to resemble. */
static void test_fit_warning(void **state)
{
	(void)state;
	static const struct {
		struct sae_fit fit;
		const char *says; /* NULL: nothing */
	} cases[] = {
		{{.fvu = 0.2, .l0 = 40, .cosine = 0.9, .scale = 0.9, .rows = 20}, NULL},
		{{.fvu = 2, .l0 = 40, .cosine = 0.1, .scale = 0.1, .rows = 7}, NULL},
		{{.fvu = 1, .l0 = 0.1, .cosine = 0.1, .scale = 0, .rows = 20}, "threshold"},
		{{.fvu = 0.9, .l0 = 40, .cosine = 0.95, .scale = 0.1, .rows = 20}, "another length"},
		{{.fvu = 1.4, .l0 = 480, .cosine = 0.5, .scale = 1, .rows = 20}, "read as ReLU"},
		{{.fvu = 2.1, .l0 = 40, .cosine = 0.3, .scale = 1, .rows = 20}, "another hook, layer or model"},
		{{.fvu = 0.7, .l0 = 40, .cosine = 0.6, .scale = 0.9, .rows = 20}, "BOS"},
		{{.fvu = 0.1, .rows = 20, .loss = {19, 2, 3.5, 4}}, "what the model reads"},
		{{.fvu = 0.1, .rows = 20, .loss = {19, 2, 4.5, 4}}, "worse than zeros"},
		{{.fvu = 0.1, .rows = 20, .loss = {19, 2, 2.5, 4}}, NULL},
		{{.fvu = 0.1, .rows = 20, .loss = {19, 2, 2.3, 2.4}}, NULL}, /* zeros do little harm */
		{{.fvu = 0.1, .rows = 20, .loss = {7, 2, 3.5, 4}}, NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[256];
		assert_int_equal(sae_fit_warning(text, sizeof text, &cases[i].fit, 1000), cases[i].says != NULL);
		if (cases[i].says)
			assert_true(scratch_says(text, cases[i].says));
		else
			assert_string_equal(text, "");
	}
}

/* More memory than there is: a sentence with both numbers, before anything is taken. */
static void test_too_little_memory_is_refused(void **state)
{
	(void)state;
	test_device_need();
	struct sae_spec s;
	struct sae sae;
	struct error error;
	struct device_info *info = (struct device_info *)(uintptr_t)device_get_info(test_device);
	uint64_t memory = info->memory_bytes;
	random_sae_make(&s, SAE_RELU, SAE_NORM_NONE, false, 16, 64, 4);
	assert_true(sae_estimate(&s) >= 2 * 16 * 64 * 4);
	info->memory_bytes = device_memory_used(test_device) + sae_estimate(&s) - 1;
	assert_int_equal(sae_create(&sae, test_device, &s, 3, HOOK_RESID_PRE, &error), STATUS_FAILED);
	assert_true(scratch_says(error.text, "needs"));
	info->memory_bytes = memory;
	sae_spec_done(&s);
}

/* Progress that ends the work once `most` bytes are done. */
struct stop {
	const struct sae *sae;
	uint64_t most, done, total;
	int calls;
};

static bool stop_at(void *context, const char *what, uint64_t done, uint64_t total)
{
	struct stop *stop = context;
	(void)what;
	assert_true(done > stop->done && done <= total);
	assert_false(sae_loaded(stop->sae));
	stop->done = done;
	stop->total = total;
	stop->calls++;
	return done < stop->most;
}

/* Described without memory; the tensors take what was estimated, are given back, and are the
 * same when they come again; nothing is left of a load that was stopped. */
static void test_load_and_unload(void **state)
{
	(void)state;
	test_device_need();
	enum { D = 17, F = 60, T = 3 };
	for (int act = 0; act < SAE_ACT_COUNT; act++) {
		struct sae_spec s;
		struct sae sae;
		struct error error;
		float z[2][T * F];
		random_sae_make(&s, (enum sae_act)act, SAE_NORM_LAYER, false, D, F, 4);
		s.subtract_b_dec = true;
		double *x = random_sae_rows(T, D);
		float *rows = floats(x, (size_t)T * D);
		uint64_t before = device_memory_used(test_device);
		sae_init(&sae, test_device, &s, 2, HOOK_RESID_POST);
		assert_false(sae_loaded(&sae));
		assert_int_equal(sae.bytes, sae_estimate(&s));
		for (int i = 0; i < 2; i++) {
			struct stop stop = {.sae = &sae, .most = UINT64_MAX};
			struct progress progress = {stop_at, &stop};
			if (sae_load(&sae, &s, &progress, &error))
				test_stop(random_sae_name(&s), &error);
			assert_true(sae_loaded(&sae) && stop.calls > 1 && stop.done == stop.total);
			assert_int_equal(device_memory_used(test_device) - before, sae.bytes);
			if (encode_rows(&sae, rows, T, z[i], NULL, &error))
				test_stop(random_sae_name(&s), &error);
			sae_unload(&sae);
			assert_false(sae_loaded(&sae) || tensor_exists(sae.w_dec) || tensor_exists(sae.prepare.b_dec) ||
				     tensor_exists(sae.act.threshold));
			assert_int_equal(device_memory_used(test_device), before);
		}
		assert_memory_equal(z[0], z[1], sizeof z[0]);
		struct stop stop = {.sae = &sae, .most = 1};
		assert_int_equal(sae_load(&sae, &s, &(struct progress){stop_at, &stop}, &error), STATUS_CANCELLED);
		assert_int_equal(stop.calls, 1);
		assert_false(sae_loaded(&sae));
		assert_int_equal(device_memory_used(test_device), before);
		assert_int_equal(sae.features, F);
		sae_done(&sae);
		sae_spec_done(&s);
		free(x);
		free(rows);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind),
		cmocka_unit_test(test_norm_not_undone),
		cmocka_unit_test(test_split_over_small_bindings),
		cmocka_unit_test(test_too_little_memory_is_refused),
		cmocka_unit_test(test_load_and_unload),
		cmocka_unit_test(test_restored_scale),
		cmocka_unit_test(test_fit_warning),
	};
	return cmocka_run_group_tests_name("sae_device", tests, test_device_open, test_device_close);
}
