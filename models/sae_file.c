#include "models/sae_file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/sae_reader.h"
#include "models/sae_sparsity.h"

enum { CONFIG_LIMIT = 16 << 20 };

static const struct {
	const char *name;
	sae_format_reader *read;
} formats[SAE_FORMAT_COUNT] = {
	[SAE_SAELENS] = {"SAELens", sae_read_saelens},
	[SAE_GEMMA_SCOPE] = {"Gemma Scope", sae_read_gemma_scope},
	[SAE_GEMMA_SCOPE_2] = {"Gemma Scope 2", sae_read_gemma_scope_2},
	[SAE_SPARSIFY] = {"sparsify", sae_read_sparsify},
	[SAE_DICTIONARY_LEARNING] = {"dictionary_learning", sae_read_dictionary_learning},
	[SAE_LLAMA_SCOPE] = {"Llama Scope", sae_read_llama_scope},
	[SAE_OPENMOSS] = {"OpenMOSS", sae_read_openmoss},
	[SAE_OPENAI] = {"OpenAI", sae_read_openai},
	[SAE_QWEN_SCOPE] = {"Qwen Scope", sae_read_qwen_scope},
};

static const char *const act_names[SAE_ACT_COUNT] = {
	[SAE_RELU] = "relu",   [SAE_TANH_RELU] = "tanh-relu", [SAE_JUMPRELU] = "jumprelu",
	[SAE_TOPK] = "topk",   [SAE_ABSTOPK] = "abstopk",     [SAE_GROUPMAX] = "groupmax",
	[SAE_GATED] = "gated", [SAE_BATCHTOPK] = "batchtopk",
};

const char *sae_format_name(enum sae_format format)
{
	return formats[format].name;
}

const char *sae_act_name(enum sae_act act)
{
	return act_names[act];
}

const char *sae_norm_name(enum sae_norm norm)
{
	return norm == SAE_NORM_LAYER ? "layer_norm" : norm == SAE_NORM_CONSTANT ? "constant_norm_rescale" : "none";
}

/* ---- which format ---- */

static bool has(const struct sae_reader *r, const char *tensor)
{
	return container_find(r->container, tensor) != NULL;
}

/* By the tensors' names and the configuration's, not by the folder's. */
static enum status find_format(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	const char *config = s->config_path ? path_base(s->config_path) : "";
	if (container_kind(r->container) == CONTAINER_NPZ) {
		s->format = SAE_GEMMA_SCOPE;
	} else if (has(r, "pre_bias") && has(r, "latent_bias")) {
		s->format = SAE_OPENAI;
	} else if ((r->config && json_has(r->config, "trainer")) || strcmp(path_base(s->weights_path), "ae.pt") == 0) {
		s->format = SAE_DICTIONARY_LEARNING;
	} else if (container_kind(r->container) == CONTAINER_TORCH) {
		bool qwen = has(r, "W_enc") && has(r, "W_dec") && !has(r, "threshold");
		s->format = qwen ? SAE_QWEN_SCOPE : SAE_DICTIONARY_LEARNING;
	} else if (strcmp(config, "hyperparams.json") == 0) {
		s->format = SAE_LLAMA_SCOPE;
	} else if (strcmp(config, "cfg.json") == 0) {
		s->format = has(r, "encoder.weight") && has(r, "W_dec") ? SAE_SPARSIFY : SAE_SAELENS;
	} else if (strcmp(config, "config.json") == 0 && (has(r, "W_E") || has(r, "encoder.weight"))) {
		s->format = SAE_OPENMOSS;
	} else if (has(r, "w_enc") && has(r, "w_dec") && has(r, "threshold")) {
		s->format = SAE_GEMMA_SCOPE_2;
	} else {
		return error_set(error, STATUS_INVALID,
				 "cannot tell the format of '%s': %s, and the tensors alone do not say how to use them",
				 s->weights_path,
				 s->config_path ? "its configuration is of no known kind"
						: "there is no cfg.json, config.json or hyperparams.json beside it");
	}
	/* Wide files of Gemma Scope and of others may have been converted by hand. */
	if (s->format == SAE_SAELENS && !r->config)
		return error_set(error, STATUS_INVALID, "'%s': bad config: there is no cfg.json beside it",
				 s->weights_path);
	return STATUS_OK;
}

static enum status read_config(struct sae_reader *r, struct error *error)
{
	const char *path = r->spec->config_path;
	if (!path)
		return STATUS_OK;
	r->config_what = mem_printf("'%s': bad config", path);
	char *text;
	size_t n;
	enum status status = file_read(&text, &n, path, CONFIG_LIMIT, error);
	if (status)
		return status;
	char *what = mem_printf("'%s': bad config: it", path);
	status = json_parse(&r->config, text, n, what, error);
	if (status == STATUS_OK)
		status = json_check_duplicates(r->config, what, error);
	if (status == STATUS_OK && !cJSON_IsObject(r->config))
		status = error_set(error, STATUS_INVALID, "%s is not an object", what);
	free(what);
	free(text);
	return status;
}

static void close_reader(struct sae_reader *r)
{
	container_close(&r->container);
	cJSON_Delete(r->config);
	free(r->config_what);
}

/* From found files to a checked plan. */
static enum status read_plan(struct sae_reader *r, struct error *error)
{
	struct sae_spec *s = r->spec;
	for (int i = 0; i < ROLE_COUNT; i++)
		r->plan.scale[i] = 1;
	char resolved[PATH_MAX];
	r->where = realpath(s->weights_path, resolved) ? resolved : s->weights_path;
	enum status status = container_open(&r->container, s->weights_path, error);
	if (status == STATUS_OK)
		status = read_config(r, error);
	if (status == STATUS_OK)
		status = find_format(r, error);
	if (status == STATUS_OK)
		status = formats[s->format].read(r, error);
	r->where = "";
	if (status)
		return status;
	if (s->format != SAE_SAELENS && s->options.activation_scale != 0)
		return error_set(error, STATUS_INVALID,
				 "an activation scale was given, but '%s' is of %s, which has none", s->weights_path,
				 sae_format_name(s->format));
	if (s->options.center != SAE_CENTER_AUTO)
		s->center_input = s->options.center == SAE_CENTER_YES;
	if (s->norm == SAE_NORM_LAYER && s->d_in < 2)
		return error_set(error, STATUS_INVALID, "'%s': shape mismatch: a layer norm over %lld numbers",
				 s->weights_path, (long long)s->d_in);
	s->stored_bytes = 0;
	for (size_t i = 0; i < container_count(r->container); i++) {
		const struct container_entry *entry = container_at(r->container, i);
		if (entry->is_tensor)
			s->stored_bytes += array_view_count(&entry->shape) * st_dtype_bits(entry->shape.dtype) / 8;
	}
	return STATUS_OK;
}

enum status sae_file_open(struct sae_spec *spec, const char *path, const struct sae_options *options,
			  struct error *error)
{
	*spec = (struct sae_spec){.path = mem_strdup(path), .layer = -1, .notes = mem_strdup("")};
	if (options)
		spec->options = *options;
	enum status status = sae_find_files(spec, error);
	if (status == STATUS_OK) {
		struct sae_reader reader = {.spec = spec};
		status = read_plan(&reader, error);
		close_reader(&reader);
	}
	if (status == STATUS_OK && spec->format == SAE_SAELENS)
		status = sae_sparsity_read(&spec->training_rates, spec->weights_path, spec->F, error);
	if (status)
		sae_spec_done(spec);
	return status;
}

enum { ARRAYS = 9 };

static void list_arrays(struct sae_spec *s, float **out[ARRAYS])
{
	float **all[ARRAYS] = {&s->W_enc,  &s->W_dec, &s->b_enc,     &s->b_dec, &s->threshold,
			       &s->b_gate, &s->b_mag, &s->mag_scale, &s->W_skip};
	memcpy(out, all, sizeof all);
}

/* The plan is made again rather than kept: it is cheap, and between the two calls
 * neither a mapping nor a parsed file is held. */
enum status sae_file_load(struct sae_spec *spec, const struct progress *progress, struct error *error)
{
	if (spec->W_enc)
		return STATUS_OK;
	struct sae_spec again = {.path = mem_strdup(spec->path),
				 .weights_path = mem_strdup(spec->weights_path),
				 .config_path = spec->config_path ? mem_strdup(spec->config_path) : NULL,
				 .layer = -1,
				 .notes = mem_strdup(""),
				 .options = spec->options};
	struct sae_reader reader = {.spec = &again, .progress = progress, .to_read = sae_file_load_bytes(spec)};
	enum status status = read_plan(&reader, error);
	if (status == STATUS_OK && (again.F != spec->F || again.d_in != spec->d_in || again.d_out != spec->d_out ||
				    again.act != spec->act || again.k != spec->k || again.norm != spec->norm ||
				    again.subtract_b_dec != spec->subtract_b_dec || again.has_skip != spec->has_skip))
		status = error_set(error, STATUS_INVALID, "'%s' changed since it was opened", spec->weights_path);
	if (status == STATUS_OK)
		status = sae_plan_load(&reader, error);
	close_reader(&reader);
	/* Only the arrays move: what callers hold of the description stays valid. */
	if (status == STATUS_OK) {
		float **from[ARRAYS], **to[ARRAYS];
		list_arrays(&again, from);
		list_arrays(spec, to);
		for (int i = 0; i < ARRAYS; i++) {
			*to[i] = *from[i];
			*from[i] = NULL;
		}
		spec->loaded_bytes = again.loaded_bytes;
	}
	sae_spec_done(&again);
	return status;
}

size_t sae_file_load_bytes(const struct sae_spec *s)
{
	size_t F = (size_t)s->F, d_in = (size_t)s->d_in, d_out = (size_t)s->d_out;
	size_t per_latent = s->act == SAE_GATED ? 3 : s->act == SAE_JUMPRELU ? 2 : 1;
	return (F * (d_in + d_out + per_latent) + d_out + (s->has_skip ? d_in * d_out : 0)) * sizeof(float);
}

void sae_file_unload(struct sae_spec *s)
{
	float **arrays[ARRAYS];
	list_arrays(s, arrays);
	for (int i = 0; i < ARRAYS; i++) {
		free(*arrays[i]);
		*arrays[i] = NULL;
	}
	s->loaded_bytes = 0;
}

void sae_spec_done(struct sae_spec *s)
{
	sae_file_unload(s);
	char *strings[] = {s->path,	  s->weights_path,   s->config_path,  s->hook_name, s->hook_name_out,
			   s->model_name, s->neuronpedia_id, s->architecture, s->notes};
	for (size_t i = 0; i < ARRAY_LEN(strings); i++)
		free(strings[i]);
	free(s->training_rates);
	*s = (struct sae_spec){0};
}
