/* op_sae_activate, op_clamp, op_clamp_full and gradients. */
#include <math.h>

#include "tests/op_test.h"

enum { R, N, G, ACT, F = 3 }; /* rows, features, gradients, activation; features of z_full */

/* ---- activations ---- */

enum { Z, H, THRESHOLD, DZ, DH, B_GATE, B_MAG, MAG_SCALE };

static enum op_sae_act act(const struct op_test *t)
{
	return (enum op_sae_act)t->n[ACT];
}

static double activation(const struct op_test *t, int64_t j)
{
	double h = t->arrays[H].in[j];
	switch (act(t)) {
	case OP_SAE_RELU:
		return h > 0 ? h : 0;
	case OP_SAE_TANH_RELU:
		return h > 0 ? tanh(h) : 0;
	case OP_SAE_JUMPRELU:
		return h > 0 && h > t->arrays[THRESHOLD].in[j % t->n[N]] ? h : 0;
	case OP_SAE_GATED: {
		int64_t f = j % t->n[N];
		double m = h * t->arrays[MAG_SCALE].in[f] + t->arrays[B_MAG].in[f];
		return h + t->arrays[B_GATE].in[f] > 0 && m > 0 ? m : 0;
	}
	default:
		return h; /* OP_SAE_CHOSEN: what was chosen keeps its value */
	}
}

static struct op_sae sae_of(const struct op_test *t)
{
	return (struct op_sae){
		.act = act(t),
		.threshold = op_tensor(t, THRESHOLD),
		.b_gate = op_tensor(t, B_GATE),
		.b_mag = op_tensor(t, B_MAG),
		.mag_scale = op_tensor(t, MAG_SCALE),
	};
}

static void activate_inputs(struct op_test *t)
{
	struct op_array *h = op_test_input(t, H, "h", t->n[R], t->n[N]);
	op_test_fill(t, h, -2, 2);
	if (act(t) == OP_SAE_GATED) {
		op_test_fill(t, op_test_input(t, B_GATE, "b_gate", 1, t->n[N]), -1, 1);
		op_test_fill(t, op_test_input(t, B_MAG, "b_mag", 1, t->n[N]), -1, 1);
		op_test_fill(t, op_test_input(t, MAG_SCALE, "mag_scale", 1, t->n[N]), 0.3, 3);
	}
	if (act(t) != OP_SAE_JUMPRELU)
		return;
	struct op_array *threshold = op_test_input(t, THRESHOLD, "threshold", 1, t->n[N]);
	op_test_fill(t, threshold, -0.3, 1);
}

static void activate_setup(struct op_test *t)
{
	activate_inputs(t);
	/* at the threshold itself a feature is off; so it is at zero */
	if (act(t) == OP_SAE_JUMPRELU)
		t->arrays[H].in[0] = t->arrays[THRESHOLD].in[0];
	else if (act(t) == OP_SAE_GATED)
		t->arrays[H].in[0] = -t->arrays[B_GATE].in[0];
	else
		t->arrays[H].in[0] = 0;
	double rtol = act(t) == OP_SAE_TANH_RELU ? 1e-6 : 0, atol = act(t) == OP_SAE_GATED ? 1e-6 : 0;
	op_test_output(t, Z, "z", t->n[R], t->n[N], rtol, atol);
}

static void activate_record(struct recorder *rec, const struct op_test *t)
{
	struct op_sae sae = sae_of(t);
	op_sae_activate(rec, op_tensor(t, Z), op_tensor(t, H), &sae);
}

static void activate_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++)
		t->arrays[Z].want[j] = activation(t, j);
}

static void activate_back_setup(struct op_test *t)
{
	activate_inputs(t);
	op_test_fill(t, op_test_input(t, DZ, "dz", t->n[G] * t->n[R], t->n[N]), -1, 1);
	op_test_output(t, DH, "dh", t->n[G] * t->n[R], t->n[N], 1e-6, 1e-7);
}

static void activate_back_record(struct recorder *rec, const struct op_test *t)
{
	struct op_sae sae = sae_of(t);
	op_sae_activate_back(rec, op_tensor(t, DH), op_tensor(t, DZ), op_tensor(t, H), &sae);
}

static double activate_objective(struct op_test *t, int64_t g)
{
	int64_t n = t->n[R] * t->n[N];
	double sum = 0;
	for (int64_t j = 0; j < n; j++)
		sum += t->arrays[DZ].in[g * n + j] * activation(t, j);
	return sum;
}

static void activate_back_reference(struct op_test *t)
{
	op_test_differentiate(t, H, DH, activate_objective);
}

/* ---- clamps: feature i has mode i mod 6 ---- */

enum { MOVE, CZ, MODES, VALUES, ON, DMOVE, CDZ, INDEX, STATS };
enum { SCALED = 3 }; /* shape: moves carry the scale of the row */

static double clamped(const struct op_test *t, int64_t feature, double a)
{
	double c = t->arrays[VALUES].in[feature];
	switch ((enum op_clamp_mode)t->arrays[MODES].in[feature]) {
	case OP_CLAMP_SET:
		return c;
	case OP_CLAMP_SET_ACTIVE:
		return a > 0 ? c : a;
	case OP_CLAMP_SCALE:
		return c * a;
	case OP_CLAMP_SCALE_ACTIVE:
		return a > 0 ? c * a : a;
	case OP_CLAMP_ABLATE:
		return 0;
	default:
		return fmax(a, c);
	}
}

static void fill_features(struct op_test *t, struct op_array *z)
{
	op_test_fill(t, z, -1, 3);
	for (size_t j = 0; j < tensor_count(z->tensor); j++)
		z->in[j] = z->in[j] < 0 ? 0 : z->in[j];
}

static void clamp_rules(struct op_test *t)
{
	struct op_array *modes = op_test_input_u32(t, MODES, "modes", 1, t->n[N]);
	for (int64_t i = 0; i < t->n[N]; i++)
		modes->in[i] = (double)(i % 6);
	op_test_fill(t, op_test_input(t, VALUES, "values", 1, t->n[N]), -2, 3);
	struct op_array *on = op_test_input_u32(t, ON, "on", 1, t->n[R]);
	for (int64_t r = 0; r < t->n[R]; r++)
		on->in[r] = (double)(r % 3 != 1);
}

static void clamp_stats(struct op_test *t)
{
	if (t->n[SCALED])
		op_test_fill(t, op_test_input(t, STATS, "stats", t->n[R], 4), 0.2, 4);
}

static double row_scale(const struct op_test *t, int64_t r)
{
	return t->n[SCALED] ? t->arrays[STATS].in[4 * r + 2] : 1;
}

static void clamp_setup(struct op_test *t)
{
	clamp_rules(t);
	clamp_stats(t);
	fill_features(t, op_test_input(t, CZ, "z", t->n[R], t->n[N]));
	op_test_output(t, MOVE, "move", t->n[R], t->n[N], 1e-6, 2e-6);
}

static void clamp_record(struct recorder *rec, const struct op_test *t)
{
	op_clamp(rec, op_tensor(t, MOVE), op_tensor(t, CZ), op_tensor(t, MODES), op_tensor(t, VALUES), op_tensor(t, ON),
		 op_tensor(t, STATS));
}

static double move_at(const struct op_test *t, int64_t j)
{
	double a = t->arrays[CZ].in[j];
	int64_t r = j / t->n[N];
	return t->arrays[ON].in[r] != 0 ? (clamped(t, j % t->n[N], a) - a) * row_scale(t, r) : 0;
}

static void clamp_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++)
		t->arrays[MOVE].want[j] = move_at(t, j);
}

static void clamp_back_setup(struct op_test *t)
{
	clamp_rules(t);
	clamp_stats(t);
	/* away from the kinks at 0; the derivative there is another case */
	op_test_fill(t, op_test_input(t, CZ, "z", t->n[R], t->n[N]), 0.01, 3);
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j += 4)
		t->arrays[CZ].in[j] *= -1;
	op_test_fill(t, op_test_input(t, DMOVE, "dmove", t->n[G] * t->n[R], t->n[N]), -1, 1);
	op_test_output(t, CDZ, "dz", t->n[G] * t->n[R], t->n[N], 1e-6, 1e-6);
}

static void clamp_back_record(struct recorder *rec, const struct op_test *t)
{
	op_clamp_back(rec, op_tensor(t, CDZ), op_tensor(t, DMOVE), op_tensor(t, CZ), op_tensor(t, MODES),
		      op_tensor(t, VALUES), op_tensor(t, ON), op_tensor(t, STATS));
}

static double clamp_objective(struct op_test *t, int64_t g)
{
	int64_t n = t->n[R] * t->n[N];
	double sum = 0;
	for (int64_t j = 0; j < n; j++)
		sum += t->arrays[DMOVE].in[g * n + j] * move_at(t, j);
	return sum;
}

static void clamp_back_reference(struct op_test *t)
{
	op_test_differentiate(t, CZ, CDZ, clamp_objective);
}

/* Where a feature is exactly 0, or at its floor: off, resp. let through, as PyTorch has it. */
static void clamp_kink_setup(struct op_test *t)
{
	clamp_back_setup(t);
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++)
		t->arrays[CZ].in[j] = j % 6 == OP_CLAMP_FLOOR ? t->arrays[VALUES].in[j % t->n[N]] : 0;
}

static void clamp_kink_reference(struct op_test *t)
{
	for (int64_t j = 0; j < t->n[R] * t->n[N]; j++) {
		int64_t mode = (int64_t)t->arrays[MODES].in[j % t->n[N]];
		double c = t->arrays[VALUES].in[j % t->n[N]];
		double slope = mode == OP_CLAMP_SET || mode == OP_CLAMP_ABLATE ? 0 : mode == OP_CLAMP_SCALE ? c : 1;
		t->arrays[CDZ].want[j] = t->arrays[ON].in[j / t->n[N]] != 0 ? (slope - 1) * t->arrays[DMOVE].in[j] : 0;
	}
}

static void full_setup(struct op_test *t)
{
	clamp_rules(t);
	struct op_array *index = op_test_input_u32(t, INDEX, "index", 1, t->n[N]);
	int64_t apart = t->n[F] / t->n[N];
	for (int64_t i = 0; i < t->n[N]; i++) /* distinct, descending */
		index->in[i] = (double)(t->n[F] - 1 - i * apart);
	fill_features(t, op_test_updated(t, CZ, "z_full", t->n[R], t->n[F], 1e-6, 0));
}

static void full_record(struct recorder *rec, const struct op_test *t)
{
	op_clamp_full(rec, op_tensor(t, CZ), op_tensor(t, INDEX), op_tensor(t, MODES), op_tensor(t, VALUES),
		      op_tensor(t, ON));
}

static void full_reference(struct op_test *t)
{
	for (int64_t r = 0; r < t->n[R]; r++)
		for (int64_t i = 0; i < t->n[N] && t->arrays[ON].in[r] != 0; i++) {
			int64_t at = r * t->n[F] + (int64_t)t->arrays[INDEX].in[i];
			t->arrays[CZ].want[at] = clamped(t, i, t->arrays[CZ].in[at]);
		}
}

#define CASE(op, name, ...)                                                                                            \
	{                                                                                                              \
		name, op##_setup, op##_record, op##_reference, {__VA_ARGS__},                                          \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}

const struct op_case op_cases_sae[] = {
	CASE(activate, "sae relu 3x1021", 3, 1021, 1, OP_SAE_RELU),
	CASE(activate, "sae tanh-relu 2x67", 2, 67, 1, OP_SAE_TANH_RELU),
	CASE(activate, "sae jumprelu 5x131", 5, 131, 1, OP_SAE_JUMPRELU),
	CASE(activate, "sae jumprelu 1x1", 1, 1, 1, OP_SAE_JUMPRELU),
	CASE(activate, "sae relu 90x24576", 90, 24576, 1, OP_SAE_RELU),
	CASE(activate, "sae gated 5x131", 5, 131, 1, OP_SAE_GATED),
	CASE(activate_back, "sae back gated 4x29 G=2", 4, 29, 2, OP_SAE_GATED),
	CASE(activate_back, "sae back chosen 3x17 G=2", 3, 17, 2, OP_SAE_CHOSEN),
	CASE(activate_back, "sae back relu 3x37 G=2", 3, 37, 2, OP_SAE_RELU),
	CASE(activate_back, "sae back tanh-relu 2x19", 2, 19, 1, OP_SAE_TANH_RELU),
	CASE(activate_back, "sae back jumprelu 5x13 G=3", 5, 13, 3, OP_SAE_JUMPRELU),
	CASE(clamp, "clamp 1x64", 1, 64, 1),
	CASE(clamp, "clamp 7x13", 7, 13, 1),
	CASE(clamp, "clamp 1x1", 1, 1, 1),
	CASE(clamp, "clamp scaled 7x13", 7, 13, 1, 1),
	CASE(clamp_back, "clamp back 5x31 G=2", 5, 31, 2),
	CASE(clamp_back, "clamp back scaled 5x31 G=2", 5, 31, 2, 1),
	{"clamp back at the kinks", clamp_kink_setup, clamp_back_record, clamp_kink_reference, {3, 12, 1}, {0}},
	CASE(full, "clamp full 5 of 31 features, 4 rows", 4, 5, 1, 31),
	CASE(full, "clamp full 1 of 1", 1, 1, 1, 1),
	{0},
};
