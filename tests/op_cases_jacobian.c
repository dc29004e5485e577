/* op_jacobian_project. */
#include <math.h>
#include <stdlib.h>

#include "compute/base/mem.h"
#include "tests/op_test.h"

enum { G, RAW, PROJECTED, TOTAL };
enum { LAYERS, REPLICAS, NUMBERS, PENALTY };

static int64_t numbers(const struct op_test *t)
{
	return t->n[LAYERS] * t->n[NUMBERS];
}

/* Number i of a replica. */
static double *at(const struct op_test *t, double *g, int64_t replica, int64_t i)
{
	int64_t n = t->n[NUMBERS];
	return &g[(i / n * t->n[REPLICAS] + replica) * n + i % n];
}

static void project_setup(struct op_test *t)
{
	int64_t n = numbers(t), replicas = t->n[REPLICAS];
	struct op_array *g =
		op_test_updated(t, G, "g", t->n[LAYERS] * replicas, t->n[NUMBERS], 0, 2e-5 / sqrt((double)n) + 1e-6);
	op_test_fill(t, g, -1, 1);
	/* The fourth probe depends on the others: it does not join the basis. */
	for (int64_t i = 0; i < n && replicas > 5; i++)
		*at(t, g->in, 5, i) = -2 * *at(t, g->in, 3, i);
	op_test_output(t, RAW, "raw", 1, n, 0, 0);
	op_test_output(t, PROJECTED, "projected", 1, n, 2e-5, 2e-5);
	op_test_output(t, TOTAL, "total", 1, n, 2e-5, 2e-5);
}

static void project_record(struct recorder *rec, const struct op_test *t)
{
	op_jacobian_project(rec, op_tensor(t, RAW), op_tensor(t, PROJECTED), op_tensor(t, TOTAL), op_tensor(t, G),
			    t->n[LAYERS], t->n[REPLICAS], t->n[PENALTY] != 0);
}

static void subtract_part(double *v, const double *along, int64_t n)
{
	double dot = 0;
	for (int64_t i = 0; i < n; i++)
		dot += v[i] * along[i];
	for (int64_t i = 0; i < n; i++)
		v[i] -= dot * along[i];
}

static void project_reference(struct op_test *t)
{
	int64_t n = numbers(t), replicas = t->n[REPLICAS];
	double *basis = mem_alloc((size_t)(replicas * n), sizeof *basis), *projected = t->arrays[PROJECTED].want;
	for (int64_t i = 0; i < n; i++)
		t->arrays[RAW].want[i] = projected[i] = *at(t, t->arrays[G].in, 0, i);
	for (int64_t q = 2; q < replicas; q++) {
		double *v = basis + q * n, before = 0, left = 0;
		for (int64_t i = 0; i < n; i++) {
			v[i] = *at(t, t->arrays[G].in, q, i);
			before += v[i] * v[i];
		}
		for (int64_t b = 2; b < q; b++)
			subtract_part(v, basis + b * n, n);
		for (int64_t i = 0; i < n; i++)
			left += v[i] * v[i];
		double scale = sqrt(left) > 1e-5 * sqrt(before) ? 1 / sqrt(left) : 0;
		for (int64_t i = 0; i < n; i++)
			*at(t, t->arrays[G].want, q, i) = v[i] *= scale;
		subtract_part(projected, v, n);
	}
	for (int64_t i = 0; i < n; i++)
		t->arrays[TOTAL].want[i] = projected[i] + (t->n[PENALTY] ? *at(t, t->arrays[G].in, 1, i) : 0);
	free(basis);
}

#define CASE(name, ...)                                                                                                \
	{                                                                                                              \
		name, project_setup, project_record, project_reference, {__VA_ARGS__},                                 \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}

const struct op_case op_cases_jacobian[] = {
	/* layers, replicas, numbers, penalty */
	CASE("no probe", 1, 2, 5, 1),
	CASE("one probe", 1, 3, 7, 0),
	CASE("4 probes of 3 layers, one dependent", 3, 6, 67, 1),
	CASE("9 probes of 1 x 768", 1, 11, 768, 1),
	/* more loop turns than one dispatch has (shaders/README.md) */
	CASE("9 probes of 4 x 65,536", 4, 11, 65536, 1),
	CASE("150 probes of 2 x 300", 2, 152, 300, 0),
	{0},
};
