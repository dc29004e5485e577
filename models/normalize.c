#include "models/normalize.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "compute/base/mem.h"

enum step_kind { STEP_FORM, STEP_PREPEND, STEP_REPLACE, STEP_STRIP };

struct normalizer_step {
	enum step_kind kind;
	enum normal_form form;
	bool strip_left, strip_right;
	struct text_pattern pattern;
	struct strbuf text; /* what is put in front or instead */
};

enum status text_pattern_load(struct text_pattern *pattern, const cJSON *component, struct json_source *source,
			      const char *where, struct error *error)
{
	const cJSON *value = json_member(component, "pattern");
	const cJSON *literal = cJSON_IsString(value) ? value : json_member(value, "String");
	const cJSON *regex = json_member(value, "Regex");
	size_t n;
	if (cJSON_IsString(regex)) {
		const char *s = json_source_text(source, regex->valuestring, &n);
		char *what = mem_printf("%s: %s", source->what, where);
		enum status status = regex_compile(&pattern->regex, s, n, what, error);
		free(what);
		return status;
	}
	if (!cJSON_IsString(literal))
		return error_set(error, STATUS_INVALID,
				 "%s: the pattern of %s is neither {\"String\": ...} nor {\"Regex\": ...}",
				 source->what, where);
	const char *s = json_source_text(source, literal->valuestring, &n);
	if (n == 0)
		return error_set(error, STATUS_INVALID, "%s: the pattern of %s is empty", source->what, where);
	strbuf_add(&pattern->literal, s, n);
	return STATUS_OK;
}

void text_pattern_done(struct text_pattern *pattern)
{
	strbuf_done(&pattern->literal);
	regex_destroy(&pattern->regex);
}

static void search_literal(const struct strbuf *literal, const char *s, size_t n, size_t from, bool *found,
			   size_t *start, size_t *end)
{
	const char *at = n > from ? memmem(s + from, n - from, literal->data, literal->length) : NULL;
	*found = at != NULL;
	if (at) {
		*start = (size_t)(at - s);
		*end = *start + literal->length;
	}
}

enum status text_pattern_search(const struct text_pattern *pattern, struct regex_scratch *scratch, const char *s,
				size_t n, struct text_cursor *cursor, bool *found, size_t *start, size_t *end,
				struct error *error)
{
	enum status status = STATUS_OK;
	*found = false;
	while (cursor->from <= n) {
		if (pattern->regex)
			status = regex_search(pattern->regex, scratch, s, n, cursor->from, found, start, end, error);
		else
			search_literal(&pattern->literal, s, n, cursor->from, found, start, end);
		if (status || !*found)
			return status;
		if (*end > *start || *end != cursor->last_end) {
			cursor->from = cursor->last_end = *end;
			return STATUS_OK;
		}
		*found = false;
		uint32_t code;
		size_t step = cursor->from < n ? utf8_decode(s + cursor->from, n - cursor->from, &code) : 1;
		cursor->from += step ? step : 1;
	}
	return STATUS_OK;
}

enum status text_pattern_replace(const struct text_pattern *pattern, struct regex_scratch *scratch, const char *s,
				 size_t n, const char *with, size_t with_n, struct strbuf *out, struct error *error)
{
	struct text_cursor cursor = TEXT_CURSOR_START;
	size_t done = 0;
	for (;;) {
		bool found;
		size_t start, end;
		enum status status = text_pattern_search(pattern, scratch, s, n, &cursor, &found, &start, &end, error);
		if (status)
			return status;
		if (!found)
			break;
		strbuf_add(out, s + done, start - done);
		strbuf_add(out, with, with_n);
		done = end;
	}
	if (n > done)
		strbuf_add(out, s + done, n - done);
	return STATUS_OK;
}

static struct normalizer_step *add_step(struct normalizer *normalizer, enum step_kind kind)
{
	mem_reserve((void **)&normalizer->steps, &normalizer->capacity, normalizer->count + 1,
		    sizeof *normalizer->steps);
	struct normalizer_step *step = &normalizer->steps[normalizer->count++];
	*step = (struct normalizer_step){.kind = kind};
	return step;
}

void normalizer_add_form(struct normalizer *normalizer, enum normal_form form)
{
	add_step(normalizer, STEP_FORM)->form = form;
}

static enum status load_text(struct strbuf *out, const cJSON *component, const char *key, struct json_source *source,
			     const char *where, struct error *error)
{
	const cJSON *value = json_member(component, key);
	if (!cJSON_IsString(value))
		return error_set(error, STATUS_INVALID, "%s: %s has no string \"%s\"", source->what, where, key);
	size_t n;
	const char *s = json_source_text(source, value->valuestring, &n);
	strbuf_add(out, s, n);
	return STATUS_OK;
}

static enum status load_sequence(struct normalizer *normalizer, const cJSON *component, struct json_source *source,
				 struct error *error)
{
	const cJSON *list = json_member(component, "normalizers");
	if (!cJSON_IsArray(list))
		return error_set(error, STATUS_INVALID, "%s: the normalizer Sequence has no array \"normalizers\"",
				 source->what);
	enum status status = STATUS_OK;
	for (const cJSON *item = list->child; item && !status; item = item->next)
		status = normalizer_load(normalizer, item, source, error);
	return status;
}

enum status normalizer_load(struct normalizer *normalizer, const cJSON *component, struct json_source *source,
			    struct error *error)
{
	static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
	if (!component || cJSON_IsNull(component))
		return STATUS_OK;
	const char *type = json_type(component);
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (strcmp(type, forms[i]) == 0) {
			normalizer_add_form(normalizer, (enum normal_form)i);
			return STATUS_OK;
		}
	}
	if (strcmp(type, "Sequence") == 0)
		return load_sequence(normalizer, component, source, error);
	if (strcmp(type, "Prepend") == 0)
		return load_text(&add_step(normalizer, STEP_PREPEND)->text, component, "prepend", source,
				 "the normalizer Prepend", error);
	if (strcmp(type, "Replace") == 0) {
		struct normalizer_step *step = add_step(normalizer, STEP_REPLACE);
		enum status status =
			text_pattern_load(&step->pattern, component, source, "the normalizer Replace", error);
		return status ? status
			      : load_text(&step->text, component, "content", source, "the normalizer Replace", error);
	}
	if (strcmp(type, "Strip") == 0) {
		struct normalizer_step *step = add_step(normalizer, STEP_STRIP);
		enum status status = json_get_bool(component, "strip_left", &step->strip_left, source->what, error);
		return status ? status
			      : json_get_bool(component, "strip_right", &step->strip_right, source->what, error);
	}
	return error_set(error, STATUS_INVALID, "%s: the normalizer \"%.60s\" is not implemented", source->what, type);
}

void normalizer_done(struct normalizer *normalizer)
{
	for (size_t i = 0; i < normalizer->count; i++) {
		text_pattern_done(&normalizer->steps[i].pattern);
		strbuf_done(&normalizer->steps[i].text);
	}
	free(normalizer->steps);
	*normalizer = (struct normalizer){0};
}

/* Puts each run of combining marks in the order of their classes, keeping the
 * order of equals: a counting sort, so that a long run costs no square. */
static void order_marks(utf8proc_int32_t *codes, size_t n)
{
	utf8proc_int32_t *copy = NULL;
	size_t capacity = 0;
	for (size_t i = 0; i < n;) {
		size_t end = i, out_of_order = 0;
		int previous = 0;
		for (; end < n; end++) {
			int class = utf8proc_get_property(codes[end])->combining_class;
			if (class == 0)
				break;
			out_of_order += class < previous;
			previous = class;
		}
		if (out_of_order > 0) {
			size_t starts[257] = {0};
			mem_reserve((void **)&copy, &capacity, end - i, sizeof *copy);
			for (size_t k = i; k < end; k++) {
				copy[k - i] = codes[k];
				starts[(utf8proc_get_property(codes[k])->combining_class & 0xFF) + 1]++;
			}
			for (size_t c = 1; c < 257; c++)
				starts[c] += starts[c - 1];
			for (size_t k = 0; k < end - i; k++)
				codes[i + starts[utf8proc_get_property(copy[k])->combining_class & 0xFF]++] = copy[k];
		}
		i = end + 1;
	}
	free(copy);
}

void normal_form_apply(enum normal_form form, const char *s, size_t n, struct strbuf *out)
{
	size_t ascii = 0;
	while (ascii < n && (unsigned char)s[ascii] < 0x80)
		ascii++;
	if (ascii == n) {
		strbuf_add(out, s, n);
		return;
	}
	bool compose = form == NORMAL_FORM_NFC || form == NORMAL_FORM_NFKC;
	bool compat = form == NORMAL_FORM_NFKC || form == NORMAL_FORM_NFKD;
	utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
	utf8proc_int32_t *codes = NULL;
	size_t count = 0, capacity = 0;
	uint32_t code;
	for (size_t i = 0, step; i < n; i += step) {
		step = utf8_decode(s + i, n - i, &code);
		if (step == 0) {
			step = 1;
			code = 0xFFFD;
		}
		/* The longest decomposition has 18 characters. */
		mem_reserve((void **)&codes, &capacity, count + 32, sizeof *codes);
		int boundary = 0;
		utf8proc_ssize_t got =
			utf8proc_decompose_char((utf8proc_int32_t)code, codes + count, 32, options, &boundary);
		if (got < 0 || got > 32) {
			codes[count] = (utf8proc_int32_t)code;
			got = 1;
		}
		count += (size_t)got;
	}
	order_marks(codes, count);
	if (compose) {
		utf8proc_ssize_t left =
			utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
		if (left >= 0)
			count = (size_t)left;
	}
	for (size_t i = 0; i < count; i++) {
		char bytes[4];
		strbuf_add(out, bytes, utf8_encode(bytes, (uint32_t)codes[i]));
	}
	free(codes);
}

static void strip(const struct normalizer_step *step, const char *s, size_t n, struct strbuf *out)
{
	size_t start = 0, end = 0;
	bool leading = step->strip_left;
	uint32_t code;
	for (size_t i = 0, width; i < n; i += width) {
		width = utf8_decode(s + i, n - i, &code);
		width = width ? width : 1;
		bool space = unicode_is_space(code);
		if (leading && space) {
			start = end = i + width;
			continue;
		}
		leading = false;
		if (!space || !step->strip_right)
			end = i + width;
	}
	strbuf_add(out, s + start, end > start ? end - start : 0);
}

static enum status apply_step(const struct normalizer_step *step, struct regex_scratch *scratch, const char *s,
			      size_t n, struct strbuf *out, struct error *error)
{
	switch (step->kind) {
	case STEP_FORM:
		normal_form_apply(step->form, s, n, out);
		break;
	case STEP_PREPEND:
		if (n > 0)
			strbuf_add(out, step->text.data, step->text.length);
		strbuf_add(out, s, n);
		break;
	case STEP_REPLACE:
		return text_pattern_replace(&step->pattern, scratch, s, n, step->text.data, step->text.length, out,
					    error);
	case STEP_STRIP:
		strip(step, s, n, out);
		break;
	}
	return STATUS_OK;
}

enum status normalizer_apply(const struct normalizer *normalizer, struct regex_scratch *scratch, const char *s,
			     size_t n, struct strbuf *out, struct error *error)
{
	if (normalizer->count == 1)
		return apply_step(&normalizer->steps[0], scratch, s, n, out, error);
	struct strbuf from = {0}, to = {0};
	strbuf_add(&from, s, n);
	enum status status = STATUS_OK;
	for (size_t i = 0; i < normalizer->count && !status; i++) {
		strbuf_clear(&to);
		status = apply_step(&normalizer->steps[i], scratch, from.data, from.length, &to, error);
		struct strbuf swap = from;
		from = to;
		to = swap;
	}
	if (!status)
		strbuf_add(out, from.data, from.length);
	strbuf_done(&from);
	strbuf_done(&to);
	return status;
}
