/* op_sae_prepare and its gradient, op_sae_rescale, op_sae_select with op_sae_chosen. */
#include <math.h>
#include <stdlib.h>

#include "compute/base/mem.h"
#include "tests/op_test.h"

/* ---- normalisation ---- */

enum { R, D, G, NORM, CENTER, SUBTRACT, OUT, TERMS }; /* OUT: 0, 1 scaled moves, 2 the whole */
enum { V, STATS, X, B_DEC, DX, DV, DOUT, MOVES };

static struct op_sae_prepare prepare_of(const struct op_test *t)
{
	return (struct op_sae_prepare){
		.norm = (enum op_sae_norm)t->n[NORM],
		.center = t->n[CENTER] != 0,
		.b_dec = t->n[SUBTRACT] ? op_tensor(t, B_DEC) : (struct tensor){0},
	};
}

/* v [d] and stats [4] of row r. */
static void prepare_row(const struct op_test *t, int64_t r, double *v, double *stats)
{
	int64_t d = t->n[D];
	const double *x = t->arrays[X].in + r * d;
	double mean = 0, squares = 0;
	for (int64_t j = 0; j < d; j++)
		mean += x[j] / (double)d;
	if (!t->n[CENTER] && t->n[NORM] != OP_SAE_NORM_LAYER)
		mean = 0;
	for (int64_t j = 0; j < d; j++)
		squares += (x[j] - mean) * (x[j] - mean);
	stats[0] = mean;
	stats[1] = stats[2] = 1;
	if (t->n[NORM] == OP_SAE_NORM_LAYER) {
		stats[2] = sqrt(squares / (double)(d - 1));
		stats[1] = 1 / (stats[2] + 1e-5);
	} else if (t->n[NORM] == OP_SAE_NORM_CONSTANT) {
		stats[2] = sqrt(squares / (double)d);
		stats[1] = 1 / stats[2];
	}
	stats[3] = t->n[NORM] == OP_SAE_NORM_LAYER && !t->n[CENTER] ? mean : 0;
	for (int64_t j = 0; j < d; j++)
		v[j] = (x[j] - mean) * stats[1] - (t->n[SUBTRACT] ? t->arrays[B_DEC].in[j] : 0);
}

static void prepare_inputs(struct op_test *t)
{
	struct op_array *x = op_test_input(t, X, "x", t->n[R], t->n[D]);
	for (int64_t r = 0; r < t->n[R]; r++) { /* rows of several sizes, off centre */
		double scale = op_test_uniform(t, 0.5, 5);
		for (int64_t j = 0; j < t->n[D]; j++)
			x->in[r * t->n[D] + j] = (float)(scale * op_test_uniform(t, -0.7, 1.3));
	}
	if (t->n[SUBTRACT])
		op_test_fill(t, op_test_input(t, B_DEC, "b_dec", 1, t->n[D]), -0.5, 0.5);
}

static void prepare_setup(struct op_test *t)
{
	prepare_inputs(t);
	op_test_output(t, V, "v", t->n[R], t->n[D], 2e-6, 2e-6);
	op_test_output(t, STATS, "stats", t->n[R], 4, 2e-6, 2e-6);
}

static void prepare_record(struct recorder *rec, const struct op_test *t)
{
	struct op_sae_prepare p = prepare_of(t);
	op_sae_prepare(rec, op_tensor(t, V), op_tensor(t, STATS), op_tensor(t, X), &p);
}

static void prepare_reference(struct op_test *t)
{
	for (int64_t r = 0; r < t->n[R]; r++)
		prepare_row(t, r, t->arrays[V].want + r * t->n[D], t->arrays[STATS].want + 4 * r);
}

/* The statistics and v are inputs of the backward pass, as the forward pass leaves them. For
 * OUT the objective is sum dv v + sum dout (s b + o), with b = MOVES as given, and what the
 * kernel gets as moves is s b. */
static void prepare_back_setup(struct op_test *t)
{
	int64_t d = t->n[D], columns = t->n[OUT] == 2 ? d : t->n[TERMS];
	prepare_inputs(t);
	struct op_array *v = op_test_input(t, V, "v", t->n[R], d),
			*stats = op_test_input(t, STATS, "stats", t->n[R], 4);
	for (int64_t r = 0; r < t->n[R]; r++) {
		prepare_row(t, r, v->in + r * d, stats->in + 4 * r);
		for (int64_t j = 0; j < d; j++)
			v->in[r * d + j] = (float)v->in[r * d + j];
		for (int j = 0; j < 4; j++)
			stats->in[4 * r + j] = (float)stats->in[4 * r + j];
	}
	op_test_fill(t, op_test_input(t, DV, "dv", t->n[G] * t->n[R], d), -1, 1);
	if (t->n[OUT]) {
		op_test_fill(t, op_test_input(t, DOUT, "dout", t->n[G] * t->n[R], columns), -1, 1);
		op_test_fill(t, op_test_input(t, MOVES, "moves", t->n[R], columns), -1, 1);
	}
	/* Sums of d products of the size of x. */
	op_test_fill(t, op_test_updated(t, DX, "dx", t->n[G] * t->n[R], d, 1e-5, 2e-5), -1, 1);
}

static void prepare_back_record(struct recorder *rec, const struct op_test *t)
{
	struct op_sae_prepare p = prepare_of(t);
	struct op_sae_restored restored = {.whole = t->n[OUT] == 2};
	if (t->n[OUT]) {
		restored.dout = op_tensor(t, DOUT);
		restored.out = op_tensor(t, MOVES);
	}
	op_sae_prepare_back(rec, op_tensor(t, DX), op_tensor(t, DV), op_tensor(t, V), op_tensor(t, STATS), &p,
			    &restored, true);
}

static double prepare_objective(struct op_test *t, int64_t g)
{
	int64_t d = t->n[D], columns = t->n[OUT] == 2 ? d : t->n[TERMS];
	double *v = mem_alloc((size_t)d, sizeof *v), stats[4], sum = 0;
	for (int64_t r = 0; r < t->n[R]; r++) {
		int64_t row = g * t->n[R] + r;
		prepare_row(t, r, v, stats);
		for (int64_t j = 0; j < d; j++)
			sum += t->arrays[DV].in[row * d + j] * v[j];
		for (int64_t j = 0; j < columns && t->n[OUT]; j++) {
			double b = t->arrays[MOVES].in[r * columns + j];
			if (t->n[OUT] == 1)
				b /= t->arrays[STATS].in[4 * r + 2];
			double out = b * stats[2] + (t->n[OUT] == 2 ? stats[3] : 0);
			sum += t->arrays[DOUT].in[row * columns + j] * out;
		}
	}
	free(v);
	return sum;
}

static void prepare_back_reference(struct op_test *t)
{
	op_test_differentiate(t, X, DX, prepare_objective);
	for (int64_t i = 0; i < t->n[G] * t->n[R] * t->n[D]; i++)
		t->arrays[DX].want[i] += t->arrays[DX].in[i];
}

enum { Y, W, RSTATS };

static void rescale_setup(struct op_test *t)
{
	op_test_fill(t, op_test_input(t, W, "w", t->n[G] * t->n[R], t->n[D]), -1, 1);
	op_test_fill(t, op_test_input(t, RSTATS, "stats", t->n[R], 4), -2, 2);
	op_test_output(t, Y, "y", t->n[G] * t->n[R], t->n[D], 1e-6, 1e-6);
}

static void rescale_record(struct recorder *rec, const struct op_test *t)
{
	op_sae_rescale(rec, op_tensor(t, Y), op_tensor(t, W), op_tensor(t, RSTATS), t->n[NORM] != 0);
}

static void rescale_reference(struct op_test *t)
{
	for (int64_t i = 0; i < t->n[G] * t->n[R] * t->n[D]; i++) {
		const double *s = t->arrays[RSTATS].in + 4 * (i / t->n[D] % t->n[R]);
		t->arrays[Y].want[i] = t->arrays[W].in[i] * s[2] + (t->n[NORM] ? s[3] : 0);
	}
}

/* ---- choices ---- */

enum {
	CR,
	F,
	KIND,
	K,
	COLUMNS,
	LEVELS
}; /* COLUMNS > 0: so many are picked by index, LEVELS: distinct values, 0 many */
enum { Z, KEPT, H, CUT, INDEX };

static void choice_setup(struct op_test *t)
{
	int64_t columns = t->n[COLUMNS] ? t->n[COLUMNS] : t->n[F];
	enum op_sae_choice kind = (enum op_sae_choice)t->n[KIND];
	int64_t middle = t->n[LEVELS] / 2, apart = t->n[F] / columns;
	struct op_array *h = op_test_input(t, H, "h", t->n[CR], t->n[F]);
	op_test_fill(t, h, -2, 2);
	for (int64_t i = 0; t->n[LEVELS] && i < t->n[CR] * t->n[F]; i++) /* many equals, signed zeros too */
		h->in[i] = (double)(op_test_below(t, t->n[LEVELS]) - middle) * (i % 3 ? 1 : -1.0);
	struct op_array *cut = op_test_updated_u32(t, CUT, "cut", t->n[CR], op_sae_cut_columns(kind, t->n[K]));
	cut->role = OP_SCRATCH;
	if (t->n[COLUMNS]) {
		struct op_array *index = op_test_input_u32(t, INDEX, "index", 1, columns);
		for (int64_t i = 0; i < columns; i++)
			index->in[i] = (double)(t->n[F] - 1 - i * apart);
	}
	/* the first row belongs to another chunk and stays as it is */
	int64_t rows = t->n[CR] + (t->n[COLUMNS] ? 1 : 0);
	op_test_fill(t, op_test_updated(t, Z, "z", rows, columns, 0, 0), 5, 6);
	op_test_fill(t, op_test_updated(t, KEPT, "kept", rows, columns, 0, 0), 5, 6);
}

static void choice_record(struct recorder *rec, const struct op_test *t)
{
	enum op_sae_choice kind = (enum op_sae_choice)t->n[KIND];
	struct tensor none = {0}, index = t->n[COLUMNS] ? op_tensor(t, INDEX) : none;
	op_sae_select(rec, op_tensor(t, CUT), op_tensor(t, H), kind, t->n[K]);
	op_sae_chosen(rec, op_tensor(t, Z), op_tensor(t, KEPT), op_tensor(t, H), op_tensor(t, CUT), index,
		      t->n[COLUMNS] ? 1 : 0, kind, t->n[K]);
}

struct candidate {
	double key;
	int64_t index;
};

static int by_key(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	if (x->key != y->key)
		return x->key > y->key ? -1 : 1;
	return x->index < y->index ? -1 : 1;
}

/* z [n] of the k first in order of n numbers, the lower index first among equals. */
static void choose(const double *h, int64_t n, int64_t k, bool magnitude, double *z)
{
	struct candidate *all = mem_alloc((size_t)n, sizeof *all);
	for (int64_t i = 0; i < n; i++) {
		all[i] = (struct candidate){magnitude ? fabs(h[i]) : h[i], i};
		z[i] = 0;
	}
	qsort(all, (size_t)n, sizeof *all, by_key);
	for (int64_t i = 0; i < k && i < n; i++)
		if (magnitude || all[i].key > 0)
			z[all[i].index] = h[all[i].index];
	free(all);
}

static void choice_reference(struct op_test *t)
{
	int64_t n = t->n[F], k = t->n[K], columns = t->n[COLUMNS];
	double *z = mem_alloc((size_t)n, sizeof *z);
	for (int64_t r = 0; r < t->n[CR]; r++) {
		const double *h = t->arrays[H].in + r * n;
		for (int64_t g = 0; t->n[KIND] == OP_CHOICE_GROUPS && g < k; g++)
			choose(h + g * (n / k), n / k, 1, false, z + g * (n / k));
		if (t->n[KIND] != OP_CHOICE_GROUPS)
			choose(h, n, k, t->n[KIND] == OP_CHOICE_MAGNITUDE, z);
		int64_t row = columns ? r + 1 : r, width = columns ? columns : n;
		for (int64_t i = 0; i < width; i++) {
			double value = z[columns ? (int64_t)t->arrays[INDEX].in[i] : i];
			t->arrays[Z].want[row * width + i] = value;
			t->arrays[KEPT].want[row * width + i] = value;
		}
	}
	free(z);
}

#define CASE(op, name, ...)                                                                                            \
	{                                                                                                              \
		name, op##_setup, op##_record, op##_reference, {__VA_ARGS__},                                          \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}
#define LARGEST	  OP_CHOICE_LARGEST
#define MAGNITUDE OP_CHOICE_MAGNITUDE
#define GROUPS	  OP_CHOICE_GROUPS

const struct op_case op_cases_sae_rows[] = {
	CASE(prepare, "sae prepare layer 3x131", 3, 131, 1, OP_SAE_NORM_LAYER, 0, 1),
	CASE(prepare, "sae prepare layer 2x2", 2, 2, 1, OP_SAE_NORM_LAYER, 0, 0),
	CASE(prepare, "sae prepare layer centred 5x64", 5, 64, 1, OP_SAE_NORM_LAYER, 1, 1),
	CASE(prepare, "sae prepare constant 7x67", 7, 67, 1, OP_SAE_NORM_CONSTANT, 0, 1),
	CASE(prepare, "sae prepare constant centred 1x300", 1, 300, 1, OP_SAE_NORM_CONSTANT, 1, 0),
	CASE(prepare, "sae prepare centred 90x2304", 90, 2304, 1, OP_SAE_NORM_NONE, 1, 1),
	CASE(prepare_back, "sae prepare back layer 3x37 G=2", 3, 37, 2, OP_SAE_NORM_LAYER, 0, 1, 0, 1),
	CASE(prepare_back, "sae prepare back layer, moves", 3, 37, 2, OP_SAE_NORM_LAYER, 0, 1, 1, 5),
	CASE(prepare_back, "sae prepare back layer, whole", 4, 13, 1, OP_SAE_NORM_LAYER, 0, 0, 2, 1),
	CASE(prepare_back, "sae prepare back layer centred, whole", 2, 13, 2, OP_SAE_NORM_LAYER, 1, 1, 2, 1),
	CASE(prepare_back, "sae prepare back constant 2x19 G=3", 2, 19, 3, OP_SAE_NORM_CONSTANT, 0, 1, 0, 1),
	CASE(prepare_back, "sae prepare back constant, moves", 2, 70, 1, OP_SAE_NORM_CONSTANT, 0, 0, 1, 67),
	CASE(prepare_back, "sae prepare back constant centred, whole", 3, 11, 2, OP_SAE_NORM_CONSTANT, 1, 1, 2, 1),
	CASE(prepare_back, "sae prepare back centred 3x17 G=2", 3, 17, 2, OP_SAE_NORM_NONE, 1, 1, 0, 1),
	CASE(rescale, "sae rescale 3x131 G=2", 3, 131, 2, 1),
	CASE(rescale, "sae rescale back 5x13", 5, 13, 1, 0),
	CASE(choice, "topk 8 of 131, 3 rows", 3, 131, LARGEST, 8),
	CASE(choice, "topk 1 of 1", 1, 1, LARGEST, 1),
	CASE(choice, "topk 7 of 5", 2, 5, LARGEST, 7),
	CASE(choice, "topk 32 of 1021, equals", 4, 1021, LARGEST, 32, 0, 41),
	CASE(choice, "topk 200 of 1021, all equal", 2, 1021, LARGEST, 200, 0, 1),
	CASE(choice, "topk 500 of 600, fewer positive", 3, 600, LARGEST, 500),
	CASE(choice, "topk 64 of 65536, equals", 2, 65536, LARGEST, 64, 0, 999),
	CASE(choice, "topk 64 of 65537, equals", 2, 65537, LARGEST, 64, 0, 1001),
	CASE(choice, "topk 64 of 131072, 3 rows", 3, 131072, LARGEST, 64),
	CASE(choice, "topk 600000 of 1048576, few values", 1, 1048576, LARGEST, 600000, 0, 7),
	CASE(choice, "topk 100 of 1048576", 2, 1048576, LARGEST, 100),
	CASE(choice, "topk 8 of 131, 10 picked", 3, 131, LARGEST, 8, 10, 9),
	CASE(choice, "abstopk 9 of 131, 3 rows", 3, 131, MAGNITUDE, 9),
	CASE(choice, "abstopk 31 of 997, equals", 2, 997, MAGNITUDE, 31, 0, 21),
	CASE(choice, "abstopk 64 of 100003, equals, 17 picked", 2, 100003, MAGNITUDE, 64, 17, 5),
	CASE(choice, "groupmax 1 of 7", 2, 7, GROUPS, 1),
	CASE(choice, "groupmax 32 of 2048, equals", 3, 2048, GROUPS, 32, 0, 5),
	CASE(choice, "groupmax 33 of 33", 1, 33, GROUPS, 33),
	CASE(choice, "groupmax 2 of 1048576", 1, 1048576, GROUPS, 2),
	CASE(choice, "groupmax 13 of 1001, 9 picked", 3, 1001, GROUPS, 13, 9, 7),
	{0},
};
