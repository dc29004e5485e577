/* The regular expressions of tokenizer files, run on PCRE2. Internal to the
 * tokenizers.
 *
 * The files are written for Oniguruma. Where the two differ in meaning the pattern
 * is rewritten: \s and \S to Unicode's White_Space (PCRE2 adds U+180E), \w and \W
 * to Alphabetic, M, Nd and Pc, scripts to the plain Script property. Constructs whose
 * meaning differs and that no known tokenizer uses are refused. */
#ifndef REBOUND_MODELS_TOKENIZER_REGEX_H
#define REBOUND_MODELS_TOKENIZER_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"

struct regex;

/* `what` names the place in the error. */
enum status WARN_UNUSED regex_compile(struct regex **out, const char *pattern, size_t n, const char *what,
				      struct error *error);
void regex_destroy(struct regex **regex);

/* Working memory of one thread, for any number of expressions. Initialise with {0}. */
struct regex_scratch {
	void *match; /* pcre2_match_data */
};
void regex_scratch_done(struct regex_scratch *scratch);

/* The first match in s[from..n), which has to be valid UTF-8: *found says whether
 * there is one. Fails only where the engine's limits are reached. */
enum status WARN_UNUSED regex_search(const struct regex *regex, struct regex_scratch *scratch, const char *s, size_t n,
				     size_t from, bool *found, size_t *start, size_t *end, struct error *error);

/* Unicode's White_Space property, and the word characters of the reference. */
bool unicode_is_space(uint32_t code);
bool unicode_is_word(uint32_t code);

#endif
