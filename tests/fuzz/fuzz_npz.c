/* npz archives and npy images from strangers. Checksums stop most mutations of an
 * archive, so that the image parser also gets the input as it is. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "models/npy.h"
#include "models/npz.h"
#include "tests/fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const struct array_view *view)
{
	size_t count = array_view_count(view);
	float *f = malloc(count * sizeof *f + 1);
	int64_t *whole = malloc(count * sizeof *whole + 1);
	array_view_read_float(view, f);
	(void)array_view_read_int(view, whole);
	free(f);
	free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = {0};
	struct array_view view;
	size_t header;
	if (npy_parse(&view, &header, data, size, size, "input", &error) == STATUS_OK)
		read_all(&view);
	else if (!error.text[0])
		abort();

	struct npz *npz = NULL;
	if (npz_open(&npz, memory_file(data, size), &error)) {
		if (npz || !error.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < npz_count(npz); i++)
		if (npz_load(npz, i, &view, &error) == STATUS_OK)
			read_all(&view);
	npz_close(&npz);
	return 0;
}
