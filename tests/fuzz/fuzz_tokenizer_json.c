/* Any bytes as a tokenizer.json: refused with a sentence, or a tokenizer whose ids
 * are its own and whose text is UTF-8. */
#include <stdlib.h>

#include "compute/base/mem.h"
#include "models/tokenizer_internal.h"
#include "tests/fuzz/tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tokenizer *t = mem_alloc(1, sizeof *t);
	struct error error = {0};
	t->bos = t->eos = -1;
	if (tokenizer_parse_json(t, (const char *)data, size, "input", &error) == STATUS_OK)
		use_tokenizer(t);
	else if (!error.text[0])
		abort();
	tokenizer_destroy(&t);
	return 0;
}
