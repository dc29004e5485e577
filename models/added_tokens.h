/* Added tokens: strings that become one id wherever they stand in a text, before
 * the model sees it. The matching follows the tokenizers library to the letter. */
#ifndef REBOUND_MODELS_ADDED_TOKENS_H
#define REBOUND_MODELS_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "models/normalize.h"
#include "models/tokenizer_trie.h"
#include "models/tokenizer_vocab.h"

struct added_token {
	int32_t id;
	bool single_word;    /* only where its neighbours are not word characters */
	bool lstrip, rstrip; /* the match takes adjacent white space in */
	bool normalized;     /* searched in the normalised text, in normalised form */
	bool special;	     /* skipped on decoding; not recognised where not asked */
};

/* Initialise with {0}. */
struct added_tokens {
	struct added_token *tokens;
	size_t count, capacity;
	struct vocab names; /* text of token i under "id" i */
	int32_t *by_id;	    /* index into tokens, or -1 */
	size_t by_id_size;
	size_t next_id;		     /* largest id + 1 */
	struct trie raw, normalised; /* values are indices into tokens */
};

/* False if the text is empty or there already (then the flags are replaced if
 * the id is the same, as the library does). */
bool added_tokens_add(struct added_tokens *added, struct added_token token, const char *s, size_t n);
/* After the last addition. Two tokens with one id are an error. */
enum status WARN_UNUSED added_tokens_prepare(struct added_tokens *added, const struct normalizer *normalizer,
					     struct error *error);
/* NULL if the id is not that of an added token. */
const struct added_token *added_tokens_get(const struct added_tokens *added, int32_t id, const char **s, size_t *n);
/* The id, or -1. */
int32_t added_tokens_find(const struct added_tokens *added, const char *s, size_t n);
void added_tokens_done(struct added_tokens *added);

/* A stretch of text: one added token, or id -1 for what lies between. */
struct text_span {
	int32_t id;
	size_t start, end;
};
struct span_list {
	struct text_span *spans;
	size_t count, capacity;
};
void span_list_done(struct span_list *list);

/* Cuts s[0..n) at the tokens of one kind, `normalised` or raw; *out is replaced. */
void added_tokens_split(const struct added_tokens *added, bool normalised, bool recognise_special, const char *s,
			size_t n, struct span_list *out);

#endif
