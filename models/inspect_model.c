#include "models/inspect_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/tensor.h"
#include "models/transformer.h"
#include "models/weights.h"

static const char *const dtype_names[MODEL_DTYPE_COUNT] = {"F32", "BF16", "F16"};

struct model_memory model_memory_estimate(const struct arch *arch, int64_t weight_bytes, int64_t tokens, bool backward)
{
	const int64_t most = (int64_t)1 << 20;
	if (tokens > most)
		tokens = most;
	struct pass_config pass = {.arch = arch,
				   .rows = tokens,
				   .embed = true,
				   .last_point = 2 * arch->layers,
				   .backward = backward,
				   .logits = LOGITS_ALL,
				   .readouts = 1};
	struct model_memory memory = {
		.weights = weight_bytes,
		.cache = 2 * (int64_t)arch->kv_heads * arch->head_dim * arch->layers * tokens * (int64_t)sizeof(float),
		.activations = (int64_t)pass_estimate(&pass),
	};
	memory.total = memory.weights + memory.cache + memory.activations;
	return memory;
}

static void count_dtypes(struct model_facts *facts, const struct weight_map *map)
{
	for (int l = -1; l < map->layers; l++) {
		for (enum weight_role role = 0; role < WEIGHT_COUNT; role++) {
			const struct weight_place *place = weight_map_place(map, l, role);
			if (place->file < 0)
				continue;
			int kind = place->dtype == (int)DTYPE_BF16  ? MODEL_DTYPE_BF16
				   : place->dtype == (int)DTYPE_F16 ? MODEL_DTYPE_F16
								    : MODEL_DTYPE_F32;
			facts->tensors_of[kind]++;
			facts->bytes_of[kind] += place->rows * place->cols * (kind == MODEL_DTYPE_F32 ? 4 : 2);
		}
	}
}

enum status inspect_model(struct model_facts *facts, const char *folder, struct error *error)
{
	*facts = (struct model_facts){0};
	struct weight_files *files = NULL;
	struct weight_map map = {0};
	enum status status = arch_read(&facts->arch, folder, error);
	if (status)
		return status;
	bool said_tied = facts->arch.tied;
	status = weight_files_open(&files, folder, error);
	if (status == STATUS_OK)
		status = weight_map_build(&map, &facts->arch, files, false, error);
	if (status == STATUS_OK) {
		facts->folder = mem_strdup(folder);
		facts->shards = weight_files_shards(files);
		facts->parameters = map.parameters;
		facts->weight_bytes = map.bytes;
		facts->file_bytes = (int64_t)weight_files_bytes(files);
		facts->redundant_unembed = map.redundant_unembed;
		facts->tied_by_absence = facts->arch.tied && !said_tied;
		facts->memory_tokens = facts->arch.context < 1024 ? facts->arch.context : 1024;
		facts->memory = model_memory_estimate(
			&facts->arch, (int64_t)weights_estimate(&facts->arch, &map, false), facts->memory_tokens, true);
		count_dtypes(facts, &map);
		/* The names move over. */
		facts->extra = map.extra;
		facts->n_extra = map.n_extra;
		map.extra = NULL;
		map.n_extra = 0;
	}
	weight_map_done(&map);
	weight_files_close(&files);
	if (status)
		model_facts_done(facts);
	return status;
}

void model_facts_done(struct model_facts *facts)
{
	for (size_t i = 0; i < facts->n_extra; i++)
		free(facts->extra[i]);
	free(facts->extra);
	free(facts->folder);
	arch_done(&facts->arch);
	*facts = (struct model_facts){0};
}

static const char *norm_name(enum arch_norm norm)
{
	switch (norm) {
	case ARCH_NORM_LAYER:
		return "layer norm";
	case ARCH_NORM_RMS:
		return "RMS norm";
	case ARCH_NORM_RMS_PLUS:
		return "RMS norm of 1 + w";
	}
	return "unknown";
}

static const char *act_name(enum arch_act act)
{
	switch (act) {
	case ARCH_ACT_GELU:
		return "gelu";
	case ARCH_ACT_GELU_TANH:
		return "gelu_tanh";
	case ARCH_ACT_SILU:
		return "silu";
	case ARCH_ACT_RELU:
		return "relu";
	}
	return "unknown";
}

/* How many layers slide, and how far. */
static int sliding_layers(const struct arch *arch, int *window)
{
	int n = 0;
	*window = 0;
	for (int l = 0; l < arch->layers; l++) {
		if (arch->layer[l].window > 0) {
			n++;
			*window = arch->layer[l].window;
		}
	}
	return n;
}

/* Things worth knowing; calls `say` with each sentence. */
static void each_problem(const struct model_facts *facts, void (*say)(void *to, const char *sentence), void *to)
{
	char sentence[512];
	if (facts->redundant_unembed)
		say(to,
		    "the file has an output matrix although the config ties it to the embedding; it is used only if "
		    "it differs");
	if (facts->tied_by_absence)
		say(to,
		    "the config says that the output matrix is its own, but the file has none: the embedding is used");
	for (size_t i = 0; i < facts->n_extra; i++) {
		snprintf(sentence, sizeof sentence, "tensor %s is not used by this architecture", facts->extra[i]);
		say(to, sentence);
	}
}

static void add_to_list(void *list, const char *sentence)
{
	cJSON_AddItemToArray(list, cJSON_CreateString(sentence));
}

static cJSON *hooks_json(const struct arch *arch)
{
	cJSON *hooks = cJSON_CreateArray();
	for (enum hook hook = 0; hook < HOOK_COUNT; hook++) {
		if (!arch_has_hook(arch, hook))
			continue;
		cJSON *one = cJSON_CreateObject();
		cJSON_AddStringToObject(one, "hook", hook_name(hook));
		cJSON_AddNumberToObject(one, "layers", arch->layers);
		cJSON_AddNumberToObject(one, "width", arch->d);
		cJSON_AddItemToArray(hooks, one);
	}
	return hooks;
}

static cJSON *memory_json(const struct model_facts *facts)
{
	cJSON *memory = cJSON_CreateObject();
	cJSON_AddNumberToObject(memory, "tokens", (double)facts->memory_tokens);
	cJSON_AddNumberToObject(memory, "weights", (double)facts->memory.weights);
	cJSON_AddNumberToObject(memory, "cache", (double)facts->memory.cache);
	cJSON_AddNumberToObject(memory, "activations", (double)facts->memory.activations);
	cJSON_AddNumberToObject(memory, "total", (double)facts->memory.total);
	return memory;
}

cJSON *model_facts_json(const struct model_facts *facts)
{
	const struct arch *arch = &facts->arch;
	int window, sliding = sliding_layers(arch, &window);
	cJSON *json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "kind", "model");
	cJSON_AddStringToObject(json, "architecture", arch_family_name(arch->family));
	cJSON_AddNumberToObject(json, "layers", arch->layers);
	cJSON_AddNumberToObject(json, "width", arch->d);
	cJSON_AddNumberToObject(json, "heads", arch->heads);
	cJSON_AddNumberToObject(json, "kv_heads", arch->kv_heads);
	cJSON_AddNumberToObject(json, "head_width", arch->head_dim);
	cJSON_AddNumberToObject(json, "mlp_width", arch->f);
	cJSON_AddBoolToObject(json, "mlp_gated", arch->gated);
	cJSON_AddStringToObject(json, "activation", act_name(arch->act));
	cJSON_AddStringToObject(json, "norm", norm_name(arch->norm));
	cJSON_AddNumberToObject(json, "vocab", (double)arch->vocab);
	cJSON_AddNumberToObject(json, "context", (double)arch->context);
	cJSON_AddStringToObject(json, "positions", arch->learned_positions ? "learned" : "rotary");
	cJSON_AddNumberToObject(json, "sliding_layers", sliding);
	cJSON_AddNumberToObject(json, "window", window);
	cJSON_AddBoolToObject(json, "parallel_residual", arch->parallel_residual);
	cJSON_AddBoolToObject(json, "tied", arch->tied);
	cJSON_AddNumberToObject(json, "parameters", (double)facts->parameters);
	cJSON_AddNumberToObject(json, "bytes", (double)facts->weight_bytes);
	cJSON_AddNumberToObject(json, "file_bytes", (double)facts->file_bytes);
	cJSON_AddNumberToObject(json, "shards", facts->shards);
	cJSON *dtypes = cJSON_AddObjectToObject(json, "dtypes");
	for (int kind = 0; kind < MODEL_DTYPE_COUNT; kind++)
		if (facts->tensors_of[kind] > 0)
			cJSON_AddNumberToObject(dtypes, dtype_names[kind], (double)facts->tensors_of[kind]);
	cJSON_AddItemToObject(json, "hooks", hooks_json(arch));
	cJSON_AddItemToObject(json, "memory", memory_json(facts));
	each_problem(facts, add_to_list, cJSON_AddArrayToObject(json, "problems"));
	return json;
}

static void add_bytes(struct strbuf *out, int64_t bytes)
{
	static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	size_t unit = 0;
	for (; value >= 1000 && unit + 1 < ARRAY_LEN(units); unit++)
		value /= 1000;
	strbuf_printf(out, unit == 0 ? "%.0f %s" : "%.3g %s", value, units[unit]);
}

static void add_problem(void *to, const char *sentence)
{
	strbuf_printf(to, "note          %s\n", sentence);
}

void model_facts_text(const struct model_facts *facts, struct strbuf *out)
{
	const struct arch *arch = &facts->arch;
	int window, sliding = sliding_layers(arch, &window);
	strbuf_printf(out, "model         %s, %" PRId64 " parameters\n", arch_family_name(arch->family),
		      facts->parameters);
	strbuf_printf(out, "blocks        %d layers of width %d, %s%s\n", arch->layers, arch->d, norm_name(arch->norm),
		      arch->parallel_residual ? ", attention and MLP in parallel" : "");
	strbuf_printf(out, "attention     %d heads of width %d, %d for keys and values, %s positions\n", arch->heads,
		      arch->head_dim, arch->kv_heads, arch->learned_positions ? "learned" : "rotary");
	if (sliding > 0)
		strbuf_printf(out, "window        %d tokens in %d of %d layers\n", window, sliding, arch->layers);
	strbuf_printf(out, "MLP           width %d, %s%s\n", arch->f, act_name(arch->act),
		      arch->gated ? ", gated" : "");
	strbuf_printf(out, "vocabulary    %" PRId64 " tokens, output matrix %s\n", arch->vocab,
		      arch->tied ? "tied to the embedding" : "of its own");
	strbuf_printf(out, "context       %" PRId64 " tokens\n", arch->context);
	strbuf_add_string(out, "stored        ");
	for (int kind = 0; kind < MODEL_DTYPE_COUNT; kind++) {
		if (facts->tensors_of[kind] == 0)
			continue;
		strbuf_printf(out, "%" PRId64 " tensors in %s (", facts->tensors_of[kind], dtype_names[kind]);
		add_bytes(out, facts->bytes_of[kind]);
		strbuf_add_string(out, "), ");
	}
	strbuf_printf(out, "%d file%s\n", facts->shards, facts->shards == 1 ? "" : "s");
	strbuf_add_string(out, "hooks         ");
	for (enum hook hook = 0; hook < HOOK_COUNT; hook++)
		if (arch_has_hook(arch, hook))
			strbuf_printf(out, "%s%s", hook == HOOK_RESID_PRE ? "" : ", ", hook_name(hook));
	strbuf_printf(out, " of layers 0 to %d, width %d\n", arch->layers - 1, arch->d);
	strbuf_printf(out, "memory        about ");
	add_bytes(out, facts->memory.total);
	strbuf_printf(out, " for gradients over %" PRId64 " tokens, ", facts->memory_tokens);
	add_bytes(out, facts->memory.weights);
	strbuf_add_string(out, " of them weights\n");
	each_problem(facts, add_problem, out);
}
