/* op_probes (METHOD 5): what a Jacobian step's backward pass starts from. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tests/op_test.h"

enum { DZ, CHANGE, PENALTY, NORM, PROBES, STEP };
/* shape parameters; ENTRY is that of row 0 and negative where the monitored rows start later */
enum { R, K, FIRST, LAST, ENTRY, ENTRIES, COUNT, STEPS, NUMBER, HAS_PENALTY, HAS_DRIFT };

static void probes_setup(struct op_test *t)
{
	op_test_fill(t, op_test_input(t, CHANGE, "change", t->n[R], t->n[K]), -2, 2);
	if (t->n[HAS_PENALTY])
		op_test_fill(t, op_test_input(t, PENALTY, "penalty", t->n[R], t->n[K]), -2, 2);
	op_test_input(t, NORM, "drift norm", 1, 1)->in[0] = (double)(float)t->x[0];
	if (t->n[COUNT] > 0)
		op_test_fill(t, op_test_input(t, PROBES, "probes", t->n[STEPS], t->n[COUNT] * t->n[ENTRIES]), -1, 1);
	op_test_input_u32(t, STEP, "step", 1, 1)->in[0] = (double)t->n[NUMBER];
	op_test_output(t, DZ, "dz", (3 + t->n[COUNT]) * t->n[R], t->n[K], 1e-6, 0);
}

static void probes_record(struct recorder *rec, const struct op_test *t)
{
	const struct op_probes o = {
		.first_row = t->n[FIRST],
		.last_row = t->n[LAST],
		.entry = t->n[ENTRY],
		.entries = t->n[ENTRIES],
		.count = t->n[COUNT],
		.penalty = t->n[HAS_PENALTY] != 0,
		.drift = t->n[HAS_DRIFT] != 0,
	};
	struct tensor none = {0};
	op_probes(rec, op_tensor(t, DZ), op_tensor(t, CHANGE), o.penalty ? op_tensor(t, PENALTY) : none,
		  op_tensor(t, NORM), o.count > 0 ? op_tensor(t, PROBES) : none, op_tensor(t, STEP), &o);
}

static void probes_reference(struct op_test *t)
{
	double *dz = t->arrays[DZ].want;
	int64_t slab = t->n[R] * t->n[K], table = t->n[STEPS] > 0 ? t->n[NUMBER] % t->n[STEPS] : 0;
	for (int64_t i = 0; i < (3 + t->n[COUNT]) * slab; i++) {
		int64_t replica = i / slab, at = i % slab, row = at / t->n[K];
		bool monitored = row >= t->n[FIRST] && row < t->n[LAST];
		dz[i] = 0;
		if (replica == 1 && t->n[HAS_PENALTY])
			dz[i] = t->arrays[PENALTY].in[at];
		if (replica == 2 && t->n[HAS_DRIFT] && monitored && t->arrays[NORM].in[0] > 1e-8)
			dz[i] = t->arrays[CHANGE].in[at] / t->arrays[NORM].in[0];
		if (replica > 2 && monitored)
			dz[i] = t->arrays[PROBES]
					.in[(table * t->n[COUNT] + replica - 3) * t->n[ENTRIES] + t->n[ENTRY] + at];
	}
}

#define CASE(op, name, x, ...)                                                                                         \
	{                                                                                                              \
		name, op##_setup, op##_record, op##_reference, {__VA_ARGS__},                                          \
		{                                                                                                      \
			x                                                                                              \
		}                                                                                                      \
	}

const struct op_case op_cases_probes[] = {
	/* drift norm; rows, features, monitored rows, entry of row 0, entries, probes, steps, step, penalty, drift */
	CASE(probes, "probes 1x1", 0.5, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1),
	CASE(probes, "probes 5x7, some rows, step 4 of 3", 3, 5, 7, 1, 4, 4, 40, 8, 3, 4, 1, 1),
	CASE(probes, "probes 4x3, entry before the table", 3, 4, 3, 2, 4, -6, 6, 2, 1, 9, 0, 1),
	CASE(probes, "probes of no monitored row", 3, 4, 3, 2, 2, 0, 6, 2, 1, 0, 1, 1),
	CASE(probes, "probes, no drift yet", 1e-9, 3, 17, 0, 3, 13, 64, 5, 2, 1, 1, 1),
	CASE(probes, "probes, drift alone", 2, 3, 17, 0, 3, 0, 51, 0, 0, 0, 0, 1),
	CASE(probes, "probes 48x61, 512 of them", 2, 48, 61, 1, 47, 100, 4096, 64, 2, 1, 1, 0),
	{0},
};
