/* safetensors from strangers: a file is refused with a sentence, or every number that
 * it promises can be read. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "models/safetensors.h"
#include "tests/fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *path = memory_file(data, size);
	struct error error = {0};
	struct safetensors *file = NULL;
	if (safetensors_open(&file, path, &error)) {
		if (file || !error.text[0])
			abort();
		return 0;
	}
	size_t total = 0;
	for (size_t i = 0; i < safetensors_count(file); i++) {
		const struct st_tensor *tensor = safetensors_at(file, i);
		if (safetensors_find(file, tensor->name) != tensor)
			abort();
		total += tensor->bytes;
		float *numbers = malloc(st_tensor_count(tensor) * sizeof *numbers + 1);
		int64_t rows = tensor->rank ? tensor->shape[0] : 1;
		if (st_tensor_copy_rows(tensor, 0, rows, numbers, path, &error) && !error.text[0])
			abort();
		free(numbers);
	}
	if (total > size)
		abort();
	safetensors_close(&file);
	return 0;
}
