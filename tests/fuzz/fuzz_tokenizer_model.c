/* Any bytes as a tokenizer.model: SentencePiece's protobuf or tiktoken's lines. */
#include <stdlib.h>

#include "models/tokenizer.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tokenizer *t;
	struct error error = {0};
	if (tokenizer_load(&t, memory_file(data, size), &error) == STATUS_OK)
		use_tokenizer(t);
	else if (t || !error.text[0])
		abort();
	tokenizer_destroy(&t);
	return 0;
}
