/* op_linear against a product in double precision: each kernel, odd shapes, all steps
 * after the product, weights of three types at odd offsets. Memory around inputs is NaN
 * and memory around outputs is checked to be untouched. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/base/mem.h"
#include "compute/ops_linear.h"

enum { GUARD = 64 }; /* words on each side of a tensor, a multiple of any alignment */

static struct device *device;
static uint64_t seed = 1;

static double uniform(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (double)(seed >> 11) / 9007199254740992.0 * 2 - 1;
}

/* ---- tensors with guards ---- */

static uint32_t guard_word(int64_t i)
{
	return 0x7fc00000u | (uint32_t)(i & 0xffff); /* a NaN each, also as two halves */
}

/* A tensor `odd` bytes behind an aligned offset, with guards. `values` (may be NULL) are
 * stored in the tensor's type and replaced by what was stored. */
static struct tensor make(enum dtype dtype, int64_t rows, int64_t cols, double *values, uint64_t odd)
{
	struct error error;
	struct tensor t = {NULL, GUARD * 4 + odd, rows, cols, dtype};
	int64_t words = (int64_t)((tensor_bytes(t) + 3) / 4) + 2 * GUARD + (int64_t)(odd / 4);
	if (buffer_create(&t.buffer, device, (uint64_t)words * 4, BUFFER_DEVICE, "test", &error))
		fail_msg("%s", error.text);
	uint32_t *data = mem_alloc((size_t)words, 4);
	for (int64_t i = 0; i < words; i++)
		data[i] = guard_word(i);
	char *at = (char *)data + t.offset;
	for (int64_t i = 0; values && i < rows * cols; i++) {
		float f = (float)values[i];
		uint32_t bits;
		memcpy(&bits, &f, 4);
		if (dtype == DTYPE_F32) {
			memcpy(at + 4 * i, &bits, 4);
		} else if (dtype == DTYPE_BF16) {
			uint16_t half = (uint16_t)(bits >> 16);
			memcpy(at + 2 * i, &half, 2);
			bits &= 0xffff0000u;
			memcpy(&f, &bits, 4);
		} else {
			_Float16 half = (_Float16)f;
			memcpy(at + 2 * i, &half, 2);
			f = (float)half;
		}
		values[i] = (double)f;
	}
	if (buffer_write(t.buffer, 0, data, (uint64_t)words * 4, &error))
		fail_msg("%s", error.text);
	free(data);
	return t;
}

/* The values of a float32 tensor; fails if its guards were written to. */
static float *take(struct tensor t, const char *what)
{
	struct error error;
	int64_t count = (int64_t)tensor_count(t), words = count + 2 * GUARD;
	uint32_t *data = mem_alloc((size_t)words, 4);
	if (buffer_read(t.buffer, 0, data, (uint64_t)words * 4, &error))
		fail_msg("%s", error.text);
	for (int64_t i = 0; i < words; i++)
		if ((i < GUARD || i >= GUARD + count) && data[i] != guard_word(i))
			fail_msg("%s: the word %lld of %lld was overwritten", what, (long long)(i - GUARD),
				 (long long)count);
	float *values = mem_copy(data + GUARD, (size_t)count * 4);
	free(data);
	return values;
}

static double *randoms(int64_t count, double scale, double offset)
{
	double *values = mem_alloc((size_t)count, sizeof *values);
	for (int64_t i = 0; i < count; i++)
		values[i] = (double)(float)(uniform() * scale + offset);
	return values;
}

/* ---- the reference ---- */

static double act(enum op_act kind, double v)
{
	switch (kind) {
	case OP_ACT_GELU:
		return 0.5 * v * (1 + erf(v / sqrt(2)));
	case OP_ACT_GELU_TANH:
		return 0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
	case OP_ACT_SILU:
		return v / (1 + exp(-v));
	case OP_ACT_RELU:
		return v > 0 ? v : 0;
	default:
		return v;
	}
}

/* Central difference: independent of the formulas that the kernels use. */
static double slope(enum op_act kind, double v)
{
	if (kind == OP_ACT_RELU)
		return v > 0;
	return (act(kind, v + 1e-5) - act(kind, v - 1e-5)) / 2e-5;
}

enum { BIAS = 1, PRE = 2, BACK = 4, RESIDUAL = 8, RESIDUAL_IS_Y = 16, NORM_B = 32, CACHE = 64 };

struct test_case {
	int64_t rows, n, k;
	enum op_layout layout;
	enum dtype dtype;
	enum op_norm norm;
	enum op_act act, back_act;
	int flags;
	uint64_t odd; /* bytes that w, bias and norm weights are off alignment */
	struct linear_choice choice;
};

static void describe(char *out, size_t size, const struct test_case *c)
{
	snprintf(out, size, "%s R %lld N %lld K %lld %s %s norm %d act %d back %d flags %d odd %d limit %llu cuts %d",
		 linear_kernel_name(c->choice.kernel), (long long)c->rows, (long long)c->n, (long long)c->k,
		 c->layout == OP_OUT_IN ? "out-in" : "in-out", dtype_name(c->dtype), (int)c->norm, (int)c->act,
		 (int)c->back_act, c->flags, (int)c->odd, (unsigned long long)c->choice.max_binding, c->choice.k_parts);
}

static void normalise(double *x, int64_t rows, int64_t k, const struct test_case *c, const double *w, const double *b,
		      double eps)
{
	for (int64_t r = 0; r < rows && c->norm != OP_NORM_NONE; r++) {
		double *row = x + r * k, mean = 0, square = 0;
		for (int64_t i = 0; i < k && c->norm == OP_NORM_LAYER; i++)
			mean += row[i] / (double)k;
		for (int64_t i = 0; i < k; i++)
			square += (row[i] - mean) * (row[i] - mean) / (double)k;
		for (int64_t i = 0; i < k; i++) {
			row[i] = (row[i] - mean) / sqrt(square + eps) * (w[i] + (c->norm == OP_NORM_RMS_PLUS));
			if (c->flags & NORM_B)
				row[i] += b[i];
		}
	}
}

static void compare(const char *name, const char *what, const float *got, const double *want, const double *tolerance,
		    int64_t count)
{
	for (int64_t i = 0; i < count; i++)
		if (!(fabs((double)got[i] - want[i]) <= tolerance[i]))
			fail_msg("%s: %s[%lld] is %.9g, expected %.9g within %.2g", name, what, (long long)i,
				 (double)got[i], want[i], tolerance[i]);
}

/* FNV-1a over everything the cases computed: equal bits, equal hash. */
static uint64_t results_hash = 14695981039346656037u;
static void hash(const float *values, int64_t count)
{
	const unsigned char *bytes = (const unsigned char *)values;
	for (int64_t i = 0; i < count * 4; i++)
		results_hash = (results_hash ^ bytes[i]) * 1099511628211u;
}

/* With CACHE, a quarter of the columns each are keys and values, at positions 2.. of the
 * second of two sequences. */
struct cache {
	struct tensor k, v, rows;
	int64_t width, context;
};

static struct cache make_cache(int64_t rows, int64_t n)
{
	struct cache c = {.width = n / 4, .context = rows + 3};
	c.k = make(DTYPE_F32, 2 * c.context, c.width, NULL, 0);
	c.v = make(DTYPE_F32, 2 * c.context, c.width, NULL, 0);
	c.rows = make(DTYPE_U32, rows, 2, NULL, 0);
	uint32_t *table = mem_alloc((size_t)rows * 2, sizeof *table);
	for (int64_t r = 0; r < rows; r++) {
		table[2 * r] = 1;
		table[2 * r + 1] = (uint32_t)r + 2;
	}
	struct error error;
	if (tensor_write(c.rows, table, &error))
		fail_msg("%s", error.text);
	free(table);
	return c;
}

/* y [rows, n] from q [rows, n - 2 width] and the caches, whose other rows are as they were. */
static float *gather_cached(const struct cache *c, const float *q, int64_t rows, int64_t n, const char *name)
{
	float *y = mem_alloc((size_t)(rows * n), sizeof *y);
	int64_t width = n - 2 * c->width, first = c->context + 2;
	for (int part = 0; part < 2; part++) {
		float *values = take(part == 0 ? c->k : c->v, name);
		for (int64_t i = 0; i < 2 * c->context * c->width; i++) {
			int64_t r = i / c->width - first;
			uint32_t bits;
			memcpy(&bits, &values[i], 4);
			if (r >= 0 && r < rows)
				y[r * n + width + part * c->width + i % c->width] = values[i];
			else if (bits != guard_word(i + GUARD))
				fail_msg("%s: element %lld of the cache was overwritten", name, (long long)i);
		}
		free(values);
	}
	for (int64_t r = 0; r < rows; r++)
		memcpy(y + r * n, q + r * width, (size_t)width * 4);
	return y;
}

/* Returns false if the kernel doesn't do this case. */
static bool run_case(const struct test_case *c)
{
	char name[256];
	describe(name, sizeof name, c);
	struct error error;
	const double eps = 1e-5;
	int64_t rows = c->rows, n = c->n, k = c->k, back_rows = rows > 2 ? rows / 2 + 1 : rows;
	bool out_in = c->layout == OP_OUT_IN;
	double *x = randoms(rows * k, 1, 0.3), *w = randoms(n * k, 1, 0.1), *bias = randoms(n, 2, 0);
	double *norm_w = randoms(k, 1, 1), *norm_b = randoms(k, 1, 0), *residual = randoms(rows * n, 3, 0);
	double *back = randoms(back_rows * n, 3, 0);
	struct tensor tx = make(DTYPE_F32, rows, k, x, 0);
	struct tensor tw = make(c->dtype, out_in ? n : k, out_in ? k : n, w, c->odd);
	struct cache cache = {0};
	if (c->flags & CACHE)
		cache = make_cache(rows, n);
	struct tensor ty = make(DTYPE_F32, rows, n - 2 * cache.width, c->flags & RESIDUAL_IS_Y ? residual : NULL, 0);
	struct op_linear extra = {.norm = c->norm, .norm_eps = eps, .act = c->act, .back_act = c->back_act};
	struct tensor none = {0};
	extra.norm_w = c->norm ? make(DTYPE_F32, 1, k, norm_w, c->odd) : none;
	extra.norm_b = c->flags & NORM_B ? make(DTYPE_F32, 1, k, norm_b, c->odd) : none;
	extra.bias = c->flags & BIAS ? make(DTYPE_F32, 1, n, bias, c->odd) : none;
	extra.pre = c->flags & PRE ? make(DTYPE_F32, rows, n, NULL, 0) : none;
	extra.back_pre = c->flags & BACK ? make(DTYPE_F32, back_rows, n, back, 0) : none;
	extra.residual = c->flags & RESIDUAL_IS_Y ? ty
			 : c->flags & RESIDUAL	  ? make(DTYPE_F32, rows, n, residual, 0)
						  : none;

	extra.k_cache = cache.k;
	extra.v_cache = cache.v;
	extra.rows = cache.rows;
	extra.context = cache.context;

	const struct device_info *info = device_get_info(device);
	bool fits = linear_kernel_fits(c->choice.kernel, info, ty, tx, tw, c->layout);
	if (fits) {
		struct recorder *rec = recorder_create(device, "test");
		recorder_begin(rec);
		op_linear_chosen(rec, ty, tx, tw, c->layout, &extra, &c->choice);
		if (recorder_run(rec, &error))
			fail_msg("%s: %s", name, error.text);
		float *y = take(ty, name);
		if (c->flags & CACHE) {
			float *q = y;
			y = gather_cached(&cache, q, rows, n, name);
			free(q);
		}
		float *pre = c->flags & PRE ? take(extra.pre, name) : NULL;
		hash(y, rows * n);
		if (!(c->flags & (RESIDUAL_IS_Y | CACHE))) {
			uint64_t ticket;
			if (recorder_submit(rec, &ticket, &error) || device_wait(device, ticket, &error))
				fail_msg("%s: %s", name, error.text);
			float *again = take(ty, name);
			if (memcmp(y, again, (size_t)(rows * n) * 4) != 0)
				fail_msg("%s: another run gives other bits", name);
			free(again);
		}
		normalise(x, rows, k, c, norm_w, norm_b, eps);
		double *want = mem_alloc((size_t)(rows * n), sizeof *want);
		double *want_pre = mem_alloc((size_t)(rows * n), sizeof *want);
		double *tolerance = mem_alloc((size_t)(rows * n), sizeof *want);
		double *tolerance_pre = mem_alloc((size_t)(rows * n), sizeof *want);
		for (int64_t r = 0; r < rows; r++)
			for (int64_t j = 0; j < n; j++) {
				double v = 0, size = 0;
				for (int64_t i = 0; i < k; i++) {
					double term = x[r * k + i] * (out_in ? w[j * k + i] : w[i * n + j]);
					v += term;
					size += fabs(term);
				}
				if (c->flags & BIAS) {
					v += bias[j];
					size += fabs(bias[j]);
				}
				int64_t at = r * n + j;
				/* rounding of a float32 sum, as a random walk with some room */
				tolerance[at] = (1e-6 + 1.2e-7 * sqrt((double)k)) * (size + 0.1);
				tolerance_pre[at] = tolerance[at];
				want_pre[at] = v;
				v = act(c->act, v);
				tolerance[at] = tolerance[at] * 1.2 + 1e-6 * fabs(v);
				if (c->flags & BACK) {
					double s = slope(c->back_act, back[r % back_rows * n + j]);
					tolerance[at] = tolerance[at] * fabs(s) + 2e-6 * fabs(v);
					v *= s;
				}
				if (c->flags & (RESIDUAL | RESIDUAL_IS_Y)) {
					v += residual[at];
					tolerance[at] += 1e-6 * fabs(v);
				}
				want[at] = v;
			}
		compare(name, "y", y, want, tolerance, rows * n);
		if (pre)
			compare(name, "pre", pre, want_pre, tolerance_pre, rows * n);
		free(want);
		free(want_pre);
		free(tolerance);
		free(tolerance_pre);
		free(y);
		free(pre);
		recorder_destroy(&rec);
	}
	struct tensor *all[] = {&tx,	       &tw,	    &ty,	 &extra.norm_w,
				&extra.norm_b, &extra.bias, &extra.pre,	 &extra.back_pre,
				&cache.k,      &cache.v,    &cache.rows, NULL};
	for (int i = 0; all[i]; i++)
		buffer_destroy(&all[i]->buffer);
	if (c->flags & RESIDUAL && !(c->flags & RESIDUAL_IS_Y))
		buffer_destroy(&extra.residual.buffer);
	double *values[] = {x, w, bias, norm_w, norm_b, residual, back};
	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		free(values[i]);
	return fits;
}

/* ---- the cases ---- */

static const enum op_layout layouts[] = {OP_OUT_IN, OP_IN_OUT};
static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};

static void test_shapes(void **state)
{
	(void)state;
	static const int64_t shapes[][3] = {
		/* rows, n, k */
		{1, 1, 1},     {1, 8, 4},     {3, 5, 7},      {1, 65, 3},     {1, 3, 131},    {2, 64, 64},
		{4, 96, 32},   {5, 33, 40},   {7, 129, 8},    {1, 128, 256},  {1, 260, 136},  {8, 24, 96},
		{9, 40, 72},   {13, 16, 8},   {16, 100, 104}, {17, 72, 200},  {33, 136, 24},  {64, 48, 128},
		{1, 512, 320}, {3, 776, 40},  {40, 300, 52},  {1, 904, 140},  {2, 1672, 68},  {1, 96, 1032},
		{2, 72, 520},  {1, 2312, 12}, {1, 104, 3004}, {2, 200, 2700}, {10, 72, 1024}, {12, 104, 2048},
		{6, 136, 512},
	};
	for (int kernel = 0; kernel < LINEAR_KERNELS; kernel++) {
		int done = 0;
		for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
			for (int l = 0; l < 2; l++)
				for (int t = 0; t < 3; t++) {
					struct test_case c = {
						.rows = shapes[s][0],
						.n = shapes[s][1],
						.k = shapes[s][2],
						.layout = layouts[l],
						.dtype = types[t],
						.odd = t == 0	? s % 4 * 4
						       : t == 1 ? s % 2 * 8
								: 4,
						.choice.kernel = (enum linear_kernel)kernel,
					};
					done += run_case(&c);
				}
		print_message("%s: %d cases\n", linear_kernel_name((enum linear_kernel)kernel), done);
	}
}

static void test_steps(void **state)
{
	(void)state;
	static const struct {
		enum op_norm norm;
		enum op_act act, back_act;
		int flags;
	} steps[] = {
		{OP_NORM_NONE, OP_ACT_NONE, OP_ACT_NONE, BIAS},
		{OP_NORM_NONE, OP_ACT_NONE, OP_ACT_NONE, RESIDUAL},
		{OP_NORM_NONE, OP_ACT_NONE, OP_ACT_NONE, BIAS | RESIDUAL_IS_Y},
		{OP_NORM_LAYER, OP_ACT_NONE, OP_ACT_NONE, BIAS | NORM_B},
		{OP_NORM_LAYER, OP_ACT_GELU_TANH, OP_ACT_NONE, BIAS | NORM_B | PRE},
		{OP_NORM_LAYER, OP_ACT_GELU, OP_ACT_NONE, PRE},
		{OP_NORM_RMS, OP_ACT_SILU, OP_ACT_NONE, BIAS},
		{OP_NORM_RMS_PLUS, OP_ACT_RELU, OP_ACT_NONE, BIAS | PRE | RESIDUAL},
		{OP_NORM_NONE, OP_ACT_NONE, OP_ACT_GELU, BACK},
		{OP_NORM_NONE, OP_ACT_NONE, OP_ACT_GELU_TANH, BACK | RESIDUAL},
		{OP_NORM_NONE, OP_ACT_NONE, OP_ACT_SILU, BACK},
		{OP_NORM_NONE, OP_ACT_GELU, OP_ACT_RELU, BIAS | PRE | BACK | RESIDUAL},
		{OP_NORM_LAYER, OP_ACT_NONE, OP_ACT_NONE, BIAS | NORM_B | CACHE},
		{OP_NORM_NONE, OP_ACT_NONE, OP_ACT_NONE, CACHE},
	};
	static const int64_t shapes[][3] = {{1, 72, 104}, {6, 40, 72}, {19, 136, 64}};
	for (int kernel = 0; kernel < LINEAR_KERNELS; kernel++)
		for (size_t i = 0; i < ARRAY_LEN(steps); i++)
			for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
				struct test_case c = {
					.rows = shapes[s][0],
					.n = shapes[s][1],
					.k = shapes[s][2],
					.layout = layouts[(i + s) % 2],
					.dtype = types[(i + s) % 3],
					.norm = steps[i].norm,
					.act = steps[i].act,
					.back_act = steps[i].back_act,
					.flags = steps[i].flags,
					.odd = (i + s) % 3 * 4,
					.choice.kernel = (enum linear_kernel)kernel,
				};
				run_case(&c);
				c.layout = layouts[(i + s + 1) % 2];
				run_case(&c);
			}
}

/* Weights larger than a binding, and inner dimensions cut in parts. */
static void test_splits(void **state)
{
	(void)state;
	for (int kernel = 0; kernel < LINEAR_KERNELS; kernel++)
		for (int l = 0; l < 2; l++)
			for (int t = 0; t < 3; t++)
				for (int cuts = 0; cuts < 4; cuts += 3) {
					struct test_case c = {
						.rows = 1 + 2 * t,
						.n = 104,
						.k = 88,
						.layout = layouts[l],
						.dtype = types[t],
						.norm = OP_NORM_LAYER,
						.act = OP_ACT_GELU,
						.flags = BIAS | PRE | RESIDUAL_IS_Y,
						.odd = 4,
						.choice = {(enum linear_kernel)kernel, 8192, cuts},
					};
					run_case(&c);
				}
}

/* ---- gather, embedding ---- */

/* `own`: each row picks ids of its own. */
static void check_gather(enum dtype type, bool own, int64_t k)
{
	struct error error;
	int64_t rows = 3, vocabulary = 201, count = 5;
	static const uint32_t all_ids[] = {200, 0, 17, 17, 133, 5, 6, 7, 8, 9, 133, 1, 200, 0, 2};
	double *w = randoms(vocabulary * k, 1, 0), *x = randoms(rows * k, 1, 0), *dy = randoms(rows * count, 1, 0);
	struct tensor tw = make(type, vocabulary, k, w, k % 8 ? 4 : 16), tx = make(DTYPE_F32, rows, k, x, 0);
	struct tensor tdy = make(DTYPE_F32, rows, count, dy, 0), ty = make(DTYPE_F32, rows, count, NULL, 0);
	struct tensor tdx = make(DTYPE_F32, rows, k, NULL, 0), tids = make(DTYPE_U32, own ? rows : 1, count, NULL, 0);
	if (tensor_write(tids, all_ids, &error))
		fail_msg("%s", error.text);
	struct recorder *rec = recorder_create(device, "test");
	recorder_begin(rec);
	op_linear_gather(rec, ty, tx, tw, tids);
	op_linear_gather_back(rec, tdx, tdy, tw, tids);
	if (recorder_run(rec, &error))
		fail_msg("%s", error.text);
	float *y = take(ty, "gather"), *dx = take(tdx, "gather_back");
	for (int64_t r = 0; r < rows; r++) {
		const uint32_t *ids = own ? all_ids + r * count : all_ids;
		for (int64_t j = 0; j < count; j++) {
			double v = 0;
			for (int64_t i = 0; i < k; i++)
				v += x[r * k + i] * w[ids[j] * k + i];
			if (!(fabs(v - (double)y[r * count + j]) <= 4e-5))
				fail_msg("gather: [%d, %d] is %g, expected %g", (int)r, (int)j,
					 (double)y[r * count + j], v);
		}
		for (int64_t i = 0; i < k; i++) {
			double v = 0;
			for (int64_t j = 0; j < count; j++)
				v += dy[r * count + j] * w[ids[j] * k + i];
			if (!(fabs(v - (double)dx[r * k + i]) <= 5e-6))
				fail_msg("gather_back: [%d, %d] is %g, expected %g", (int)r, (int)i,
					 (double)dx[r * k + i], v);
		}
	}
	recorder_destroy(&rec);
	struct tensor *all[] = {&tw, &tx, &tdy, &ty, &tdx, &tids};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		buffer_destroy(&all[i]->buffer);
	void *host[] = {w, x, dy, y, dx};
	for (size_t i = 0; i < ARRAY_LEN(host); i++)
		free(host[i]);
}

static void test_gather(void **state)
{
	(void)state;
	for (int t = 0; t < 3; t++) {
		check_gather(types[t], false, 77);
		check_gather(types[t], true, 77);
		check_gather(types[t], true, 88); /* whole texels: the kernels for CPU devices */
		check_gather(types[t], false, 328);
	}
}

/* ---- rows apart ---- */

static float *product(struct tensor w, enum op_layout layout, const double *x, int64_t rows, int64_t n, int64_t k,
		      const struct op_linear *extra)
{
	struct error error;
	double *copy = mem_copy(x, (size_t)(rows * k) * sizeof *copy);
	struct tensor tx = make(DTYPE_F32, rows, k, copy, 0), ty = make(DTYPE_F32, rows, n, NULL, 0);
	struct recorder *rec = recorder_create(device, "rows");
	recorder_set_rows_alike(rec, true);
	recorder_begin(rec);
	op_linear(rec, ty, tx, w, layout, extra);
	if (recorder_run(rec, &error))
		fail_msg("%s", error.text);
	recorder_destroy(&rec);
	float *y = take(ty, "rows apart");
	buffer_destroy(&tx.buffer);
	buffer_destroy(&ty.buffer);
	free(copy);
	return y;
}

/* A row's product is the same to the bit, however many rows go with it, if the recorder is to keep
 * rows alike: recoveries of several prompts in one batch rest on this. */
static void test_rows_apart(void **state)
{
	(void)state;
	static const struct {
		int64_t n, k;
	} shapes[] = {{96, 128}, {50, 77}, {8, 70000}, {1024, 520}};
	for (int t = 0; t < 3; t++)
		for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
			for (int layout = 0; layout < 2; layout++)
				/* The long sum is cut, as a vocabulary's gradient is; no norm comes before it. */
				for (int norm = OP_NORM_NONE;
				     norm <= (shapes[s].k > 1000 ? OP_NORM_NONE : OP_NORM_RMS_PLUS); norm++) {
					int64_t most = 33, n = shapes[s].n, k = shapes[s].k;
					double *x = randoms(most * k, 1, 0.3), *w = randoms(n * k, 1, 0);
					double *norm_w = randoms(k, 1, 1), *norm_b = randoms(k, 1, 0);
					struct tensor tw = make(types[t], layout == OP_OUT_IN ? n : k,
								layout == OP_OUT_IN ? k : n, w, 0);
					struct op_linear extra = {.norm = (enum op_norm)norm, .norm_eps = 1e-5};
					if (norm != OP_NORM_NONE)
						extra.norm_w = make(DTYPE_F32, 1, k, norm_w, 0);
					if (norm == OP_NORM_LAYER)
						extra.norm_b = make(DTYPE_F32, 1, k, norm_b, 0);
					float *all = product(tw, (enum op_layout)layout, x, most, n, k, &extra);
					for (int64_t first = 0, rows = 1; first + rows <= most; first += rows++) {
						float *some = product(tw, (enum op_layout)layout, x + first * k, rows,
								      n, k, &extra);
						if (memcmp(some, all + first * n, (size_t)(rows * n) * sizeof *all) !=
						    0)
							fail_msg("%lld rows of N %lld K %lld, %s, layout %d, norm %d: "
								 "not those of %lld rows",
								 (long long)rows, (long long)n, (long long)k,
								 dtype_name(types[t]), layout, norm, (long long)most);
						free(some);
					}
					free(all);
					buffer_destroy(&tw.buffer);
					buffer_destroy(&extra.norm_w.buffer);
					buffer_destroy(&extra.norm_b.buffer);
					void *host[] = {x, w, norm_w, norm_b};
					for (size_t i = 0; i < ARRAY_LEN(host); i++)
						free(host[i]);
				}
}

static void test_embed(void **state)
{
	(void)state;
	struct error error;
	for (int t = 0; t < 6; t++) {
		int64_t rows = 4, width = 67, vocabulary = 33, context = 9;
		static const uint32_t ids[] = {32, 0, 5, 5}, table[] = {0, 0, 0, 8, 1, 3, 1, 4};
		bool positions = t < 3;
		double *wte = randoms(vocabulary * width, 1, 0), *wpe = randoms(context * width, 1, 0);
		struct tensor twte = make(types[t % 3], vocabulary, width, wte, 4);
		struct tensor twpe = make(types[(t + 1) % 3], context, width, wpe, 8);
		struct tensor tx = make(DTYPE_F32, rows, width, NULL, 0);
		struct tensor tids = make(DTYPE_U32, 1, rows, NULL, 0), trows = make(DTYPE_U32, rows, 2, NULL, 0);
		if (tensor_write(tids, ids, &error) || tensor_write(trows, table, &error))
			fail_msg("%s", error.text);
		struct recorder *rec = recorder_create(device, "test");
		recorder_begin(rec);
		op_embed(rec, tx, tids, trows, twte, positions ? twpe : (struct tensor){0}, 1.5);
		if (recorder_run(rec, &error))
			fail_msg("%s", error.text);
		float *x = take(tx, "embed");
		for (int64_t r = 0; r < rows; r++)
			for (int64_t i = 0; i < width; i++) {
				double v = 1.5 * wte[ids[r] * width + i];
				if (positions)
					v += wpe[table[2 * r + 1] * width + i];
				if (!(fabs(v - (double)x[r * width + i]) <= 1e-6))
					fail_msg("embed: [%d, %d] is %g, expected %g", (int)r, (int)i,
						 (double)x[r * width + i], v);
			}
		recorder_destroy(&rec);
		struct tensor *all[] = {&twte, &twpe, &tx, &tids, &trows};
		for (size_t i = 0; i < ARRAY_LEN(all); i++)
			buffer_destroy(&all[i]->buffer);
		free(wte);
		free(wpe);
		free(x);
	}
}

static void test_validation_is_silent(void **state)
{
	(void)state;
	assert_int_equal(device_validation_messages(device), 0);
}

/* Started by itself with another LP_NUM_THREADS: prints the hash of some results. */
static int print_hash(void)
{
	test_steps(NULL);
	printf("hash %016llx\n", (unsigned long long)results_hash);
	return 0;
}

static void test_threads(void **state)
{
	(void)state;
	if (device_get_info(device)->type != DEVICE_TYPE_CPU) {
		print_message("the device does not take LP_NUM_THREADS\n");
		skip();
	}
	char path[512];
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
	assert_true(length > 0);
	path[length] = '\0';
	char found[2][32] = {"", ""};
	for (int i = 0; i < 2; i++) {
		char *command = mem_printf("LP_NUM_THREADS=%d '%s' hash", i * 3, path);
		FILE *pipe = popen(command, "r");
		assert_non_null(pipe);
		char line[256];
		while (fgets(line, sizeof line, pipe))
			if (strncmp(line, "hash ", 5) == 0)
				snprintf(found[i], sizeof found[i], "%.16s", line + 5);
		assert_int_equal(pclose(pipe), 0);
		free(command);
	}
	assert_int_equal(strlen(found[0]), 16);
	assert_string_equal(found[0], found[1]);
}

int main(int argc, char **argv)
{
	struct error error;
	if (device_create(&device, &(struct device_options){.validation = argc < 2}, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	if (argc > 1 && strcmp(argv[1], "hash") == 0)
		return print_hash();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),	   cmocka_unit_test(test_steps),
		cmocka_unit_test(test_splits),	   cmocka_unit_test(test_gather),
		cmocka_unit_test(test_rows_apart), cmocka_unit_test(test_embed),
		cmocka_unit_test(test_threads),	   cmocka_unit_test(test_validation_is_silent),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	device_destroy(&device);
	return failed;
}
