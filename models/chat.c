#include "models/chat.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/chat_template.h"
#include "models/tokenizer_internal.h"
#include "models/tokenizer_json.h"

enum { TEMPLATE_LIMIT = 1 << 20 };

struct chat {
	struct arena arena;
	struct node *root;
	char *raw, *bos, *eos;
	struct error problem; /* "" if the template is understood */
};

enum status chat_create(struct chat **out, const char *template, size_t n, const char *bos, const char *eos,
			struct error *error)
{
	*out = NULL;
	if (n > TEMPLATE_LIMIT || !utf8_valid(template, n) || (n > 0 && memchr(template, '\0', n)))
		return error_set(error, STATUS_INVALID,
				 "the chat template of %zu bytes is longer than %d, not valid UTF-8, or has a NUL", n,
				 TEMPLATE_LIMIT);
	struct chat *chat = mem_alloc(1, sizeof *chat);
	chat->raw = mem_strndup(template, n);
	chat->bos = mem_strdup(bos);
	chat->eos = mem_strdup(eos);
	struct error problem;
	if (template_parse(&chat->root, &chat->arena, chat->raw, n, &problem))
		chat->problem = problem;
	*out = chat;
	return STATUS_OK;
}

void chat_destroy(struct chat **chat)
{
	if (!*chat)
		return;
	arena_done(&(*chat)->arena);
	free((*chat)->raw);
	free((*chat)->bos);
	free((*chat)->eos);
	free(*chat);
	*chat = NULL;
}

/* One template is a string, several are a list of {name, template}. */
static enum status choose_template(struct json_source *source, char **text, size_t *n, struct error *error)
{
	const cJSON *value = json_member(source->root, "chat_template");
	if (!value)
		return STATUS_OK;
	const cJSON *chosen = cJSON_IsString(value) ? value : NULL;
	for (const cJSON *item = cJSON_IsArray(value) ? value->child : NULL; item && !chosen; item = item->next) {
		const cJSON *name = json_member(item, "name");
		if (cJSON_IsString(name) && strcmp(name->valuestring, "default") == 0)
			chosen = json_member(item, "template");
	}
	if (!cJSON_IsString(chosen))
		return error_set(error, STATUS_INVALID,
				 "%s: \"chat_template\" is neither a string nor a list with one named \"default\"",
				 source->what);
	const char *s = json_source_text(source, chosen->valuestring, n);
	*text = mem_copy(s, *n + 1);
	return STATUS_OK;
}

static enum status template_from_json(const char *folder, const char *name, char **text, size_t *n, struct error *error)
{
	char *path = path_join(folder, name);
	struct json_source source = {0};
	enum status status = STATUS_OK;
	if (file_exists(path)) {
		status = json_source_read(&source, path, error);
		if (!status)
			status = choose_template(&source, text, n, error);
	}
	json_source_done(&source);
	free(path);
	return status;
}

enum status chat_load(struct chat **out, const char *folder, const struct tokenizer *tokenizer, struct error *error)
{
	*out = NULL;
	char *text = NULL, *path = path_join(folder, "chat_template.jinja");
	size_t n = 0;
	enum status status = STATUS_OK;
	if (file_exists(path))
		status = file_read(&text, &n, path, TEMPLATE_LIMIT, error);
	free(path);
	if (!status && !text)
		status = template_from_json(folder, "chat_template.json", &text, &n, error);
	if (!status && !text)
		status = template_from_json(folder, "tokenizer_config.json", &text, &n, error);
	if (!status && !text)
		status = error_set(error, STATUS_NOTHING, "'%s' has no chat template", folder);
	if (!status)
		status = chat_create(out, text, n, tokenizer ? tokenizer_bos_text(tokenizer) : "",
				     tokenizer ? tokenizer_eos_text(tokenizer) : "", error);
	free(text);
	return status;
}

const char *chat_name(const struct chat *chat)
{
	static const struct {
		const char *marker, *name;
	} known[] = {
		{"<|user|>{{ message", "rebound demo"},
		{"<|start_header_id|>", "Llama 3"},
		{"<start_of_turn>", "Gemma"},
		{"<|im_start|>", "ChatML"},
		{"[INST]", "Mistral"},
		{"<|end|>", "Phi-3"},
	};
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strstr(chat->raw, known[i].marker))
			return known[i].name;
	return "custom";
}

const char *chat_raw(const struct chat *chat)
{
	return chat->raw;
}

const char *chat_problem(const struct chat *chat)
{
	return chat->problem.text[0] ? chat->problem.text : NULL;
}

/* What could not be understood, and the template as far as there is room. */
static enum status show_raw(const struct chat *chat, const char *reason, struct error *error)
{
	char shown[440];
	text_printable(shown, sizeof shown, chat->raw, strlen(chat->raw));
	return error_set(error, STATUS_INVALID, "chat template: %.200s; the template is: %s", reason, shown);
}

enum status chat_render(const struct chat *chat, const struct chat_message *messages, size_t count,
			bool add_generation_prompt, struct strbuf *out, struct error *error)
{
	if (chat->problem.text[0])
		return show_raw(chat, chat->problem.text, error);
	struct error reason = {0};
	enum status status =
		template_render(chat->root, messages, count, add_generation_prompt, chat->bos, chat->eos, out, &reason);
	if (status && strstr(reason.text, "refuses these messages"))
		return error_set(error, status, "%s", reason.text);
	return status ? show_raw(chat, reason.text, error) : STATUS_OK;
}

/* A noncharacter that no message holds. */
static bool choose_guard(const struct chat_message *messages, size_t count, char guard[5])
{
	for (uint32_t code = 0xFDD0; code <= 0xFDEF; code++) {
		size_t n = utf8_encode(guard, code);
		bool used = false;
		guard[n] = '\0';
		for (size_t i = 0; i < count && !used; i++)
			used = messages[i].length >= n &&
			       memmem(messages[i].content, messages[i].length, guard, n) != NULL;
		if (!used)
			return true;
	}
	return false;
}

enum status chat_encode(const struct chat *chat, const struct tokenizer *tokenizer, const struct chat_message *messages,
			size_t count, bool add_generation_prompt, bool recognise_special, struct token_list *out,
			struct error *error)
{
	struct strbuf text = {0};
	char guard[5];
	enum status status;
	if (recognise_special) {
		status = chat_render(chat, messages, count, add_generation_prompt, &text, error);
		if (!status)
			status = tokenizer_encode(tokenizer, text.data ? text.data : "", text.length,
						  (struct tokenizer_options){false, true}, out, error);
		strbuf_done(&text);
		return status;
	}
	if (!choose_guard(messages, count, guard))
		return error_set(error, STATUS_INVALID, "the messages use every noncharacter from U+FDD0 to U+FDEF");
	struct chat_message *guarded = mem_alloc(count, sizeof *guarded);
	struct strbuf *contents = mem_alloc(count, sizeof *contents);
	for (size_t i = 0; i < count; i++) {
		strbuf_add(&contents[i], "", 0);
		tokenizer_guard(tokenizer, messages[i].content, messages[i].length, guard, &contents[i]);
		guarded[i] = (struct chat_message){messages[i].role, contents[i].data, contents[i].length};
	}
	status = chat_render(chat, guarded, count, add_generation_prompt, &text, error);
	if (!status)
		status =
			tokenizer_encode_guarded(tokenizer, text.data ? text.data : "", text.length, guard, out, error);
	for (size_t i = 0; i < count; i++)
		strbuf_done(&contents[i]);
	free(contents);
	free(guarded);
	strbuf_done(&text);
	return status;
}
