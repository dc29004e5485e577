#include "models/weight_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "compute/tensor.h"

/* A weight's name behind the family's prefix; '*' stands for the layer. */
struct row {
	enum weight_role role;
	const char *name;
};

static const struct row gpt2_rows[] = {
	{WEIGHT_WTE, "wte.weight"},
	{WEIGHT_WPE, "wpe.weight"},
	{WEIGHT_FINAL_NORM, "ln_f.weight"},
	{WEIGHT_FINAL_NORM_BIAS, "ln_f.bias"},
	{WEIGHT_NORM1, "h.*.ln_1.weight"},
	{WEIGHT_NORM1_BIAS, "h.*.ln_1.bias"},
	{WEIGHT_Q, "h.*.attn.c_attn.weight"},
	{WEIGHT_Q_BIAS, "h.*.attn.c_attn.bias"},
	{WEIGHT_O, "h.*.attn.c_proj.weight"},
	{WEIGHT_O_BIAS, "h.*.attn.c_proj.bias"},
	{WEIGHT_NORM2, "h.*.ln_2.weight"},
	{WEIGHT_NORM2_BIAS, "h.*.ln_2.bias"},
	{WEIGHT_UP, "h.*.mlp.c_fc.weight"},
	{WEIGHT_UP_BIAS, "h.*.mlp.c_fc.bias"},
	{WEIGHT_DOWN, "h.*.mlp.c_proj.weight"},
	{WEIGHT_DOWN_BIAS, "h.*.mlp.c_proj.bias"},
};

static const struct row neox_rows[] = {
	{WEIGHT_WTE, "embed_in.weight"},
	{WEIGHT_FINAL_NORM, "final_layer_norm.weight"},
	{WEIGHT_FINAL_NORM_BIAS, "final_layer_norm.bias"},
	{WEIGHT_NORM1, "layers.*.input_layernorm.weight"},
	{WEIGHT_NORM1_BIAS, "layers.*.input_layernorm.bias"},
	{WEIGHT_Q, "layers.*.attention.query_key_value.weight"},
	{WEIGHT_Q_BIAS, "layers.*.attention.query_key_value.bias"},
	{WEIGHT_O, "layers.*.attention.dense.weight"},
	{WEIGHT_O_BIAS, "layers.*.attention.dense.bias"},
	{WEIGHT_NORM2, "layers.*.post_attention_layernorm.weight"},
	{WEIGHT_NORM2_BIAS, "layers.*.post_attention_layernorm.bias"},
	{WEIGHT_UP, "layers.*.mlp.dense_h_to_4h.weight"},
	{WEIGHT_UP_BIAS, "layers.*.mlp.dense_h_to_4h.bias"},
	{WEIGHT_DOWN, "layers.*.mlp.dense_4h_to_h.weight"},
	{WEIGHT_DOWN_BIAS, "layers.*.mlp.dense_4h_to_h.bias"},
};

/* Llama and its relatives. The roles that only some of them have (biases, q/k
 * norms) are asked for where the config implies them. */
#define LLAMA_ROWS                                                                                                     \
	{WEIGHT_WTE, "embed_tokens.weight"}, {WEIGHT_FINAL_NORM, "norm.weight"},                                       \
		{WEIGHT_NORM1, "layers.*.input_layernorm.weight"}, {WEIGHT_Q, "layers.*.self_attn.q_proj.weight"},     \
		{WEIGHT_Q_BIAS, "layers.*.self_attn.q_proj.bias"}, {WEIGHT_K, "layers.*.self_attn.k_proj.weight"},     \
		{WEIGHT_K_BIAS, "layers.*.self_attn.k_proj.bias"}, {WEIGHT_V, "layers.*.self_attn.v_proj.weight"},     \
		{WEIGHT_V_BIAS, "layers.*.self_attn.v_proj.bias"},                                                     \
		{WEIGHT_Q_NORM, "layers.*.self_attn.q_norm.weight"},                                                   \
		{WEIGHT_K_NORM, "layers.*.self_attn.k_norm.weight"}, {WEIGHT_O, "layers.*.self_attn.o_proj.weight"},   \
		{WEIGHT_O_BIAS, "layers.*.self_attn.o_proj.bias"}, {WEIGHT_GATE, "layers.*.mlp.gate_proj.weight"},     \
		{WEIGHT_GATE_BIAS, "layers.*.mlp.gate_proj.bias"}, {WEIGHT_UP, "layers.*.mlp.up_proj.weight"},         \
		{WEIGHT_UP_BIAS, "layers.*.mlp.up_proj.bias"}, {WEIGHT_DOWN, "layers.*.mlp.down_proj.weight"},         \
	{                                                                                                              \
		WEIGHT_DOWN_BIAS, "layers.*.mlp.down_proj.bias"                                                        \
	}

static const struct row llama_rows[] = {
	LLAMA_ROWS,
	{WEIGHT_NORM2, "layers.*.post_attention_layernorm.weight"},
};

/* Here post_attention_layernorm is what its name says. */
static const struct row gemma_rows[] = {
	LLAMA_ROWS,
	{WEIGHT_POST_NORM1, "layers.*.post_attention_layernorm.weight"},
	{WEIGHT_NORM2, "layers.*.pre_feedforward_layernorm.weight"},
	{WEIGHT_POST_NORM2, "layers.*.post_feedforward_layernorm.weight"},
};

static const struct row phi3_rows[] = {
	{WEIGHT_WTE, "embed_tokens.weight"},
	{WEIGHT_FINAL_NORM, "norm.weight"},
	{WEIGHT_NORM1, "layers.*.input_layernorm.weight"},
	{WEIGHT_Q, "layers.*.self_attn.qkv_proj.weight"},
	{WEIGHT_O, "layers.*.self_attn.o_proj.weight"},
	{WEIGHT_NORM2, "layers.*.post_attention_layernorm.weight"},
	{WEIGHT_GATE, "layers.*.mlp.gate_up_proj.weight"},
	{WEIGHT_DOWN, "layers.*.mlp.down_proj.weight"},
};

/* How a family's files name things. */
static const struct naming {
	const struct row *rows;
	size_t n_rows;
	const char *prefixes[4]; /* tried in this order */
	const char *unembeds[2]; /* full names of the output matrix */
	struct arch_layout layout;
} namings[] = {
	[ARCH_GPT2] = {gpt2_rows,
		       ARRAY_LEN(gpt2_rows),
		       {"transformer.", ""},
		       {"lm_head.weight"},
		       {.in_out = true, .qkv = QKV_FUSED}},
	[ARCH_NEOX] = {neox_rows,
		       ARRAY_LEN(neox_rows),
		       {"gpt_neox.", ""},
		       {"embed_out.weight", "lm_head.weight"},
		       {.qkv = QKV_FUSED_BY_HEAD}},
	[ARCH_GEMMA2] = {gemma_rows, ARRAY_LEN(gemma_rows), {"model.", ""}, {"lm_head.weight"}, {0}},
	[ARCH_GEMMA3] = {gemma_rows,
			 ARRAY_LEN(gemma_rows),
			 {"model.", "language_model.model.", "model.language_model.", ""},
			 {"lm_head.weight", "language_model.lm_head.weight"},
			 {0}},
	[ARCH_LLAMA] = {llama_rows, ARRAY_LEN(llama_rows), {"model.", ""}, {"lm_head.weight"}, {0}},
	[ARCH_MISTRAL] = {llama_rows, ARRAY_LEN(llama_rows), {"model.", ""}, {"lm_head.weight"}, {0}},
	[ARCH_QWEN2] = {llama_rows, ARRAY_LEN(llama_rows), {"model.", ""}, {"lm_head.weight"}, {0}},
	[ARCH_QWEN3] = {llama_rows, ARRAY_LEN(llama_rows), {"model.", ""}, {"lm_head.weight"}, {0}},
	[ARCH_PHI3] = {phi3_rows,
		       ARRAY_LEN(phi3_rows),
		       {"model.", ""},
		       {"lm_head.weight"},
		       {.qkv = QKV_FUSED, .gate_up_fused = true}},
};

struct arch_layout arch_layout_of(enum arch_family family)
{
	return namings[family].layout;
}

bool weight_role_is_layer(enum weight_role role)
{
	return role >= WEIGHT_NORM1;
}

/* Outputs and inputs of a matrix; a vector has `in` 0. False: no such weight. */
static bool role_size(const struct arch *arch, const struct arch_layout *layout, enum weight_role role, int64_t *out,
		      int64_t *in)
{
	bool fused = layout->qkv != QKV_SEPARATE, layer_norm = arch->norm == ARCH_NORM_LAYER;
	int64_t d = arch->d, f = arch->f, hd = arch->head_dim;
	int64_t q = arch->heads * hd, kv = arch->kv_heads * hd;
	*in = 0;
	switch (role) {
	case WEIGHT_WTE:
		*out = arch->vocab, *in = d;
		return true;
	case WEIGHT_UNEMBED:
		*out = arch->vocab, *in = d;
		return !arch->tied;
	case WEIGHT_WPE:
		*out = arch->context, *in = d;
		return arch->learned_positions;
	case WEIGHT_FINAL_NORM:
	case WEIGHT_NORM1:
	case WEIGHT_NORM2:
		*out = d;
		return true;
	case WEIGHT_FINAL_NORM_BIAS:
	case WEIGHT_NORM1_BIAS:
	case WEIGHT_NORM2_BIAS:
		*out = d;
		return layer_norm;
	case WEIGHT_POST_NORM1:
	case WEIGHT_POST_NORM2:
		*out = d;
		return arch->post_norms;
	case WEIGHT_Q:
		*out = fused ? q + 2 * kv : q, *in = d;
		return true;
	case WEIGHT_Q_BIAS:
		*out = fused ? q + 2 * kv : q;
		return arch->q_bias;
	case WEIGHT_K:
	case WEIGHT_V:
		*out = kv, *in = d;
		return !fused;
	case WEIGHT_K_BIAS:
	case WEIGHT_V_BIAS:
		*out = kv;
		return !fused && arch->q_bias;
	case WEIGHT_Q_NORM:
	case WEIGHT_K_NORM:
		*out = hd;
		return arch->qk_norm;
	case WEIGHT_O:
		*out = d, *in = q;
		return true;
	case WEIGHT_O_BIAS:
		*out = d;
		return arch->o_bias;
	case WEIGHT_GATE:
		*out = layout->gate_up_fused ? 2 * f : f, *in = d;
		return arch->gated;
	case WEIGHT_GATE_BIAS:
		*out = layout->gate_up_fused ? 2 * f : f;
		return arch->gated && arch->mlp_bias;
	case WEIGHT_UP:
		*out = f, *in = d;
		return !layout->gate_up_fused;
	case WEIGHT_UP_BIAS:
		*out = f;
		return !layout->gate_up_fused && arch->mlp_bias;
	case WEIGHT_DOWN:
		*out = d, *in = f;
		return true;
	case WEIGHT_DOWN_BIAS:
		*out = d;
		return arch->mlp_bias;
	case WEIGHT_COUNT:
		break;
	}
	return false;
}

bool weight_role_shape(const struct arch *arch, enum weight_role role, int *rank, int64_t *rows, int64_t *cols)
{
	const struct arch_layout *layout = &namings[arch->family].layout;
	int64_t out, in;
	if (!role_size(arch, layout, role, &out, &in))
		return false;
	bool swap = layout->in_out && weight_role_is_layer(role);
	*rank = in == 0 ? 1 : 2;
	*rows = in == 0 ? 1 : swap ? in : out;
	*cols = in == 0 || swap ? out : in;
	return true;
}

/* prefix + name with the layer put in. */
static void expand(char *out, size_t size, const char *prefix, const char *name, int layer)
{
	const char *star = strchr(name, '*');
	if (star)
		snprintf(out, size, "%s%.*s%d%s", prefix, (int)(star - name), name, layer, star + 1);
	else
		snprintf(out, size, "%s%s", prefix, name);
}

void weight_role_name(enum arch_family family, const char *prefix, int layer, enum weight_role role, char *out,
		      size_t size)
{
	const struct naming *naming = &namings[family];
	snprintf(out, size, "%s", role == WEIGHT_UNEMBED ? naming->unembeds[0] : "");
	for (size_t i = 0; i < naming->n_rows; i++)
		if (naming->rows[i].role == role)
			expand(out, size, prefix, naming->rows[i].name, layer);
}

void weight_map_name(const struct weight_map *map, int layer, enum weight_role role, char *out, size_t size)
{
	weight_role_name(map->family, map->prefix, layer, role, out, size);
}

const struct weight_place *weight_map_place(const struct weight_map *map, int layer, enum weight_role role)
{
	return layer < 0 ? &map->model[role] : &map->layer[layer][role];
}

const unsigned char *weight_map_data(const struct weight_files *files, const struct weight_place *place)
{
	const struct safetensors *shard = weight_files_shard(files, place->file);
	/* Offsets are the file's; any tensor of the shard leads to its first byte. */
	const struct st_tensor *any = safetensors_at(shard, 0);
	return any->data - any->offset + place->offset;
}

/* What a weight_map is built with. */
struct builder {
	struct weight_map *map;
	const struct arch *arch;
	const struct weight_files *files;
	bool *used; /* by number in files */
	struct error *error;
};

static const char *files_text(const struct weight_files *files, char *out, size_t size)
{
	const char *path = safetensors_path(weight_files_shard(files, 0));
	if (weight_files_shards(files) == 1)
		snprintf(out, size, "'%s'", path);
	else
		snprintf(out, size, "'%s' and the other %d shards", path, weight_files_shards(files) - 1);
	return out;
}

/* The number of a tensor in files, or its count if there is none. */
static size_t number_of(const struct weight_files *files, const char *name)
{
	size_t low = 0, high = weight_files_count(files);
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(weight_files_at(files, middle, NULL)->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < weight_files_count(files) && strcmp(weight_files_at(files, low, NULL)->name, name) == 0)
		return low;
	return weight_files_count(files);
}

static enum status place_tensor(struct builder *b, size_t number, enum weight_role role, struct weight_place *place)
{
	int shard, rank;
	int64_t shape[2];
	const struct st_tensor *tensor = weight_files_at(b->files, number, &shard);
	const char *path = safetensors_path(weight_files_shard(b->files, shard));
	if (!weight_role_shape(b->arch, role, &rank, &shape[0], &shape[1]))
		fatal("weight_map: role %d has no shape", (int)role);
	const int64_t *expected = rank == 1 ? shape + 1 : shape;
	if (tensor->rank != rank || memcmp(tensor->shape, expected, (size_t)rank * sizeof *expected) != 0) {
		char found_text[96], expected_text[96];
		array_view_shape_text(found_text, sizeof found_text, tensor->rank, tensor->shape);
		array_view_shape_text(expected_text, sizeof expected_text, rank, expected);
		return error_set(b->error, STATUS_INVALID,
				 "'%s': tensor \"%.200s\" has shape %s; the config makes it %s", path, tensor->name,
				 found_text, expected_text);
	}
	enum dtype dtype = DTYPE_F32;
	if (tensor->dtype == ST_BF16)
		dtype = DTYPE_BF16;
	else if (tensor->dtype == ST_F16)
		dtype = DTYPE_F16;
	else if (tensor->dtype != ST_F32)
		return error_set(b->error, STATUS_INVALID,
				 "'%s': tensor \"%.200s\" is stored as %s; expected F32, BF16 or F16", path,
				 tensor->name, st_dtype_name(tensor->dtype));
	*place = (struct weight_place){shard, tensor->offset, shape[0], shape[1], (int)dtype};
	b->used[number] = true;
	b->map->parameters += shape[0] * shape[1];
	b->map->bytes += (int64_t)tensor->bytes;
	return STATUS_OK;
}

static enum status place_role(struct builder *b, int layer, const struct row *row, struct weight_place *place)
{
	int rank;
	int64_t rows, cols;
	if (!weight_role_shape(b->arch, row->role, &rank, &rows, &cols))
		return STATUS_OK;
	char name[128], text[512];
	expand(name, sizeof name, b->map->prefix, row->name, layer);
	size_t number = number_of(b->files, name);
	if (number == weight_files_count(b->files))
		return error_set(b->error, STATUS_INVALID,
				 "%s: there is no tensor \"%s\", which a %s model of this config must have",
				 files_text(b->files, text, sizeof text), name, arch_family_name(b->arch->family));
	return place_tensor(b, number, row->role, place);
}

static enum status find_prefix(struct builder *b, const struct naming *naming)
{
	char name[128], text[512];
	for (size_t i = 0; i < ARRAY_LEN(naming->prefixes) && naming->prefixes[i]; i++) {
		expand(name, sizeof name, naming->prefixes[i], naming->rows[0].name, 0);
		if (weight_files_find(b->files, name, NULL)) {
			snprintf(b->map->prefix, sizeof b->map->prefix, "%s", naming->prefixes[i]);
			return STATUS_OK;
		}
	}
	expand(name, sizeof name, naming->prefixes[0], naming->rows[0].name, 0);
	return error_set(b->error, STATUS_INVALID,
			 "%s: there is no token embedding; a %s model calls it \"%s\" or the same with another prefix",
			 files_text(b->files, text, sizeof text), arch_family_name(b->arch->family), name);
}

static bool same_bytes(const struct st_tensor *a, const struct st_tensor *b)
{
	return a->dtype == b->dtype && a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

/* Decides arch->tied by what is in the file, and places the output matrix. */
static enum status place_unembed(struct builder *b, struct arch *arch, const struct naming *naming, bool look_at_data)
{
	size_t n = weight_files_count(b->files), number = n;
	for (size_t i = 0; i < ARRAY_LEN(naming->unembeds) && naming->unembeds[i] && number == n; i++)
		number = number_of(b->files, naming->unembeds[i]);
	if (number == n) {
		arch->tied = true;
		return STATUS_OK;
	}
	if (arch->tied && look_at_data) {
		char name[128];
		weight_map_name(b->map, -1, WEIGHT_WTE, name, sizeof name);
		arch->tied =
			same_bytes(weight_files_find(b->files, name, NULL), weight_files_at(b->files, number, NULL));
	}
	if (arch->tied) {
		b->map->redundant_unembed = true;
		b->used[number] = true;
		return STATUS_OK;
	}
	return place_tensor(b, number, WEIGHT_UNEMBED, &b->map->model[WEIGHT_UNEMBED]);
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);
	return n >= m && strcmp(name + n - m, end) == 0;
}

/* Causal masks and rotary tables that old files carry, and the vision half of
 * multimodal ones. */
static bool is_known_extra(const char *name)
{
	static const char *const ends[] = {
		".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq",
	};
	static const char *const starts[] = {
		"vision_tower.",
		"multi_modal_projector.",
		"model.vision_tower.",
		"model.multi_modal_projector.",
	};
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (ends_with(name, ends[i]))
			return true;
	for (size_t i = 0; i < ARRAY_LEN(starts); i++)
		if (strncmp(name, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

static void list_extra(struct builder *b)
{
	size_t n = weight_files_count(b->files), capacity = 0;
	for (size_t i = 0; i < n; i++) {
		const char *name = weight_files_at(b->files, i, NULL)->name;
		if (b->used[i] || is_known_extra(name))
			continue;
		char shown[256];
		text_printable(shown, sizeof shown, name, strlen(name));
		mem_reserve((void **)&b->map->extra, &capacity, b->map->n_extra + 1, sizeof *b->map->extra);
		b->map->extra[b->map->n_extra++] = mem_strdup(shown);
	}
}

static enum status build(struct builder *b, struct arch *arch, bool look_at_data)
{
	const struct naming *naming = &namings[arch->family];
	enum status status = find_prefix(b, naming);
	if (status == STATUS_OK)
		status = place_unembed(b, arch, naming, look_at_data);
	for (size_t i = 0; i < naming->n_rows && status == STATUS_OK; i++)
		if (!weight_role_is_layer(naming->rows[i].role))
			status = place_role(b, -1, &naming->rows[i], &b->map->model[naming->rows[i].role]);
	for (int l = 0; l < arch->layers; l++)
		for (size_t i = 0; i < naming->n_rows && status == STATUS_OK; i++)
			if (weight_role_is_layer(naming->rows[i].role))
				status = place_role(b, l, &naming->rows[i], &b->map->layer[l][naming->rows[i].role]);
	if (status == STATUS_OK)
		list_extra(b);
	return status;
}

enum status weight_map_build(struct weight_map *map, struct arch *arch, const struct weight_files *files,
			     bool look_at_data, struct error *error)
{
	*map = (struct weight_map){
		.layout = arch_layout_of(arch->family), .layers = arch->layers, .family = arch->family};
	map->layer = mem_alloc((size_t)arch->layers, sizeof *map->layer);
	for (int role = 0; role < WEIGHT_COUNT; role++) {
		map->model[role].file = -1;
		for (int l = 0; l < arch->layers; l++)
			map->layer[l][role].file = -1;
	}
	struct builder b = {.map = map, .arch = arch, .files = files, .error = error};
	b.used = mem_alloc(weight_files_count(files), sizeof *b.used);
	enum status status = build(&b, arch, look_at_data);
	free(b.used);
	if (status)
		weight_map_done(map);
	return status;
}

void weight_map_done(struct weight_map *map)
{
	for (size_t i = 0; i < map->n_extra; i++)
		free(map->extra[i]);
	free(map->extra);
	free(map->layer);
	*map = (struct weight_map){0};
}
