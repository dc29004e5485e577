/* What a SentencePiece model is made of. Only for models/sentencepiece*.c. */
#ifndef REBOUND_MODELS_SENTENCEPIECE_INTERNAL_H
#define REBOUND_MODELS_SENTENCEPIECE_INTERNAL_H

#include "models/sentencepiece.h"
#include "models/tokenizer_trie.h"
#include "models/tokenizer_vocab.h"

struct sentencepiece {
	size_t count;
	enum piece_kind *kinds; /* by id */
	float *scores;		/* by id */
	size_t kind_capacity, score_capacity;
	struct vocab normal;   /* normal, user-defined and unused pieces: what text can become */
	struct vocab reserved; /* unknown, control and byte pieces */
	struct trie user_defined;
	struct trie candidates; /* unigram: normal and user-defined pieces */
	int32_t unknown, bos, eos;
	int32_t byte_ids[256];
	bool has_unused, byte_fallback, unigram;
	float least_score, most_score; /* of normal pieces */
	char *unknown_text;

	/* Normalisation. The character map is a double array in the layout of
	 * darts-clone, from UTF-8 prefixes to offsets in map_strings. */
	bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
	uint32_t *map;
	size_t map_count;
	char *map_strings; /* NUL-terminated strings, one NUL more behind the last */
	size_t map_strings_size;
};

/* Sets the character map from the bytes of precompiled_charsmap. */
enum status WARN_UNUSED sentencepiece_load_map(struct sentencepiece *model, const char *data, size_t n,
					       const char *what, struct error *error);
/* Appends the normalised text[0..n), valid UTF-8. */
void sentencepiece_normalize(const struct sentencepiece *model, const char *text, size_t n, struct strbuf *out);

#endif
