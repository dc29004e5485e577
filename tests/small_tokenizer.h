/* Small tokenizers written in the test, and what is expected of any. What fails here fails
 * the running test. */
#ifndef REBOUND_TESTS_SMALL_TOKENIZER_H
#define REBOUND_TESTS_SMALL_TOKENIZER_H

#include "models/tokenizer.h"

#define LOWER_BLOCK "\xE2\x96\x81" /* U+2581 */

/* Components of a tokenizer.json that spells bytes as GPT-2's does. */
#define BYTE_LEVEL                                                                                                     \
	"\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"}"

/* The text of a tokenizer.json with a BPE model of the given parts, each of which may be
 * "": members of the vocabulary, merges, members beside them, added tokens, members beside
 * the model. A new string. */
char *small_tokenizer_json(const char *vocab, const char *merges, const char *flags, const char *added,
			   const char *components);
/* The tokenizer of that text. */
struct tokenizer *small_tokenizer(const char *vocab, const char *merges, const char *flags, const char *added,
				  const char *components);
/* The tokenizer of a file or folder. */
struct tokenizer *load_tokenizer(const char *path);
/* What tokenizer_load says of a file of that name and text; the file is gone afterwards. */
enum status small_tokenizer_try(struct tokenizer **t, const char *name, const char *text, struct error *error);

/* `want` is ids with spaces between them. */
void expect_ids(const struct tokenizer *t, const char *text, size_t n, struct tokenizer_options options,
		const char *want);
/* The same of a string, with special tokens recognised in it and none added. */
void expect_tokens(const struct tokenizer *t, const char *text, const char *want);
void expect_decoded(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip, const char *want);

#endif
