/* Pre-tokenizers of tokenizer.json: how a text is cut into the words that the
 * model sees one by one. */
#ifndef REBOUND_MODELS_PRETOKENIZE_H
#define REBOUND_MODELS_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"
#include "compute/base/text.h"
#include "models/normalize.h"
#include "models/tokenizer_json.h"

/* The patterns of the families whose files name no pattern. */
extern const char pretokenize_gpt2_pattern[];
extern const char pretokenize_llama3_pattern[];
extern const char pretokenize_qwen_pattern[];

struct word {
	size_t at, length; /* in word_list.text */
	bool at_start;	   /* it starts where the whole text starts */
};

/* Initialise with {0}. */
struct word_list {
	struct strbuf text;
	struct word *words;
	size_t count, capacity;
};
void word_list_add(struct word_list *list, size_t at, size_t length, bool at_start);
void word_list_clear(struct word_list *list);
void word_list_done(struct word_list *list);

struct pretokenizer_step;
/* A sequence of steps; {0} leaves the text one word. */
struct pretokenizer {
	struct pretokenizer_step *steps;
	size_t count, capacity;
};
/* `component` may be NULL. An unknown type is an error that names it. */
enum status WARN_UNUSED pretokenizer_load(struct pretokenizer *pretokenizer, const cJSON *component,
					  struct json_source *source, struct error *error);
/* Split by `pattern` with behaviour Isolated, then the bytes as characters: what
 * byte-level families do. */
enum status WARN_UNUSED pretokenizer_add_byte_level(struct pretokenizer *pretokenizer, const char *pattern,
						    bool add_prefix_space, struct error *error);
void pretokenizer_done(struct pretokenizer *pretokenizer);

/* Cuts *list (in place of it comes the result). `spare` is working memory. */
enum status WARN_UNUSED pretokenizer_apply(const struct pretokenizer *pretokenizer, struct regex_scratch *scratch,
					   struct word_list *list, struct word_list *spare, struct error *error);

/* The character that stands for a byte in a byte-level vocabulary, and back (-1 if it stands for none): printable
 * Latin-1 stands for itself, the 68 other bytes are U+0100 and following. */
uint32_t byte_level_character(unsigned char byte);
int byte_level_byte(uint32_t code);
/* Appends the characters of the bytes. */
void byte_level_encode(const char *s, size_t n, struct strbuf *out);
/* Appends the bytes of a token; if one of its characters stands for no byte, the
 * token is taken as it is. */
void byte_level_decode(const char *s, size_t n, struct strbuf *out);

#endif
