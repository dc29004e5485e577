/* The files beside a vocabulary: which tokens are special, what is added. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/tokenizer_internal.h"

/* A token is given as a string or as an object with its flags. */
static const char *token_content(const cJSON *value)
{
	if (cJSON_IsObject(value))
		value = json_member(value, "content");
	return cJSON_IsString(value) ? value->valuestring : "";
}

static char *special_token(const struct tokenizer_config *config, const char *key)
{
	const char *content = token_content(json_member(config->config.root, key));
	if (content[0] == '\0')
		content = token_content(json_member(config->map.root, key));
	return mem_strdup(content);
}

static enum status read_optional(struct json_source *source, const char *folder, const char *name, struct error *error)
{
	char *path = path_join(folder, name);
	enum status status = file_exists(path) ? json_source_read(source, path, error) : STATUS_OK;
	free(path);
	return status;
}

static enum status read_flag(const struct tokenizer_config *config, const char *key, int *out, struct error *error)
{
	if (!json_member(config->config.root, key))
		return STATUS_OK;
	bool value = false;
	enum status status = json_get_bool(config->config.root, key, &value, config->config.what, error);
	*out = value;
	return status;
}

/* Folders without a tokenizer_class: the model's config may tell the family. */
static char *class_from_model(const char *folder)
{
	static const struct {
		const char *model_type, *class_name;
	} known[] = {
		{"gpt2", "GPT2Tokenizer"},
		{"gpt_neox", "GPTNeoXTokenizer"},
		{"qwen2", "Qwen2Tokenizer"},
		{"qwen3", "Qwen2Tokenizer"},
	};
	const char *class_name = "";
	struct json_source model = {0};
	struct error ignored;
	if (read_optional(&model, folder, "config.json", &ignored) == STATUS_OK && model.root) {
		const cJSON *type = json_member(model.root, "model_type");
		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			if (cJSON_IsString(type) && strcmp(type->valuestring, known[i].model_type) == 0)
				class_name = known[i].class_name;
	}
	json_source_done(&model);
	return mem_strdup(class_name);
}

enum status tokenizer_config_read(struct tokenizer_config *config, const char *folder, struct error *error)
{
	enum status status = read_optional(&config->config, folder, "tokenizer_config.json", error);
	if (!status)
		status = read_optional(&config->map, folder, "special_tokens_map.json", error);
	if (!status)
		status = read_optional(&config->added, folder, "added_tokens.json", error);
	if (status)
		return status;
	const char *class_name = "";
	status = json_get_string(config->config.root, "tokenizer_class", &class_name, config->config.what, error);
	if (!status)
		status = json_get_bool(config->config.root, "add_prefix_space", &config->add_prefix_space,
				       config->config.what, error);
	if (!status)
		status = read_flag(config, "add_bos_token", &config->add_bos, error);
	if (!status)
		status = read_flag(config, "add_eos_token", &config->add_eos, error);
	if (status)
		return status;
	size_t n = strlen(class_name);
	if (n > 4 && strcmp(class_name + n - 4, "Fast") == 0)
		n -= 4;
	config->class_name = n ? mem_strndup(class_name, n) : class_from_model(folder);
	config->bos = special_token(config, "bos_token");
	config->eos = special_token(config, "eos_token");
	return STATUS_OK;
}

void tokenizer_config_done(struct tokenizer_config *config)
{
	json_source_done(&config->config);
	json_source_done(&config->map);
	json_source_done(&config->added);
	free(config->class_name);
	free(config->bos);
	free(config->eos);
}

/* The id that a new token gets: the vocabulary's own, or `wanted`, or the next. */
static enum status add_token(struct tokenizer *t, struct added_token token, const char *s, size_t n, int64_t wanted,
			     const char *what, struct error *error)
{
	char shown[80];
	text_printable(shown, sizeof shown, s, n);
	int32_t known = tokenizer_named(t, s, n);
	size_t size = t->sentencepiece ? sentencepiece_size(t->sentencepiece) : t->bpe.vocab.size;
	if (t->added.next_id > size)
		size = t->added.next_id;
	if (known >= 0 && wanted >= 0 && wanted != known)
		return error_set(error, STATUS_INVALID,
				 "%s: the token \"%s\" has the id %lld here and %d in the vocabulary", what, shown,
				 (long long)wanted, known);
	if (known < 0 && wanted >= 0) {
		const char *other;
		size_t other_n;
		bool taken = t->sentencepiece ? sentencepiece_name(t->sentencepiece, (int32_t)wanted, &other, &other_n)
					      : vocab_get(&t->bpe.vocab, (int32_t)wanted, &other, &other_n);
		if (taken)
			return error_set(error, STATUS_INVALID, "%s: the token \"%s\" has the id %lld of another token",
					 what, shown, (long long)wanted);
	}
	token.id = known >= 0 ? known : wanted >= 0 ? (int32_t)wanted : (int32_t)size;
	added_tokens_add(&t->added, token, s, n);
	return STATUS_OK;
}

static enum status read_flags(struct added_token *token, const cJSON *object, const char *what, struct error *error)
{
	enum status status = json_get_bool(object, "single_word", &token->single_word, what, error);
	if (!status)
		status = json_get_bool(object, "lstrip", &token->lstrip, what, error);
	if (!status)
		status = json_get_bool(object, "rstrip", &token->rstrip, what, error);
	if (!status)
		status = json_get_bool(object, "normalized", &token->normalized, what, error);
	if (!status)
		status = json_get_bool(object, "special", &token->special, what, error);
	return status;
}

/* The largest id that the files could mean: the vocabulary and what is added. */
static int64_t id_limit(const struct tokenizer *t, const struct json_source *source)
{
	size_t size = t->sentencepiece ? sentencepiece_size(t->sentencepiece) : t->bpe.vocab.size;
	size_t limit = size + source->size;
	return limit < INT32_MAX ? (int64_t)limit : INT32_MAX - 1;
}

static enum status add_from_decoder(struct tokenizer *t, struct json_source *source, struct error *error)
{
	const cJSON *table = json_member(source->root, "added_tokens_decoder");
	if (table && !cJSON_IsObject(table))
		return error_set(error, STATUS_INVALID, "%s: \"added_tokens_decoder\" is not an object", source->what);
	for (const cJSON *item = table ? table->child : NULL; item; item = item->next) {
		int64_t id;
		const cJSON *content = json_member(item, "content");
		if (!text_int(item->string, &id) || id < 0 || id > id_limit(t, source) || !cJSON_IsString(content))
			return error_set(error, STATUS_INVALID,
					 "%s: the entry \"%.40s\" of added_tokens_decoder is not an id below %lld with "
					 "its \"content\"",
					 source->what, item->string, (long long)id_limit(t, source) + 1);
		struct added_token token = {0};
		enum status status = read_flags(&token, item, source->what, error);
		size_t n;
		const char *s = json_source_text(source, content->valuestring, &n);
		if (!status && n > 0)
			status = add_token(t, token, s, n, id, source->what, error);
		if (status)
			return status;
	}
	return STATUS_OK;
}

static enum status add_from_table(struct tokenizer *t, struct json_source *source, struct error *error)
{
	for (const cJSON *item = source->root ? source->root->child : NULL; item; item = item->next) {
		double id = item->valuedouble;
		if (!cJSON_IsNumber(item) || !(id >= 0) || id > (double)id_limit(t, source) ||
		    id != (double)(int32_t)id)
			return error_set(error, STATUS_INVALID,
					 "%s: the id of \"%.40s\" is not a whole number below %lld", source->what,
					 item->string, (long long)id_limit(t, source) + 1);
		size_t n;
		const char *s = json_source_text(source, item->string, &n);
		if (n == 0 || added_tokens_find(&t->added, s, n) >= 0)
			continue;
		enum status status =
			add_token(t, (struct added_token){.normalized = true}, s, n, (int64_t)id, source->what, error);
		if (status)
			return status;
	}
	return STATUS_OK;
}

static enum status add_special(struct tokenizer *t, const cJSON *value, struct json_source *source, struct error *error)
{
	const char *content = token_content(value);
	size_t n;
	const char *s = json_source_text(source, content, &n);
	struct added_token token = {0};
	enum status status = cJSON_IsObject(value) ? read_flags(&token, value, source->what, error) : STATUS_OK;
	if (status || n == 0)
		return status;
	token.special = true;
	token.normalized = false;
	int32_t index = vocab_find(&t->added.names, s, n);
	if (index >= 0) {
		t->added.tokens[index].special = true;
		return STATUS_OK;
	}
	return add_token(t, token, s, n, -1, source->what, error);
}

static enum status add_specials(struct tokenizer *t, struct json_source *source, struct error *error)
{
	static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
					   "pad_token", "cls_token", "mask_token"};
	enum status status = STATUS_OK;
	for (size_t i = 0; i < ARRAY_LEN(keys) && !status; i++)
		status = add_special(t, json_member(source->root, keys[i]), source, error);
	const cJSON *more = json_member(source->root, "additional_special_tokens");
	for (const cJSON *item = cJSON_IsArray(more) ? more->child : NULL; item && !status; item = item->next)
		status = add_special(t, item, source, error);
	return status;
}

enum status tokenizer_config_add_tokens(const struct tokenizer_config *config, struct tokenizer *t, struct error *error)
{
	/* json_source_text needs its buffer; the documents themselves stay as they are. */
	struct tokenizer_config *c = (struct tokenizer_config *)(uintptr_t)config;
	enum status status = add_from_decoder(t, &c->config, error);
	if (!status)
		status = add_from_table(t, &c->added, error);
	if (!status)
		status = add_specials(t, &c->config, error);
	if (!status)
		status = add_specials(t, &c->map, error);
	return status;
}
