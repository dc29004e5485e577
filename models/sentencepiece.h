/* SentencePiece models (tokenizer.model): its own normalisation, and BPE or unigram.
 *
 * Written after the library's normalizer, bpe_model and unigram_model; ids are
 * those of version 0.2. */
#ifndef REBOUND_MODELS_SENTENCEPIECE_H
#define REBOUND_MODELS_SENTENCEPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/base/text.h"
#include "models/tokenizer.h"

struct sentencepiece;

/* Reads the protobuf bytes; nothing of them is kept. `what` names the source. */
enum status WARN_UNUSED sentencepiece_parse(struct sentencepiece **out, const void *data, size_t n, const char *what,
					    struct error *error);
void sentencepiece_destroy(struct sentencepiece **model);

/* Appends the ids of text[0..n), less than 2^31 bytes; nothing is added around. Bytes
 * that are not UTF-8 count as U+FFFD each. */
enum status WARN_UNUSED sentencepiece_encode(const struct sentencepiece *model, const char *text, size_t n,
					     struct token_list *out, struct error *error);

enum piece_kind {
	PIECE_NORMAL = 1,
	PIECE_UNKNOWN = 2,
	PIECE_CONTROL = 3,
	PIECE_USER_DEFINED = 4,
	PIECE_UNUSED = 5,
	PIECE_BYTE = 6,
};
size_t sentencepiece_size(const struct sentencepiece *model);
enum piece_kind sentencepiece_kind(const struct sentencepiece *model, int32_t id);
/* Borrowed; false if there is no such id. */
bool sentencepiece_name(const struct sentencepiece *model, int32_t id, const char **s, size_t *n);
int32_t sentencepiece_find(const struct sentencepiece *model, const char *s, size_t n);
/* -1 if the model has none. */
int32_t sentencepiece_bos(const struct sentencepiece *model);
int32_t sentencepiece_eos(const struct sentencepiece *model);
bool sentencepiece_is_unigram(const struct sentencepiece *model);
/* The text of an unknown token, borrowed. */
const char *sentencepiece_unknown_text(const struct sentencepiece *model);
/* Whether decoding drops the first space, and whether it drops only one. */
bool sentencepiece_drops_space(const struct sentencepiece *model);
bool sentencepiece_removes_spaces(const struct sentencepiece *model);

#endif
