/* Normalizers of tokenizer.json: what happens to a text before it is cut up. */
#ifndef REBOUND_MODELS_NORMALIZE_H
#define REBOUND_MODELS_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/base/text.h"
#include "models/tokenizer_json.h"
#include "models/tokenizer_regex.h"

/* A literal or a regular expression, as Replace and Split have it. */
struct text_pattern {
	struct strbuf literal; /* if regex is NULL */
	struct regex *regex;
};
/* Reads {"String": ...} or {"Regex": ...}. `where` names the component. */
enum status WARN_UNUSED text_pattern_load(struct text_pattern *pattern, const cJSON *component,
					  struct json_source *source, const char *where, struct error *error);
void text_pattern_done(struct text_pattern *pattern);
/* Where a search through one text has got to. Initialise with TEXT_CURSOR_START. */
struct text_cursor {
	size_t from, last_end;
};
#define TEXT_CURSOR_START ((struct text_cursor){0, SIZE_MAX})
/* The next match in s[0..n). It may be empty, but not where the last one ended. */
enum status WARN_UNUSED text_pattern_search(const struct text_pattern *pattern, struct regex_scratch *scratch,
					    const char *s, size_t n, struct text_cursor *cursor, bool *found,
					    size_t *start, size_t *end, struct error *error);
/* Appends s[0..n) with every match replaced. */
enum status WARN_UNUSED text_pattern_replace(const struct text_pattern *pattern, struct regex_scratch *scratch,
					     const char *s, size_t n, const char *with, size_t with_n,
					     struct strbuf *out, struct error *error);

struct normalizer_step;
/* A sequence of steps; {0} changes nothing. */
struct normalizer {
	struct normalizer_step *steps;
	size_t count, capacity;
};
/* `component` may be NULL. An unknown type is an error that names it. */
enum status WARN_UNUSED normalizer_load(struct normalizer *normalizer, const cJSON *component,
					struct json_source *source, struct error *error);
enum normal_form { NORMAL_FORM_NFC, NORMAL_FORM_NFD, NORMAL_FORM_NFKC, NORMAL_FORM_NFKD };
void normalizer_add_form(struct normalizer *normalizer, enum normal_form form);
void normalizer_done(struct normalizer *normalizer);

/* Appends the normalised s[0..n), which is valid UTF-8, to *out. */
enum status WARN_UNUSED normalizer_apply(const struct normalizer *normalizer, struct regex_scratch *scratch,
					 const char *s, size_t n, struct strbuf *out, struct error *error);

/* Appends one of Unicode's normal forms of s[0..n). Linear in n up to a sort of
 * combining marks. */
void normal_form_apply(enum normal_form form, const char *s, size_t n, struct strbuf *out);

#endif
