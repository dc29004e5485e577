/* Values of the template language, and its filters, tests and methods. */
#include "models/chat_value.h"

#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compute/base/mem.h"
#include "models/tokenizer_regex.h"

bool evaluation_fail(struct evaluation *e, const char *format, ...)
{
	if (!e->status) {
		va_list args;
		va_start(args, format);
		e->status = error_set_v(e->error, STATUS_INVALID, format, args);
		va_end(args);
	}
	return false;
}

struct value value_string(const char *s, size_t n)
{
	return (struct value){.kind = VALUE_STRING, .s = s, .n = n};
}

struct value value_integer(int64_t number)
{
	return (struct value){.kind = VALUE_INTEGER, .number = number};
}

struct value value_boolean(bool b)
{
	return (struct value){.kind = VALUE_BOOLEAN, .number = b};
}

bool value_is(const struct value *v, const char *text)
{
	size_t n = strlen(text);
	return v->kind == VALUE_STRING && v->n == n && memcmp(v->s, text, n) == 0;
}

bool value_truth(const struct value *v)
{
	switch (v->kind) {
	case VALUE_BOOLEAN:
	case VALUE_INTEGER:
		return v->number != 0;
	case VALUE_STRING:
	case VALUE_LIST:
		return v->n > 0;
	case VALUE_MAP:
		return v->map->first != NULL;
	case VALUE_FUNCTION:
		return true;
	case VALUE_UNDEFINED:
	case VALUE_NONE:
		break;
	}
	return false;
}

bool value_equal(const struct value *a, const struct value *b)
{
	bool numbers = (a->kind == VALUE_INTEGER || a->kind == VALUE_BOOLEAN) &&
		       (b->kind == VALUE_INTEGER || b->kind == VALUE_BOOLEAN);
	if (numbers)
		return a->number == b->number;
	if (a->kind != b->kind)
		return false;
	if (a->kind == VALUE_STRING)
		return a->n == b->n && (a->n == 0 || memcmp(a->s, b->s, a->n) == 0);
	if (a->kind == VALUE_LIST) {
		bool equal = a->n == b->n;
		for (size_t i = 0; equal && i < a->n; i++)
			equal = value_equal(&a->items[i], &b->items[i]);
		return equal;
	}
	return a->kind == VALUE_MAP ? a->map == b->map : a->kind != VALUE_FUNCTION;
}

bool value_print(struct evaluation *e, const struct value *v, struct strbuf *out)
{
	switch (v->kind) {
	case VALUE_UNDEFINED:
		return true;
	case VALUE_NONE:
		strbuf_add_string(out, "None");
		return true;
	case VALUE_BOOLEAN:
		strbuf_add_string(out, v->number ? "True" : "False");
		return true;
	case VALUE_INTEGER:
		strbuf_printf(out, "%lld", (long long)v->number);
		return true;
	case VALUE_STRING:
		strbuf_add(out, v->s, v->n);
		return true;
	case VALUE_LIST:
	case VALUE_MAP:
	case VALUE_FUNCTION:
		break;
	}
	return evaluation_fail(e, "printing a list or a mapping is not supported");
}

struct value value_list(struct evaluation *e, size_t n)
{
	return (struct value){.kind = VALUE_LIST, .n = n, .items = arena_alloc(&e->arena, n * sizeof(struct value))};
}

struct value value_new_map(struct evaluation *e)
{
	struct value_map *map = arena_alloc(&e->arena, sizeof *map);
	*map = (struct value_map){0};
	return (struct value){.kind = VALUE_MAP, .map = map};
}

void map_set(struct evaluation *e, struct value *map, const char *key, size_t n, struct value v)
{
	struct value_entry **at = &map->map->first;
	for (; *at; at = &(*at)->next) {
		if ((*at)->key_length == n && memcmp((*at)->key, key, n) == 0) {
			(*at)->value = v;
			return;
		}
	}
	*at = arena_alloc(&e->arena, sizeof **at);
	**at = (struct value_entry){.key = key, .key_length = n, .value = v};
}

struct value map_get(const struct value *map, const char *key, size_t n)
{
	for (const struct value_entry *entry = map->map->first; entry; entry = entry->next)
		if (entry->key_length == n && memcmp(entry->key, key, n) == 0)
			return entry->value;
	return (struct value){0};
}

struct value value_take(struct evaluation *e, struct strbuf *text)
{
	struct value v = value_string(arena_copy(&e->arena, text->data, text->length), text->length);
	strbuf_done(text);
	return v;
}

/* ---- strings ------------------------------------------------------------- */

/* Python's idea of white space. */
static bool is_space(uint32_t code)
{
	return unicode_is_space(code) || (code >= 0x1C && code <= 0x1F);
}

static bool to_strip(uint32_t code, const char *s, size_t width, const struct value *characters)
{
	if (!characters)
		return is_space(code);
	return memmem(characters->s, characters->n, s, width) != NULL;
}

static struct value strip(struct value v, const struct value *characters, bool left, bool right)
{
	size_t start = 0, end = 0;
	uint32_t code = 0;
	bool leading = left;
	for (size_t i = 0, width; i < v.n; i += width) {
		width = utf8_decode(v.s + i, v.n - i, &code);
		width = width ? width : 1;
		bool strips = to_strip(code, v.s + i, width, characters);
		if (leading && strips) {
			start = end = i + width;
			continue;
		}
		leading = false;
		if (!strips || !right)
			end = i + width;
	}
	return value_string(v.s + start, end - start);
}

static struct value change_case(struct evaluation *e, struct value v, const char *how)
{
	char *copy = arena_copy(&e->arena, v.s, v.n);
	for (size_t i = 0; i < v.n; i++) {
		bool upper = how[0] == 'u' || (how[0] != 'l' && i == 0);
		if (upper && copy[i] >= 'a' && copy[i] <= 'z')
			copy[i] = (char)(copy[i] - 32);
		else if (!upper && copy[i] >= 'A' && copy[i] <= 'Z')
			copy[i] = (char)(copy[i] + 32);
	}
	return value_string(copy, v.n);
}

static struct value replace(struct evaluation *e, struct value v, struct value from, struct value to)
{
	struct strbuf text = {0};
	size_t done = 0;
	for (const char *at;
	     from.n > 0 && done < v.n && (at = memmem(v.s + done, v.n - done, from.s, from.n)) != NULL;) {
		strbuf_add(&text, v.s + done, (size_t)(at - v.s) - done);
		strbuf_add(&text, to.s, to.n);
		done = (size_t)(at - v.s) + from.n;
	}
	strbuf_add(&text, v.s + done, v.n - done);
	return value_take(e, &text);
}

static struct value split(struct evaluation *e, struct value v, struct value by)
{
	size_t count = 1, done = 0;
	const char *at;
	for (size_t i = 0; i < v.n && (at = memmem(v.s + i, v.n - i, by.s, by.n)) != NULL; count++)
		i = (size_t)(at - v.s) + by.n;
	struct value list = value_list(e, count);
	for (size_t i = 0; i < count; i++) {
		at = done < v.n ? memmem(v.s + done, v.n - done, by.s, by.n) : NULL;
		size_t end = at ? (size_t)(at - v.s) : v.n;
		list.items[i] = value_string(v.s + done, end - done);
		done = end + by.n;
	}
	return list;
}

static bool is_name(const char *s, size_t n, const char *name)
{
	return n == strlen(name) && memcmp(s, name, n) == 0;
}

static bool named(const struct node *node, const char *name)
{
	return is_name(node->s, node->n, name);
}

/* Methods and filters on a string that go by one name. False if there is none. */
static bool string_operation(struct evaluation *e, const struct node *node, struct value v, const struct value *args,
			     size_t n, struct value *out)
{
	bool one = n == 1 && args[0].kind == VALUE_STRING;
	if ((named(node, "strip") || named(node, "trim")) && (n == 0 || one))
		*out = strip(v, one ? args : NULL, true, true);
	else if (named(node, "lstrip") && (n == 0 || one))
		*out = strip(v, one ? args : NULL, true, false);
	else if (named(node, "rstrip") && (n == 0 || one))
		*out = strip(v, one ? args : NULL, false, true);
	else if ((named(node, "upper") || named(node, "lower") || named(node, "capitalize")) && n == 0)
		*out = change_case(e, v, node->s);
	else if (named(node, "replace") && n == 2 && args[0].kind == VALUE_STRING && args[1].kind == VALUE_STRING)
		*out = replace(e, v, args[0], args[1]);
	else if (named(node, "split") && one && args[0].n > 0)
		*out = split(e, v, args[0]);
	else if (named(node, "startswith") && one)
		*out = value_boolean(v.n >= args[0].n && memcmp(v.s, args[0].s, args[0].n) == 0);
	else if (named(node, "endswith") && one)
		*out = value_boolean(v.n >= args[0].n && memcmp(v.s + v.n - args[0].n, args[0].s, args[0].n) == 0);
	else
		return false;
	return true;
}

static size_t count_characters(const struct value *v)
{
	size_t count = 0;
	for (size_t i = 0; i < v->n; i++)
		count += ((unsigned char)v->s[i] & 0xC0) != 0x80;
	return count;
}

static bool join(struct evaluation *e, const struct value *list, const struct value *between, struct value *out)
{
	struct strbuf text = {0};
	for (size_t i = 0; i < list->n && !e->status; i++) {
		if (i > 0 && between)
			strbuf_add(&text, between->s, between->n);
		value_print(e, &list->items[i], &text);
	}
	*out = value_take(e, &text);
	return !e->status;
}

/* selectattr(name), selectattr(name, "equalto", value), and rejectattr. */
static bool select_by_attribute(struct evaluation *e, const struct node *node, const struct value *list,
				const struct value *args, size_t n, struct value *out)
{
	bool by_value =
		n == 3 && (value_is(&args[1], "equalto") || value_is(&args[1], "==") || value_is(&args[1], "eq"));
	if (!(n == 1 || by_value) || args[0].kind != VALUE_STRING)
		return evaluation_fail(e, "the filter \"%.*s\" like this is not supported", (int)node->n, node->s);
	*out = value_list(e, list->n);
	out->n = 0;
	for (size_t i = 0; i < list->n; i++) {
		struct value v = {0};
		if (list->items[i].kind == VALUE_MAP)
			v = map_get(&list->items[i], args[0].s, args[0].n);
		bool hit = by_value ? value_equal(&v, &args[2]) : value_truth(&v);
		if (hit == named(node, "selectattr"))
			out->items[out->n++] = list->items[i];
	}
	return true;
}

bool apply_filter(struct evaluation *e, const struct node *node, struct value v, const struct value *args, size_t n,
		  struct value *out)
{
	if (v.kind == VALUE_STRING && string_operation(e, node, v, args, n, out))
		return true;
	if ((named(node, "length") || named(node, "count")) && v.kind == VALUE_STRING) {
		*out = value_integer((int64_t)count_characters(&v));
	} else if ((named(node, "length") || named(node, "count")) && v.kind == VALUE_LIST) {
		*out = value_integer((int64_t)v.n);
	} else if ((named(node, "default") || named(node, "d")) && n >= 1) {
		bool falsy = n > 1 && value_truth(&args[1]) && !value_truth(&v);
		*out = v.kind == VALUE_UNDEFINED || falsy ? args[0] : v;
	} else if ((named(node, "first") || named(node, "last")) && v.kind == VALUE_LIST) {
		*out = v.n ? v.items[named(node, "first") ? 0 : v.n - 1] : (struct value){0};
	} else if ((named(node, "selectattr") || named(node, "rejectattr")) && v.kind == VALUE_LIST) {
		return select_by_attribute(e, node, &v, args, n, out);
	} else if (named(node, "list") && v.kind == VALUE_LIST) {
		*out = v;
	} else if (named(node, "join") && v.kind == VALUE_LIST && (n == 0 || args[0].kind == VALUE_STRING)) {
		return join(e, &v, n ? args : NULL, out);
	} else if (named(node, "string") && v.kind != VALUE_LIST && v.kind != VALUE_MAP) {
		struct strbuf text = {0};
		value_print(e, &v, &text);
		*out = value_take(e, &text);
	} else if (named(node, "safe")) {
		*out = v;
	} else {
		return evaluation_fail(e, "the filter \"%.*s\" on such a value is not supported", (int)node->n,
				       node->s);
	}
	return true;
}

bool apply_test(struct evaluation *e, const struct node *node, const struct value *v, const struct value *args,
		size_t n, bool *out)
{
	if (named(node, "defined"))
		*out = v->kind != VALUE_UNDEFINED;
	else if (named(node, "undefined"))
		*out = v->kind == VALUE_UNDEFINED;
	else if (named(node, "none"))
		*out = v->kind == VALUE_NONE;
	else if (named(node, "string"))
		*out = v->kind == VALUE_STRING;
	else if (named(node, "mapping"))
		*out = v->kind == VALUE_MAP;
	else if (named(node, "iterable") || named(node, "sequence"))
		*out = v->kind == VALUE_STRING || v->kind == VALUE_LIST || v->kind == VALUE_MAP;
	else if (named(node, "boolean"))
		*out = v->kind == VALUE_BOOLEAN;
	else if (named(node, "number") || named(node, "integer"))
		*out = v->kind == VALUE_INTEGER || (v->kind == VALUE_BOOLEAN && named(node, "number"));
	else if (named(node, "true") || named(node, "false"))
		*out = v->kind == VALUE_BOOLEAN && v->number == named(node, "true");
	else if ((named(node, "equalto") || named(node, "eq")) && n == 1)
		*out = value_equal(v, args);
	else
		return evaluation_fail(e, "the test \"%.*s\" is not supported", (int)node->n, node->s);
	return true;
}

/* [[key, value], ...] */
static struct value map_items(struct evaluation *e, const struct value *map)
{
	size_t count = 0;
	for (const struct value_entry *entry = map->map->first; entry; entry = entry->next)
		count++;
	struct value list = value_list(e, count);
	const struct value_entry *entry = map->map->first;
	for (size_t i = 0; i < count; i++, entry = entry->next) {
		list.items[i] = value_list(e, 2);
		list.items[i].items[0] = value_string(entry->key, entry->key_length);
		list.items[i].items[1] = entry->value;
	}
	return list;
}

bool apply_method(struct evaluation *e, const struct node *node, const struct value *v, const struct value *args,
		  size_t n, struct value *out)
{
	if (v->kind == VALUE_STRING && !named(node, "trim") && string_operation(e, node, *v, args, n, out))
		return true;
	if (v->kind == VALUE_MAP && named(node, "get") && (n == 1 || n == 2) && args[0].kind == VALUE_STRING) {
		*out = map_get(v, args[0].s, args[0].n);
		if (out->kind == VALUE_UNDEFINED)
			*out = n == 2 ? args[1] : (struct value){.kind = VALUE_NONE};
		return true;
	}
	if (v->kind == VALUE_MAP && named(node, "items") && n == 0) {
		*out = map_items(e, v);
		return true;
	}
	return evaluation_fail(e, "the method \"%.*s\" on such a value is not supported", (int)node->n, node->s);
}

/* Today by the clock, with English names whatever the locale. */
static bool today(struct evaluation *e, const struct value *format, struct value *out)
{
	char text[200], pattern[64];
	time_t now = time(NULL);
	struct tm parts;
	if (format->n == 0 || format->n >= sizeof pattern || !localtime_r(&now, &parts))
		return evaluation_fail(e, "such a date format is not supported");
	memcpy(pattern, format->s, format->n);
	pattern[format->n] = '\0';
	locale_t english = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	size_t n = english ? strftime_l(text, sizeof text, pattern, &parts, english) : 0;
	if (english)
		freelocale(english);
	*out = value_string(arena_copy(&e->arena, text, n), n);
	return true;
}

bool apply_function(struct evaluation *e, const struct value *function, const struct value *args, size_t n,
		    struct value *out)
{
	bool one_string = n == 1 && args[0].kind == VALUE_STRING;
	if (is_name(function->s, function->n, "raise_exception") && one_string) {
		char reason[400];
		text_printable(reason, sizeof reason, args[0].s, args[0].n);
		return evaluation_fail(e, "the chat template refuses these messages: %s", reason);
	}
	if (is_name(function->s, function->n, "strftime_now") && one_string)
		return today(e, args, out);
	if (is_name(function->s, function->n, "range") && n == 1 && args[0].kind == VALUE_INTEGER) {
		int64_t count = args[0].number > 0 ? args[0].number : 0;
		if (count > 10000)
			return evaluation_fail(e, "a range of %lld is not supported", (long long)count);
		*out = value_list(e, (size_t)count);
		for (int64_t i = 0; i < count; i++)
			out->items[i] = value_integer(i);
		return true;
	}
	return evaluation_fail(e, "calling \"%.*s\" like this is not supported", (int)function->n, function->s);
}
