#include "tests/random_session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/half.h"
#include "sessions/hooked_sae.h"

static uint64_t state = 20260618;

static float next(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (float)((double)(state >> 11) / 9007199254740992.0 - 0.5);
}

static enum status fill(struct tensor t, float scale, float shift, struct error *error)
{
	enum { CHUNK = 1 << 18 };
	float *floats = mem_alloc(CHUNK, sizeof *floats);
	uint16_t *halves = mem_alloc(CHUNK, sizeof *halves);
	enum status status = STATUS_OK;
	size_t size = dtype_size(t.dtype);
	for (uint64_t at = 0; at < tensor_count(t) && status == STATUS_OK; at += CHUNK) {
		uint64_t n = tensor_count(t) - at < CHUNK ? tensor_count(t) - at : CHUNK;
		for (uint64_t i = 0; i < n; i++) {
			floats[i] = shift + scale * next();
			halves[i] = bf16_from_float(floats[i]);
		}
		status = buffer_write(t.buffer, t.offset + at * size,
				      t.dtype == DTYPE_F32 ? (void *)floats : (void *)halves, n * size, error);
	}
	free(floats);
	free(halves);
	return status;
}

static void describe(struct arch *arch, const struct random_shape *s)
{
	*arch = (struct arch){
		.family = ARCH_GPT2,
		.layers = s->layers,
		.d = s->d,
		.heads = s->heads,
		.kv_heads = s->heads,
		.head_dim = s->d / s->heads,
		.f = s->f,
		.vocab = s->vocab,
		.context = s->context,
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
	for (int l = 0; l < s->layers; l++)
		arch->layer[l] = (struct arch_layer){.rope = -1, .score_scale = 1 / sqrt((double)arch->head_dim)};
}

static enum status make_weights(struct weights *w, struct device *device, const struct arch *arch, enum dtype dtype,
				struct error *error)
{
	const struct {
		enum weight_role role;
		int64_t rows, cols;
		float scale, shift;
	} shapes[] = {
		{WEIGHT_NORM1, 1, arch->d, 0.1f, 1},	    {WEIGHT_NORM1_BIAS, 1, arch->d, 0.1f, 0},
		{WEIGHT_NORM2, 1, arch->d, 0.1f, 1},	    {WEIGHT_NORM2_BIAS, 1, arch->d, 0.1f, 0},
		{WEIGHT_Q, arch->d, 3 * arch->d, 0.08f, 0}, {WEIGHT_Q_BIAS, 1, 3 * arch->d, 0.1f, 0},
		{WEIGHT_O, arch->d, arch->d, 0.08f, 0},	    {WEIGHT_O_BIAS, 1, arch->d, 0.1f, 0},
		{WEIGHT_UP, arch->d, arch->f, 0.08f, 0},    {WEIGHT_UP_BIAS, 1, arch->f, 0.1f, 0},
		{WEIGHT_DOWN, arch->f, arch->d, 0.08f, 0},  {WEIGHT_DOWN_BIAS, 1, arch->d, 0.1f, 0},
	};
	*w = (struct weights){.device = device};
	w->layer = mem_alloc((size_t)arch->layers, sizeof *w->layer);
	w->arena = arena_create(device, BUFFER_DEVICE, "random weights");
	arena_add(w->arena, &w->model[WEIGHT_WTE], dtype, arch->vocab, arch->d);
	arena_add(w->arena, &w->model[WEIGHT_WPE], dtype, arch->context, arch->d);
	arena_add(w->arena, &w->model[WEIGHT_FINAL_NORM], DTYPE_F32, 1, arch->d);
	arena_add(w->arena, &w->model[WEIGHT_FINAL_NORM_BIAS], DTYPE_F32, 1, arch->d);
	for (int l = 0; l < arch->layers; l++)
		for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
			arena_add(w->arena, &w->layer[l][shapes[i].role], shapes[i].rows > 1 ? dtype : DTYPE_F32,
				  shapes[i].rows, shapes[i].cols);
	enum status status = arena_allocate(w->arena, error);
	if (status == STATUS_OK)
		status = fill(w->model[WEIGHT_WTE], 0.3f, 0, error);
	if (status == STATUS_OK)
		status = fill(w->model[WEIGHT_WPE], 0.3f, 0, error);
	if (status == STATUS_OK)
		status = fill(w->model[WEIGHT_FINAL_NORM], 0.1f, 1, error);
	if (status == STATUS_OK)
		status = fill(w->model[WEIGHT_FINAL_NORM_BIAS], 0.1f, 0, error);
	for (int l = 0; l < arch->layers; l++)
		for (size_t i = 0; i < ARRAY_LEN(shapes) && status == STATUS_OK; i++)
			status = fill(w->layer[l][shapes[i].role], shapes[i].scale, shapes[i].shift, error);
	w->model[WEIGHT_UNEMBED] = w->model[WEIGHT_WTE];
	return status;
}

static float *random_floats(int64_t n, float scale)
{
	float *x = mem_alloc((size_t)n, sizeof *x);
	for (int64_t i = 0; i < n; i++)
		x[i] = scale * next();
	return x;
}

static enum status make_sae(struct session *session, const struct random_shape *s, struct error *error)
{
	struct site *site = &session->sites[0];
	float *w_enc = random_floats(s->features * s->d, 0.1f), *w_dec = random_floats(s->features * s->d, 0.1f);
	float *b_enc = random_floats(s->features, 0.1f), *b_dec = random_floats(s->d, 0.1f);
	struct sae_spec spec = {
		.d_in = s->d,
		.d_out = s->d,
		.F = s->features,
		.act = SAE_RELU,
		.W_enc = w_enc,
		.W_dec = w_dec,
		.b_enc = b_enc,
		.b_dec = b_dec,
	};
	*site = (struct site){0};
	enum status status = sae_create(&site->sae, session->device, &spec, s->sae_layer, s->sae_hook, error);
	if (status == STATUS_OK && !point_of_hook(&session->model.arch, s->sae_layer, s->sae_hook, &site->point))
		status = error_set(error, STATUS_INVALID, "the random model has no such hook");
	session->site_count = 1;
	free(w_enc);
	free(w_dec);
	free(b_enc);
	free(b_dec);
	return status;
}

enum status random_session_open(struct session **out, const struct random_shape *shape, struct error *error)
{
	*out = NULL;
	struct session *session = mem_alloc(1, sizeof *session);
	session->clamp_positions.rule = POSITIONS_ALL;
	session->error_alpha = 1;
	settings_init(&session->settings);
	struct device_options options = {.validation = getenv("REBOUND_VALIDATION") != NULL};
	enum status status = device_create(&session->device, &options, error);
	session->model.device = session->device;
	describe(&session->model.arch, shape);
	if (status == STATUS_OK)
		status = make_weights(&session->model.weights, session->device, &session->model.arch, shape->dtype,
				      error);
	if (status == STATUS_OK)
		status = make_sae(session, shape, error);
	if (status) {
		random_session_close(&session);
		return status;
	}
	*out = session;
	return STATUS_OK;
}

void random_session_close(struct session **out)
{
	struct session *session = *out;
	for (int i = 0; i < session->site_count; i++)
		hooked_sae_done(&session->sites[i]);
	weights_done(&session->model.weights);
	device_destroy(&session->device);
	token_list_done(&session->prompt);
	if (session->has_objective)
		objective_done(&session->objective);
	settings_done(&session->settings);
	delta_rows_done(&session->frozen);
	free(session);
	*out = NULL;
}
