/* op_qkv, op_attention and their gradients. Passes over S sequences: sequence s has
 * n rows at positions first + s, first + s + 1, ... */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tests/op_test.h"

enum { S, ROWS, FIRST, HEADS, KV_HEADS, HD, WINDOW, G, ROPE, NORM, ORDER };
enum { SOFTCAP };

static int64_t rows_of(const struct op_test *t)
{
	return t->n[S] * t->n[ROWS];
}

static int64_t context_of(const struct op_test *t)
{
	return t->n[FIRST] + t->n[S] + t->n[ROWS] + 2;
}

static int64_t position_of(const struct op_test *t, int64_t r)
{
	return t->n[FIRST] + r / t->n[ROWS] + r % t->n[ROWS];
}

/* The row of the caches of a position of the sequence of row r. */
static int64_t cache_row(const struct op_test *t, int64_t r, int64_t position)
{
	return r / t->n[ROWS] * context_of(t) + position;
}

static void fill_rows(struct op_test *t, struct op_array *rows)
{
	for (int64_t r = 0; r < rows_of(t); r++) {
		int64_t sequence = r / t->n[ROWS];
		rows->in[2 * r] = (double)sequence;
		rows->in[2 * r + 1] = (double)position_of(t, r);
	}
}

/* ---- splitting, per-head norm, rotation ---- */

enum { Q, KC, VC, QKV, QKV_ROWS, INVERSE, QW, KW, DQ, DK, DV, DQKV };

static struct op_attention attributes(const struct op_test *t, bool rotates)
{
	struct op_attention a = {
		.heads = (int)t->n[HEADS],
		.kv_heads = (int)t->n[KV_HEADS],
		.head_dim = (int)t->n[HD],
		.order = (enum op_qkv_order)t->n[ORDER],
		.context = context_of(t),
		.qk_norm = (enum op_norm)t->n[NORM],
		.qk_norm_eps = 1e-6,
		.score_scale = 1 / sqrt((double)t->n[HD]),
		.softcap = t->x[SOFTCAP],
		.window = (int)t->n[WINDOW],
	};
	if (rotates) {
		a.rope_dims = (int)t->n[ROPE];
		a.rope_scale = 1.25;
		a.rope_inverse = op_tensor(t, INVERSE);
		a.q_norm_w = op_tensor(t, QW);
		a.k_norm_w = op_tensor(t, KW);
	}
	return a;
}

/* Value i of a head of part 0, 1, 2 (q, k, v) of row r, normalised and rotated. */
static double head_value(const struct op_test *t, int64_t r, int part, int64_t head, int64_t i)
{
	int64_t hd = t->n[HD], h = t->n[HEADS], k = t->n[KV_HEADS], rope = t->n[ROPE];
	int64_t slot = part == 0 ? head : part == 1 ? h + head : h + k + head;
	const double *x = t->arrays[QKV].in + r * (h + 2 * k) * hd +
			  (t->n[ORDER] == OP_QKV_BY_HEAD ? (3 * head + part) * hd : slot * hd);
	if (part == 2)
		return x[i];
	int64_t pair[2] = {i, i >= rope ? i : i < rope / 2 ? i + rope / 2 : i - rope / 2};
	double y[2];
	double mean = 0, squares = 0;
	for (int64_t j = 0; j < hd && t->n[NORM] == OP_NORM_LAYER; j++)
		mean += x[j] / (double)hd;
	for (int64_t j = 0; j < hd; j++)
		squares += (x[j] - mean) * (x[j] - mean) / (double)hd;
	for (int n = 0; n < 2; n++) {
		double w = t->n[NORM] ? t->arrays[part == 0 ? QW : KW].in[pair[n]] : 0;
		y[n] = x[pair[n]];
		if (t->n[NORM])
			y[n] = (y[n] - mean) / sqrt(squares + 1e-6) * (t->n[NORM] == OP_NORM_RMS_PLUS ? 1 + w : w);
	}
	if (i >= rope)
		return y[0];
	/* the angle is a float32 product, as in the published models */
	double angle = (float)position_of(t, r) * (float)t->arrays[INVERSE].in[i % (rope / 2)];
	return 1.25 * (y[0] * cos(angle) + (i < rope / 2 ? -y[1] : y[1]) * sin(angle));
}

static void qkv_inputs(struct op_test *t)
{
	int64_t hd = t->n[HD], slots = t->n[HEADS] + 2 * t->n[KV_HEADS];
	op_test_fill(t, op_test_input(t, QKV, "qkv", rows_of(t), slots * hd), -2, 2);
	fill_rows(t, op_test_input_u32(t, QKV_ROWS, "rows", rows_of(t), 2));
	if (t->n[ROPE]) {
		struct op_array *inverse = op_test_input(t, INVERSE, "rope_inverse", 1, t->n[ROPE] / 2);
		for (int64_t i = 0; i < t->n[ROPE] / 2; i++)
			inverse->in[i] = (float)pow(10000, -2 * (double)i / (double)t->n[ROPE]);
	}
	if (t->n[NORM]) {
		op_test_fill(t, op_test_input(t, QW, "q_norm_w", 1, hd), -1, 1);
		op_test_fill(t, op_test_input(t, KW, "k_norm_w", 1, hd), -1, 1);
	}
}

static void qkv_setup(struct op_test *t)
{
	qkv_inputs(t);
	int64_t cached = t->n[S] * context_of(t), width = t->n[KV_HEADS] * t->n[HD];
	/* cos and sin to some 2e-7 */
	op_test_output(t, Q, "q", rows_of(t), t->n[HEADS] * t->n[HD], 2e-6, 3e-6);
	op_test_fill(t, op_test_updated(t, KC, "k_cache", cached, width, 2e-6, 3e-6), -1, 1);
	op_test_fill(t, op_test_updated(t, VC, "v_cache", cached, width, 0, 0), -1, 1);
}

static void qkv_record(struct recorder *rec, const struct op_test *t)
{
	struct op_attention a = attributes(t, true);
	op_qkv(rec, op_tensor(t, Q), op_tensor(t, KC), op_tensor(t, VC), op_tensor(t, QKV), op_tensor(t, QKV_ROWS), &a);
}

static void qkv_reference(struct op_test *t)
{
	int64_t hd = t->n[HD];
	for (int64_t r = 0; r < rows_of(t); r++) {
		for (int64_t j = 0; j < t->n[HEADS] * hd; j++)
			t->arrays[Q].want[r * t->n[HEADS] * hd + j] = head_value(t, r, 0, j / hd, j % hd);
		for (int64_t j = 0; j < t->n[KV_HEADS] * hd; j++) {
			int64_t to = cache_row(t, r, position_of(t, r)) * t->n[KV_HEADS] * hd + j;
			t->arrays[KC].want[to] = head_value(t, r, 1, j / hd, j % hd);
			t->arrays[VC].want[to] = head_value(t, r, 2, j / hd, j % hd);
		}
	}
}

static void qkv_back_setup(struct op_test *t)
{
	qkv_inputs(t);
	int64_t rows = t->n[G] * rows_of(t), hd = t->n[HD];
	op_test_fill(t, op_test_input(t, DQ, "dq", rows, t->n[HEADS] * hd), -1, 1);
	op_test_fill(t, op_test_input(t, DK, "dk", rows, t->n[KV_HEADS] * hd), -1, 1);
	op_test_fill(t, op_test_input(t, DV, "dv", rows, t->n[KV_HEADS] * hd), -1, 1);
	op_test_output(t, DQKV, "dqkv", rows, (t->n[HEADS] + 2 * t->n[KV_HEADS]) * hd, 1e-5, 5e-6);
}

static void qkv_back_record(struct recorder *rec, const struct op_test *t)
{
	struct op_attention a = attributes(t, true);
	op_qkv_back(rec, op_tensor(t, DQKV), op_tensor(t, DQ), op_tensor(t, DK), op_tensor(t, DV), op_tensor(t, QKV),
		    op_tensor(t, QKV_ROWS), &a);
}

static double qkv_objective(struct op_test *t, int64_t g)
{
	int64_t hd = t->n[HD], rows = rows_of(t);
	double sum = 0;
	for (int part = 0; part < 3; part++) {
		int64_t width = (part == 0 ? t->n[HEADS] : t->n[KV_HEADS]) * hd;
		const double *gradient = t->arrays[DQ + part].in + g * rows * width;
		for (int64_t j = 0; j < rows * width; j++)
			sum += gradient[j] * head_value(t, j / width, part, j % width / hd, j % hd);
	}
	return sum;
}

static void qkv_back_reference(struct op_test *t)
{
	op_test_differentiate(t, QKV, DQKV, qkv_objective);
}

/* ---- attention ---- */

enum { OUT, LSE, AQ, AK, AV, A_ROWS, DOUT, ADQ, ADK, ADV };

/* out [hd] and the log-sum-exp of head h of row r. */
static double attend(const struct op_test *t, int64_t r, int64_t h, double *out)
{
	int64_t hd = t->n[HD], k_heads = t->n[KV_HEADS], position = position_of(t, r);
	int64_t kv_head = h / (t->n[HEADS] / k_heads);
	int64_t first = t->n[WINDOW] && position >= t->n[WINDOW] ? position - t->n[WINDOW] + 1 : 0;
	const double *q = t->arrays[AQ].in + (r * t->n[HEADS] + h) * hd;
	double *score = mem_alloc((size_t)(position + 1), sizeof *score);
	double most = -INFINITY, total = 0;
	memset(out, 0, (size_t)hd * sizeof *out);
	for (int64_t j = first; j <= position; j++) {
		const double *k = t->arrays[AK].in + (cache_row(t, r, j) * k_heads + kv_head) * hd;
		score[j] = 0;
		for (int64_t i = 0; i < hd; i++)
			score[j] += q[i] * k[i] / sqrt((double)hd);
		if (t->x[SOFTCAP] != 0)
			score[j] = t->x[SOFTCAP] * tanh(score[j] / t->x[SOFTCAP]);
		most = fmax(most, score[j]);
	}
	for (int64_t j = first; j <= position; j++)
		total += exp(score[j] - most);
	for (int64_t j = first; j <= position; j++) {
		const double *v = t->arrays[AV].in + (cache_row(t, r, j) * k_heads + kv_head) * hd;
		for (int64_t i = 0; i < hd; i++)
			out[i] += exp(score[j] - most) / total * v[i];
	}
	free(score);
	return most + log(total);
}

static void attention_inputs(struct op_test *t)
{
	int64_t hd = t->n[HD], cached = t->n[S] * context_of(t);
	fill_rows(t, op_test_input_u32(t, A_ROWS, "rows", rows_of(t), 2));
	op_test_fill(t, op_test_input(t, AQ, "q", rows_of(t), t->n[HEADS] * hd), -2, 2);
	struct op_array *k = op_test_input(t, AK, "k_cache", cached, t->n[KV_HEADS] * hd);
	struct op_array *v = op_test_input(t, AV, "v_cache", cached, t->n[KV_HEADS] * hd);
	op_test_fill(t, k, -2, 2);
	op_test_fill(t, v, -1, 1);
	/* nothing behind a sequence's last position may be read */
	for (int64_t s = 0; s < t->n[S]; s++)
		for (int64_t p = position_of(t, s * t->n[ROWS] + t->n[ROWS] - 1) + 1; p < context_of(t); p++)
			for (int64_t i = 0; i < k->tensor.cols; i++)
				k->in[(s * context_of(t) + p) * k->tensor.cols + i] =
					v->in[(s * context_of(t) + p) * k->tensor.cols + i] = NAN;
}

static void attention_setup(struct op_test *t)
{
	attention_inputs(t);
	/* scores of up to some 20 lose 1e-6 each, which the exponential makes relative */
	op_test_output(t, OUT, "out", rows_of(t), t->n[HEADS] * t->n[HD], 5e-6, 5e-6);
	op_test_output(t, LSE, "lse", rows_of(t), t->n[HEADS], 1e-6, 5e-6);
}

static void attention_record(struct recorder *rec, const struct op_test *t)
{
	struct op_attention a = attributes(t, false);
	op_attention(rec, op_tensor(t, OUT), op_tensor(t, LSE), op_tensor(t, AQ), op_tensor(t, AK), op_tensor(t, AV),
		     op_tensor(t, A_ROWS), &a);
}

static void attention_into(struct op_test *t, double *out, double *lse)
{
	for (int64_t j = 0; j < rows_of(t) * t->n[HEADS]; j++)
		lse[j] = attend(t, j / t->n[HEADS], j % t->n[HEADS], out + j * t->n[HD]);
}

static void attention_reference(struct op_test *t)
{
	attention_into(t, t->arrays[OUT].want, t->arrays[LSE].want);
}

static void attention_back_setup(struct op_test *t)
{
	attention_inputs(t);
	int64_t hd = t->n[HD], rows = t->n[G] * rows_of(t);
	struct op_array *out = op_test_input(t, OUT, "out", rows_of(t), t->n[HEADS] * hd);
	struct op_array *lse = op_test_input(t, LSE, "lse", rows_of(t), t->n[HEADS]);
	attention_into(t, out->in, lse->in);
	for (int64_t j = 0; j < rows_of(t) * t->n[HEADS] * hd; j++)
		out->in[j] = (float)out->in[j];
	for (int64_t j = 0; j < rows_of(t) * t->n[HEADS]; j++)
		lse->in[j] = (float)lse->in[j];
	op_test_fill(t, op_test_input(t, DOUT, "dout", rows, t->n[HEADS] * hd), -1, 1);
	op_test_output(t, ADQ, "dq", rows, t->n[HEADS] * hd, 1e-5, 1e-5);
	op_test_output(t, ADK, "dk", rows, t->n[KV_HEADS] * hd, 1e-5, 1e-5);
	op_test_output(t, ADV, "dv", rows, t->n[KV_HEADS] * hd, 1e-5, 1e-5);
}

static void attention_back_record(struct recorder *rec, const struct op_test *t)
{
	struct op_attention a = attributes(t, false);
	op_attention_back(rec, op_tensor(t, ADQ), op_tensor(t, ADK), op_tensor(t, ADV), op_tensor(t, DOUT),
			  op_tensor(t, AQ), op_tensor(t, AK), op_tensor(t, AV), op_tensor(t, OUT), op_tensor(t, LSE),
			  op_tensor(t, A_ROWS), &a);
}

static double attention_objective(struct op_test *t, int64_t g)
{
	int64_t hd = t->n[HD], heads = rows_of(t) * t->n[HEADS];
	double *out = mem_alloc((size_t)hd, sizeof *out);
	double sum = 0;
	for (int64_t j = 0; j < heads; j++) {
		attend(t, j / t->n[HEADS], j % t->n[HEADS], out);
		for (int64_t i = 0; i < hd; i++)
			sum += out[i] * t->arrays[DOUT].in[(g * heads + j) * hd + i];
	}
	free(out);
	return sum;
}

static void attention_back_reference(struct op_test *t)
{
	int64_t width = t->n[KV_HEADS] * t->n[HD], rows = rows_of(t);
	op_test_differentiate(t, AQ, ADQ, attention_objective);
	for (int64_t j = 0; j < t->n[G] * rows * width; j++) {
		int64_t r = j / width % rows;
		int64_t at = cache_row(t, r, position_of(t, r)) * width + j % width;
		t->arrays[ADK].want[j] =
			op_test_derivative(t, &t->arrays[AK].in[at], attention_objective, j / width / rows);
		t->arrays[ADV].want[j] =
			op_test_derivative(t, &t->arrays[AV].in[at], attention_objective, j / width / rows);
	}
}

#define QKV_CASE(name, ...)                                                                                            \
	{                                                                                                              \
		name, qkv_setup, qkv_record, qkv_reference, {__VA_ARGS__},                                             \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}
#define QKV_BACK(name, ...)                                                                                            \
	{                                                                                                              \
		name, qkv_back_setup, qkv_back_record, qkv_back_reference, {__VA_ARGS__},                              \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}
#define ATTENTION(name, cap, ...)                                                                                      \
	{                                                                                                              \
		name, attention_setup, attention_record, attention_reference, {__VA_ARGS__},                           \
		{                                                                                                      \
			cap                                                                                            \
		}                                                                                                      \
	}
#define ATTENTION_BACK(name, cap, ...)                                                                                 \
	{                                                                                                              \
		name, attention_back_setup, attention_back_record, attention_back_reference, {__VA_ARGS__},            \
		{                                                                                                      \
			cap                                                                                            \
		}                                                                                                      \
	}

#define ATTENTION_BACK_TIMED(name, cap, ...)                                                                           \
	{                                                                                                              \
		name, attention_back_setup, attention_back_record, NULL, {__VA_ARGS__},                                \
		{                                                                                                      \
			cap                                                                                            \
		}                                                                                                      \
	}
#define QKV_BACK_TIMED(name, ...)                                                                                      \
	{                                                                                                              \
		name, qkv_back_setup, qkv_back_record, NULL, {__VA_ARGS__},                                            \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}

const struct op_case op_cases_attention[] = {
	/* S, rows, first, H, K, hd, window, G, rope dims, norm, order */
	QKV_CASE("qkv one row, gpt2-small", 1, 1, 63, 12, 12, 64, 0, 1, 0, OP_NORM_NONE, OP_QKV_CONCAT),
	QKV_CASE("qkv concat, rope, rms", 2, 3, 5, 4, 2, 10, 0, 1, 10, OP_NORM_RMS, OP_QKV_CONCAT),
	QKV_CASE("qkv by head, rope on a part", 1, 7, 0, 3, 3, 17, 0, 1, 4, OP_NORM_NONE, OP_QKV_BY_HEAD),
	QKV_CASE("qkv rope far out, rms-plus", 1, 2, 100003, 4, 1, 16, 0, 1, 16, OP_NORM_RMS_PLUS, OP_QKV_CONCAT),
	QKV_CASE("qkv layer norm, hd 1", 1, 2, 0, 1, 1, 1, 0, 1, 0, OP_NORM_LAYER, OP_QKV_CONCAT),
	QKV_BACK("qkv back concat, plain, G=2", 2, 2, 1, 2, 1, 3, 0, 2, 0, OP_NORM_NONE, OP_QKV_CONCAT),
	QKV_BACK("qkv back concat, rope, rms, G=2", 2, 3, 5, 4, 2, 10, 0, 2, 8, OP_NORM_RMS, OP_QKV_CONCAT),
	QKV_BACK("qkv back by head, rope, rms-plus", 1, 3, 9, 3, 3, 7, 0, 1, 2, OP_NORM_RMS_PLUS, OP_QKV_BY_HEAD),
	QKV_BACK("qkv back layer norm, wide", 1, 1, 777, 1, 1, 66, 0, 1, 66, OP_NORM_LAYER, OP_QKV_CONCAT),
	ATTENTION("attention one row of 64, gpt2-small", 0, 1, 1, 63, 12, 12, 64, 0, 1),
	ATTENTION("attention one row of 512, gpt2-small", 0, 1, 1, 511, 12, 12, 64, 0, 1),
	ATTENTION("attention 64 rows of 64, gpt2-small", 0, 1, 64, 0, 12, 12, 64, 0, 1),
	ATTENTION("attention first row", 0, 1, 1, 0, 1, 1, 1, 0, 1),
	ATTENTION("attention groups, two sequences", 0, 2, 67, 3, 6, 2, 5, 0, 1),
	ATTENTION("attention window, softcap", 5, 3, 37, 11, 4, 4, 13, 7, 1),
	ATTENTION("attention long, window 1100", 0, 1, 2, 2200, 2, 1, 256, 1100, 1),
	ATTENTION("attention long, softcap", 30, 1, 3, 4099, 2, 2, 31, 0, 1),
	ATTENTION("attention window, softcap, hd 16", 5, 3, 37, 11, 4, 2, 16, 7, 1),
	ATTENTION("attention hd 80", 0, 2, 5, 40, 4, 2, 80, 0, 1),
	ATTENTION_BACK("attention back one row, hd 16", 0, 1, 1, 6, 3, 3, 16, 0, 1),
	ATTENTION_BACK("attention back first row, hd 1", 0, 1, 1, 0, 1, 1, 1, 0, 1),
	ATTENTION_BACK("attention back groups, G=2", 0, 2, 5, 3, 4, 2, 5, 0, 2),
	ATTENTION_BACK("attention back window, softcap", 3, 2, 7, 4, 2, 1, 3, 4, 1),
	ATTENTION_BACK("attention back 131 rows", 0, 1, 131, 0, 1, 1, 3, 0, 1),
	ATTENTION_BACK("attention back 150 rows, window 70", 0, 1, 150, 3, 1, 1, 2, 70, 1),
	ATTENTION_BACK("attention back long", 20, 1, 2, 2100, 1, 1, 6, 0, 1),
	ATTENTION_BACK("attention back window, softcap, hd 48", 3, 2, 5, 34, 2, 1, 48, 6, 1),
	ATTENTION_BACK("attention back groups, hd 80, G=2", 0, 1, 2, 3, 2, 1, 80, 0, 2),
	ATTENTION_BACK("attention back hd 144", 0, 1, 2, 40, 1, 1, 144, 0, 1),
	ATTENTION_BACK("attention back 23 rows, window 11, hd 16", 0, 2, 23, 3, 1, 1, 16, 11, 1),
	ATTENTION_BACK("attention back wide head", 0, 1, 2, 3, 1, 1, 131, 0, 1),
	/* Timed only: differences would take long. */
	ATTENTION_BACK_TIMED("attention back one row of 64, gpt2-small", 0, 1, 1, 63, 12, 12, 64, 0, 1),
	ATTENTION_BACK_TIMED("attention back one row of 512, gpt2-small", 0, 1, 1, 511, 12, 12, 64, 0, 1),
	ATTENTION_BACK_TIMED("attention back 64 rows of 64, gpt2-small", 0, 1, 64, 0, 12, 12, 64, 0, 1),
	ATTENTION_BACK_TIMED("attention back one row of 32, hd 32, 4 heads", 0, 1, 1, 31, 4, 4, 32, 0, 1),
	QKV_BACK_TIMED("qkv back one row, gpt2-small", 1, 1, 63, 12, 12, 64, 0, 1, 0, OP_NORM_NONE, OP_QKV_CONCAT),
	{0},
};
