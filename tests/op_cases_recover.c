/* op_objective, op_drift, op_group_norm, op_monitor, op_projector, op_adam, op_budget, op_descend,
 * op_metrics. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tests/op_test.h"

static double square(double x)
{
	return x * x;
}

/* A float32 among words that the host keeps as numbers. */
static double float_word(double x)
{
	float f = (float)x;
	uint32_t word;
	memcpy(&word, &f, 4);
	return (double)word;
}

/* ---- the objective: S sequences, Q rows each, V columns; reads 0..20 of a sequence make
 * one term of each kind, some sharing logits ---- */

enum { J, DLOGITS, VALUES, LOGITS, SCRATCH, READS, COEFFICIENTS, TERMS };
enum { S, Q, V, NORMALISED };
enum { TERM_READS = 21, TERM_KINDS = 5 };
static const int term_first[TERM_KINDS] = {0, 4, 8, 11, 16}, term_count[TERM_KINDS] = {4, 4, 3, 5, 5};
static const double term_weight[TERM_KINDS] = {0.7, -1.5, 2, 0.4, 0.9};

static void objective_setup(struct op_test *t)
{
	int64_t rows = t->n[S] * t->n[Q], reads = t->n[S] * TERM_READS, terms = t->n[S] * TERM_KINDS;
	op_test_fill(t, op_test_input(t, LOGITS, "logits", rows, t->n[V]), -4, 4);
	struct op_array *r = op_test_input_u32(t, READS, "reads", reads, 4);
	struct op_array *c = op_test_input(t, COEFFICIENTS, "coefficients", 1, reads);
	struct op_array *m = op_test_input_u32(t, TERMS, "terms", terms, 8);
	op_test_fill(t, c, -1, 1);
	for (int64_t i = 0; i < reads; i++) {
		int64_t s = i / TERM_READS, n = i % TERM_READS;
		r->in[4 * i] = t->n[NORMALISED] ? (double)op_test_below(t, 3) : OP_READ_LOGIT;
		r->in[4 * i + 1] = (double)(s * t->n[Q] + op_test_below(t, t->n[Q]));
		r->in[4 * i + 2] = (double)op_test_below(t, t->n[V]);
		if (n == 3 || n == 5) /* a logit that is read twice */
			memcpy(&r->in[4 * i], &r->in[4 * (i - 2)], 4 * sizeof *r->in);
		if (n >= term_first[OP_TERM_MEAN_MARGIN]) /* both terms of groups have 5 reads */
			c->in[i] = (double)((n - term_first[OP_TERM_MEAN_MARGIN]) % 5 % 3);
	}
	for (int64_t i = 0; i < terms; i++) {
		int64_t s = i / TERM_KINDS, kind = i % TERM_KINDS;
		double *term = m->in + 8 * i;
		term[0] = (double)kind;
		term[1] = (double)s;
		term[2] = (double)(s * TERM_READS + term_first[kind]);
		term[3] = term_count[kind];
		term[4] = float_word(term_weight[kind]);
		term[5] = 3;
	}
	op_test_scratch(t, SCRATCH, "scratch", rows, 2);
	op_test_output(t, VALUES, "values", 1, reads, 2e-6, 2e-6);
	/* SUM reads add V logits */
	op_test_output(t, J, "J", 1, t->n[S], 3e-6, 1e-5);
	op_test_output(t, DLOGITS, "dlogits", rows, t->n[V], 1e-5, 3e-6);
}

static void objective_record(struct recorder *rec, const struct op_test *t)
{
	struct op_objective o = {op_tensor(t, READS), op_tensor(t, COEFFICIENTS), op_tensor(t, TERMS),
				 t->n[NORMALISED] != 0};
	op_objective(rec, op_tensor(t, J), op_tensor(t, DLOGITS), op_tensor(t, VALUES), op_tensor(t, LOGITS),
		     op_tensor(t, SCRATCH), &o);
}

static double read_value(const struct op_test *t, int64_t i)
{
	const double *r = t->arrays[READS].in + 4 * i;
	const double *row = t->arrays[LOGITS].in + (int64_t)r[1] * t->n[V];
	double sum = 0;
	switch ((enum op_read_kind)r[0]) {
	case OP_READ_SUM:
		for (int64_t c = 0; c < t->n[V]; c++)
			sum += row[c];
		return sum;
	case OP_READ_LOGPROB:
		for (int64_t c = 0; c < t->n[V]; c++)
			sum += exp(row[c]);
		return row[(int64_t)r[2]] - log(sum);
	default:
		return row[(int64_t)r[2]];
	}
}

/* Mean of group 0 less the larger mean of groups 1 and 2 of five reads. */
static double group_margin(const double *v, const double *group)
{
	double sum[3] = {0}, count[3] = {0};
	for (int i = 0; i < 5; i++) {
		sum[(int)group[i]] += v[i];
		count[(int)group[i]]++;
	}
	return sum[0] / count[0] - fmax(sum[1] / count[1], sum[2] / count[2]);
}

static double sequence_objective(const struct op_test *t, int64_t s)
{
	double v[TERM_READS];
	const double *c = t->arrays[COEFFICIENTS].in + s * TERM_READS;
	for (int64_t i = 0; i < TERM_READS; i++)
		v[i] = read_value(t, s * TERM_READS + i);
	double linear = 0, sum = 0;
	for (int i = 0; i < 4; i++) {
		linear += c[i] * v[i];
		sum += exp(v[4 + i]);
	}
	double mean_margin = group_margin(v + 11, c + 11), soft = -log1p(exp(-group_margin(v + 16, c + 16)));
	return term_weight[0] * linear + term_weight[1] * (v[4] - log(sum)) +
	       term_weight[2] * (v[8] - fmax(v[9], v[10])) + term_weight[3] * mean_margin + term_weight[4] * soft;
}

static double all_objectives(struct op_test *t, int64_t g)
{
	(void)g;
	double sum = 0;
	for (int64_t s = 0; s < t->n[S]; s++)
		sum += sequence_objective(t, s);
	return sum;
}

static void objective_reference(struct op_test *t)
{
	for (int64_t i = 0; i < t->n[S] * TERM_READS; i++)
		t->arrays[VALUES].want[i] = read_value(t, i);
	for (int64_t s = 0; s < t->n[S]; s++)
		t->arrays[J].want[s] = sequence_objective(t, s);
	op_test_differentiate(t, LOGITS, DLOGITS, all_objectives);
}

static void values_reference(struct op_test *t)
{
	for (int64_t i = 0; i < t->n[S] * TERM_READS; i++)
		t->arrays[VALUES].want[i] = read_value(t, i);
	for (int64_t s = 0; s < t->n[S]; s++)
		t->arrays[J].want[s] = sequence_objective(t, s);
	t->arrays[DLOGITS].role = OP_SCRATCH;
	t->arrays[VALUES].rtol = t->arrays[J].rtol = 1e-5; /* sums of 300,007 logits that nearly cancel */
	t->arrays[VALUES].atol = t->arrays[J].atol = 0.02;
}

/* ---- segments: each of S sequences has LAYERS of them, of LENGTH + sequence elements, PAD
 * elements of padding before each; the padding holds NaN ---- */

enum { LAYERS = 1, LENGTH, PAD, KIND };

static int64_t flat_elements(const struct op_test *t)
{
	int64_t per_layer = t->n[S] * (t->n[LENGTH] + t->n[PAD]) + t->n[S] * (t->n[S] - 1) / 2;
	return t->n[LAYERS] * per_layer + t->n[PAD];
}

static void fill_segments(struct op_test *t, struct op_array *segments)
{
	int64_t at = 0;
	for (int64_t k = 0; k < t->n[LAYERS] * t->n[S]; k++) {
		int64_t count = t->n[LENGTH] + k % t->n[S];
		at += t->n[PAD];
		double *row = segments->in + 4 * k;
		row[0] = (double)at;
		row[1] = (double)count;
		row[2] = (double)(k % t->n[S]);
		at += count;
	}
}

/* Whose element i is; -1: padding. */
static int64_t owner_of(const struct op_test *t, int segments, int64_t i)
{
	for (int64_t k = 0; k < t->arrays[segments].tensor.rows; k++) {
		const double *row = t->arrays[segments].in + 4 * k;
		if ((double)i >= row[0] && (double)i < row[0] + row[1])
			return (int64_t)row[2];
	}
	return -1;
}

static void fill_flat(struct op_test *t, struct op_array *a, int segments, double low, double high)
{
	op_test_fill(t, a, low, high);
	for (int64_t i = 0; i < (int64_t)tensor_count(a->tensor); i++)
		if (owner_of(t, segments, i) < 0)
			a->in[i] = NAN;
}

/* ---- drift ---- */

enum { LOSS, DZ, CHANGE, Z, ZREF, SEGMENTS, ENTRIES, REFERENCE, WEIGHT };

static void drift_setup(struct op_test *t)
{
	int64_t n = flat_elements(t), segments = t->n[LAYERS] * t->n[S];
	fill_segments(t, op_test_input_u32(t, SEGMENTS, "segments", segments, 4));
	fill_flat(t, op_test_input(t, Z, "z", 1, n), SEGMENTS, -1, 3);
	fill_flat(t, op_test_input(t, ZREF, "z_ref", 1, n), SEGMENTS, -1, 3);
	op_test_fill(t, op_test_input(t, REFERENCE, "reference", 1, segments), 1, 9);
	op_test_fill(t, op_test_input(t, WEIGHT, "weight", 1, segments), 0.1, 1);
	struct op_array *entries = op_test_input(t, ENTRIES, "entries", 1, segments);
	for (int64_t k = 0; k < segments; k++)
		entries->in[k] = (double)(3 + 5 * k);
	op_test_output(t, LOSS, "loss", 1, t->n[S], 3e-6, 0);
	op_test_output(t, DZ, "dz", 1, n, 5e-6, 1e-8);
	op_test_output(t, CHANGE, "change", 1, n, 1e-6, 1e-7);
}

static void drift_record(struct recorder *rec, const struct op_test *t)
{
	struct op_drift d = {op_tensor(t, SEGMENTS), op_tensor(t, ENTRIES),	     op_tensor(t, REFERENCE),
			     op_tensor(t, WEIGHT),   (enum op_drift_kind)t->n[KIND], t->x[0]};
	op_drift(rec, op_tensor(t, LOSS), op_tensor(t, DZ), op_tensor(t, CHANGE), op_tensor(t, Z), op_tensor(t, ZREF),
		 &d);
}

static double drift_loss(const struct op_test *t, int64_t s)
{
	double loss = 0;
	for (int64_t k = 0; k < t->n[LAYERS] * t->n[S]; k++) {
		const double *row = t->arrays[SEGMENTS].in + 4 * k;
		double entries = t->arrays[ENTRIES].in[k], reference = t->arrays[REFERENCE].in[k];
		double weight = t->arrays[WEIGHT].in[k], sum = 0;
		for (int64_t i = (int64_t)row[0]; row[2] == (double)s && i < (int64_t)(row[0] + row[1]); i++)
			sum += square(t->arrays[Z].in[i] - t->arrays[ZREF].in[i]);
		switch ((enum op_drift_kind)t->n[KIND]) {
		case OP_DRIFT_L2:
			loss += sum;
			break;
		case OP_DRIFT_RAW_MSE:
			loss += weight * sum / entries;
			break;
		case OP_DRIFT_RELATIVE_MSE:
			loss += weight * sum / entries / (reference / entries + 1e-6);
			break;
		case OP_DRIFT_RELATIVE_L2:
			loss += weight * sum / (reference + 1e-6);
			break;
		}
	}
	return t->n[KIND] == OP_DRIFT_L2 ? sqrt(loss) : loss;
}

static double drift_objective(struct op_test *t, int64_t g)
{
	(void)g;
	double sum = 0;
	for (int64_t s = 0; s < t->n[S]; s++)
		sum += t->x[0] * drift_loss(t, s);
	return sum;
}

static void drift_reference(struct op_test *t)
{
	for (int64_t s = 0; s < t->n[S]; s++)
		t->arrays[LOSS].want[s] = drift_loss(t, s);
	for (int64_t i = 0; i < flat_elements(t); i++)
		t->arrays[CHANGE].want[i] =
			owner_of(t, SEGMENTS, i) < 0 ? 0 : t->arrays[Z].in[i] - t->arrays[ZREF].in[i];
	op_test_differentiate(t, Z, DZ, drift_objective);
}

/* At step 0 nothing has drifted: everything is exactly 0, the gradient of the norm too. */
static void still_setup(struct op_test *t)
{
	drift_setup(t);
	memcpy(t->arrays[ZREF].in, t->arrays[Z].in, (size_t)flat_elements(t) * sizeof(double));
	for (int i = LOSS; i <= CHANGE; i++)
		t->arrays[i].rtol = t->arrays[i].atol = 0;
}

static void still_reference(struct op_test *t)
{
	for (int i = LOSS; i <= CHANGE; i++)
		for (size_t j = 0; j < tensor_count(t->arrays[i].tensor); j++)
			t->arrays[i].want[j] = 0;
}

/* ---- norms ---- */

enum { NORM, DX, X, NORM_SEGMENTS };

static void norm_setup(struct op_test *t)
{
	int64_t n = flat_elements(t);
	fill_segments(t, op_test_input_u32(t, NORM_SEGMENTS, "segments", t->n[LAYERS] * t->n[S], 4));
	fill_flat(t, op_test_input(t, X, "x", 1, n), NORM_SEGMENTS, -1, 1);
	/* the first sequence is 0 */
	for (int64_t i = 0; i < n && t->n[S] > 1; i++)
		if (owner_of(t, NORM_SEGMENTS, i) == 0)
			t->arrays[X].in[i] = 0;
	op_test_output(t, NORM, "norm", 1, t->n[S], 2e-6, 0);
	if (t->n[KIND])
		op_test_output(t, DX, "dx", 1, n, 3e-6, 1e-8);
}

static void norm_record(struct recorder *rec, const struct op_test *t)
{
	op_group_norm(rec, op_tensor(t, NORM), op_tensor(t, DX), op_tensor(t, X), op_tensor(t, NORM_SEGMENTS), t->x[0]);
}

/* The length of sequence s's elements of an array. */
static double length_of(const struct op_test *t, int array, int segments, int64_t s)
{
	double sum = 0;
	for (int64_t i = 0; i < (int64_t)tensor_count(t->arrays[array].tensor); i++)
		if (owner_of(t, segments, i) == s)
			sum += square(t->arrays[array].in[i]);
	return sqrt(sum);
}

static void norm_reference(struct op_test *t)
{
	for (int64_t s = 0; s < t->n[S]; s++)
		t->arrays[NORM].want[s] = length_of(t, X, NORM_SEGMENTS, s);
	for (int64_t i = 0; t->n[KIND] && i < flat_elements(t); i++) {
		int64_t s = owner_of(t, NORM_SEGMENTS, i);
		double norm = s < 0 ? 0 : t->arrays[NORM].want[s];
		t->arrays[DX].want[i] = norm > 0 ? t->x[0] * t->arrays[X].in[i] / norm : 0;
	}
}

/* ---- the monitor ---- */

enum { RATIO, MONITOR_DZ, MONITOR_Z, MONITOR_SEGMENTS, INITIAL };

static void monitor_setup(struct op_test *t)
{
	int64_t n = flat_elements(t);
	fill_segments(t, op_test_input_u32(t, MONITOR_SEGMENTS, "segments", t->n[LAYERS] * t->n[S], 4));
	fill_flat(t, op_test_input(t, MONITOR_Z, "z", 1, n), MONITOR_SEGMENTS, -2, 5);
	op_test_fill(t, op_test_input(t, INITIAL, "initial", 1, t->n[S]), 0.5, 4);
	/* the first of several sequences had nothing active at first */
	if (t->n[S] > 1)
		t->arrays[INITIAL].in[0] = 0;
	op_test_output(t, RATIO, "ratio", 1, t->n[S], 2e-6, 0);
	op_test_output(t, MONITOR_DZ, "dz", 1, n, 3e-6, 1e-8);
}

static void monitor_record(struct recorder *rec, const struct op_test *t)
{
	op_monitor(rec, op_tensor(t, RATIO), op_tensor(t, MONITOR_DZ), op_tensor(t, MONITOR_Z),
		   op_tensor(t, MONITOR_SEGMENTS), op_tensor(t, INITIAL), t->x[0]);
}

static double monitor_ratio(const struct op_test *t, int64_t s)
{
	double sum = 0, initial = t->arrays[INITIAL].in[s];
	for (int64_t k = 0; k < t->n[LAYERS] * t->n[S]; k++) {
		const double *row = t->arrays[MONITOR_SEGMENTS].in + 4 * k;
		double largest = -INFINITY;
		for (int64_t i = (int64_t)row[0]; i < (int64_t)(row[0] + row[1]); i++)
			largest = fmax(largest, t->arrays[MONITOR_Z].in[i]);
		if (row[2] == (double)s)
			sum += largest;
	}
	return initial > 0 ? sum / (double)t->n[LAYERS] / initial : 0;
}

static double all_ratios(struct op_test *t, int64_t g)
{
	(void)g;
	double sum = 0;
	for (int64_t s = 0; s < t->n[S]; s++)
		sum += t->x[0] * monitor_ratio(t, s);
	return sum;
}

static void monitor_reference(struct op_test *t)
{
	for (int64_t s = 0; s < t->n[S]; s++)
		t->arrays[RATIO].want[s] = monitor_ratio(t, s);
	op_test_differentiate(t, MONITOR_Z, MONITOR_DZ, all_ratios);
}

/* Equal largest entries share the gradient. */
static void ties_setup(struct op_test *t)
{
	monitor_setup(t);
	for (int i = 0; i < 4; i++)
		t->arrays[MONITOR_Z].in[3 * i + 1] = 7;
}

static void ties_reference(struct op_test *t)
{
	double initial = t->arrays[INITIAL].in[0];
	t->arrays[RATIO].want[0] = 7 / initial;
	for (int64_t i = 0; i < flat_elements(t); i++)
		t->arrays[MONITOR_DZ].want[i] = t->arrays[MONITOR_Z].in[i] == 7 ? t->x[0] / 4 / initial : 0;
}

/* ---- projector ---- */

enum { P, A, GRAM };
enum { PN, PD };

static void projector_setup(struct op_test *t)
{
	struct op_array *a = op_test_input(t, A, "a", t->n[PN], t->n[PD]);
	op_test_fill(t, a, -1, 1);
	for (size_t j = 0; j < tensor_count(a->tensor); j++)
		a->in[j] = (float)(a->in[j] / sqrt((double)t->n[PD] / 3)); /* rows of length 1 */
	op_test_scratch(t, GRAM, "scratch", t->n[PN], t->n[PN]);
	/* x[1]: the condition number times a few 1e-7 */
	op_test_output(t, P, "p", t->n[PN], t->n[PD], t->x[1], t->x[1]);
}

static void projector_record(struct recorder *rec, const struct op_test *t)
{
	op_projector(rec, op_tensor(t, P), op_tensor(t, A), op_tensor(t, GRAM), t->x[0]);
}

static void projector_reference(struct op_test *t)
{
	int64_t n = t->n[PN], d = t->n[PD];
	const double *a = t->arrays[A].in;
	double *l = mem_alloc((size_t)(n * n), sizeof *l);
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j <= i; j++) {
			double sum = i == j ? t->x[0] : 0;
			for (int64_t k = 0; k < d; k++)
				sum += a[i * d + k] * a[j * d + k];
			for (int64_t k = 0; k < j; k++)
				sum -= l[i * n + k] * l[j * n + k];
			l[i * n + j] = i == j ? sqrt(sum) : sum / l[j * n + j];
		}
	double *p = t->arrays[P].want;
	for (int64_t c = 0; c < d; c++) {
		for (int64_t i = 0; i < n; i++) {
			p[i * d + c] = -a[i * d + c];
			for (int64_t k = 0; k < i; k++)
				p[i * d + c] -= l[i * n + k] * p[k * d + c];
			p[i * d + c] /= l[i * n + i];
		}
		for (int64_t i = n; i-- > 0;) {
			for (int64_t k = i + 1; k < n; k++)
				p[i * d + c] -= l[k * n + i] * p[k * d + c];
			p[i * d + c] /= l[i * n + i];
		}
	}
	free(l);
}

/* ---- steps of delta; KIND: 0 budget alone, 1 Adam, 2 Adam without rescaling, 3 descent ---- */

enum { DELTA, M, MOMENT2, GRADIENT, U_SEGMENTS, STEP, RATE, BUDGET };
enum { STEP_NUMBER = 5 };

static void update_setup(struct op_test *t)
{
	int64_t n = flat_elements(t), kind = t->n[KIND];
	fill_segments(t, op_test_input_u32(t, U_SEGMENTS, "segments", t->n[LAYERS] * t->n[S], 4));
	op_test_fill(t, op_test_updated(t, DELTA, "delta", 1, n, 5e-6, 1e-7), -1, 1);
	struct op_array *budget = op_test_input(t, BUDGET, "budget", 1, t->n[S]);
	for (int64_t s = 0; s < t->n[S]; s++) /* the first sequence stays within it */
		budget->in[s] = (float)(s == 0 ? 1e6 : 0.5 * (double)s);
	if (t->n[S] == 1)
		budget->in[0] = 0.5f;
	if (kind == 0)
		return;
	op_test_fill(t, op_test_input(t, GRADIENT, "g", 1, n), -1, 1);
	op_test_fill(t, op_test_input(t, RATE, "rate", 1, t->n[S]), 0.01, 0.2);
	if (kind == 3)
		return;
	struct op_array *m = op_test_updated(t, M, "m", 1, n, 1e-6, 1e-7);
	struct op_array *v = op_test_updated(t, MOMENT2, "v", 1, n, 1e-6, 1e-9);
	if (t->n[STEP_NUMBER] > 1) {
		op_test_fill(t, m, -0.5, 0.5);
		op_test_fill(t, v, 0.001, 0.5);
	}
	op_test_input_u32(t, STEP, "step", 1, 1)->in[0] = (double)t->n[STEP_NUMBER];
}

static void update_record(struct recorder *rec, const struct op_test *t)
{
	struct tensor delta = op_tensor(t, DELTA), segments = op_tensor(t, U_SEGMENTS), budget = op_tensor(t, BUDGET);
	switch (t->n[KIND]) {
	case 0:
		op_budget(rec, delta, segments, budget);
		break;
	case 3:
		op_descend(rec, delta, op_tensor(t, GRADIENT), segments, op_tensor(t, RATE), budget);
		break;
	default:
		op_adam(rec, delta, op_tensor(t, M), op_tensor(t, MOMENT2), op_tensor(t, GRADIENT), segments,
			op_tensor(t, STEP), op_tensor(t, RATE), budget, t->n[KIND] == 1);
	}
}

static void update_reference(struct op_test *t)
{
	int64_t n = flat_elements(t), kind = t->n[KIND];
	double step = (double)t->n[STEP_NUMBER];
	double *delta = t->arrays[DELTA].want;
	double *squares = mem_alloc((size_t)t->n[S], sizeof *squares);
	for (int64_t i = 0; i < n; i++) {
		int64_t s = owner_of(t, U_SEGMENTS, i);
		if (s < 0)
			continue;
		if (kind == 3)
			delta[i] -= t->arrays[RATE].in[s] * t->arrays[GRADIENT].in[i];
		if (kind == 1 || kind == 2) {
			double *m = &t->arrays[M].want[i], *v = &t->arrays[MOMENT2].want[i];
			double g = t->arrays[GRADIENT].in[i];
			*m = 0.9 * *m + 0.1 * g;
			*v = 0.999 * *v + 0.001 * g * g;
			delta[i] -= t->arrays[RATE].in[s] * (*m / (1 - pow(0.9, step))) /
				    (sqrt(*v / (1 - pow(0.999, step))) + 1e-8);
		}
		squares[s] += square(delta[i]);
	}
	for (int64_t i = 0; i < n && kind != 2; i++) {
		int64_t s = owner_of(t, U_SEGMENTS, i);
		double budget = s < 0 ? INFINITY : t->arrays[BUDGET].in[s];
		if (s >= 0 && sqrt(squares[s]) > budget)
			delta[i] *= budget / (sqrt(squares[s]) + 1e-8);
	}
	free(squares);
}

/* ---- metrics; KIND: whether there are change, decoded, penalty and a trace ---- */

enum {
	RING,
	TRACE,
	M_STEP,
	M_J,
	G_RAW,
	G_PROJECTED,
	M_DELTA,
	DELTA_SEGMENTS,
	M_CHANGE,
	CHANGE_SEGMENTS,
	DECODED,
	DECODED_SEGMENTS,
	PENALTY
};
enum { STEPS = 5, M_STEP_NUMBER };
static const double lambdas[3] = {0.5, 2, 0.25};

static void metrics_setup(struct op_test *t)
{
	int64_t n = flat_elements(t), segments = t->n[LAYERS] * t->n[S];
	/* 125,000 squares in a row lose two digits */
	double rtol = n > 100000 ? 3e-5 : 5e-6;
	op_test_fill(t, op_test_updated(t, RING, "ring", t->n[STEPS], t->n[S] * OP_METRIC_COUNT, rtol, 1e-6), -9, 9);
	op_test_updated_u32(t, M_STEP, "step", 1, 1)->in[0] = (double)t->n[M_STEP_NUMBER];
	op_test_fill(t, op_test_input(t, M_J, "J", 1, t->n[S]), -3, 3);
	fill_segments(t, op_test_input_u32(t, DELTA_SEGMENTS, "delta_segments", segments, 4));
	fill_flat(t, op_test_input(t, G_RAW, "g_raw", 1, n), DELTA_SEGMENTS, -1, 1);
	fill_flat(t, op_test_input(t, G_PROJECTED, "g_projected", 1, n), DELTA_SEGMENTS, -1, 1);
	op_test_fill(t, op_test_input(t, M_DELTA, "delta", 1, n), -1, 1);
	/* the last sequence has no gradient left: its cosine is 0 */
	for (int64_t i = 0; i < n && t->n[S] > 1; i++)
		if (owner_of(t, DELTA_SEGMENTS, i) == t->n[S] - 1)
			t->arrays[G_PROJECTED].in[i] = 0;
	if (!t->n[KIND])
		return;
	op_test_fill(t, op_test_updated(t, TRACE, "trace", t->n[STEPS], n, 0, 0), -9, 9);
	fill_segments(t, op_test_input_u32(t, CHANGE_SEGMENTS, "change_segments", segments, 4));
	fill_flat(t, op_test_input(t, M_CHANGE, "change", 1, n), CHANGE_SEGMENTS, -1, 1);
	fill_segments(t, op_test_input_u32(t, DECODED_SEGMENTS, "decoded_segments", segments, 4));
	fill_flat(t, op_test_input(t, DECODED, "decoded", 1, n), DECODED_SEGMENTS, -1, 1);
	op_test_fill(t, op_test_input(t, PENALTY, "penalty", 1, t->n[S]), 0, 2);
}

static void metrics_record(struct recorder *rec, const struct op_test *t)
{
	struct op_metrics m = {
		.J = op_tensor(t, M_J),
		.g_raw = op_tensor(t, G_RAW),
		.g_projected = op_tensor(t, G_PROJECTED),
		.delta = op_tensor(t, M_DELTA),
		.delta_segments = op_tensor(t, DELTA_SEGMENTS),
		.change = op_tensor(t, M_CHANGE),
		.change_segments = op_tensor(t, CHANGE_SEGMENTS),
		.decoded = op_tensor(t, DECODED),
		.decoded_segments = op_tensor(t, DECODED_SEGMENTS),
		.penalty = op_tensor(t, PENALTY),
		.lambda_act = lambdas[0],
		.lambda_decode = lambdas[1],
		.lambda_delta = lambdas[2],
	};
	op_metrics(rec, op_tensor(t, RING), op_tensor(t, TRACE), op_tensor(t, M_STEP), &m);
}

static void metrics_reference(struct op_test *t)
{
	int64_t n = flat_elements(t), row = t->n[M_STEP_NUMBER] % t->n[STEPS];
	bool more = t->n[KIND] != 0;
	t->arrays[M_STEP].want[0]++;
	for (int64_t i = 0; more && i < n; i++)
		t->arrays[TRACE].want[row * n + i] = t->arrays[M_DELTA].in[i];
	for (int64_t s = 0; s < t->n[S]; s++) {
		double *ring = t->arrays[RING].want + (row * t->n[S] + s) * OP_METRIC_COUNT;
		double inner = 0;
		for (int64_t i = 0; i < n; i++)
			if (owner_of(t, DELTA_SEGMENTS, i) == s)
				inner += t->arrays[G_RAW].in[i] * t->arrays[G_PROJECTED].in[i];
		for (int i = 0; i < OP_METRIC_COUNT; i++)
			ring[i] = 0;
		ring[OP_METRIC_OBJECTIVE] = t->arrays[M_J].in[s];
		ring[OP_METRIC_DELTA] = length_of(t, M_DELTA, DELTA_SEGMENTS, s);
		ring[OP_METRIC_GRADIENT] = length_of(t, G_RAW, DELTA_SEGMENTS, s);
		ring[OP_METRIC_PROJECTED] = length_of(t, G_PROJECTED, DELTA_SEGMENTS, s);
		if (ring[OP_METRIC_PROJECTED] > 0)
			ring[OP_METRIC_COSINE] = inner / ring[OP_METRIC_GRADIENT] / ring[OP_METRIC_PROJECTED];
		if (more) {
			ring[OP_METRIC_DRIFT] = length_of(t, M_CHANGE, CHANGE_SEGMENTS, s);
			ring[OP_METRIC_DECODE_DRIFT] = length_of(t, DECODED, DECODED_SEGMENTS, s);
			ring[OP_METRIC_PENALTY] = t->arrays[PENALTY].in[s];
		}
		ring[OP_METRIC_LOSS] = -ring[OP_METRIC_OBJECTIVE] + lambdas[0] * ring[OP_METRIC_PENALTY] +
				       lambdas[1] * ring[OP_METRIC_DECODE_DRIFT] + lambdas[2] * ring[OP_METRIC_DELTA];
	}
}

/* Of a large vocabulary only what is read is compared: differences would take long. */
#define STATS(name, x, y, ...)                                                                                         \
	{                                                                                                              \
		name, objective_setup, objective_record, values_reference, {__VA_ARGS__},                              \
		{                                                                                                      \
			x, y                                                                                           \
		}                                                                                                      \
	}
#define CASE(op, name, x, y, ...)                                                                                      \
	{                                                                                                              \
		name, op##_setup, op##_record, op##_reference, {__VA_ARGS__},                                          \
		{                                                                                                      \
			x, y                                                                                           \
		}                                                                                                      \
	}

const struct op_case op_cases_recover[] = {
	/* S, Q, V, normalised */
	CASE(objective, "objective of logits, 1x7", 0, 0, 1, 1, 7, 0),
	CASE(objective, "objective of logits, 3 sequences", 0, 0, 3, 2, 5, 0),
	CASE(objective, "objective of logits, 23 sequences", 0, 0, 23, 1, 3, 0),
	CASE(objective, "objective over the vocabulary, 1x131", 0, 0, 1, 1, 131, 1),
	CASE(objective, "objective over the vocabulary, 2 sequences", 0, 0, 2, 3, 37, 1),
	CASE(objective, "objective over the vocabulary, 1x2503", 0, 0, 1, 1, 2503, 1),
	STATS("objective over a vocabulary of 300007", 0, 0, 1, 1, 300007, 1),
	/* S, layers, elements, padding, kind */
	CASE(drift, "drift l2, 1 x 64", 1, 0, 1, 1, 64, 0, OP_DRIFT_L2),
	CASE(drift, "drift l2, 3 sequences of 2 layers", 0.3, 0, 3, 2, 7, 3, OP_DRIFT_L2),
	CASE(drift, "drift raw mse", 200, 0, 2, 3, 5, 1, OP_DRIFT_RAW_MSE),
	CASE(drift, "drift relative mse", 1, 0, 2, 2, 131, 2, OP_DRIFT_RELATIVE_MSE),
	CASE(drift, "drift relative l2", 200, 0, 3, 2, 67, 5, OP_DRIFT_RELATIVE_L2),
	{"drift of nothing l2", still_setup, drift_record, still_reference, {2, 2, 67, 5, OP_DRIFT_L2}, {1}},
	{"drift of nothing relative l2",
	 still_setup,
	 drift_record,
	 still_reference,
	 {2, 2, 67, 5, OP_DRIFT_RELATIVE_L2},
	 {1}},
	CASE(norm, "group norm 1 x 768", 0.5, 0, 1, 1, 768, 0, 1),
	CASE(norm, "group norm, 3 sequences, padding", -2, 0, 3, 2, 13, 4, 1),
	CASE(norm, "group norm without gradient", 1, 0, 2, 1, 5, 1, 0),
	CASE(monitor, "monitor 1 x 64", -0.1, 0, 1, 1, 64, 0),
	CASE(monitor, "monitor 1 x 1", 1, 0, 1, 1, 1, 0),
	CASE(monitor, "monitor, 3 sequences of 2 layers, padding", -2, 0, 3, 2, 37, 5),
	{"monitor with equals", ties_setup, monitor_record, ties_reference, {1, 1, 67, 0}, {-0.1}},
	/* ridge, tolerance; n, d */
	CASE(projector, "projector 1x1", 1e-4, 1e-6, 1, 1),
	CASE(projector, "projector 7x19", 1e-4, 1e-5, 7, 19),
	CASE(projector, "projector 64x768", 1e-4, 3e-6, 64, 768),
	CASE(projector, "projector 131x257", 1e-4, 1e-5, 131, 257),
	CASE(projector, "projector 67x31, more directions than dimensions", 0.5, 1e-5, 67, 31),
	CASE(projector, "projector 512x769", 1e-4, 1e-4, 512, 769),
	/* S, layers, elements, padding, kind, step */
	CASE(update, "budget, 3 sequences", 0, 0, 3, 2, 37, 1, 0),
	CASE(update, "adam first step, 1 x 768", 0, 0, 1, 1, 768, 0, 1, 1),
	CASE(update, "adam step 7, 3 sequences", 0, 0, 3, 2, 131, 2, 1, 7),
	CASE(update, "adam step 1000 without rescaling", 0, 0, 2, 1, 5, 0, 2, 1000),
	CASE(update, "adam, a million elements", 0, 0, 1, 1, 1000003, 0, 1, 3),
	CASE(update, "adam, 5 million elements", 0, 0, 1, 1, 5000011, 0, 1, 3),
	CASE(update, "descent, 2 sequences", 0, 0, 2, 3, 11, 0, 3),
	/* S, layers, elements, padding, more; steps, step */
	CASE(metrics, "metrics 1 x 768", 0, 0, 1, 1, 768, 0, 1, 3, 7),
	CASE(metrics, "metrics, 3 sequences", 0, 0, 3, 2, 31, 2, 1, 5, 4),
	CASE(metrics, "metrics of a million elements", 0, 0, 1, 1, 1000003, 0, 1, 2, 1),
	CASE(metrics, "metrics without drift", 0, 0, 2, 1, 1, 0, 0, 1, 0),
	{0},
};
