#include "tests/op_test.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "compute/base/mem.h"

enum { GUARD_BYTES = 256, GUARD_WORD = 0x5ca1ab1e, UNWRITTEN_WORD = 0x7fc0dead /* a NaN */ };

/* ---- arrays ---- */

static struct op_array *declare(struct op_test *t, int i, const char *name, enum op_role role, enum dtype dtype,
				int64_t rows, int64_t cols)
{
	if (i >= OP_TEST_ARRAYS || t->arrays[i].name)
		fatal("array %d ('%s') of a test is declared twice or there are too many", i, name);
	struct op_array *a = &t->arrays[i];
	a->name = name;
	a->role = role;
	a->tensor = (struct tensor){.rows = rows, .cols = cols, .dtype = dtype};
	size_t count = tensor_count(a->tensor);
	a->in = mem_alloc(count, sizeof *a->in);
	a->want = mem_alloc(count, sizeof *a->want);
	for (size_t j = 0; role == OP_OUTPUT && j < count; j++)
		a->want[j] = NAN;
	if (i >= t->count)
		t->count = i + 1;
	return a;
}

struct op_array *op_test_input(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols)
{
	return declare(t, i, name, OP_INPUT, DTYPE_F32, rows, cols);
}

struct op_array *op_test_input_u32(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols)
{
	return declare(t, i, name, OP_INPUT, DTYPE_U32, rows, cols);
}

struct op_array *op_test_output(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols, double rtol,
				double atol)
{
	struct op_array *a = declare(t, i, name, OP_OUTPUT, DTYPE_F32, rows, cols);
	a->rtol = rtol;
	a->atol = atol;
	return a;
}

struct op_array *op_test_updated(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols, double rtol,
				 double atol)
{
	struct op_array *a = declare(t, i, name, OP_UPDATED, DTYPE_F32, rows, cols);
	a->rtol = rtol;
	a->atol = atol;
	return a;
}

struct op_array *op_test_updated_u32(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols)
{
	return declare(t, i, name, OP_UPDATED, DTYPE_U32, rows, cols);
}

struct op_array *op_test_scratch(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols)
{
	return declare(t, i, name, OP_SCRATCH, DTYPE_F32, rows, cols);
}

/* xorshift64*: the same numbers everywhere for a seed. */
double op_test_uniform(struct op_test *t, double low, double high)
{
	t->random ^= t->random >> 12;
	t->random ^= t->random << 25;
	t->random ^= t->random >> 27;
	double unit = (double)(t->random * 0x2545f4914f6cdd1d >> 11) * 0x1p-53;
	return low + (high - low) * unit;
}

int64_t op_test_below(struct op_test *t, int64_t n)
{
	return (int64_t)op_test_uniform(t, 0, (double)n);
}

void op_test_fill(struct op_test *t, struct op_array *a, double low, double high)
{
	for (size_t j = 0; j < tensor_count(a->tensor); j++)
		a->in[j] = (float)op_test_uniform(t, low, high);
}

double op_test_derivative(struct op_test *t, double *x, double (*objective)(struct op_test *t, int64_t g), int64_t g)
{
	const double step = 1e-5, at = *x;
	*x = at + step;
	double above = objective(t, g);
	*x = at - step;
	double below = objective(t, g);
	*x = at;
	return (above - below) / (2 * step);
}

void op_test_differentiate(struct op_test *t, int by, int gradient, double (*objective)(struct op_test *t, int64_t g))
{
	double *in = t->arrays[by].in;
	double *want = t->arrays[gradient].want;
	size_t n = tensor_count(t->arrays[by].tensor);
	int64_t gradients = (int64_t)(tensor_count(t->arrays[gradient].tensor) / n);
	for (int64_t g = 0; g < gradients; g++)
		for (size_t i = 0; i < n; i++)
			want[(size_t)g * n + i] = op_test_derivative(t, &in[i], objective, g);
}

/* ---- running a case ---- */

static uint64_t the_seed(void)
{
	const char *seed = getenv("REBOUND_SEED");
	return seed ? strtoull(seed, NULL, 0) | 1 : 20261124;
}

static void prepare(struct op_test *t, const struct op_case *c, struct device *device)
{
	*t = (struct op_test){.c = c, .n = c->n, .x = c->x, .random = the_seed()};
	for (const char *s = c->name; *s; s++) /* every case has numbers of its own */
		t->random = (t->random ^ (unsigned char)*s) * 0x100000001b3 | 1;
	c->setup(t);
	for (int i = 0; i < t->count; i++) {
		struct op_array *a = &t->arrays[i];
		if (!a->name)
			continue;
		if (a->role == OP_UPDATED)
			memcpy(a->want, a->in, tensor_count(a->tensor) * sizeof *a->in);
		struct error error;
		uint64_t bytes = tensor_bytes(a->tensor) + 2 * GUARD_BYTES;
		if (buffer_create(&a->tensor.buffer, device, bytes, BUFFER_DEVICE, a->name, &error))
			fail_msg("%s", error.text);
		a->tensor.offset = GUARD_BYTES;
	}
}

static void release(struct op_test *t)
{
	for (int i = 0; i < t->count; i++) {
		buffer_destroy(&t->arrays[i].tensor.buffer);
		free(t->arrays[i].in);
		free(t->arrays[i].want);
	}
}

static size_t words_of(const struct op_array *a)
{
	return tensor_count(a->tensor) + 2 * GUARD_BYTES / 4;
}

/* The bytes of an array, guards included, before the operation. */
static void image_of(const struct op_array *a, uint32_t *words)
{
	size_t count = tensor_count(a->tensor);
	for (size_t j = 0; j < words_of(a); j++)
		words[j] = GUARD_WORD;
	uint32_t *data = words + GUARD_BYTES / 4;
	for (size_t j = 0; j < count; j++) {
		float value = (float)a->in[j];
		if (a->role == OP_OUTPUT || a->role == OP_SCRATCH)
			data[j] = UNWRITTEN_WORD;
		else if (a->tensor.dtype == DTYPE_U32)
			data[j] = (uint32_t)a->in[j];
		else
			memcpy(&data[j], &value, 4);
	}
}

static void write_all(const struct op_test *t)
{
	for (int i = 0; i < t->count; i++) {
		const struct op_array *a = &t->arrays[i];
		if (!a->name)
			continue;
		uint32_t *words = mem_alloc(words_of(a), 4);
		image_of(a, words);
		struct error error;
		if (buffer_write(a->tensor.buffer, 0, words, words_of(a) * 4, &error))
			fail_msg("%s", error.text);
		free(words);
	}
}

static uint32_t *read_words(const struct op_array *a)
{
	uint32_t *words = mem_alloc(words_of(a), 4);
	struct error error;
	if (buffer_read(a->tensor.buffer, 0, words, words_of(a) * 4, &error))
		fail_msg("%s", error.text);
	return words;
}

/* Guards, and inputs entirely, are as they were. */
static int check_untouched(const struct op_array *a, const uint32_t *words)
{
	int bad = 0;
	uint32_t *before = mem_alloc(words_of(a), 4);
	image_of(a, before);
	const size_t guard = GUARD_BYTES / 4, end = words_of(a) - guard;
	for (size_t j = 0; j < words_of(a); j++) {
		bool checked = a->role == OP_INPUT || j < guard || j >= end;
		if (checked && words[j] != before[j] && bad++ < 3)
			print_message("%s: word %ld of %ld was changed from %08x to %08x\n", a->name,
				      (long)j - (long)guard, (long)tensor_count(a->tensor), before[j], words[j]);
	}
	free(before);
	return bad;
}

static int check_values(const struct op_array *a, const uint32_t *words)
{
	int bad = 0;
	const uint32_t *data = words + GUARD_BYTES / 4;
	for (size_t j = 0; j < tensor_count(a->tensor); j++) {
		float value;
		memcpy(&value, &data[j], 4);
		double got = a->tensor.dtype == DTYPE_U32 ? (double)data[j] : (double)value;
		double want = a->want[j];
		if (!(fabs(got - want) <= a->atol + a->rtol * fabs(want)) && bad++ < 5)
			print_message("%s[%lld, %lld]: %.9g, expected %.9g, off by %.3g (rtol %g, atol %g)\n", a->name,
				      (long long)((int64_t)j / a->tensor.cols),
				      (long long)((int64_t)j % a->tensor.cols), got, want, got - want, a->rtol,
				      a->atol);
	}
	if (bad)
		print_message("%s: %d of %llu elements are wrong\n", a->name, bad,
			      (unsigned long long)tensor_count(a->tensor));
	return bad;
}

/* With OP_TEST_BITS set, says what the case left in an array, and compares nothing with the
 * reference (test_ops_threads.sh). */
static bool bits_wanted(void)
{
	return getenv("OP_TEST_BITS") != NULL;
}

static void print_bits(const struct op_case *c, const struct op_array *a, const uint32_t *words)
{
	if (!bits_wanted() || (a->role != OP_OUTPUT && a->role != OP_UPDATED))
		return;
	uint64_t hash = 0xcbf29ce484222325;
	for (size_t j = 0; j < words_of(a); j++)
		hash = (hash ^ words[j]) * 0x100000001b3;
	print_message("# bits %016llx %s %s\n", (unsigned long long)hash, c->name, a->name);
}

static void submit(struct recorder *rec)
{
	struct error error;
	uint64_t ticket;
	if (recorder_submit(rec, &ticket, &error) || device_wait(recorder_device(rec), ticket, &error))
		fail_msg("%s", error.text);
}

static void run_case(struct device *device, const struct op_case *c)
{
	struct op_test t;
	prepare(&t, c, device);
	struct recorder *rec = recorder_create(device, c->name);
	struct error error;
	recorder_begin(rec);
	c->record(rec, &t);
	if (recorder_finish(rec, &error))
		fail_msg("%s", error.text);

	write_all(&t);
	submit(rec);
	uint32_t *first[OP_TEST_ARRAYS] = {0};
	for (int i = 0; i < t.count; i++)
		if (t.arrays[i].name)
			first[i] = read_words(&t.arrays[i]);
	write_all(&t);
	submit(rec);
	if (!bits_wanted())
		c->reference(&t);

	int bad = 0;
	for (int i = 0; i < t.count; i++) {
		const struct op_array *a = &t.arrays[i];
		if (!first[i])
			continue;
		uint32_t *second = read_words(a);
		if (memcmp(first[i], second, words_of(a) * 4) != 0) {
			print_message("%s: the second run gave other bits\n", a->name);
			bad++;
		}
		print_bits(c, a, second);
		bad += check_untouched(a, second);
		if (!bits_wanted() && (a->role == OP_OUTPUT || a->role == OP_UPDATED))
			bad += check_values(a, second);
		free(first[i]);
		free(second);
	}
	recorder_destroy(&rec);
	release(&t);
	int messages = device_validation_messages(device);
	if (messages != 0)
		print_message("the validation layer said %d things\n", messages);
	if (bad || messages != 0)
		fail_msg("case '%s' (REBOUND_SEED=%llu)", c->name, (unsigned long long)the_seed());
}

/* ---- the test program ---- */

static struct device *the_device;
static enum device_type the_type;
static struct error the_error;

static int open_device(void **state)
{
	(void)state;
	if (device_create(&the_device, &(struct device_options){.validation = true}, &the_error))
		the_device = NULL;
	if (!the_device)
		return 0;
	the_type = device_get_info(the_device)->type;
	print_message("# device %s, REBOUND_SEED=%llu\n", device_get_info(the_device)->name,
		      (unsigned long long)the_seed());
	return 0;
}

static int close_device(void **state)
{
	(void)state;
	device_destroy(&the_device);
	return 0;
}

/* On a CPU device every case runs twice: with the kernels for CPUs, then as if the device
 * were another, with those for GPUs. */
static void run_one(void **state)
{
	if (!the_device) {
		print_message("%s\n", the_error.text);
		skip();
	}
	struct device_info *info = (struct device_info *)(uintptr_t)device_get_info(the_device);
	info->type = the_type;
	run_case(the_device, *state);
	if (the_type == DEVICE_TYPE_CPU) {
		info->type = DEVICE_TYPE_OTHER;
		run_case(the_device, *state);
	}
}

int op_test_main(const char *group, const struct op_case *cases)
{
	size_t count = 0, capacity = 0;
	struct CMUnitTest *tests = NULL;
	for (const struct op_case *c = cases; c->name; c++) {
		if (!c->reference)
			continue;
		mem_reserve((void **)&tests, &capacity, count + 1, sizeof *tests);
		tests[count++] = (struct CMUnitTest){
			.name = c->name,
			.test_func = run_one,
			.initial_state = (void *)(uintptr_t)c,
		};
	}
	int failed = _cmocka_run_group_tests(group, tests, count, open_device, close_device);
	free(tests);
	return failed;
}

/* ---- timing ---- */

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int op_test_bench(const struct op_case *cases, const char *words)
{
	enum { CALLS = 16, ROUNDS = 15 };
	struct error error;
	struct device *device;
	if (device_create(&device, &(struct device_options){0}, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	for (const struct op_case *c = cases; c->name; c++) {
		if (words && !strstr(c->name, words))
			continue;
		struct op_test t;
		prepare(&t, c, device);
		write_all(&t);
		struct recorder *rec = recorder_create(device, c->name);
		recorder_begin(rec);
		for (int i = 0; i < CALLS; i++)
			c->record(rec, &t);
		if (recorder_finish(rec, &error)) {
			fprintf(stderr, "%s: %s\n", c->name, error.text);
			return 1;
		}
		double best = INFINITY, begun = seconds();
		for (int round = 0; round < ROUNDS && (round < 2 || seconds() - begun < 0.5); round++) {
			double start = seconds();
			submit(rec);
			double took = seconds() - start;
			best = took < best ? took : best;
		}
		printf("%10.1f us  %s\n", best / CALLS * 1e6, c->name);
		recorder_destroy(&rec);
		release(&t);
	}
	device_destroy(&device);
	return 0;
}
