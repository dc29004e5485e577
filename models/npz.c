#include "models/npz.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/npy.h"
#include "models/zip_file.h"

enum { PEEK = 12 + 10000 }; /* the longest preamble and header that npy_parse accepts */

struct npz {
	struct zip_file *zip;
	size_t count;
	char **names;
	struct array_view *shapes;
};

static enum status parse(struct npz *npz, size_t i, const unsigned char *data, size_t present, struct array_view *view,
			 struct error *error)
{
	char *what = mem_printf("'%s': member \"%s\"", zip_file_path(npz->zip), zip_file_name(npz->zip, i));
	size_t header;
	enum status status = npy_parse(view, &header, data, present, zip_file_size(npz->zip, i), what, error);
	free(what);
	return status;
}

static enum status read_headers(struct npz *npz, struct error *error)
{
	size_t count = zip_file_count(npz->zip);
	npz->names = mem_alloc(count, sizeof *npz->names);
	npz->shapes = mem_alloc(count, sizeof *npz->shapes);
	for (; npz->count < count; npz->count++) {
		size_t i = npz->count;
		const char *name = zip_file_name(npz->zip, i);
		size_t n = strlen(name);
		if (n < 5 || strcmp(name + n - 4, ".npy") != 0)
			return error_set(error, STATUS_INVALID,
					 "'%s': member \"%s\" is not a .npy file, so this is not an npz archive",
					 zip_file_path(npz->zip), name);
		const unsigned char *data;
		size_t present;
		enum status status = zip_file_peek(npz->zip, i, PEEK, &data, &present, error);
		if (status == STATUS_OK)
			status = parse(npz, i, data, present, &npz->shapes[i], error);
		if (status)
			return status;
		npz->shapes[i].data = NULL;
		npz->names[i] = mem_strndup(name, n - 4);
	}
	return STATUS_OK;
}

enum status npz_open(struct npz **out, const char *path, struct error *error)
{
	struct npz *npz = mem_alloc(1, sizeof *npz);
	enum status status = zip_file_open(&npz->zip, path, error);
	if (status == STATUS_OK)
		status = read_headers(npz, error);
	if (status)
		npz_close(&npz);
	*out = npz;
	return status;
}

void npz_close(struct npz **pointer)
{
	struct npz *npz = *pointer;
	*pointer = NULL;
	if (!npz)
		return;
	for (size_t i = 0; i < npz->count; i++)
		free(npz->names[i]);
	free(npz->names);
	free(npz->shapes);
	zip_file_close(&npz->zip);
	free(npz);
}

size_t npz_count(const struct npz *npz)
{
	return npz->count;
}

const char *npz_name(const struct npz *npz, size_t i)
{
	return npz->names[i];
}

const struct array_view *npz_shape(const struct npz *npz, size_t i)
{
	return &npz->shapes[i];
}

enum status npz_load(struct npz *npz, size_t i, struct array_view *view, struct error *error)
{
	const unsigned char *data;
	enum status status = zip_file_data(npz->zip, i, &data, error);
	if (status == STATUS_OK)
		status = parse(npz, i, data, zip_file_size(npz->zip, i), view, error);
	return status;
}
