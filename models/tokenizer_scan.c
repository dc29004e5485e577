#include "models/tokenizer_scan.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 100 };

void json_scan_init(struct json_scan *scan, const char *s, size_t n, const char *what)
{
	*scan = (struct json_scan){.s = s, .n = n, .what = what};
}

void json_scan_done(struct json_scan *scan)
{
	strbuf_done(&scan->text);
}

enum status json_scan_fail(const struct json_scan *scan, const char *expected, struct error *error)
{
	char found[8] = "its end";
	if (scan->at < scan->n)
		text_printable(found, 5, scan->s + scan->at, scan->n - scan->at < 4 ? scan->n - scan->at : 4);
	return error_set(error, STATUS_INVALID,
			 "%s is not valid JSON for a tokenizer: found %s%s%s at byte %zu, expected %s", scan->what,
			 scan->at < scan->n ? "\"" : "", found, scan->at < scan->n ? "\"" : "", scan->at, expected);
}

char json_scan_peek(struct json_scan *scan)
{
	while (scan->at < scan->n) {
		char c = scan->s[scan->at];
		if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			return c;
		scan->at++;
	}
	return '\0';
}

enum status json_scan_expect(struct json_scan *scan, char c, struct error *error)
{
	const char wanted[] = {'\'', c, '\'', '\0'};
	if (json_scan_peek(scan) != c || scan->at >= scan->n)
		return json_scan_fail(scan, wanted, error);
	scan->at++;
	return STATUS_OK;
}

/* The four digits of \uXXXX at s[at..n); -1 if they are not. */
static int32_t hex4(const struct json_scan *scan, size_t at)
{
	int32_t value = 0;
	if (scan->n - at < 4)
		return -1;
	for (size_t i = 0; i < 4; i++) {
		char c = scan->s[at + i];
		if (!isxdigit((unsigned char)c))
			return -1;
		value = value * 16 + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
	}
	return value;
}

/* What follows a backslash; scan->at stands behind it. */
static enum status add_escape(struct json_scan *scan, struct error *error)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	char c = scan->at < scan->n ? scan->s[scan->at] : '\0';
	const char *name = c ? strchr(names, c) : NULL;
	if (name) {
		strbuf_add_char(&scan->text, values[name - names]);
		scan->at++;
		return STATUS_OK;
	}
	int32_t code = c == 'u' ? hex4(scan, scan->at + 1) : -1;
	if (code < 0)
		return json_scan_fail(scan, "an escape", error);
	scan->at += 5;
	if (code >= 0xD800 && code <= 0xDFFF) {
		bool pair = code < 0xDC00 && scan->n - scan->at >= 6 && scan->s[scan->at] == '\\' &&
			    scan->s[scan->at + 1] == 'u';
		int32_t low = pair ? hex4(scan, scan->at + 2) : -1;
		if (low < 0xDC00 || low > 0xDFFF)
			return json_scan_fail(scan, "the other half of a surrogate pair", error);
		scan->at += 6;
		code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
	}
	char bytes[4];
	strbuf_add(&scan->text, bytes, utf8_encode(bytes, (uint32_t)code));
	return STATUS_OK;
}

enum status json_scan_string(struct json_scan *scan, const char **s, size_t *n, struct error *error)
{
	if (json_scan_peek(scan) != '"')
		return json_scan_fail(scan, "a string", error);
	size_t start = ++scan->at, plain = start;
	bool escaped = false;
	for (;;) {
		while (scan->at < scan->n && scan->s[scan->at] != '"' && scan->s[scan->at] != '\\' &&
		       (unsigned char)scan->s[scan->at] >= 0x20)
			scan->at++;
		if (scan->at >= scan->n || (unsigned char)scan->s[scan->at] < 0x20)
			return json_scan_fail(scan, "the end of a string", error);
		if (scan->s[scan->at] == '"')
			break;
		if (!escaped)
			strbuf_clear(&scan->text);
		escaped = true;
		strbuf_add(&scan->text, scan->s + plain, scan->at - plain);
		scan->at++;
		enum status status = add_escape(scan, error);
		if (status)
			return status;
		plain = scan->at;
	}
	if (escaped) {
		strbuf_add(&scan->text, scan->s + plain, scan->at - plain);
		*s = scan->text.data;
		*n = scan->text.length;
	} else {
		*s = scan->s + start;
		*n = scan->at - start;
	}
	scan->at++;
	return STATUS_OK;
}

static size_t skip_digits(struct json_scan *scan)
{
	size_t start = scan->at;
	while (scan->at < scan->n && isdigit((unsigned char)scan->s[scan->at]))
		scan->at++;
	return scan->at - start;
}

static bool skip_character(struct json_scan *scan, const char *any_of)
{
	if (scan->at >= scan->n || !scan->s[scan->at] || !strchr(any_of, scan->s[scan->at]))
		return false;
	scan->at++;
	return true;
}

enum status json_scan_number(struct json_scan *scan, double *value, struct error *error)
{
	json_scan_peek(scan);
	size_t start = scan->at;
	skip_character(scan, "-");
	size_t first = scan->at, digits = skip_digits(scan);
	bool ok = digits > 0 && (digits == 1 || scan->s[first] != '0');
	bool whole = first == start;
	if (ok && skip_character(scan, ".")) {
		whole = false;
		ok = skip_digits(scan) > 0;
	}
	if (ok && skip_character(scan, "eE")) {
		whole = false;
		skip_character(scan, "+-");
		ok = skip_digits(scan) > 0;
	}
	size_t length = scan->at - start;
	char digits_text[64];
	if (!ok || length >= sizeof digits_text) {
		scan->at = start;
		return json_scan_fail(scan, "a number", error);
	}
	if (whole && length <= 9) { /* ids: much faster than strtod */
		int32_t id = 0;
		for (size_t i = start; i < scan->at; i++)
			id = id * 10 + (scan->s[i] - '0');
		*value = id;
		return STATUS_OK;
	}
	memcpy(digits_text, scan->s + start, length);
	digits_text[length] = '\0';
	*value = strtod(digits_text, NULL);
	return STATUS_OK;
}

enum status json_scan_next(struct json_scan *scan, char close, bool *first, bool *more, struct error *error)
{
	*more = false;
	if (json_scan_peek(scan) == close) {
		scan->at++;
		return STATUS_OK;
	}
	if (!*first) {
		enum status status = json_scan_expect(scan, ',', error);
		if (status)
			return status;
	}
	*first = false;
	*more = true;
	return STATUS_OK;
}

enum status json_scan_key(struct json_scan *scan, const char **s, size_t *n, struct error *error)
{
	enum status status = json_scan_string(scan, s, n, error);
	return status ? status : json_scan_expect(scan, ':', error);
}

static enum status skip_word(struct json_scan *scan, const char *word, struct error *error)
{
	size_t n = strlen(word);
	if (scan->n - scan->at < n || memcmp(scan->s + scan->at, word, n) != 0)
		return json_scan_fail(scan, "a value", error);
	scan->at += n;
	return STATUS_OK;
}

static enum status skip_value(struct json_scan *scan, int depth, struct error *error)
{
	const char *s;
	size_t n;
	double number;
	char c = json_scan_peek(scan);
	if (c == '"')
		return json_scan_string(scan, &s, &n, error);
	if (c == 't' || c == 'f' || c == 'n')
		return skip_word(scan, c == 't' ? "true" : c == 'f' ? "false" : "null", error);
	if (c != '{' && c != '[')
		return json_scan_number(scan, &number, error);
	if (depth >= DEEPEST)
		return json_scan_fail(scan, "at most 100 levels", error);
	scan->at++;
	enum status status;
	for (bool first = true, more;;) {
		status = json_scan_next(scan, c == '{' ? '}' : ']', &first, &more, error);
		if (!status && more && c == '{')
			status = json_scan_key(scan, &s, &n, error);
		if (!status && more)
			status = skip_value(scan, depth + 1, error);
		if (status || !more)
			return status;
	}
}

enum status json_scan_skip(struct json_scan *scan, struct error *error)
{
	return skip_value(scan, 0, error);
}
