/* Decoders of tokenizer.json: from the names of tokens back to text. Internal to
 * the tokenizers. */
#ifndef REBOUND_MODELS_TOKENIZER_DECODE_H
#define REBOUND_MODELS_TOKENIZER_DECODE_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"
#include "compute/base/text.h"
#include "models/tokenizer_json.h"

/* The chains that the families use all reduce to this. */
enum decoder_kind {
	DECODER_SPACES,	    /* no decoder: names with a space between them */
	DECODER_BYTE_LEVEL, /* the byte alphabet inverted */
	DECODER_PIECES,	    /* replacements, byte tokens, stripping; see the members */
};

struct decoder_replacement {
	struct strbuf from, to;
};

struct decoder {
	enum decoder_kind kind;
	struct decoder_replacement *replacements; /* applied in turn to each name */
	size_t replacement_count, replacement_capacity;
	bool byte_fallback; /* <0xHH> is a byte */
	/* Metaspace: this character is a space, and nothing in the first token if
	 * drop_first. Empty: none. */
	struct strbuf metaspace;
	bool drop_first;
	struct strbuf strip; /* the character to strip, one character */
	size_t strip_start;  /* at most so many at the start of the whole text */
};

/* `component` may be NULL. A chain that does not reduce to the above is an error
 * that names the step. */
enum status WARN_UNUSED decoder_load(struct decoder *decoder, const cJSON *component, struct json_source *source,
				     struct error *error);
void decoder_done(struct decoder *decoder);

/* The value of <0xHH>, or -1. */
int byte_token_value(const char *s, size_t n);
/* Appends the name of one token as text; `first` says that no token came before. */
void decoder_piece(const struct decoder *decoder, const char *s, size_t n, bool first, struct strbuf *out);

/* Appends bytes as text: each maximal part that is not valid UTF-8 becomes U+FFFD. */
void utf8_add_lossy(struct strbuf *out, const char *s, size_t n);
/* Length of the start of s[0..n) that could still become a character, if the whole of it could; else 0. */
size_t utf8_unfinished(const char *s, size_t n);

#endif
