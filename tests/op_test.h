/* The table of operation tests: a kernel against a double-precision reference.
 *
 * A case names an operation and its shapes. `setup` declares the arrays and fills the
 * inputs, `record` records the operation, `reference` computes in doubles what the
 * outputs should be (a gradient: by central differences of the forward reference,
 * op_test_differentiate). Running a case checks that
 *   - every element of an output is written and within rtol |want| + atol (NaN is not),
 *   - inputs, and the guard words before and behind every array, are left alone,
 *   - the same recording submitted again gives the same bits,
 *   - the validation layer is silent.
 * The same table is timed by bench_ops.c.
 */
#ifndef REBOUND_TESTS_OP_TEST_H
#define REBOUND_TESTS_OP_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/ops.h"

enum op_role {
	OP_INPUT,
	OP_OUTPUT,
	OP_UPDATED, /* in and out */
	OP_SCRATCH, /* contents undefined before and after */
};
struct op_array {
	const char *name;
	enum op_role role;
	struct tensor tensor;
	double *in;   /* before: float32 or u32 values; tensor_count of them */
	double *want; /* after; starts as a copy of `in` (updated) or NaN (outputs) */
	double rtol, atol;
};

enum { OP_TEST_ARRAYS = 24, OP_TEST_SHAPES = 14, OP_TEST_REALS = 4 };
struct op_case;
struct op_test {
	const struct op_case *c;
	const int64_t *n; /* the case's shape parameters */
	const double *x;  /* the case's real parameters */
	struct op_array arrays[OP_TEST_ARRAYS];
	int count;
	uint64_t random;
};
struct op_case {
	const char *name; /* NULL ends a table */
	void (*setup)(struct op_test *t);
	void (*record)(struct recorder *rec, const struct op_test *t);
	void (*reference)(struct op_test *t); /* NULL: the case is only timed */
	int64_t n[OP_TEST_SHAPES];
	double x[OP_TEST_REALS];
};

/* In setup: declare array number i (an enum of the case's). Inputs are zero at first. */
struct op_array *op_test_input(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols);
struct op_array *op_test_input_u32(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols);
struct op_array *op_test_output(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols, double rtol,
				double atol);
struct op_array *op_test_updated(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols, double rtol,
				 double atol);
struct op_array *op_test_updated_u32(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols);
struct op_array *op_test_scratch(struct op_test *t, int i, const char *name, int64_t rows, int64_t cols);
/* Uniform in [low, high], as float32 values. */
void op_test_fill(struct op_test *t, struct op_array *a, double low, double high);
double op_test_uniform(struct op_test *t, double low, double high);
/* One of 0 .. n-1. */
int64_t op_test_below(struct op_test *t, int64_t n);

static inline struct tensor op_tensor(const struct op_test *t, int i)
{
	return t->arrays[i].tensor;
}

/* d objective(t, g) / d *x by central differences; *x is one of t->arrays[].in. */
double op_test_derivative(struct op_test *t, double *x, double (*objective)(struct op_test *t, int64_t g), int64_t g);
/* want of array `gradient` = d objective(t, g) / d in of array `by`, for g = 0 .. G-1, where
 * `gradient` has G times the elements of `by`. `objective` reads t->arrays[].in. */
void op_test_differentiate(struct op_test *t, int by, int gradient, double (*objective)(struct op_test *t, int64_t g));

/* Each case a cmocka test; the exit status. */
int op_test_main(const char *group, const struct op_case *cases);
/* Prints microseconds a call for each case whose name holds `words` (NULL: all), recorded
 * often one after the other; the best of some rounds. */
int op_test_bench(const struct op_case *cases, const char *words);

extern const struct op_case op_cases_norm[], op_cases_attention[], op_cases_elementwise[], op_cases_sae[],
	op_cases_sae_rows[], op_cases_recover[], op_cases_jacobian[], op_cases_probes[];

#endif
