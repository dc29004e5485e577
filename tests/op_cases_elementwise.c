/* op_glu, op_softcap, op_add, op_blend, op_gather_rows, op_scatter_add_rows, op_pool and
 * gradients. */
#include <math.h>

#include "tests/op_test.h"

enum { R, N, G, EXTRA, ACT = 3 }; /* rows, columns, gradients, one more */

/* ---- gated units ---- */

enum { A, GATE_UP, DA, DGATE_UP };

static double activate(enum op_act act, double x)
{
	switch (act) {
	case OP_ACT_GELU:
		return 0.5 * x * (1 + erf(x / sqrt(2)));
	case OP_ACT_GELU_TANH:
		return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
	case OP_ACT_SILU:
		return x / (1 + exp(-x));
	case OP_ACT_RELU:
		return x > 0 ? x : 0;
	default:
		return x;
	}
}

static double glu_at(const struct op_test *t, int64_t j)
{
	const double *row = t->arrays[GATE_UP].in + j / t->n[N] * 2 * t->n[N];
	return activate((enum op_act)t->n[ACT], row[j % t->n[N]]) * row[t->n[N] + j % t->n[N]];
}

static void glu_setup(struct op_test *t)
{
	op_test_fill(t, op_test_input(t, GATE_UP, "gate_up", t->n[R], 2 * t->n[N]), -6, 6);
	op_test_output(t, A, "a", t->n[R], t->n[N], 1e-6, 1e-5);
}

static void glu_record(struct recorder *rec, const struct op_test *t)
{
	op_glu(rec, op_tensor(t, A), op_tensor(t, GATE_UP), (enum op_act)t->n[ACT]);
}

static void glu_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++)
		t->arrays[A].want[j] = glu_at(t, j);
}

static void glu_back_setup(struct op_test *t)
{
	struct op_array *gate_up = op_test_input(t, GATE_UP, "gate_up", t->n[R], 2 * t->n[N]);
	op_test_fill(t, gate_up, -5, 5);
	op_test_fill(t, op_test_input(t, DA, "da", t->n[G] * t->n[R], t->n[N]), -1, 1);
	op_test_output(t, DGATE_UP, "dgate_up", t->n[G] * t->n[R], 2 * t->n[N], 1e-5, 5e-6);
}

static void glu_back_record(struct recorder *rec, const struct op_test *t)
{
	op_glu_back(rec, op_tensor(t, DGATE_UP), op_tensor(t, DA), op_tensor(t, GATE_UP), (enum op_act)t->n[ACT]);
}

static double glu_objective(struct op_test *t, int64_t g)
{
	double sum = 0;
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++)
		sum += t->arrays[DA].in[g * t->n[R] * t->n[N] + j] * glu_at(t, j);
	return sum;
}

static void glu_back_reference(struct op_test *t)
{
	op_test_differentiate(t, GATE_UP, DGATE_UP, glu_objective);
}

/* ---- soft capping ---- */

enum { Y, X, DY, DX };

static void softcap_setup(struct op_test *t)
{
	struct op_array *y = op_test_updated(t, Y, "y", t->n[R], t->n[N], 1e-6, 1e-7); /* in place */
	op_test_fill(t, y, -2, 2);
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++) /* from tiny to saturated */
		y->in[j] = (float)(y->in[j] * pow(10, (double)(j % 7) - 3));
}

static void softcap_record(struct recorder *rec, const struct op_test *t)
{
	op_softcap(rec, op_tensor(t, Y), op_tensor(t, Y), t->x[0]);
}

static void softcap_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++)
		t->arrays[Y].want[j] = t->x[0] * tanh(t->arrays[Y].in[j] / t->x[0]);
}

static void softcap_back_setup(struct op_test *t)
{
	struct op_array *x = op_test_input(t, X, "x", t->n[R], t->n[N]);
	struct op_array *y = op_test_input(t, Y, "y", t->n[R], t->n[N]);
	op_test_fill(t, x, -40, 40);
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++)
		y->in[j] = (float)(t->x[0] * tanh(x->in[j] / t->x[0]));
	op_test_fill(t, op_test_input(t, DY, "dy", t->n[G] * t->n[R], t->n[N]), -1, 1);
	op_test_output(t, DX, "dx", t->n[G] * t->n[R], t->n[N], 1e-5, 1e-6);
}

static void softcap_back_record(struct recorder *rec, const struct op_test *t)
{
	op_softcap_back(rec, op_tensor(t, DX), op_tensor(t, DY), op_tensor(t, Y), t->x[0]);
}

static double softcap_objective(struct op_test *t, int64_t g)
{
	double sum = 0;
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++)
		sum += t->arrays[DY].in[g * t->n[R] * t->n[N] + j] * t->x[0] * tanh(t->arrays[X].in[j] / t->x[0]);
	return sum;
}

static void softcap_back_reference(struct op_test *t)
{
	op_test_differentiate(t, X, DX, softcap_objective);
}

/* ---- sums and blends; G repetitions of b, resp. of `on` ---- */

enum { SUM, LEFT, RIGHT, ON };

static void add_setup(struct op_test *t)
{
	op_test_fill(t, op_test_input(t, LEFT, "a", t->n[G] * t->n[R], t->n[N]), -1, 1);
	op_test_fill(t, op_test_input(t, RIGHT, "b", t->n[R], t->n[N]), -1, 1);
	op_test_output(t, SUM, "y", t->n[G] * t->n[R], t->n[N], 1e-7, 1e-7);
}

static void add_record(struct recorder *rec, const struct op_test *t)
{
	op_add(rec, op_tensor(t, SUM), op_tensor(t, LEFT), op_tensor(t, RIGHT), t->x[0]);
}

static void add_reference(struct op_test *t)
{
	int64_t n = t->n[R] * t->n[N];
	for (int64_t j = 0; j < t->n[G] * n; j++)
		t->arrays[SUM].want[j] = t->arrays[LEFT].in[j] + t->x[0] * t->arrays[RIGHT].in[j % n];
}

static void blend_setup(struct op_test *t)
{
	int64_t rows = t->n[G] * t->n[R];
	op_test_fill(t, op_test_updated(t, SUM, "y", rows, t->n[N], 2e-7, 1e-7), -1, 1); /* in place */
	if (t->n[EXTRA])
		op_test_fill(t, op_test_input(t, RIGHT, "b", rows, t->n[N]), -1, 1);
	struct op_array *on = op_test_input_u32(t, ON, "on", 1, t->n[R]);
	for (int64_t r = 0; r < t->n[R]; r++)
		on->in[r] = (double)op_test_below(t, 2);
}

static void blend_record(struct recorder *rec, const struct op_test *t)
{
	op_blend(rec, op_tensor(t, SUM), op_tensor(t, SUM), op_tensor(t, RIGHT), op_tensor(t, ON), t->x[0]);
}

static void blend_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[G] * t->n[R] * t->n[N]; j++) {
		double b = t->n[EXTRA] ? t->arrays[RIGHT].in[j] : 0;
		if (t->arrays[ON].in[j / t->n[N] % t->n[R]] != 0)
			t->arrays[SUM].want[j] = t->x[0] * t->arrays[SUM].in[j] + (1 - t->x[0]) * b;
	}
}

/* ---- rows by index: R rows of a replica, EXTRA of them picked ---- */

enum { TO, FROM, INDEX };

static void fill_index(struct op_test *t, struct op_array *index)
{
	int64_t first = op_test_below(t, t->n[R]); /* distinct, in no order */
	for (int64_t i = 0; i < t->n[EXTRA]; i++)
		index->in[i] = (double)((first + t->n[R] - i) % t->n[R]);
}

static void gather_setup(struct op_test *t)
{
	op_test_fill(t, op_test_input(t, FROM, "x", t->n[G] * t->n[R], t->n[N]), -1, 1);
	fill_index(t, op_test_input_u32(t, INDEX, "index", 1, t->n[EXTRA]));
	op_test_output(t, TO, "y", t->n[G] * t->n[EXTRA], t->n[N], 0, 0);
}

static void gather_record(struct recorder *rec, const struct op_test *t)
{
	op_gather_rows(rec, op_tensor(t, TO), op_tensor(t, FROM), op_tensor(t, INDEX), t->n[R]);
}

/* The row of the replica that element j of the picked rows comes from or goes to. */
static int64_t picked(const struct op_test *t, int64_t j)
{
	int64_t row = j / t->n[N];
	return (row / t->n[EXTRA] * t->n[R] + (int64_t)t->arrays[INDEX].in[row % t->n[EXTRA]]) * t->n[N] + j % t->n[N];
}

static void gather_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[G] * t->n[EXTRA] * t->n[N]; j++)
		t->arrays[TO].want[j] = t->arrays[FROM].in[picked(t, j)];
}

static void scatter_setup(struct op_test *t)
{
	op_test_fill(t, op_test_input(t, FROM, "x", t->n[G] * t->n[EXTRA], t->n[N]), -1, 1);
	fill_index(t, op_test_input_u32(t, INDEX, "index", 1, t->n[EXTRA]));
	op_test_fill(t, op_test_updated(t, TO, "y", t->n[G] * t->n[R], t->n[N], 1e-7, 1e-7), -1, 1);
}

static void scatter_record(struct recorder *rec, const struct op_test *t)
{
	op_scatter_add_rows(rec, op_tensor(t, TO), op_tensor(t, FROM), op_tensor(t, INDEX), t->n[R]);
}

static void scatter_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[G] * t->n[EXTRA] * t->n[N]; j++)
		t->arrays[TO].want[picked(t, j)] += t->arrays[FROM].in[j];
}

/* ---- pooling: sequences of R, R+1, ... rows, positions from 2 ---- */

enum { POOLED, POOL_X, POOL_ROWS, DPOOLED, DPOOL_X };
enum { P_S = 3, P_FIRST };

static int64_t pool_rows(const struct op_test *t)
{
	return t->n[P_S] * t->n[R] + t->n[P_S] * (t->n[P_S] - 1) / 2;
}

static void pool_table(struct op_test *t)
{
	struct op_array *rows = op_test_input_u32(t, POOL_ROWS, "rows", pool_rows(t), 2);
	for (int64_t s = 0, r = 0; s < t->n[P_S]; s++)
		for (int64_t i = 0; i < t->n[R] + s; i++, r++) {
			rows->in[2 * r] = (double)s;
			rows->in[2 * r + 1] = (double)(2 + i);
		}
}

/* Mean of column `col` over the pooled rows of sequence s. */
static double pool_at(const struct op_test *t, int64_t s, int64_t col)
{
	double sum = 0, count = 0;
	for (int64_t r = 0; r < pool_rows(t); r++) {
		const double *row = t->arrays[POOL_ROWS].in + 2 * r;
		if (row[0] == (double)s && row[1] >= (double)t->n[P_FIRST]) {
			sum += t->arrays[POOL_X].in[r * t->n[N] + col];
			count++;
		}
	}
	return count > 0 ? sum / count : 0;
}

static void pool_setup(struct op_test *t)
{
	pool_table(t);
	op_test_fill(t, op_test_input(t, POOL_X, "x", pool_rows(t), t->n[N]), -1, 1);
	op_test_output(t, POOLED, "y", t->n[P_S], t->n[N], 1e-6, 1e-6);
}

static void pool_record(struct recorder *rec, const struct op_test *t)
{
	op_pool(rec, op_tensor(t, POOLED), op_tensor(t, POOL_X), op_tensor(t, POOL_ROWS), t->n[P_FIRST]);
}

static void pool_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[P_S] * t->n[N]; j++)
		t->arrays[POOLED].want[j] = pool_at(t, j / t->n[N], j % t->n[N]);
}

static void pool_back_setup(struct op_test *t)
{
	pool_table(t);
	op_test_fill(t, op_test_input(t, POOL_X, "x", pool_rows(t), t->n[N]), -1, 1);
	op_test_fill(t, op_test_input(t, DPOOLED, "dy", t->n[G] * t->n[P_S], t->n[N]), -1, 1);
	op_test_output(t, DPOOL_X, "dx", t->n[G] * pool_rows(t), t->n[N], 1e-6, 1e-7);
}

static void pool_back_record(struct recorder *rec, const struct op_test *t)
{
	op_pool_back(rec, op_tensor(t, DPOOL_X), op_tensor(t, DPOOLED), op_tensor(t, POOL_ROWS), t->n[P_FIRST]);
}

static double pool_objective(struct op_test *t, int64_t g)
{
	int64_t n = t->n[P_S] * t->n[N];
	double sum = 0;
	for (int64_t j = 0; j < n; j++)
		sum += t->arrays[DPOOLED].in[g * n + j] * pool_at(t, j / t->n[N], j % t->n[N]);
	return sum;
}

static void pool_back_reference(struct op_test *t)
{
	op_test_differentiate(t, POOL_X, DPOOL_X, pool_objective);
}

#define CASE(op, name, x, ...)                                                                                         \
	{                                                                                                              \
		name, op##_setup, op##_record, op##_reference, {__VA_ARGS__},                                          \
		{                                                                                                      \
			x                                                                                              \
		}                                                                                                      \
	}

const struct op_case op_cases_elementwise[] = {
	/* R, N, G, ... */
	CASE(glu, "glu silu 1x3072", 0, 1, 3072, 1, OP_ACT_SILU),
	CASE(glu, "glu gelu 7x131", 0, 7, 131, 1, OP_ACT_GELU),
	CASE(glu, "glu gelu-tanh 3x1", 0, 3, 1, 1, OP_ACT_GELU_TANH),
	CASE(glu, "glu relu 2x67", 0, 2, 67, 1, OP_ACT_RELU),
	CASE(glu, "glu none 1x5", 0, 1, 5, 1, OP_ACT_NONE),
	CASE(glu, "glu silu 700x3001", 0, 700, 3001, 1, OP_ACT_SILU),
	CASE(glu_back, "glu back silu 3x7 G=2", 0, 3, 7, 2, OP_ACT_SILU),
	CASE(glu_back, "glu back gelu 1x131", 0, 1, 131, 1, OP_ACT_GELU),
	CASE(glu_back, "glu back gelu-tanh 5x13", 0, 5, 13, 1, OP_ACT_GELU_TANH),
	CASE(glu_back, "glu back relu 2x11", 0, 2, 11, 1, OP_ACT_RELU),
	CASE(softcap, "softcap 3x257", 30, 3, 257),
	CASE(softcap, "softcap 1x1", 50, 1, 1),
	CASE(softcap_back, "softcap back 2x31 G=3", 30, 2, 31, 3),
	CASE(add, "add 1x768", 1, 1, 768, 1),
	CASE(add, "add scaled, 3 repetitions of 5x7", -0.3, 5, 7, 3),
	CASE(blend, "blend 5x13 G=2", 0.25, 5, 13, 2, 1),
	CASE(blend, "blend without b 7x3", 0, 7, 3, 1, 0),
	CASE(gather, "gather 3 of 7x19 G=2", 0, 7, 19, 2, 3),
	CASE(gather, "gather 1 of 1x1", 0, 1, 1, 1, 1),
	CASE(scatter, "scatter 3 of 7x19 G=2", 0, 7, 19, 2, 3),
	CASE(scatter, "scatter 1 of 2x769", 0, 2, 769, 1, 1),
	CASE(pool, "pool 3 sequences of 7, 8, 9 rows from 4", 0, 7, 37, 1, 3, 4),
	CASE(pool, "pool where a sequence has no row", 0, 3, 5, 1, 2, 5),
	CASE(pool_back, "pool back 3 sequences G=2", 0, 4, 5, 2, 3, 4),
	CASE(pool_back, "pool back where a sequence has no row", 0, 3, 5, 1, 2, 5),
	{0},
};
