#include "models/arch.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/arch_config.h"

static const struct family {
	enum arch_family family;
	const char *model_type; /* in config.json */
	const char *class_name; /* how entries of "architectures" begin, for files without model_type */
	const char *name;	/* for people */
	void (*read)(struct config *c, struct arch *arch);
} families[] = {
	{ARCH_GPT2, "gpt2", "GPT2", "gpt2", arch_config_gpt2},
	{ARCH_NEOX, "gpt_neox", "GPTNeoXFor", "gpt_neox", arch_config_neox},
	{ARCH_GEMMA2, "gemma2", "Gemma2", "gemma2", arch_config_gemma},
	{ARCH_GEMMA3, "gemma3_text", "Gemma3ForCausal", "gemma3", arch_config_gemma},
	{ARCH_GEMMA3, "gemma3", "Gemma3ForConditional", "gemma3", arch_config_gemma},
	{ARCH_LLAMA, "llama", "Llama", "llama", arch_config_llama},
	{ARCH_MISTRAL, "mistral", "Mistral", "mistral", arch_config_llama},
	{ARCH_QWEN2, "qwen2", "Qwen2For", "qwen2", arch_config_llama},
	{ARCH_QWEN3, "qwen3", "Qwen3For", "qwen3", arch_config_llama},
	{ARCH_PHI3, "phi3", "Phi3For", "phi3", arch_config_llama},
};

static const char *const hook_names[HOOK_COUNT] = {
	[HOOK_RESID_PRE] = "resid_pre",
	[HOOK_RESID_MID] = "resid_mid",
	[HOOK_RESID_POST] = "resid_post",
};

const char *hook_name(enum hook hook)
{
	return hook_names[hook];
}

bool hook_parse(const char *name, enum hook *out)
{
	if (strncmp(name, "hook_", 5) == 0)
		name += 5;
	for (enum hook hook = 0; hook < HOOK_COUNT; hook++) {
		if (strcmp(name, hook_names[hook]) == 0) {
			*out = hook;
			return true;
		}
	}
	return false;
}

bool arch_has_hook(const struct arch *arch, enum hook hook)
{
	return hook != HOOK_RESID_MID || !arch->parallel_residual;
}

const char *arch_family_name(enum arch_family family)
{
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		if (families[i].family == family)
			return families[i].name;
	return "unknown";
}

static const struct family *find_family(struct config *c)
{
	const char *type = NULL;
	c->status = json_get_string(c->root, "model_type", &type, c->what, c->error);
	if (c->status)
		return NULL;
	const cJSON *classes = json_member(c->root, "architectures");
	const char *class_name = cJSON_IsArray(classes) ? cJSON_GetStringValue(classes->child) : NULL;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		const struct family *family = &families[i];
		if (type && strcmp(type, family->model_type) == 0)
			return family;
		if (!type && class_name && strncmp(class_name, family->class_name, strlen(family->class_name)) == 0)
			return family;
	}
	config_refuse(
		c, c->root, "model_type",
		"a supported family: gpt2, gpt_neox, gemma2, gemma3_text, gemma3, llama, mistral, qwen2, qwen3 or "
		"phi3");
	return NULL;
}

static bool is_empty(const cJSON *value)
{
	bool container = cJSON_IsArray(value) || cJSON_IsObject(value);
	return (container && !value->child) || cJSON_IsFalse(value);
}

/* Keys that change what any of these models computes, and that nothing here
 * implements. */
static void refuse_unsupported(struct config *c, const cJSON *object)
{
	static const char *const keys[] = {
		"quantization_config",	       "compression_config", "add_cross_attention", "is_encoder_decoder",
		"use_bidirectional_attention", "pruned_heads",	     "use_mrope",
	};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const cJSON *value = json_member(object, keys[i]);
		if (value && !is_empty(value))
			config_refuse(c, object, keys[i], "it to be absent, null or false: it is not supported");
	}
	const cJSON *causal = json_member(object, "is_causal");
	if (causal && !cJSON_IsTrue(causal))
		config_refuse(c, object, "is_causal", "true: only causal attention is supported");
}

static enum status read_config(struct arch *arch, const cJSON *document, const char *what, struct error *error)
{
	struct config c = {.root = document, .outer = document, .what = what, .error = error};
	char *inner_what = NULL;
	if (!cJSON_IsObject(document))
		return error_set(error, STATUS_INVALID, "%s is not a JSON object; expected a model's config.json",
				 what);
	enum status status = json_check_duplicates(document, what, error);
	if (status)
		return status;
	const struct family *family = find_family(&c);
	if (!family)
		return c.status;
	arch->family = family->family;
	arch->embed_scale = 1;
	refuse_unsupported(&c, document);
	if (strcmp(family->model_type, "gemma3") == 0) {
		c.root = json_member(document, "text_config");
		if (!cJSON_IsObject(c.root)) {
			c.root = document;
			config_refuse(&c, document, "text_config", "an object with the text model's keys");
		}
		c.what = inner_what = mem_printf("%s, text_config", what);
		refuse_unsupported(&c, c.root);
	}
	if (c.status == STATUS_OK)
		family->read(&c, arch);
	free(inner_what);
	return c.status;
}

enum status arch_parse(struct arch *arch, const char *text, size_t n, const char *what, struct error *error)
{
	*arch = (struct arch){0};
	cJSON *document;
	enum status status = json_parse(&document, text, n, what, error);
	if (status)
		return status;
	status = read_config(arch, document, what, error);
	cJSON_Delete(document);
	if (status)
		arch_done(arch);
	return status;
}

enum status arch_read(struct arch *arch, const char *folder, struct error *error)
{
	*arch = (struct arch){0};
	char *path = path_join(folder, "config.json"), *what = mem_printf("'%s'", path), *text = NULL;
	size_t n;
	enum status status = file_read(&text, &n, path, (size_t)8 << 20, error);
	if (status == STATUS_OK)
		status = arch_parse(arch, text, n, what, error);
	free(text);
	free(what);
	free(path);
	return status;
}

void arch_done(struct arch *arch)
{
	for (int i = 0; i < arch->n_ropes; i++) {
		free(arch->ropes[i].inverse);
		free(arch->ropes[i].inverse_long);
	}
	*arch = (struct arch){0};
}
