/* Byte pair encoding of one word: the merge loop with a heap, O(n log n), so that
 * a text that is a single word of a megabyte takes well under a second.
 *
 * The rules are those of the tokenizers library's BPE model: one symbol per
 * Unicode character, bytes or the unknown token for characters that are not in
 * the vocabulary, then the adjacent pair of lowest rank first, leftmost on ties. */
#ifndef REBOUND_MODELS_BPE_H
#define REBOUND_MODELS_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "models/tokenizer.h"
#include "models/tokenizer_vocab.h"

struct bpe_merge {
	uint64_t pair; /* left id << 32 | right id, plus 1; 0 is a free slot */
	uint32_t rank;
	int32_t id;
};

/* Fill vocab and the plain members first, then add merges. Initialise with {0}. */
struct bpe {
	struct vocab vocab;
	struct bpe_merge *merges; /* hash table */
	size_t merge_slots, merge_count;
	char *unk_token; /* NULL: characters that are not in the vocabulary are dropped */
	int32_t unk;	 /* its id, -1 if the vocabulary does not have it */
	bool fuse_unk, byte_fallback, ignore_merges;
	int32_t byte_ids[256]; /* of <0xHH>, -1 if absent; see bpe_prepare */
};
/* After the vocabulary is complete: byte_ids and unk. */
void bpe_prepare(struct bpe *bpe);
void bpe_reserve_merges(struct bpe *bpe, size_t count);
/* A later merge of the same pair wins. The parts and their concatenation have to
 * be in the vocabulary; `what` names the source in the error. */
enum status WARN_UNUSED bpe_add_merge(struct bpe *bpe, const char *left, size_t left_n, const char *right,
				      size_t right_n, uint32_t rank, const char *what, struct error *error);
/* Adds every split of every token into two tokens, ranked by the token's id: what
 * merging by the lowest rank of the concatenation means (tiktoken). */
void bpe_add_all_splits(struct bpe *bpe);
/* Reads merges.txt: one "left right" a line, the first line may be #version. */
enum status WARN_UNUSED bpe_read_merges(struct bpe *bpe, const char *text, size_t n, const char *what,
					struct error *error);
void bpe_done(struct bpe *bpe);

/* What encoding needs while it runs, one per text. Initialise with {0}. */
struct bpe_scratch {
	struct bpe_symbol *symbols;
	struct bpe_candidate *heap;
	size_t symbol_capacity, heap_capacity;
	struct bpe_cached *cache;
	struct strbuf cached_text;
	struct token_list cached_ids;
};
void bpe_scratch_done(struct bpe_scratch *scratch);

/* Appends the ids of one word (valid UTF-8, less than 2^31 bytes). */
enum status WARN_UNUSED bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *s, size_t n,
				   struct token_list *out, struct error *error);

#endif
