/* op_norm, op_norm_back. Shapes: kind, R, d, G, whether there is a bias or residual. */
#include <math.h>

#include "tests/op_test.h"

enum { Y, X, W, B, DX = 0, DY = 4 };
enum { KIND, ROWS, D, G, EXTRA };

static const double eps = 1e-5;

static enum op_norm kind(const struct op_test *t)
{
	return (enum op_norm)t->n[KIND];
}

static double norm_at(const struct op_test *t, int64_t r, int64_t i)
{
	const double *x = t->arrays[X].in + r * t->n[D], *w = t->arrays[W].in;
	int64_t d = t->n[D];
	double mean = 0, squares = 0;
	for (int64_t j = 0; j < d && kind(t) == OP_NORM_LAYER; j++)
		mean += x[j] / (double)d;
	for (int64_t j = 0; j < d; j++)
		squares += (x[j] - mean) * (x[j] - mean) / (double)d;
	return (x[i] - mean) / sqrt(squares + eps) * (kind(t) == OP_NORM_RMS_PLUS ? 1 + w[i] : w[i]);
}

static void inputs(struct op_test *t)
{
	struct op_array *x = op_test_input(t, X, "x", t->n[ROWS], t->n[D]);
	op_test_fill(t, x, -2, 3);
	for (int64_t r = 0; r < t->n[ROWS]; r++) /* rows of very different size */
		for (int64_t i = 0; i < t->n[D]; i++)
			x->in[r * t->n[D] + i] = (float)(x->in[r * t->n[D] + i] * pow(3, (double)(r % 5)));
	op_test_fill(t, op_test_input(t, W, "w", 1, t->n[D]), -1, 1);
}

static void forward_setup(struct op_test *t)
{
	inputs(t);
	if (t->n[EXTRA])
		op_test_fill(t, op_test_input(t, B, "b", 1, t->n[D]), -1, 1);
	/* a sum of d terms and a root: some units in the last place of values up to 5 */
	op_test_output(t, Y, "y", t->n[ROWS], t->n[D], 2e-6, 3e-6);
}

static void forward_record(struct recorder *rec, const struct op_test *t)
{
	op_norm(rec, op_tensor(t, Y), op_tensor(t, X), kind(t), op_tensor(t, W), op_tensor(t, B), eps);
}

static void forward_reference(struct op_test *t)
{
	for (int64_t r = 0; r < t->n[ROWS]; r++)
		for (int64_t i = 0; i < t->n[D]; i++)
			t->arrays[Y].want[r * t->n[D] + i] = norm_at(t, r, i) + (t->n[EXTRA] ? t->arrays[B].in[i] : 0);
}

static void back_setup(struct op_test *t)
{
	inputs(t);
	int64_t rows = t->n[G] * t->n[ROWS];
	op_test_fill(t, op_test_input(t, DY, "dy", rows, t->n[D]), -1, 1);
	/* with EXTRA the residual is dx itself, as the model uses it */
	if (t->n[EXTRA])
		op_test_fill(t, op_test_updated(t, DX, "dx", rows, t->n[D], 1e-5, 3e-6), -1, 1);
	else
		op_test_output(t, DX, "dx", rows, t->n[D], 1e-5, 3e-6);
}

static void back_record(struct recorder *rec, const struct op_test *t)
{
	struct tensor dx = op_tensor(t, DX), none = {0};
	op_norm_back(rec, dx, op_tensor(t, DY), op_tensor(t, X), kind(t), op_tensor(t, W), eps,
		     t->n[EXTRA] ? dx : none);
}

static double back_objective(struct op_test *t, int64_t g)
{
	double sum = 0;
	int64_t n = t->n[ROWS] * t->n[D];
	for (int64_t j = 0; j < n; j++)
		sum += t->arrays[DY].in[g * n + j] * norm_at(t, j / t->n[D], j % t->n[D]);
	return sum;
}

static void back_reference(struct op_test *t)
{
	op_test_differentiate(t, X, DX, back_objective);
	for (int64_t j = 0; t->n[EXTRA] && j < t->n[G] * t->n[ROWS] * t->n[D]; j++)
		t->arrays[DX].want[j] += t->arrays[DX].in[j];
}

#define FORWARD(name, ...)                                                                                             \
	{                                                                                                              \
		name, forward_setup, forward_record, forward_reference, {__VA_ARGS__},                                 \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}
#define BACK(name, ...)                                                                                                \
	{                                                                                                              \
		name, back_setup, back_record, back_reference, {__VA_ARGS__},                                          \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}

const struct op_case op_cases_norm[] = {
	FORWARD("norm layer 1x768 bias", OP_NORM_LAYER, 1, 768, 1, 1),
	FORWARD("norm layer 7x131", OP_NORM_LAYER, 7, 131, 1, 0),
	FORWARD("norm layer 2x1 bias", OP_NORM_LAYER, 2, 1, 1, 1),
	FORWARD("norm rms 5x5376", OP_NORM_RMS, 5, 5376, 1, 0),
	FORWARD("norm rms 3x2", OP_NORM_RMS, 3, 2, 1, 0),
	FORWARD("norm rms-plus 13x257", OP_NORM_RMS_PLUS, 13, 257, 1, 0),
	FORWARD("norm rms-plus 33000x3", OP_NORM_RMS_PLUS, 33000, 3, 1, 0),
	BACK("norm back layer 1x67 residual", OP_NORM_LAYER, 1, 67, 1, 1),
	BACK("norm back layer 3x13 G=2", OP_NORM_LAYER, 3, 13, 2, 0),
	BACK("norm back layer 2x1", OP_NORM_LAYER, 2, 1, 1, 0),
	BACK("norm back rms 3x71 G=3 residual", OP_NORM_RMS, 3, 71, 3, 1),
	BACK("norm back rms 1x1", OP_NORM_RMS, 1, 1, 1, 0),
	BACK("norm back rms-plus 5x19 residual", OP_NORM_RMS_PLUS, 5, 19, 1, 1),
	{0},
};
