#include "models/transformer.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* What a block keeps for its backward pass. Without one, all blocks share one of these. */
struct layer_state {
	struct tensor qkv;	/* [R, (H+2K)*hd] */
	struct tensor q;	/* [R, H*hd] rotated */
	struct tensor heads;	/* [R, H*hd] attention's output */
	struct tensor lse;	/* [R, H] */
	struct tensor attn_raw; /* [R, d] before the post-norm (Gemma) */
	struct tensor pre;	/* [R, f] or gate|up [R, 2f] */
	struct tensor act;	/* [R, f] */
	struct tensor mlp_raw;	/* [R, d] before the post-norm (Gemma) */
	/* gradients, [G*R, ...], shared by all blocks */
	struct tensor dqkv, dq, dk, dv, dheads, dpre, dact;
	bool dq_in_dqkv; /* dq, dk, dv are parts of dqkv's only row */
};

bool point_of_hook(const struct arch *arch, int layer, enum hook hook, int *point)
{
	if (layer < 0 || layer >= arch->layers || (hook == HOOK_RESID_MID && arch->parallel_residual))
		return false;
	*point = 2 * layer + (hook == HOOK_RESID_MID ? 1 : hook == HOOK_RESID_POST ? 2 : 0);
	return true;
}

uint64_t kv_cache_estimate(const struct arch *arch, int64_t sequences, int64_t context)
{
	uint64_t row = 4 * (uint64_t)arch->kv_heads * (uint64_t)arch->head_dim;
	return 2 * (uint64_t)arch->layers * (uint64_t)sequences * (uint64_t)context * row;
}

enum status kv_cache_create(struct kv_cache *cache, struct device *device, const struct arch *arch, int64_t sequences,
			    int64_t context, struct error *error)
{
	*cache = (struct kv_cache){.sequences = sequences, .context = context};
	cache->arena = arena_create(device, BUFFER_DEVICE, "the key/value cache");
	cache->k = mem_alloc((size_t)arch->layers, sizeof *cache->k);
	cache->v = mem_alloc((size_t)arch->layers, sizeof *cache->v);
	int64_t width = (int64_t)arch->kv_heads * arch->head_dim;
	for (int l = 0; l < arch->layers; l++) {
		arena_add(cache->arena, &cache->k[l], DTYPE_F32, sequences * context, width);
		arena_add(cache->arena, &cache->v[l], DTYPE_F32, sequences * context, width);
	}
	enum status status = arena_allocate(cache->arena, error);
	if (status) {
		kv_cache_done(cache);
		return status;
	}
	return STATUS_OK;
}

void kv_cache_done(struct kv_cache *cache)
{
	arena_destroy(&cache->arena);
	free(cache->k);
	free(cache->v);
	*cache = (struct kv_cache){0};
}

void kv_cache_record_copy(struct kv_cache *to, const struct kv_cache *from, const struct arch *arch,
			  struct recorder *rec)
{
	for (int l = 0; l < arch->layers; l++) {
		record_copy_tensor(rec, to->k[l], from->k[l]);
		record_copy_tensor(rec, to->v[l], from->v[l]);
	}
}

static int layer_count(const struct pass_config *c)
{
	return c->arch->layers;
}

static enum op_norm op_norm_of(enum arch_norm norm)
{
	return norm == ARCH_NORM_LAYER ? OP_NORM_LAYER : norm == ARCH_NORM_RMS ? OP_NORM_RMS : OP_NORM_RMS_PLUS;
}

static enum op_act op_act_of(enum arch_act act)
{
	switch (act) {
	case ARCH_ACT_GELU:
		return OP_ACT_GELU;
	case ARCH_ACT_GELU_TANH:
		return OP_ACT_GELU_TANH;
	case ARCH_ACT_SILU:
		return OP_ACT_SILU;
	default:
		return OP_ACT_RELU;
	}
}

/* GPT-2 stores [in, out]; the forward product then runs over its rows. */
static enum op_layout forward_layout(const struct arch *arch)
{
	return arch->family == ARCH_GPT2 ? OP_IN_OUT : OP_OUT_IN;
}

static enum op_layout backward_layout(const struct arch *arch)
{
	return arch->family == ARCH_GPT2 ? OP_OUT_IN : OP_IN_OUT;
}

static struct op_attention attention_of(const struct pass *pass, int l)
{
	const struct arch *arch = pass->config.arch;
	const struct weights *weights = pass->config.weights;
	const struct arch_layer *layer = &arch->layer[l];
	struct op_attention a = {
		.heads = arch->heads,
		.kv_heads = arch->kv_heads,
		.head_dim = arch->head_dim,
		.order = arch->family == ARCH_NEOX ? OP_QKV_BY_HEAD : OP_QKV_CONCAT,
		.context = pass->config.cache->context,
		.qk_norm = arch->qk_norm ? op_norm_of(arch->norm) : OP_NORM_NONE,
		.q_norm_w = weights->layer[l][WEIGHT_Q_NORM],
		.k_norm_w = weights->layer[l][WEIGHT_K_NORM],
		.qk_norm_eps = arch->norm_eps,
		.score_scale = layer->score_scale,
		.softcap = arch->score_softcap,
		.window = layer->window,
	};
	if (layer->rope >= 0 && arch->ropes[layer->rope].dims > 0) {
		const struct arch_rope *rope = &arch->ropes[layer->rope];
		a.rope_dims = rope->dims;
		a.rope_scale = rope->scale;
		a.rope_inverse = pass->config.long_rope && tensor_exists(weights->rope_long[layer->rope])
					 ? weights->rope_long[layer->rope]
					 : weights->rope[layer->rope];
	}
	return a;
}

/* Neither normalised nor rotated: the product's columns are the heads as they are. */
static bool heads_are_bare(const struct op_attention *a)
{
	return a->qk_norm == OP_NORM_NONE && a->rope_dims == 0 && a->order == OP_QKV_CONCAT;
}

/* A block's tensors; those of the backward pass only with one. */
static void add_layer(struct arena *arena, struct layer_state *s, const struct pass_config *c)
{
	const struct arch *arch = c->arch;
	int64_t heads = (int64_t)arch->heads * arch->head_dim;
	int64_t qkv = heads + 2 * (int64_t)arch->kv_heads * arch->head_dim;
	arena_add(arena, &s->qkv, DTYPE_F32, c->rows, qkv);
	arena_add(arena, &s->q, DTYPE_F32, c->rows, heads);
	arena_add(arena, &s->heads, DTYPE_F32, c->rows, heads);
	arena_add(arena, &s->lse, DTYPE_F32, c->rows, arch->heads);
	arena_add(arena, &s->pre, DTYPE_F32, c->rows, arch->gated ? 2 * (int64_t)arch->f : arch->f);
	arena_add(arena, &s->act, DTYPE_F32, c->rows, arch->f);
	if (arch->post_norms) {
		arena_add(arena, &s->attn_raw, DTYPE_F32, c->rows, arch->d);
		arena_add(arena, &s->mlp_raw, DTYPE_F32, c->rows, arch->d);
	}
}

static void add_gradients(struct arena *arena, struct layer_state *s, const struct pass_config *c)
{
	const struct arch *arch = c->arch;
	int64_t rows = c->rows * c->gradients;
	int64_t heads = (int64_t)arch->heads * arch->head_dim, kv = (int64_t)arch->kv_heads * arch->head_dim;
	arena_add(arena, &s->dqkv, DTYPE_F32, rows, heads + 2 * kv);
	arena_add(arena, &s->dq, DTYPE_F32, rows, heads);
	arena_add(arena, &s->dk, DTYPE_F32, rows, kv);
	arena_add(arena, &s->dv, DTYPE_F32, rows, kv);
	arena_add(arena, &s->dheads, DTYPE_F32, rows, heads);
	arena_add(arena, &s->dpre, DTYPE_F32, rows, arch->gated ? 2 * (int64_t)arch->f : arch->f);
	if (arch->gated)
		arena_add(arena, &s->dact, DTYPE_F32, rows, arch->f);
}

static int64_t readout_rows(const struct pass_config *c)
{
	return c->readouts > 0 ? c->readouts : c->rows;
}

static bool gathers_rows(const struct pass_config *c)
{
	return c->readouts > 0 && c->readouts < c->rows;
}

/* Declares everything a pass holds. */
static void declare(struct pass *pass, struct arena *arena, struct arena *inputs)
{
	const struct pass_config *c = &pass->config;
	const struct arch *arch = c->arch;
	int64_t Q = readout_rows(c), G = c->gradients;
	int L = layer_count(c);
	arena_add(inputs, &pass->ids, DTYPE_U32, 1, c->rows);
	arena_add(inputs, &pass->rows, DTYPE_U32, c->rows, 2);
	arena_add(inputs, &pass->readout, DTYPE_U32, 1, Q);
	if (c->logits == LOGITS_SOME)
		arena_add(inputs, &pass->logit_ids, DTYPE_U32, c->ids_by_row ? Q : 1, c->ids);
	if (!c->embed)
		arena_add(arena, &pass->start, DTYPE_F32, c->rows, arch->d);

	/* Points and blocks: all kept with a backward pass; else two residuals in turn
	 * (block l reads one point while writing the next) and one block's tensors. */
	for (int p = c->first_point; p <= c->last_point; p++)
		if (c->backward || p - c->first_point < 3)
			arena_add(arena, &pass->points[p], DTYPE_F32, c->rows, arch->d);
	for (int l = c->first_point / 2; l < L && 2 * l < c->last_point; l++)
		if (c->backward || l == c->first_point / 2)
			add_layer(arena, &pass->layers[l], c);

	if (c->logits != LOGITS_NONE) {
		int64_t columns = c->logits == LOGITS_SOME ? c->ids : arch->vocab;
		if (gathers_rows(c))
			arena_add(arena, &pass->gathered, DTYPE_F32, Q, arch->d);
		arena_add(arena, &pass->final, DTYPE_F32, Q, arch->d);
		arena_add(arena, &pass->logits, DTYPE_F32, Q, columns);
		if (c->backward) {
			arena_add(arena, &pass->dlogits, DTYPE_F32, Q, columns);
			arena_add(arena, &pass->dfinal, DTYPE_F32, Q, arch->d);
			arena_add(arena, &pass->dgathered, DTYPE_F32, Q, arch->d);
		}
	}
	if (c->backward) {
		arena_add(arena, &pass->dx_all, DTYPE_F32, G * c->rows, arch->d);
		arena_add(arena, &pass->dn_all, DTYPE_F32, G * c->rows, arch->d);
		add_gradients(arena, &pass->layers[L], c);
	}
}

/* Fills in what blocks and points share. */
static void share(struct pass *pass)
{
	const struct pass_config *c = &pass->config;
	int L = layer_count(c);
	int first = c->first_point / 2;
	if (!c->backward) {
		for (int l = first + 1; l < L; l++)
			pass->layers[l] = pass->layers[first];
		for (int p = c->first_point + 3; p <= c->last_point; p++)
			pass->points[p] = pass->points[c->first_point + (p - c->first_point) % 3];
		return;
	}
	pass->dstart = pass->dx_all;
}

/* Where the gradients by q, k and v, in a row, are the gradient by the product, they share its
 * memory: the parts of one row are tensors of their own if a device can bind them. */
static void share_row(const struct pass *pass, struct layer_state *s, int l)
{
	enum { ALIGNED = 64 }; /* floats, which every device can bind at */
	struct op_attention a = attention_of(pass, l);
	int64_t q = s->dq.cols, k = s->dk.cols;
	s->dq_in_dqkv = heads_are_bare(&a) && s->dqkv.rows == 1 && q % ALIGNED == 0 && k % ALIGNED == 0;
	if (!s->dq_in_dqkv)
		return;
	s->dq = s->dk = s->dv = s->dqkv;
	s->dq.cols = q;
	s->dk.cols = s->dv.cols = k;
	s->dk.offset += (uint64_t)q * sizeof(float);
	s->dv.offset += (uint64_t)(q + k) * sizeof(float);
}

/* Sets the gradients that take part: tensors of all blocks are views of the shared ones. */
static void activate(struct pass *pass, int64_t gradients)
{
	const struct pass_config *c = &pass->config;
	int L = layer_count(c);
	int64_t rows = gradients * c->rows;
	const struct layer_state *g = &pass->layers[L];
	pass->active = gradients;
	pass->dx = tensor_rows(pass->dx_all, 0, rows);
	pass->dn = tensor_rows(pass->dn_all, 0, rows);
	for (int l = c->first_point / 2; l < L; l++) {
		struct layer_state *s = &pass->layers[l];
		s->dqkv = tensor_rows(g->dqkv, 0, rows);
		s->dq = tensor_rows(g->dq, 0, rows);
		s->dk = tensor_rows(g->dk, 0, rows);
		s->dv = tensor_rows(g->dv, 0, rows);
		share_row(pass, s, l);
		s->dheads = tensor_rows(g->dheads, 0, rows);
		s->dpre = tensor_rows(g->dpre, 0, rows);
		if (c->arch->gated)
			s->dact = tensor_rows(g->dact, 0, rows);
	}
}

static void start_pass(struct pass *pass, struct device *device, const struct pass_config *config)
{
	*pass = (struct pass){.config = *config};
	if (pass->config.gradients == 0)
		pass->config.gradients = 1;
	size_t L = (size_t)config->arch->layers;
	pass->points = mem_alloc(2 * L + 1, sizeof *pass->points);
	pass->layers = mem_alloc(L + 1, sizeof *pass->layers);
	pass->softcap = config->arch->logit_softcap > 0;
	pass->arena = arena_create(device, BUFFER_DEVICE, "the activations");
	pass->inputs = arena_create(device, BUFFER_HOST, "the inputs of a pass");
	declare(pass, pass->arena, pass->inputs);
}

uint64_t pass_estimate(const struct pass_config *config)
{
	struct pass pass;
	start_pass(&pass, NULL, config);
	uint64_t bytes = arena_bytes(pass.arena) + arena_bytes(pass.inputs);
	pass_done(&pass);
	return bytes;
}

enum status pass_check_memory(const struct device *device, const struct pass_config *config, int64_t sequences,
			      int64_t context, struct error *error)
{
	uint64_t bytes = pass_estimate(config) + kv_cache_estimate(config->arch, sequences, context);
	char *what = mem_printf("a pass over %lld tokens", (long long)config->rows);
	enum status status = device_check_memory(
		device, bytes, what, "fewer tokens or another device (see 'rebound devices') would do", error);
	free(what);
	return status;
}

enum status pass_create(struct pass *pass, struct device *device, const struct pass_config *config, struct error *error)
{
	start_pass(pass, device, config);
	enum status status = arena_allocate(pass->arena, error);
	if (status == STATUS_OK)
		status = arena_allocate(pass->inputs, error);
	if (status) {
		pass_done(pass);
		return status;
	}
	share(pass);
	return STATUS_OK;
}

void pass_done(struct pass *pass)
{
	arena_destroy(&pass->arena);
	arena_destroy(&pass->inputs);
	free(pass->points);
	free(pass->layers);
	*pass = (struct pass){0};
}

enum status pass_set_rows(struct pass *pass, int64_t sequence, int64_t first_position, struct error *error)
{
	size_t R = (size_t)pass->config.rows;
	uint32_t *table = mem_alloc(R, 2 * sizeof *table);
	for (size_t r = 0; r < R; r++) {
		table[2 * r] = (uint32_t)sequence;
		table[2 * r + 1] = (uint32_t)(first_position + (int64_t)r);
	}
	enum status status = tensor_write(pass->rows, table, error);
	free(table);
	return status;
}

static void edits_forward(struct pass *pass, struct recorder *rec, int point)
{
	for (int i = 0; i < pass->config.edit_count; i++) {
		struct edit *edit = pass->config.edits[i];
		if (edit->point == point && edit->forward)
			edit->forward(edit, rec, pass->points[point]);
	}
}

static void edits_backward(struct pass *pass, struct recorder *rec, int point)
{
	for (int i = pass->config.edit_count; i-- > 0;) {
		struct edit *edit = pass->config.edits[i];
		if (edit->point == point && edit->backward)
			edit->backward(edit, rec, pass->dx);
	}
}

/* y = residual + attention(x), x being the block's input. */
static void attention_forward(struct pass *pass, struct recorder *rec, int l, struct tensor y, struct tensor x)
{
	const struct arch *arch = pass->config.arch;
	const struct tensor *w = pass->config.weights->layer[l];
	struct layer_state *s = &pass->layers[l];
	struct op_attention a = attention_of(pass, l);
	struct tensor k = pass->config.cache->k[l], v = pass->config.cache->v[l];
	struct op_linear qkv = {.norm = op_norm_of(arch->norm),
				.norm_w = w[WEIGHT_NORM1],
				.norm_b = w[WEIGHT_NORM1_BIAS],
				.norm_eps = arch->norm_eps,
				.bias = w[WEIGHT_Q_BIAS]};
	if (heads_are_bare(&a)) {
		qkv.k_cache = k;
		qkv.v_cache = v;
		qkv.rows = pass->rows;
		qkv.context = a.context;
		op_linear(rec, s->q, x, w[WEIGHT_Q], forward_layout(arch), &qkv);
	} else {
		op_linear(rec, s->qkv, x, w[WEIGHT_Q], forward_layout(arch), &qkv);
		op_qkv(rec, s->q, k, v, s->qkv, pass->rows, &a);
	}
	op_attention(rec, s->heads, s->lse, s->q, k, v, pass->rows, &a);
	if (!arch->post_norms) {
		op_linear(rec, y, s->heads, w[WEIGHT_O], forward_layout(arch),
			  &(struct op_linear){.bias = w[WEIGHT_O_BIAS], .residual = x});
		return;
	}
	op_linear(rec, s->attn_raw, s->heads, w[WEIGHT_O], forward_layout(arch),
		  &(struct op_linear){.bias = w[WEIGHT_O_BIAS]});
	op_norm(rec, y, s->attn_raw, op_norm_of(arch->norm), w[WEIGHT_POST_NORM1], (struct tensor){0}, arch->norm_eps);
	op_add(rec, y, y, x, 1);
}

/* y = residual + mlp(x). */
static void mlp_forward(struct pass *pass, struct recorder *rec, int l, struct tensor y, struct tensor x,
			struct tensor residual)
{
	const struct arch *arch = pass->config.arch;
	const struct tensor *w = pass->config.weights->layer[l];
	struct layer_state *s = &pass->layers[l];
	struct op_linear up = {.norm = op_norm_of(arch->norm),
			       .norm_w = w[WEIGHT_NORM2],
			       .norm_b = w[WEIGHT_NORM2_BIAS],
			       .norm_eps = arch->norm_eps};
	if (arch->gated) {
		up.bias = w[WEIGHT_GATE_BIAS];
		op_linear(rec, s->pre, x, w[WEIGHT_GATE], forward_layout(arch), &up);
		op_glu(rec, s->act, s->pre, op_act_of(arch->act));
	} else {
		up.bias = w[WEIGHT_UP_BIAS];
		up.act = op_act_of(arch->act);
		if (pass->config.backward)
			up.pre = s->pre;
		op_linear(rec, s->act, x, w[WEIGHT_UP], forward_layout(arch), &up);
	}
	if (!arch->post_norms) {
		op_linear(rec, y, s->act, w[WEIGHT_DOWN], forward_layout(arch),
			  &(struct op_linear){.bias = w[WEIGHT_DOWN_BIAS], .residual = residual});
		return;
	}
	op_linear(rec, s->mlp_raw, s->act, w[WEIGHT_DOWN], forward_layout(arch),
		  &(struct op_linear){.bias = w[WEIGHT_DOWN_BIAS]});
	op_norm(rec, y, s->mlp_raw, op_norm_of(arch->norm), w[WEIGHT_POST_NORM2], (struct tensor){0}, arch->norm_eps);
	op_add(rec, y, y, residual, 1);
}

void pass_record_readout(struct pass *pass, struct recorder *rec)
{
	const struct pass_config *c = &pass->config;
	const struct arch *arch = c->arch;
	const struct tensor *w = c->weights->model;
	struct tensor last = pass->points[c->last_point];
	if (gathers_rows(c)) {
		op_gather_rows(rec, pass->gathered, last, pass->readout, c->rows);
		last = pass->gathered;
	}
	op_norm(rec, pass->final, last, op_norm_of(arch->norm), w[WEIGHT_FINAL_NORM], w[WEIGHT_FINAL_NORM_BIAS],
		arch->norm_eps);
	if (c->logits == LOGITS_SOME)
		op_linear_gather(rec, pass->logits, pass->final, w[WEIGHT_UNEMBED], pass->logit_ids);
	else
		op_linear(rec, pass->logits, pass->final, w[WEIGHT_UNEMBED], OP_OUT_IN, NULL);
	if (pass->softcap)
		op_softcap(rec, pass->logits, pass->logits, arch->logit_softcap);
}

void pass_record_forward_to(struct pass *pass, struct recorder *rec, int last)
{
	const struct pass_config *c = &pass->config;
	const struct arch *arch = c->arch;
	const struct weights *weights = c->weights;
	int at = c->first_point;
	if (c->embed)
		op_embed(rec, pass->points[0], pass->ids, pass->rows, weights->model[WEIGHT_WTE],
			 weights->model[WEIGHT_WPE], arch->embed_scale);
	else
		record_copy_tensor(rec, pass->points[at], pass->start);
	edits_forward(pass, rec, at);
	while (at < last) {
		int l = at / 2;
		struct tensor x = pass->points[at];
		if (arch->parallel_residual) {
			/* Both read the block's input; the odd point holds the sum on its way. */
			struct tensor mid = pass->points[at + 1];
			attention_forward(pass, rec, l, mid, x);
			at += 2;
			mlp_forward(pass, rec, l, pass->points[at], x, mid);
		} else if (at % 2 == 0) {
			attention_forward(pass, rec, l, pass->points[++at], x);
		} else {
			mlp_forward(pass, rec, l, pass->points[++at], x, x);
		}
		edits_forward(pass, rec, at);
	}
}

void pass_record_forward(struct pass *pass, struct recorder *rec)
{
	pass_record_forward_to(pass, rec, pass->config.last_point);
	if (pass->config.logits != LOGITS_NONE)
		pass_record_readout(pass, rec);
}

/* dx += the gradient through x -> mlp(x), given the gradient dy by its output. */
static void mlp_backward(struct pass *pass, struct recorder *rec, int l, struct tensor x, struct tensor dy)
{
	const struct arch *arch = pass->config.arch;
	const struct tensor *w = pass->config.weights->layer[l];
	struct layer_state *s = &pass->layers[l];
	const struct tensor none = {0};
	if (arch->post_norms) {
		op_norm_back(rec, pass->dn, dy, s->mlp_raw, op_norm_of(arch->norm), w[WEIGHT_POST_NORM2],
			     arch->norm_eps, none);
		dy = pass->dn;
	}
	if (arch->gated) {
		op_linear(rec, s->dact, dy, w[WEIGHT_DOWN], backward_layout(arch), NULL);
		op_glu_back(rec, s->dpre, s->dact, s->pre, op_act_of(arch->act));
	} else {
		op_linear(rec, s->dpre, dy, w[WEIGHT_DOWN], backward_layout(arch),
			  &(struct op_linear){.back_act = op_act_of(arch->act), .back_pre = s->pre});
	}
	op_linear(rec, pass->dn, s->dpre, w[arch->gated ? WEIGHT_GATE : WEIGHT_UP], backward_layout(arch), NULL);
	op_norm_back(rec, pass->dx, pass->dn, x, op_norm_of(arch->norm), w[WEIGHT_NORM2], arch->norm_eps, pass->dx);
}

/* The first half of attention's backward pass: dqkv from the gradient by its output. */
static void attention_backward_inner(struct pass *pass, struct recorder *rec, int l, struct tensor dy)
{
	const struct arch *arch = pass->config.arch;
	const struct tensor *w = pass->config.weights->layer[l];
	struct layer_state *s = &pass->layers[l];
	struct op_attention a = attention_of(pass, l);
	struct tensor k = pass->config.cache->k[l], v = pass->config.cache->v[l];
	const struct tensor none = {0};
	if (arch->post_norms) {
		op_norm_back(rec, pass->dn, dy, s->attn_raw, op_norm_of(arch->norm), w[WEIGHT_POST_NORM1],
			     arch->norm_eps, none);
		dy = pass->dn;
	}
	op_linear(rec, s->dheads, dy, w[WEIGHT_O], backward_layout(arch), NULL);
	op_attention_back(rec, s->dq, s->dk, s->dv, s->dheads, s->q, k, v, s->heads, s->lse, pass->rows, &a);
	if (!s->dq_in_dqkv)
		op_qkv_back(rec, s->dqkv, s->dq, s->dk, s->dv, s->qkv, pass->rows, &a);
}

static void attention_backward_outer(struct pass *pass, struct recorder *rec, int l, struct tensor x)
{
	const struct arch *arch = pass->config.arch;
	const struct tensor *w = pass->config.weights->layer[l];
	struct layer_state *s = &pass->layers[l];
	op_linear(rec, pass->dn, s->dqkv, w[WEIGHT_Q], backward_layout(arch), NULL);
	op_norm_back(rec, pass->dx, pass->dn, x, op_norm_of(arch->norm), w[WEIGHT_NORM1], arch->norm_eps, pass->dx);
}

static void readout_backward(struct pass *pass, struct recorder *rec)
{
	const struct pass_config *c = &pass->config;
	const struct arch *arch = c->arch;
	const struct tensor *w = c->weights->model;
	const struct tensor none = {0};
	struct tensor last = gathers_rows(c) ? pass->gathered : pass->points[c->last_point];
	if (pass->softcap)
		op_softcap_back(rec, pass->dlogits, pass->dlogits, pass->logits, arch->logit_softcap);
	if (c->logits == LOGITS_SOME)
		op_linear_gather_back(rec, pass->dfinal, pass->dlogits, w[WEIGHT_UNEMBED], pass->logit_ids);
	else
		op_linear(rec, pass->dfinal, pass->dlogits, w[WEIGHT_UNEMBED], OP_IN_OUT, NULL);
	struct tensor dlast = gathers_rows(c) ? pass->dgathered : tensor_rows(pass->dx, 0, c->rows);
	op_norm_back(rec, dlast, pass->dfinal, last, op_norm_of(arch->norm), w[WEIGHT_FINAL_NORM], arch->norm_eps,
		     none);
	if (gathers_rows(c)) {
		record_fill(rec, pass->dx, 0);
		op_scatter_add_rows(rec, tensor_rows(pass->dx, 0, c->rows), pass->dgathered, pass->readout, c->rows);
	} else if (c->gradients > 1) {
		record_fill(rec, tensor_rows(pass->dx, c->rows, (c->gradients - 1) * c->rows), 0);
	}
}

/* From the gradient in dx at `at` down to the first point. */
static void blocks_backward(struct pass *pass, struct recorder *rec, int at)
{
	const struct pass_config *c = &pass->config;
	edits_backward(pass, rec, at);
	while (at > c->first_point) {
		if (c->arch->parallel_residual) {
			/* The attention's part first: mlp_backward adds to dx, which both need as it came. */
			at -= 2;
			struct tensor x = pass->points[at];
			attention_backward_inner(pass, rec, at / 2, pass->dx);
			mlp_backward(pass, rec, at / 2, x, pass->dx);
			attention_backward_outer(pass, rec, at / 2, x);
		} else {
			at--;
			struct tensor x = pass->points[at];
			if (at % 2 == 1) {
				mlp_backward(pass, rec, at / 2, x, pass->dx);
			} else {
				attention_backward_inner(pass, rec, at / 2, pass->dx);
				attention_backward_outer(pass, rec, at / 2, x);
			}
		}
		edits_backward(pass, rec, at);
	}
}

void pass_record_backward(struct pass *pass, struct recorder *rec, struct tensor dlast)
{
	const struct pass_config *c = &pass->config;
	if (!c->backward)
		fatal("a backward pass was not planned for");
	activate(pass, c->gradients);
	if (c->logits != LOGITS_NONE)
		readout_backward(pass, rec);
	else
		record_copy_tensor(rec, pass->dx, dlast);
	blocks_backward(pass, rec, c->last_point);
}

void pass_record_backward_from(struct pass *pass, struct recorder *rec, int last, int64_t gradients)
{
	if (!pass->config.backward || gradients > pass->config.gradients)
		fatal("a backward pass of %lld gradients was not planned for", (long long)gradients);
	activate(pass, gradients);
	record_fill(rec, pass->dx, 0);
	blocks_backward(pass, rec, last);
}
