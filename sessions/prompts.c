#include "sessions/prompts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"

enum { MAX_FILE = 256 << 20, MAX_PROMPTS = 1000000 };

static void free_list(char **list, int count)
{
	for (int i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

static void prompt_done(struct prompt *p)
{
	free(p->id);
	free(p->task);
	free(p->text);
	free(p->target);
	free(p->foil);
	free(p->answer);
	free(p->profession);
	free(p->prefix);
	free(p->question);
	free_list(p->options, p->option_count);
	free_list(p->refusals, p->refusal_count);
	free_list(p->choices, p->choice_count);
}

void prompt_set_done(struct prompt_set *set)
{
	for (int i = 0; i < set->count; i++)
		prompt_done(&set->items[i]);
	free(set->items);
	free(set->path);
	*set = (struct prompt_set){0};
}

static struct prompt *append(struct prompt_set *set)
{
	mem_reserve((void **)&set->items, &set->capacity, (size_t)set->count + 1, sizeof *set->items);
	struct prompt *p = &set->items[set->count++];
	*p = (struct prompt){0};
	return p;
}

/* What every prompt has: an id and a task, made up where the file gives none. */
static void complete(struct prompt_set *set, struct prompt *p)
{
	if (!p->id)
		p->id = mem_printf("prompt-%d", set->count);
	if (!p->task)
		p->task = mem_strdup("");
}

static enum status get_string(const cJSON *row, const char *key, char **out, const char *what, struct error *error)
{
	const char *value = NULL;
	enum status status = json_get_string(row, key, &value, what, error);
	if (value)
		*out = mem_strdup(value);
	return status;
}

static enum status get_strings(const cJSON *row, const char *key, char ***out, int *count, const char *what,
			       struct error *error)
{
	const cJSON *list = json_member(row, key);
	if (!list)
		return STATUS_OK;
	if (!cJSON_IsArray(list))
		return error_set(error, STATUS_INVALID, "%s: \"%s\" is not a list of strings", what, key);
	*out = mem_alloc((size_t)cJSON_GetArraySize(list), sizeof **out);
	for (const cJSON *item = list->child; item; item = item->next) {
		if (!cJSON_IsString(item))
			return error_set(error, STATUS_INVALID, "%s: \"%s\" is not a list of strings", what, key);
		(*out)[(*count)++] = mem_strdup(item->valuestring);
	}
	return STATUS_OK;
}

static enum status read_row(struct prompt_set *set, const cJSON *row, const char *what, struct error *error)
{
	if (!cJSON_IsObject(row))
		return error_set(error, STATUS_INVALID, "%s is not a JSON object", what);
	struct prompt *p = append(set);
	int64_t index = -1;
	enum status status = get_string(row, "id", &p->id, what, error);
	const struct {
		const char *key;
		char **out;
	} strings[] = {
		{"task", &p->task},
		{"text", &p->text},
		{"target", &p->target},
		{"foil", &p->foil},
		{"answer", &p->answer},
		{"prefix", &p->prefix},
		{"profession", &p->profession},
		{"question", &p->question},
	};
	for (size_t i = 0; i < ARRAY_LEN(strings) && status == STATUS_OK; i++)
		status = get_string(row, strings[i].key, strings[i].out, what, error);
	if (status == STATUS_OK)
		status = json_get_bool(row, "chat", &p->chat, what, error);
	p->has_declined = json_member(row, "declined") != NULL;
	if (status == STATUS_OK)
		status = json_get_bool(row, "declined", &p->declined, what, error);
	if (status == STATUS_OK)
		status = get_strings(row, "options", &p->options, &p->option_count, what, error);
	if (status == STATUS_OK)
		status = get_strings(row, "refusals", &p->refusals, &p->refusal_count, what, error);
	if (status == STATUS_OK)
		status = get_strings(row, "choices", &p->choices, &p->choice_count, what, error);
	if (status == STATUS_OK)
		status = json_get_int(row, "answer_index", 0, 1000, &index, what, error);
	p->answer_index = (int)index;
	complete(set, p);
	if (status == STATUS_OK && (!p->text || !p->text[0]))
		status = error_set(error, STATUS_INVALID, "%s has no \"text\"", what);
	if (!p->text)
		p->text = mem_strdup("");
	return status;
}

static enum status read_lines(struct prompt_set *set, const char *text, size_t size, bool json, struct error *error)
{
	enum status status = STATUS_OK;
	int line = 0;
	for (size_t at = 0; at < size && status == STATUS_OK;) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t n = end ? (size_t)(end - (text + at)) : size - at;
		size_t length = n > 0 && text[at + n - 1] == '\r' ? n - 1 : n;
		char what[512];
		snprintf(what, sizeof what, "'%s', line %d", set->path, ++line);
		bool blank = true;
		for (size_t i = 0; i < length && blank; i++)
			blank = text[at + i] == ' ' || text[at + i] == '\t';
		if (!blank && set->count >= MAX_PROMPTS) {
			status = error_set(error, STATUS_INVALID, "'%s' has more than %d prompts", set->path,
					   MAX_PROMPTS);
		} else if (!blank && json) {
			cJSON *row;
			status = json_parse(&row, text + at, length, what, error);
			if (status == STATUS_OK)
				status = read_row(set, row, what, error);
			cJSON_Delete(row);
		} else if (!blank) {
			struct prompt *p = append(set);
			p->text = mem_strndup(text + at, length);
			complete(set, p);
		}
		at += n + 1;
	}
	return status;
}

static enum status read_array(struct prompt_set *set, const char *text, size_t size, struct error *error)
{
	char what[512];
	snprintf(what, sizeof what, "'%s'", set->path);
	cJSON *json;
	enum status status = json_parse(&json, text, size, what, error);
	int number = 0;
	for (const cJSON *row = status == STATUS_OK ? json->child : NULL; row && status == STATUS_OK; row = row->next) {
		snprintf(what, sizeof what, "'%s', entry %d", set->path, ++number);
		status = read_row(set, row, what, error);
	}
	cJSON_Delete(json);
	return status;
}

/* One record of RFC 4180 CSV from *at: fields into list. False at the end of the file. */
static bool csv_record(const char *text, size_t size, size_t *at, char ***fields, int *count)
{
	size_t capacity = 0;
	*fields = NULL;
	*count = 0;
	if (*at >= size)
		return false;
	for (bool more = true; more;) {
		struct strbuf field = {0};
		bool quoted = *at < size && text[*at] == '"';
		if (quoted)
			(*at)++;
		while (*at < size) {
			char c = text[*at];
			if (quoted && c == '"' && *at + 1 < size && text[*at + 1] == '"') {
				(*at)++;
			} else if (quoted && c == '"') {
				quoted = false;
				(*at)++;
				continue;
			} else if (!quoted && (c == ',' || c == '\n')) {
				break;
			}
			strbuf_add_char(&field, c);
			(*at)++;
		}
		if (field.length > 0 && field.data[field.length - 1] == '\r')
			field.data[--field.length] = '\0';
		mem_reserve((void **)fields, &capacity, (size_t)*count + 1, sizeof **fields);
		(*fields)[(*count)++] = strbuf_take(&field);
		more = *at < size && text[*at] == ',';
		if (*at < size)
			(*at)++;
	}
	return true;
}

/* Where a CSV column goes, NULL if nowhere. */
static char **csv_place(struct prompt *p, const char *column)
{
	const struct {
		const char *name;
		char **out;
	} places[] = {
		{"text", &p->text},	{"prompt", &p->text},	{"goal", &p->text},	{"Goal", &p->text},
		{"Behavior", &p->text}, {"id", &p->id},		{"BehaviorID", &p->id}, {"task", &p->task},
		{"target", &p->target}, {"Target", &p->target}, {"foil", &p->foil},	{"answer", &p->answer},
	};
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (strcmp(places[i].name, column) == 0)
			return places[i].out;
	return NULL;
}

static enum status read_csv(struct prompt_set *set, const char *text, size_t size, struct error *error)
{
	size_t at = 0;
	char **header, **fields;
	int columns, count, record = 1;
	enum status status = STATUS_OK;
	if (!csv_record(text, size, &at, &header, &columns))
		return error_set(error, STATUS_INVALID, "'%s' is empty", set->path);
	while (status == STATUS_OK && csv_record(text, size, &at, &fields, &count)) {
		record++;
		if (count == 1 && fields[0][0] == '\0') {
			free_list(fields, count);
			continue;
		}
		if (count != columns) {
			status = error_set(error, STATUS_INVALID, "'%s', record %d has %d fields; the header has %d",
					   set->path, record, count, columns);
		} else {
			struct prompt *p = append(set);
			for (int i = 0; i < count; i++) {
				char **place = csv_place(p, header[i]);
				if (place && !*place && fields[i][0])
					*place = mem_strdup(fields[i]);
			}
			complete(set, p);
			if (!p->text) {
				p->text = mem_strdup("");
				status = error_set(error, STATUS_INVALID,
						   "'%s', record %d has no text; a column called text, prompt, goal or "
						   "Behavior is "
						   "needed",
						   set->path, record);
			}
		}
		free_list(fields, count);
	}
	free_list(header, columns);
	return status;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && strcmp(s + n - m, end) == 0;
}

enum status prompt_set_load(struct prompt_set *set, const char *path, struct error *error)
{
	*set = (struct prompt_set){0};
	char *text;
	size_t size;
	enum status status = file_read(&text, &size, path, MAX_FILE, error);
	if (status)
		return status;
	set->path = mem_strdup(path);
	size_t first = strspn(text, " \t\r\n");
	if (!utf8_valid(text, size))
		status = error_set(error, STATUS_INVALID, "'%s' is not valid UTF-8", path);
	else if (ends_with(path, ".csv"))
		status = read_csv(set, text, size, error);
	else if (text[first] == '[')
		status = read_array(set, text, size, error);
	else
		status = read_lines(set, text, size, text[first] == '{', error);
	if (status == STATUS_OK && set->count == 0)
		status = error_set(error, STATUS_INVALID, "'%s' holds no prompt", path);
	free(text);
	if (status)
		prompt_set_done(set);
	return status;
}

const struct prompt *prompt_set_find(const struct prompt_set *set, const char *id)
{
	for (int i = 0; i < set->count; i++)
		if (strcmp(set->items[i].id, id) == 0)
			return &set->items[i];
	return NULL;
}

static char *copy_if(const char *s)
{
	return s ? mem_strdup(s) : NULL;
}

static char **copy_list(char *const *list, int count)
{
	char **copy = mem_alloc((size_t)count, sizeof *copy);
	for (int i = 0; i < count; i++)
		copy[i] = mem_strdup(list[i]);
	return copy;
}

int prompt_set_add(struct prompt_set *set, const char *text, const struct prompt *like)
{
	struct prompt p = {.text = mem_strdup(text), .answer_index = -1};
	for (int i = 1; !p.id; i++) {
		char *id = mem_printf("mine-%d", i);
		if (prompt_set_find(set, id))
			free(id);
		else
			p.id = id;
	}
	p.task = mem_strdup(like ? like->task : "");
	if (like) {
		/* Not the parts of a choice: the text has changed. */
		p.chat = like->chat;
		p.target = copy_if(like->target);
		p.foil = copy_if(like->foil);
		p.answer = copy_if(like->answer);
		p.profession = copy_if(like->profession);
		p.options = copy_list(like->options, like->option_count);
		p.option_count = like->option_count;
		p.refusals = copy_list(like->refusals, like->refusal_count);
		p.refusal_count = like->refusal_count;
	}
	*append(set) = p;
	return set->count - 1;
}

static char *quoted_choice(const struct prompt *p, const char *name)
{
	struct strbuf b = {0};
	strbuf_printf(&b, "%s:\"%s\"", name, p->answer);
	for (int i = 0; i < p->option_count; i++)
		if (strcmp(p->options[i], p->answer) != 0)
			strbuf_printf(&b, ",\"%s\"", p->options[i]);
	return strbuf_take(&b);
}

int prompt_objectives(const struct prompt *p, char **out, int most)
{
	int n = 0;
	if (p->target && p->foil && n < most)
		out[n++] = mem_printf("logit_diff:\"%s\",\"%s\"", p->target, p->foil);
	if (p->target && n < most)
		out[n++] = mem_printf("vocab_margin:\"%s\"", p->target);
	if (p->option_count > 1 && p->answer && n < most)
		out[n++] = quoted_choice(p, "choice_margin");
	if (p->option_count > 1 && p->answer && n < most)
		out[n++] = quoted_choice(p, "choice_ce");
	if (p->option_count == 0 && p->answer) {
		if (n < most)
			out[n++] = mem_printf("answer_logprob:%s", p->answer);
		if (n < most)
			out[n++] = mem_printf("first_token_logprob:%s", p->answer);
		if (n < most)
			out[n++] = mem_printf("prefix_logprob:%s", p->answer);
	}
	/* A chat answer against the refusals that would take its place; declined topics have the
	 * other behaviour: declining. */
	if (p->refusal_count > 0 && p->answer && n < most) {
		struct strbuf b = {0};
		if (p->has_declined && p->declined)
			strbuf_printf(&b, "first_token_margin:%s|%s", p->refusals[0], p->answer);
		else
			strbuf_printf(&b, "first_token_margin:%s", p->answer);
		for (int i = 0; i < p->refusal_count && !(p->has_declined && p->declined); i++)
			strbuf_printf(&b, "|%s", p->refusals[i]);
		out[n++] = strbuf_take(&b);
	}
	if (p->profession && n < most)
		out[n++] = mem_printf("probe_logit:%s", p->profession);
	return n;
}
