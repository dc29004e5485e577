/* op_linear, the gathers and op_embed at the largest shapes that rebound promises: a
 * vocabulary of 262,144, SAEs of 131,072 features at 2,304 wide, odd inner dimensions.
 * There a loop can turn more often than llvmpipe allows (shaders/README.md), and weights
 * exceed bindings. A sample of the outputs is compared with double precision. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/ops.h"

/* Element i of the weights is pattern[i % PERIOD], of x pattern[(i + 77) % PERIOD]. */
enum { PERIOD = 65521 * 2 };
static float pattern[PERIOD];

enum { VOCABULARY = 262144, FEATURES = 131072, MAX_ROWS = 48 };
static const int64_t most_weights = (int64_t)FEATURES * 2304;
static const int64_t most_cells = (int64_t)MAX_ROWS * FEATURES;

static struct device *device;
static struct arena *arena;
static struct tensor weights, inputs, outputs, ids;

static void check(enum status status, const struct error *error)
{
	if (status)
		fail_msg("%s", error->text);
}

/* Repeats the pattern over all of t. */
static void fill(struct tensor t, int64_t shift)
{
	struct error error;
	float *start = mem_alloc(PERIOD, sizeof *start);
	for (int64_t i = 0; i < PERIOD; i++)
		start[i] = pattern[(i + shift) % PERIOD];
	struct tensor head = t;
	head.rows = 1;
	head.cols = PERIOD;
	check(tensor_write(head, start, &error), &error);
	free(start);
	struct recorder *rec = recorder_create(device, "fill");
	recorder_begin(rec);
	for (uint64_t done = PERIOD * 4, bytes = tensor_bytes(t); done < bytes; done *= 2)
		record_copy(rec, t, done, t, 0, bytes - done < done ? bytes - done : done);
	check(recorder_run(rec, &error), &error);
	recorder_destroy(&rec);
}

static int setup(void **state)
{
	(void)state;
	struct error error;
	uint64_t seed = 1;
	for (int i = 0; i < PERIOD; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		pattern[i] = (float)((double)(seed >> 11) / 9007199254740992.0 - 0.5);
	}
	arena = arena_create(device, BUFFER_DEVICE, "large weights");
	arena_add(arena, &weights, DTYPE_F32, 1, most_weights);
	arena_add(arena, &inputs, DTYPE_F32, 1, most_cells);
	arena_add(arena, &outputs, DTYPE_F32, 1, most_cells);
	arena_add(arena, &ids, DTYPE_U32, 1, 4);
	if (arena_allocate(arena, &error)) {
		print_message("%s\n", error.text);
		arena_destroy(&arena);
		return 0;
	}
	fill(weights, 0);
	fill(inputs, 77);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_destroy(&arena);
	return 0;
}

static struct tensor view(struct tensor t, int64_t rows, int64_t cols)
{
	assert_true(rows * cols <= t.cols);
	t.rows = rows;
	t.cols = cols;
	return t;
}

static struct recorder *start(void)
{
	if (!arena)
		skip(); /* setup said why */
	struct recorder *rec = recorder_create(device, "test");
	recorder_begin(rec);
	record_fill(rec, outputs, 0x7fc00000u); /* NaN: what is not written fails */
	return rec;
}

static float *finish(struct recorder **rec, struct tensor y)
{
	struct error error;
	check(recorder_run(*rec, &error), &error);
	recorder_destroy(rec);
	float *values = mem_alloc((size_t)tensor_count(y), sizeof *values);
	check(tensor_read(y, values, &error), &error);
	return values;
}

static double input(int64_t i)
{
	return (double)pattern[(i + 77) % PERIOD];
}

/* The product of row r of x [., k] with the weights from element `first` on, every
 * `stride`th; *size is the length of the vector of its terms. One term that is missing is
 * some sqrt(1 / k) of that. */
static double product(int64_t r, int64_t k, int64_t first, int64_t stride, double scale, double *size)
{
	double v = 0, square = 0;
	int64_t a = (r * k + 77) % PERIOD, b = first % PERIOD;
	stride %= PERIOD;
	for (int64_t i = 0; i < k; i++) {
		double term = scale * (double)pattern[a] * (double)pattern[b];
		v += term;
		square += term * term;
		a = a + 1 < PERIOD ? a + 1 : 0;
		b = b + stride < PERIOD ? b + stride : b + stride - PERIOD;
	}
	*size = sqrt(square);
	return v;
}

struct shape {
	int64_t rows, n, k;
	enum op_layout layout;
	bool norm;
};

static void run_shape(const struct shape *s)
{
	struct tensor x = view(inputs, s->rows, s->k), y = view(outputs, s->rows, s->n);
	bool out_in = s->layout == OP_OUT_IN;
	struct tensor w = view(weights, out_in ? s->n : s->k, out_in ? s->k : s->n);
	struct op_linear extra = {.norm = s->norm ? OP_NORM_RMS : OP_NORM_NONE, .norm_eps = 1e-6};
	struct error error;
	struct recorder *rec = start();
	float *ones = mem_alloc((size_t)s->k, sizeof *ones);
	struct arena *norm = arena_create(device, BUFFER_DEVICE, "norm");
	arena_add(norm, &extra.norm_w, DTYPE_F32, 1, s->k);
	check(arena_allocate(norm, &error), &error);
	for (int64_t i = 0; i < s->k; i++)
		ones[i] = 1;
	check(tensor_write(extra.norm_w, ones, &error), &error);
	free(ones);
	op_linear(rec, y, x, w, s->layout, &extra);
	float *got = finish(&rec, y);
	arena_destroy(&norm);
	for (int64_t r = 0; r<s->rows; r += s->rows> 8 ? 23 : s->rows > 1 ? s->rows - 1 : 1) {
		double square = 0;
		for (int64_t i = 0; i < s->k && s->norm; i++)
			square += input(r * s->k + i) * input(r * s->k + i);
		double scale = s->norm ? 1 / sqrt(square / (double)s->k + 1e-6) : 1;
		int64_t step = s->n > 64 ? s->n / 64 : 1;
		for (int64_t c = 0; c < s->n + step - 1; c += step) {
			int64_t n = c < s->n ? c : s->n - 1;
			double size, want = product(r, s->k, out_in ? n * s->k : n, out_in ? 1 : s->n, scale, &size);
			/* Rounding of a sum of hundreds of thousands of terms stays under a fifth of this. */
			if (!(fabs((double)got[r * s->n + n] - want) <= 1e-4 * size))
				fail_msg("R %lld N %lld K %lld %s: y[%lld, %lld] is %g, expected %g within %.1g",
					 (long long)s->rows, (long long)s->n, (long long)s->k,
					 out_in ? "out-in" : "in-out", (long long)r, (long long)n,
					 (double)got[r * s->n + n], want, 1e-4 * size);
		}
	}
	free(got);
}

static void run_shapes(const struct shape *shapes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		run_shape(&shapes[i]);
}

static void test_vocabulary(void **state)
{
	(void)state;
	static const struct shape shapes[] = {
		{1, VOCABULARY, 640, OP_OUT_IN, false}, {1, VOCABULARY, 640, OP_OUT_IN, true},
		{4, VOCABULARY, 640, OP_OUT_IN, true},	{1, 640, VOCABULARY, OP_IN_OUT, false},
		{3, 640, VOCABULARY, OP_IN_OUT, false}, {7, 640, VOCABULARY, OP_IN_OUT, false},
		{1, VOCABULARY, 640, OP_IN_OUT, false}, {1, 640, VOCABULARY, OP_OUT_IN, false},
		{4, 640, VOCABULARY, OP_OUT_IN, false}, {1, 640, VOCABULARY, OP_OUT_IN, true},
		{1, 50257, 768, OP_OUT_IN, true},	{4, 50257, 768, OP_OUT_IN, false},
		{1, 768, 50257, OP_IN_OUT, false},	{7, 768, 50257, OP_IN_OUT, false},
		{1, 768, 50257, OP_OUT_IN, false},	{1, 61, 70001, OP_OUT_IN, false},
		{2, 61, 70001, OP_IN_OUT, false},	{3, 64, 70001, OP_IN_OUT, false},
		{1, 64, 1000000, OP_OUT_IN, false},	{1, 64, 1000000, OP_IN_OUT, false},
	};
	run_shapes(shapes, ARRAY_LEN(shapes));
}

/* Encoding and decoding with weights in either layout, and their backward passes. */
static void test_features(void **state)
{
	(void)state;
	static const int64_t rows[] = {1, 4, 7, MAX_ROWS};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct shape shapes[] = {
			{rows[i], FEATURES, 2304, OP_OUT_IN, false},
			{rows[i], 2304, FEATURES, OP_IN_OUT, false},
			{rows[i], FEATURES, 2304, OP_IN_OUT, false},
			{rows[i], 2304, FEATURES, OP_OUT_IN, false},
		};
		run_shapes(shapes, rows[i] < MAX_ROWS ? 4 : 2);
	}
}

static void test_gathers(void **state)
{
	(void)state;
	static const uint32_t wanted[] = {VOCABULARY - 1, 0, 131071, 200000};
	const int64_t k = 640, rows = 2, count = ARRAY_LEN(wanted);
	struct error error;
	struct tensor w = view(weights, VOCABULARY, k), none = {0};
	for (int kind = 0; kind < 3; kind++) {
		struct recorder *rec = start();
		check(tensor_write(ids, wanted, &error), &error);
		struct tensor y = view(outputs, kind < 2 ? rows : count, kind == 0 ? count : k);
		if (kind == 0)
			op_linear_gather(rec, y, view(inputs, rows, k), w, ids);
		else if (kind == 1)
			op_linear_gather_back(rec, y, view(inputs, rows, count), w, ids);
		else
			op_embed(rec, y, ids, none, w, none, 1);
		float *got = finish(&rec, y);
		for (int64_t r = 0; r < y.rows; r++)
			for (int64_t c = 0; c < y.cols; c++) {
				double want = 0, size = 1;
				if (kind == 0)
					want = product(r, k, (int64_t)wanted[c] * k, 1, 1, &size);
				for (int64_t j = 0; kind == 1 && j < count; j++)
					want += input(r * count + j) *
						(double)pattern[((int64_t)wanted[j] * k + c) % PERIOD];
				if (kind == 2)
					want = (double)pattern[((int64_t)wanted[r] * k + c) % PERIOD];
				if (!(fabs((double)got[r * y.cols + c] - want) <= 1e-5 * size))
					fail_msg("kind %d: [%lld, %lld] is %g, expected %g", kind, (long long)r,
						 (long long)c, (double)got[r * y.cols + c], want);
			}
		free(got);
	}
}

int main(void)
{
	struct error error;
	if (device_create(&device, &(struct device_options){0}, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vocabulary),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_gathers),
	};
	int failed = cmocka_run_group_tests(tests, setup, teardown);
	device_destroy(&device);
	return failed;
}
