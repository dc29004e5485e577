/* Any bytes as merges.txt over a fixed vocabulary, or up to the first NUL as the
 * vocabulary and behind it as the merges. */
#include <stdlib.h>
#include <string.h>

#include "models/tokenizer_internal.h"
#include "tests/fuzz/tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char vocab[] = "{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5,\"aa\":6,\"aaaa\":7,"
				    "\"\\u00e9\":8,\"a\\u00e9\":9}";
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	size_t first = nul ? (size_t)(nul - data) : 0;
	const char *merges = (const char *)data + (nul ? first + 1 : 0);
	size_t merges_n = size - (nul ? first + 1 : 0);
	struct bpe bpe = {0};
	struct error error = {0};
	enum status status = tokenizer_parse_vocab(&bpe, nul ? (const char *)data : vocab,
						   nul ? first : sizeof vocab - 1, "vocabulary", &error);
	if (!status)
		status = bpe_read_merges(&bpe, merges, merges_n, "merges", &error);
	if (status) {
		require(error.text[0] != '\0');
	} else {
		struct bpe_scratch scratch = {0};
		struct token_list ids = {0};
		static const char word[] = "aaaaabcabcaa\xC3\xA9"
					   "bccb";
		if (bpe_encode(&bpe, &scratch, word, sizeof word - 1, &ids, &error))
			require(error.text[0] != '\0');
		for (size_t i = 0; i < ids.count; i++)
			require(vocab_get(&bpe.vocab, ids.ids[i], &(const char *){NULL}, &(size_t){0}));
		token_list_done(&ids);
		bpe_scratch_done(&scratch);
	}
	bpe_done(&bpe);
	return 0;
}
