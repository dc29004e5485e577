/* A vocabulary: strings (any bytes) to ids and back. Internal to the tokenizers. */
#ifndef REBOUND_MODELS_TOKENIZER_VOCAB_H
#define REBOUND_MODELS_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/text.h"

struct vocab_entry {
	size_t at, length; /* in bytes.data */
	bool present;
};

/* Initialise with {0}. */
struct vocab {
	struct strbuf bytes;
	struct vocab_entry *entries; /* by id */
	size_t size, capacity;	     /* largest id + 1 */
	size_t count;		     /* ids that are there */
	size_t longest;		     /* bytes */
	uint64_t *slots;	     /* hash table; 0 is free */
	size_t slot_count;	     /* a power of two, or 0 */
};

/* Room for `count` strings, so that adding them never rehashes. */
void vocab_reserve(struct vocab *vocab, size_t count);
/* False, and nothing changed, if the string or the id is there already. The
 * caller has bounded `id` by what its file can hold. */
bool vocab_add(struct vocab *vocab, int32_t id, const char *s, size_t n);
/* The id, or -1. */
int32_t vocab_find(const struct vocab *vocab, const char *s, size_t n);
/* False if there is no such id. *s is borrowed. */
bool vocab_get(const struct vocab *vocab, int32_t id, const char **s, size_t *n);
void vocab_done(struct vocab *vocab);

uint64_t bytes_hash(const char *s, size_t n);

#endif
