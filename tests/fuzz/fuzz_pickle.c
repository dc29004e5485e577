/* Pickles from strangers: the interpreter on the bare input, and whole torch archives. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "models/pickle.h"
#include "models/pickle_machine.h"
#include "tests/fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = {0};
	struct pickle_machine machine;
	const struct pickle_value *root = NULL;
	if (pickle_run(&machine, &root, "input", data, size, &error) == STATUS_OK ? !root : !error.text[0])
		abort();
	pickle_machine_done(&machine);

	struct torch_file *file = NULL;
	if (size < 4 || data[0] != 'P' || data[1] != 'K')
		return 0;
	if (torch_file_open(&file, memory_file(data, size), &error)) {
		if (file || !error.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < torch_file_count(file); i++) {
		struct array_view view;
		if (torch_file_at(file, i)->kind != TORCH_TENSOR || torch_file_load(file, i, &view, &error))
			continue;
		float *numbers = malloc(array_view_count(&view) * sizeof *numbers + 1);
		array_view_read_float(&view, numbers);
		free(numbers);
	}
	torch_file_close(&file);
	return 0;
}
