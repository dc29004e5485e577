#include "models/tokenizer_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"

enum { JSON_LIMIT = 256 << 20 };

static bool uses_character(const char *text, size_t n, const char *bytes, unsigned code)
{
	if (memmem(text, n, bytes, 3))
		return true;
	char escape[8];
	snprintf(escape, sizeof escape, "\\u%04x", code);
	for (size_t i = 0; i + 6 <= n; i++)
		if (text[i] == '\\' && strncasecmp(text + i, escape, 6) == 0)
			return true;
	return false;
}

static bool has_nul_escape(const char *text, size_t n)
{
	return memmem(text, n, "\\u0000", 6) != NULL;
}

/* Writes the escape of the noncharacter over each escape of NUL. */
static void replace_nul(char *text, size_t n, unsigned code)
{
	char escape[8];
	snprintf(escape, sizeof escape, "\\u%04x", code);
	for (size_t i = 0; i + 1 < n; i++) {
		if (text[i] != '\\')
			continue;
		if (i + 6 <= n && memcmp(text + i, "\\u0000", 6) == 0)
			memcpy(text + i, escape, 6);
		i++; /* whatever is escaped does not start another escape */
	}
}

enum status json_source_parse(struct json_source *source, char *text, size_t n, const char *what, struct error *error)
{
	*source = (struct json_source){.what = mem_strdup(what), .size = n};
	if (n > 0 && memchr(text, '\0', n))
		return error_set(error, STATUS_INVALID, "%s is not valid JSON: it holds a NUL byte", what);
	if (has_nul_escape(text, n)) {
		for (unsigned code = 0xFDD0; code <= 0xFDEF && source->nul[0] == '\0'; code++) {
			char bytes[4] = {0};
			utf8_encode(bytes, code);
			if (uses_character(text, n, bytes, code))
				continue;
			memcpy(source->nul, bytes, sizeof bytes);
			replace_nul(text, n, code);
		}
		if (source->nul[0] == '\0')
			return error_set(error, STATUS_INVALID, "%s uses \\u0000 and every noncharacter", what);
	}
	enum status status = json_parse(&source->root, text, n, what, error);
	if (status == STATUS_OK && !cJSON_IsObject(source->root))
		status = error_set(error, STATUS_INVALID, "%s is not a JSON object", what);
	return status;
}

enum status json_source_read(struct json_source *source, const char *path, struct error *error)
{
	*source = (struct json_source){0};
	char *text;
	size_t n;
	enum status status = file_read(&text, &n, path, JSON_LIMIT, error);
	if (status)
		return status;
	char *what = mem_printf("'%s'", path);
	status = json_source_parse(source, text, n, what, error);
	free(what);
	free(text);
	return status;
}

void json_source_done(struct json_source *source)
{
	cJSON_Delete(source->root);
	free(source->what);
	strbuf_done(&source->text);
	*source = (struct json_source){0};
}

const char *json_source_text(struct json_source *source, const char *string, size_t *n)
{
	*n = strlen(string);
	if (source->nul[0] == '\0' || !strstr(string, source->nul))
		return string;
	strbuf_clear(&source->text);
	for (const char *mark; (mark = strstr(string, source->nul)) != NULL; string = mark + 3) {
		strbuf_add(&source->text, string, (size_t)(mark - string));
		strbuf_add_char(&source->text, '\0');
	}
	strbuf_add_string(&source->text, string);
	*n = source->text.length;
	return source->text.data;
}

const char *json_type(const cJSON *component)
{
	const cJSON *type = json_member(component, "type");
	return cJSON_IsString(type) ? type->valuestring : "";
}
