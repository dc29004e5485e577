#include "compute/base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"

/* cJSON's own nesting limit is 1,000, deep enough to be slow to free and to check
 * recursively; what we read never needs more than a few levels. */
static bool too_deep(const char *text, size_t n)
{
	int depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > 100)
				return true;
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return false;
}

enum status json_parse(cJSON **out, const char *text, size_t n, const char *what, struct error *error)
{
	*out = NULL;
	if (!utf8_valid(text, n))
		return error_set(error, STATUS_INVALID, "%s is not valid UTF-8, so it is not JSON", what);
	if (too_deep(text, n))
		return error_set(error, STATUS_INVALID, "%s nests more than 100 levels deep", what);
	const char *end = text;
	cJSON *value = cJSON_ParseWithLengthOpts(text, n, &end, false);
	if (!value) {
		size_t at = end >= text && (size_t)(end - text) <= n ? (size_t)(end - text) : n;
		size_t line = 1;
		for (size_t i = 0; i < at; i++)
			line += text[i] == '\n';
		return error_set(error, STATUS_INVALID, "%s is not valid JSON: error at byte %zu (line %zu)", what, at,
				 line);
	}
	for (size_t i = (size_t)(end - text); i < n; i++) {
		if (strchr(" \t\r\n", text[i]) && text[i])
			continue;
		cJSON_Delete(value);
		return error_set(error, STATUS_INVALID, "%s has text behind its JSON value, at byte %zu", what, i);
	}
	*out = value;
	return STATUS_OK;
}

enum status json_read(cJSON **out, const char *path, size_t limit, struct error *error)
{
	*out = NULL;
	char *text;
	size_t n;
	enum status status = file_read(&text, &n, path, limit, error);
	if (status)
		return status;
	char *what = mem_printf("'%s'", path);
	status = json_parse(out, text, n, what, error);
	free(what);
	free(text);
	return status;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum status json_check_duplicates(const cJSON *value, const char *what, struct error *error)
{
	size_t n = 0, i = 0;
	for (const cJSON *child = value->child; child; child = child->next) {
		n++;
		if (child->child) {
			enum status status = json_check_duplicates(child, what, error);
			if (status)
				return status;
		}
	}
	if (!cJSON_IsObject(value) || n < 2)
		return STATUS_OK;
	const char **keys = mem_alloc(n, sizeof *keys);
	for (const cJSON *child = value->child; child; child = child->next)
		keys[i++] = child->string;
	qsort(keys, n, sizeof *keys, compare_strings);
	enum status status = STATUS_OK;
	for (i = 1; i < n && status == STATUS_OK; i++)
		if (strcmp(keys[i - 1], keys[i]) == 0)
			status = error_set(error, STATUS_INVALID, "%s has the key \"%s\" twice", what, keys[i]);
	free(keys);
	return status;
}

bool json_has(const cJSON *object, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(object, key) != NULL;
}

const cJSON *json_member(const cJSON *object, const char *key)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, key);
	return member && !cJSON_IsNull(member) ? member : NULL;
}

static enum status wrong_type(const cJSON *member, const char *key, const char *expected, const char *what,
			      struct error *error)
{
	char *found = cJSON_PrintUnformatted(member);
	enum status status = error_set(error, STATUS_INVALID, "%s: \"%s\" is %.60s; expected %s", what, key,
				       found ? found : "unreadable", expected);
	cJSON_free(found);
	return status;
}

enum status json_get_double(const cJSON *object, const char *key, double *out, const char *what, struct error *error)
{
	const cJSON *member = json_member(object, key);
	if (!member)
		return STATUS_OK;
	if (!cJSON_IsNumber(member) || !isfinite(member->valuedouble))
		return wrong_type(member, key, "a finite number", what, error);
	*out = member->valuedouble;
	return STATUS_OK;
}

enum status json_get_int(const cJSON *object, const char *key, int64_t least, int64_t most, int64_t *out,
			 const char *what, struct error *error)
{
	const cJSON *member = json_member(object, key);
	if (!member)
		return STATUS_OK;
	double value = member->valuedouble;
	if (!cJSON_IsNumber(member) || !(fabs(value) <= 9007199254740992.0) || value != floor(value) ||
	    (int64_t)value < least || (int64_t)value > most) {
		char range[80];
		snprintf(range, sizeof range, "a whole number from %lld to %lld", (long long)least, (long long)most);
		return wrong_type(member, key, range, what, error);
	}
	*out = (int64_t)value;
	return STATUS_OK;
}

enum status json_get_bool(const cJSON *object, const char *key, bool *out, const char *what, struct error *error)
{
	const cJSON *member = json_member(object, key);
	if (!member)
		return STATUS_OK;
	if (!cJSON_IsBool(member))
		return wrong_type(member, key, "true or false", what, error);
	*out = cJSON_IsTrue(member);
	return STATUS_OK;
}

enum status json_get_string(const cJSON *object, const char *key, const char **out, const char *what,
			    struct error *error)
{
	const cJSON *member = json_member(object, key);
	if (!member)
		return STATUS_OK;
	if (!cJSON_IsString(member))
		return wrong_type(member, key, "a string", what, error);
	*out = member->valuestring;
	return STATUS_OK;
}
