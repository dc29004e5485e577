#include "sessions/selftest.h"

#include <math.h>
#include <stdlib.h>

#include "compute/base/mem.h"
#include "models/reference.h"
#include "models/transformer.h"

enum { LAYERS = 2, D = 24, HEADS = 3, F = 56, VOCAB = 61, T = 7 };

/* The same weights twice: [out, in] in double for the reference, as stored by GPT-2
 * ([in, out] for the blocks' matrices) in float32 on the device. */
struct twin {
	struct arch arch;
	struct reference reference;
	struct weights weights;
};

/* A fixed sequence of numbers in [-1, 1): what they are does not matter. */
static double next(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return (double)(*state >> 8) / 8388608.0 - 1;
}

static void describe(struct arch *arch)
{
	*arch = (struct arch){
		.family = ARCH_GPT2,
		.layers = LAYERS,
		.d = D,
		.heads = HEADS,
		.kv_heads = HEADS,
		.head_dim = D / HEADS,
		.f = F,
		.vocab = VOCAB,
		.context = 16,
		.learned_positions = true,
		.embed_scale = 1,
		.norm = ARCH_NORM_LAYER,
		.norm_eps = 1e-5,
		.act = ARCH_ACT_GELU_TANH,
		.q_bias = true,
		.o_bias = true,
		.mlp_bias = true,
		.tied = true,
		.bos = -1,
		.eos = -1,
	};
	for (int l = 0; l < LAYERS; l++)
		arch->layer[l] = (struct arch_layer){.rope = -1, .score_scale = 1 / sqrt((double)arch->head_dim)};
}

static double *make(uint32_t *state, size_t n, double scale, double shift)
{
	double *x = mem_alloc(n, sizeof *x);
	for (size_t i = 0; i < n; i++)
		x[i] = (double)(float)(shift + scale * next(state));
	return x;
}

static void make_weights(struct twin *twin)
{
	uint32_t state = 20260618;
	struct reference *r = &twin->reference;
	r->arch = &twin->arch;
	r->model[WEIGHT_WTE] = make(&state, VOCAB * D, 1, 0);
	r->model[WEIGHT_WPE] = make(&state, (size_t)twin->arch.context * D, 0.5, 0);
	r->model[WEIGHT_FINAL_NORM] = make(&state, D, 0.3, 1);
	r->model[WEIGHT_FINAL_NORM_BIAS] = make(&state, D, 0.3, 0);
	for (int l = 0; l < LAYERS; l++) {
		double **w = r->layer[l];
		const enum weight_role norms[] = {WEIGHT_NORM1, WEIGHT_NORM2};
		const enum weight_role small[] = {WEIGHT_NORM1_BIAS, WEIGHT_NORM2_BIAS, WEIGHT_Q_BIAS,	 WEIGHT_K_BIAS,
						  WEIGHT_V_BIAS,     WEIGHT_O_BIAS,	WEIGHT_DOWN_BIAS};
		const enum weight_role squares[] = {WEIGHT_Q, WEIGHT_K, WEIGHT_V, WEIGHT_O};
		for (size_t i = 0; i < ARRAY_LEN(norms); i++)
			w[norms[i]] = make(&state, D, 0.3, 1);
		for (size_t i = 0; i < ARRAY_LEN(small); i++)
			w[small[i]] = make(&state, D, 0.3, 0);
		for (size_t i = 0; i < ARRAY_LEN(squares); i++)
			w[squares[i]] = make(&state, D * D, 0.4, 0);
		w[WEIGHT_UP] = make(&state, F * D, 0.4, 0);
		w[WEIGHT_UP_BIAS] = make(&state, F, 0.3, 0);
		w[WEIGHT_DOWN] = make(&state, D * F, 0.3, 0);
	}
}

static void twin_done(struct twin *twin)
{
	for (int role = 0; role < WEIGHT_COUNT; role++) {
		free(twin->reference.model[role]);
		for (int l = 0; l < LAYERS; l++)
			free(twin->reference.layer[l][role]);
	}
	weights_done(&twin->weights);
}

/* Writes x [out, in] as [in, out] at column `column` of a tensor. */
static void place(float *to, int64_t cols, int64_t column, const double *x, int64_t out, int64_t in)
{
	for (int64_t o = 0; o < out; o++)
		for (int64_t i = 0; i < in; i++)
			to[i * cols + column + o] = (float)x[o * in + i];
}

/* `parts` matrices or vectors (in = 1) side by side; transposed unless `plain`. */
static enum status upload(struct tensor t, const double *const *parts, int count, bool plain, struct error *error)
{
	float *values = mem_alloc((size_t)tensor_count(t), sizeof *values);
	int64_t each = t.cols / count;
	for (int p = 0; p < count; p++) {
		if (plain)
			for (uint64_t i = 0; i < tensor_count(t); i++)
				values[i] = (float)parts[p][i];
		else
			place(values, t.cols, p * each, parts[p], each, t.rows);
	}
	enum status status = tensor_write(t, values, error);
	free(values);
	return status;
}

static enum status upload_all(struct twin *twin, struct device *device, struct error *error)
{
	struct weights *w = &twin->weights;
	const struct reference *r = &twin->reference;
	*w = (struct weights){.device = device};
	w->layer = mem_alloc(LAYERS, sizeof *w->layer);
	w->arena = arena_create(device, BUFFER_DEVICE, "the self-test");
	arena_add(w->arena, &w->model[WEIGHT_WTE], DTYPE_F32, VOCAB, D);
	arena_add(w->arena, &w->model[WEIGHT_WPE], DTYPE_F32, twin->arch.context, D);
	arena_add(w->arena, &w->model[WEIGHT_FINAL_NORM], DTYPE_F32, 1, D);
	arena_add(w->arena, &w->model[WEIGHT_FINAL_NORM_BIAS], DTYPE_F32, 1, D);
	const struct {
		enum weight_role role;
		int64_t rows, cols;
	} shapes[] = {
		{WEIGHT_NORM1, 1, D}, {WEIGHT_NORM1_BIAS, 1, D}, {WEIGHT_NORM2, 1, D}, {WEIGHT_NORM2_BIAS, 1, D},
		{WEIGHT_Q, D, 3 * D}, {WEIGHT_Q_BIAS, 1, 3 * D}, {WEIGHT_O, D, D},     {WEIGHT_O_BIAS, 1, D},
		{WEIGHT_UP, D, F},    {WEIGHT_UP_BIAS, 1, F},	 {WEIGHT_DOWN, F, D},  {WEIGHT_DOWN_BIAS, 1, D},
	};
	for (int l = 0; l < LAYERS; l++)
		for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
			arena_add(w->arena, &w->layer[l][shapes[i].role], DTYPE_F32, shapes[i].rows, shapes[i].cols);
	enum status status = arena_allocate(w->arena, error);
	for (int role = 0; role < WEIGHT_COUNT && status == STATUS_OK; role++) {
		const double *part = r->model[role];
		if (part)
			status = upload(w->model[role], &part, 1, true, error);
	}
	w->model[WEIGHT_UNEMBED] = w->model[WEIGHT_WTE];
	for (int l = 0; l < LAYERS; l++)
		for (size_t i = 0; i < ARRAY_LEN(shapes) && status == STATUS_OK; i++) {
			enum weight_role role = shapes[i].role;
			const double *parts[3] = {r->layer[l][role]};
			int count = 1;
			if (role == WEIGHT_Q || role == WEIGHT_Q_BIAS) {
				parts[1] = r->layer[l][role == WEIGHT_Q ? WEIGHT_K : WEIGHT_K_BIAS];
				parts[2] = r->layer[l][role == WEIGHT_Q ? WEIGHT_V : WEIGHT_V_BIAS];
				count = 3;
			}
			status = upload(w->layer[l][role], parts, count, false, error);
		}
	return status;
}

static double deviation(const float *mine, const double *want, size_t n)
{
	double largest = 0, worst = 0;
	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, fabs(want[i]));
	for (size_t i = 0; i < n; i++) {
		double off = fabs((double)mine[i] - want[i]);
		if (!(off <= worst))
			worst = isfinite(off) ? off : HUGE_VAL;
	}
	return worst / largest;
}

static enum status on_device(struct twin *twin, const int64_t *ids, const double *dlogits, float *logits,
			     float *gradient, struct error *error)
{
	struct device *device = twin->weights.device;
	struct kv_cache cache;
	struct pass pass = {0};
	enum status status = kv_cache_create(&cache, device, &twin->arch, 1, T, error);
	if (status)
		return status;
	struct pass_config config = {
		.arch = &twin->arch,
		.weights = &twin->weights,
		.cache = &cache,
		.rows = T,
		.embed = true,
		.last_point = 2 * LAYERS,
		.backward = true,
		.logits = LOGITS_ALL,
	};
	status = pass_create(&pass, device, &config, error);
	uint32_t words[T];
	float d[T * VOCAB];
	for (int i = 0; i < T; i++)
		words[i] = (uint32_t)ids[i];
	for (int i = 0; i < T * VOCAB; i++)
		d[i] = (float)dlogits[i];
	if (status == STATUS_OK)
		status = tensor_write(pass.ids, words, error);
	if (status == STATUS_OK)
		status = pass_set_rows(&pass, 0, 0, error);
	if (status == STATUS_OK)
		status = tensor_write(pass.dlogits, d, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(device, "self-test");
		recorder_begin(rec);
		pass_record_forward(&pass, rec);
		pass_record_backward(&pass, rec, (struct tensor){0});
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(pass.logits, logits, error);
	if (status == STATUS_OK)
		status = tensor_read(pass.dstart, gradient, error);
	if (pass.points)
		pass_done(&pass);
	kv_cache_done(&cache);
	return status;
}

enum status self_test_run(struct self_test *test, struct device *device, struct error *error)
{
	*test = (struct self_test){0};
	struct twin twin = {0};
	describe(&twin.arch);
	make_weights(&twin);
	static const int64_t ids[T] = {3, 60, 17, 0, 42, 17, 8};
	uint32_t state = 7;
	double dlogits[T * VOCAB];
	for (int i = 0; i < T * VOCAB; i++)
		dlogits[i] = (double)(float)next(&state);
	double *gradients[HOOK_COUNT] = {[HOOK_RESID_PRE] = mem_alloc(LAYERS * T * D, sizeof(double))};
	float *logits = mem_alloc(T * VOCAB, sizeof *logits), *gradient = mem_alloc(T * D, sizeof *gradient);
	struct reference_run run;
	enum status status = upload_all(&twin, device, error);
	if (status == STATUS_OK)
		status = on_device(&twin, ids, dlogits, logits, gradient, error);
	if (status == STATUS_OK) {
		status = reference_forward(&run, &twin.reference, ids, T, T, NULL, 0, error);
		if (status == STATUS_OK) {
			reference_backward(&run, dlogits, gradients);
			test->max_error = fmax(deviation(logits, run.logits, T * VOCAB),
					       deviation(gradient, gradients[HOOK_RESID_PRE], T * D));
			test->ok = test->max_error <= SELF_TEST_TOLERANCE;
			reference_run_done(&run);
		}
	}
	free(gradients[HOOK_RESID_PRE]);
	free(logits);
	free(gradient);
	twin_done(&twin);
	return status;
}
