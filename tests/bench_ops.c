/* Times operations on the device, each against the time in which a kernel that only
 * reads moves the same bytes. `bench_ops [word...]` runs the rows whose names hold one
 * of the words. A row: a name, what to allocate, what to record, the bytes that must
 * move and the arithmetic.
 *
 * Each row is recorded `turns` times over different weights, so many that they exceed
 * the CPU's cache, and submitted as one; the times are medians of several submissions,
 * taken in turns with the reading kernel, for on a shared machine the rate changes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compute/base/mem.h"
#include "compute/ops_linear.h"
#include "tests/read_floor.h"

enum { MAX_TURNS = 64, ROUNDS = 9 };
static const double working_set = 200e6; /* bytes */

struct row {
	char name[96];
	void (*setup)(struct row *row, struct arena *arena);
	void (*record)(struct row *row, struct recorder *rec, int turn);
	double bytes, flops; /* of one turn */
	int turns;
	/* what the rows' own functions use */
	int64_t rows, n, k;
	enum op_layout layout;
	enum dtype dtype;
	struct linear_choice choice;
	struct op_linear extra;
	struct tensor w[MAX_TURNS], x, y, a, b, c, d;
};

static struct device *device;
static struct read_floor *read_floor;

/* Processor time of the last run_once, all threads. */
static double processor_time;

static double processor_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double run_once(struct recorder *rec)
{
	struct error error;
	uint64_t ticket;
	double start = bench_now(), processor_start = processor_now();
	if (recorder_submit(rec, &ticket, &error) || device_wait(device, ticket, &error))
		bench_stop(&error);
	processor_time = processor_now() - processor_start;
	return bench_now() - start;
}

/* ---- running a row ---- */

static void fill_random(struct tensor t)
{
	static uint64_t state = 1;
	struct error error;
	uint64_t bytes = tensor_bytes(t);
	uint32_t *data = mem_alloc(bytes / 4 + 1, 4);
	for (uint64_t i = 0; i < bytes / 4 + 1; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		if (t.dtype == DTYPE_F32) {
			float f = (float)((double)(state >> 11) / 9007199254740992.0 - 0.5);
			memcpy(&data[i], &f, 4);
		} else {
			/* two halves of about 0.25 to 0.5 in either 2-byte type */
			data[i] = ((uint32_t)(state >> 32) & 0x80ff80ffu) | 0x3e003e00u;
		}
	}
	if (tensor_write(t, data, &error))
		bench_stop(&error);
	free(data);
}

static void run_row(struct row *row)
{
	struct error error;
	row->turns = (int)(working_set / row->bytes) + 1;
	if (row->turns > MAX_TURNS)
		row->turns = MAX_TURNS;
	struct arena *arena = arena_create(device, BUFFER_DEVICE, "bench");
	row->setup(row, arena);
	struct recorder *rec = recorder_create(device, row->name);
	recorder_begin(rec);
	for (int i = 0; i < row->turns; i++)
		row->record(row, rec, i);
	if (recorder_run(rec, &error))
		bench_stop(&error);
	double times[ROUNDS], rates[ROUNDS], processor[ROUNDS];
	for (int i = 0; i < ROUNDS; i++) {
		rates[i] = read_floor_rate(read_floor);
		times[i] = run_once(rec) / row->turns;
		processor[i] = processor_time / row->turns;
	}
	double time = bench_median(times, ROUNDS), rate = bench_median(rates, ROUNDS), floor = row->bytes / rate;
	printf("%-44s %9.3f %9.3f %9.3f %7.2f %8.1f %8.1f %8.1f %6.1f\n", row->name, time * 1e3, times[0] * 1e3,
	       bench_median(processor, ROUNDS) * 1e3, time / floor, row->bytes / time * 1e-9, rate * 1e-9,
	       row->flops / time * 1e-9, (double)recorder_get_counts(rec).dispatches / row->turns);
	fflush(stdout);
	recorder_destroy(&rec);
	arena_destroy(&arena);
}

/* ---- op_linear ---- */

static void linear_setup(struct row *row, struct arena *arena)
{
	struct error error;
	bool out_in = row->layout == OP_OUT_IN;
	for (int i = 0; i < row->turns; i++)
		arena_add(arena, &row->w[i], row->dtype, out_in ? row->n : row->k, out_in ? row->k : row->n);
	arena_add(arena, &row->x, DTYPE_F32, row->rows, row->k);
	arena_add(arena, &row->y, DTYPE_F32, row->rows, row->n);
	arena_add(arena, &row->a, DTYPE_F32, 1, row->k);
	arena_add(arena, &row->b, DTYPE_F32, 1, row->n);
	if (arena_allocate(arena, &error))
		bench_stop(&error);
	fill_random(row->w[0]);
	struct recorder *rec = recorder_create(device, "bench");
	recorder_begin(rec);
	for (int i = 1; i < row->turns; i++)
		record_copy_tensor(rec, row->w[i], row->w[0]);
	if (recorder_run(rec, &error))
		bench_stop(&error);
	recorder_destroy(&rec);
	fill_random(row->x);
	fill_random(row->a);
	fill_random(row->b);
	if (row->extra.norm) {
		row->extra.norm_w = row->a;
		row->extra.norm_b = row->a;
		row->extra.norm_eps = 1e-5;
		row->extra.bias = row->b;
	}
}

static void linear_record(struct row *row, struct recorder *rec, int turn)
{
	op_linear_chosen(rec, row->y, row->x, row->w[turn], row->layout, &row->extra, &row->choice);
}

static struct row linear_row(int64_t rows, int64_t n, int64_t k, enum op_layout layout, enum dtype dtype,
			     enum op_norm norm, enum linear_kernel kernel)
{
	struct row row = {
		.setup = linear_setup,
		.record = linear_record,
		.bytes = (double)n * (double)k * (double)dtype_size(dtype),
		.flops = 2 * (double)rows * (double)n * (double)k,
		.rows = rows,
		.n = n,
		.k = k,
		.layout = layout,
		.dtype = dtype,
		.choice.kernel = kernel,
		.extra.norm = norm,
	};
	snprintf(row.name, sizeof row.name, "linear/%s/%s/R%lld/%lldx%lld%s%s%s", dtype_name(dtype),
		 layout == OP_OUT_IN ? "out-in" : "in-out", (long long)rows, (long long)n, (long long)k,
		 norm ? "/norm" : "", kernel ? "/" : "", kernel ? linear_kernel_name(kernel) : "");
	return row;
}

static bool linear_suits(const struct row *row)
{
	bool out_in = row->layout == OP_OUT_IN;
	struct tensor y = {NULL, 0, row->rows, row->n, DTYPE_F32}, x = {NULL, 0, row->rows, row->k, DTYPE_F32};
	struct tensor w = {NULL, 0, out_in ? row->n : row->k, out_in ? row->k : row->n, row->dtype};
	return linear_kernel_fits(row->choice.kernel, device_get_info(device), y, x, w, row->layout);
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strstr(name, argv[i]))
			return true;
	return argc < 2;
}

int main(int argc, char **argv)
{
	struct error error;
	if (device_create(&device, &(struct device_options){0}, &error))
		bench_stop(&error);
	const struct device_info *info = device_get_info(device);
	printf("%s, %s\n", info->name, info->driver);
	read_floor = read_floor_open(device);
	printf("%-44s %9s %9s %9s %7s %8s %8s %8s %6s\n", "row (linear: y columns x inner)", "ms", "best ms", "cpu ms",
	       "/floor", "GB/s", "read", "GFLOP/s", "disp.");
	static const int64_t shapes[][2] = {{768, 768}, {2304, 768}, {3072, 768}, {768, 3072}};
	static const int64_t counts[] = {1, 4, 16, 64};
	static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16};
	for (int kernel = 0; kernel < LINEAR_KERNELS; kernel++)
		for (int t = 0; t < 2; t++)
			for (int l = 0; l < 2; l++)
				for (size_t r = 0; r < ARRAY_LEN(counts); r++)
					for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
						for (int norm = 0; norm < 2; norm++) {
							struct row row =
								linear_row(counts[r], shapes[s][0], shapes[s][1],
									   (enum op_layout)l, types[t],
									   norm ? OP_NORM_LAYER : OP_NORM_NONE,
									   (enum linear_kernel)kernel);
							/* other kernels than the chosen one only by name */
							bool suits = kernel == 0 || (argc > 1 && linear_suits(&row));
							if (suits && wanted(row.name, argc, argv))
								run_row(&row);
						}
	static const enum dtype all_types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
	for (int t = 0; t < 3; t++) {
		struct row row = linear_row(1, 50257, 768, OP_OUT_IN, all_types[t], OP_NORM_NONE, LINEAR_AUTO);
		if (wanted(row.name, argc, argv))
			run_row(&row);
	}
	read_floor_close(&read_floor);
	device_destroy(&device);
	return 0;
}
