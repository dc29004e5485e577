/* A strict JSON reader that makes no tree. Internal to the tokenizers.
 *
 * A tokenizer.json is a few small components and two big tables, the vocabulary and
 * the merges: up to 17 MB and a million values. The tables are read straight from
 * the text, strings with NUL included; the rest goes through cJSON. */
#ifndef REBOUND_MODELS_TOKENIZER_SCAN_H
#define REBOUND_MODELS_TOKENIZER_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"
#include "compute/base/text.h"

struct json_scan {
	const char *s;
	size_t n, at;
	const char *what;   /* for errors */
	struct strbuf text; /* the last string, if it had escapes */
};

/* The text has to be valid UTF-8. */
void json_scan_init(struct json_scan *scan, const char *s, size_t n, const char *what);
void json_scan_done(struct json_scan *scan);

/* Skips white space; the next character, or '\0' at the end. */
char json_scan_peek(struct json_scan *scan);
/* Skips white space and one `c`, which has to be there. */
enum status WARN_UNUSED json_scan_expect(struct json_scan *scan, char c, struct error *error);
/* A string, unescaped; *s is valid until the next call. */
enum status WARN_UNUSED json_scan_string(struct json_scan *scan, const char **s, size_t *n, struct error *error);
enum status WARN_UNUSED json_scan_number(struct json_scan *scan, double *value, struct error *error);
/* Any value, checked. */
enum status WARN_UNUSED json_scan_skip(struct json_scan *scan, struct error *error);
/* "what is not valid JSON: found X at byte N, expected Y". */
enum status json_scan_fail(const struct json_scan *scan, const char *expected, struct error *error);

/* Members and items: call with *first true before the first one. False at the end,
 * which is taken; else at the next key or item. */
enum status WARN_UNUSED json_scan_next(struct json_scan *scan, char close, bool *first, bool *more,
				       struct error *error);
/* The key of a member, up to its value. */
enum status WARN_UNUSED json_scan_key(struct json_scan *scan, const char **s, size_t *n, struct error *error);

#endif
