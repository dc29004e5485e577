/* A file is: u64 little-endian N; N bytes of JSON, padded with spaces; tensor data.
 * The JSON is {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
 * "__metadata__": {"key": "string"}}, offsets relative to the data.
 *
 * Refused, as in the reference reader and a little stricter: no room for N or for
 * the header; N over 100,000,000; a header that does not start with '{' or is not
 * JSON; the same key twice; an unknown dtype; sizes that are not whole numbers; a
 * shape whose product overflows; bits that do not fill bytes; offsets that do not
 * span exactly the shape's size; data with a hole, an overlap, or bytes that no
 * tensor claims. NaN and infinity are legal.
 */
#include "models/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"

enum { HEADER_LIMIT = 100000000 };

struct safetensors {
	char *path;
	struct file_map map;
	cJSON *header;
	const cJSON *metadata; /* object or NULL */
	size_t count;
	struct st_tensor *tensors;	  /* sorted by (begin, end, name) */
	const struct st_tensor **by_name; /* sorted by name */
};

/* cJSON reads 4.0 and 4e0 as 4, and cuts strings at NUL. Numbers stand only in
 * shapes and offsets, so a fraction or an exponent is wrong wherever it is. */
static enum status check_raw_header(const char *text, size_t n, const char *path, struct error *error)
{
	bool in_string = false;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (c == '\0')
			return error_set(error, STATUS_INVALID, "'%s': bad header: it holds a NUL byte at byte %zu",
					 path, i);
		if (in_string) {
			if (c == '\\' && n - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0)
				return error_set(error, STATUS_INVALID, "'%s': bad header: a string in it holds a NUL",
						 path);
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (i > 0 && text[i - 1] >= '0' && text[i - 1] <= '9' && (c == '.' || c == 'e' || c == 'E')) {
			return error_set(error, STATUS_INVALID,
					 "'%s': bad shape: the header holds a number with a fraction or an exponent at "
					 "byte %zu; sizes are whole numbers",
					 path, i);
		}
	}
	return STATUS_OK;
}

/* A size in JSON: a whole number from 0 to 2^53. */
static bool json_size(const cJSON *value, int64_t *out)
{
	double number = value->valuedouble;
	if (!cJSON_IsNumber(value) || !(number >= 0 && number <= 9007199254740992.0))
		return false;
	*out = (int64_t)number;
	return (double)*out == number;
}

static enum status read_shape(struct st_tensor *tensor, size_t *bytes, const cJSON *shape, const char *path,
			      struct error *error)
{
	if (!cJSON_IsArray(shape))
		return error_set(error, STATUS_INVALID, "'%s': bad shape: tensor \"%s\" has no list called \"shape\"",
				 path, tensor->name);
	size_t bits = st_dtype_bits(tensor->dtype);
	const cJSON *size;
	cJSON_ArrayForEach(size, shape)
	{
		if (tensor->rank == ARRAY_MAX_RANK)
			return error_set(error, STATUS_INVALID,
					 "'%s': bad shape: tensor \"%s\" has more than %d dimensions", path,
					 tensor->name, ARRAY_MAX_RANK);
		int64_t *to = &tensor->shape[tensor->rank++];
		if (!json_size(size, to))
			return error_set(
				error, STATUS_INVALID,
				"'%s': bad shape: dimension %d of tensor \"%s\" is not a whole number from 0 to "
				"2^53",
				path, tensor->rank - 1, tensor->name);
		if (!size_mul(bits, (size_t)*to, &bits))
			return error_set(error, STATUS_INVALID,
					 "'%s': bad shape: the size of tensor \"%s\" overflows 64 bits", path,
					 tensor->name);
	}
	if (bits % 8)
		return error_set(error, STATUS_INVALID,
				 "'%s': bad shape: tensor \"%s\" has %zu bits, which do not fill whole bytes", path,
				 tensor->name, bits);
	*bytes = bits / 8;
	return STATUS_OK;
}

static enum status read_tensor(struct st_tensor *tensor, const cJSON *entry, size_t data_size, const char *path,
			       struct error *error)
{
	tensor->name = entry->string;
	if (!cJSON_IsObject(entry))
		return error_set(error, STATUS_INVALID, "'%s': bad header: \"%s\" is not described by an object", path,
				 tensor->name);
	const cJSON *dtype = json_member(entry, "dtype");
	if (!cJSON_IsString(dtype))
		return error_set(error, STATUS_INVALID,
				 "'%s': bad header: tensor \"%s\" has no string called \"dtype\"", path, tensor->name);
	if (!st_dtype_parse(dtype->valuestring, &tensor->dtype))
		return error_set(error, STATUS_INVALID, "'%s': unknown dtype \"%.40s\" of tensor \"%.200s\"", path,
				 dtype->valuestring, tensor->name);
	size_t expected = 0;
	enum status status = read_shape(tensor, &expected, json_member(entry, "shape"), path, error);
	if (status)
		return status;

	const cJSON *offsets = json_member(entry, "data_offsets");
	int64_t begin, end;
	if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !json_size(offsets->child, &begin) ||
	    !json_size(offsets->child->next, &end))
		return error_set(error, STATUS_INVALID,
				 "'%s': bad offsets: \"data_offsets\" of tensor \"%s\" are not two whole numbers", path,
				 tensor->name);
	if (end < begin)
		return error_set(error, STATUS_INVALID,
				 "'%s': bad offsets: tensor \"%s\" ends at %lld before it begins at %lld", path,
				 tensor->name, (long long)end, (long long)begin);
	tensor->bytes = (size_t)(end - begin);
	tensor->offset = (size_t)begin; /* still relative to the data */
	if (tensor->bytes != expected) {
		char shape[200];
		bool outside = (size_t)end > data_size && tensor->bytes > data_size;
		return error_set(
			error, STATUS_INVALID,
			"'%s': %s: tensor \"%s\" of shape %s and dtype %s needs %zu bytes but its offsets span %zu",
			path, outside ? "bad offsets" : "size mismatch", tensor->name,
			array_view_shape_text(shape, sizeof shape, tensor->rank, tensor->shape),
			st_dtype_name(tensor->dtype), expected, tensor->bytes);
	}
	return STATUS_OK;
}

static int compare_offsets(const void *left, const void *right)
{
	const struct st_tensor *a = left, *b = right;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int compare_names(const void *left, const void *right)
{
	return strcmp((*(const struct st_tensor *const *)left)->name, (*(const struct st_tensor *const *)right)->name);
}

/* The data must be tiled by the tensors without hole, overlap or rest. */
static enum status check_tiling(const struct safetensors *file, size_t data_size, struct error *error)
{
	size_t at = 0;
	for (size_t i = 0; i < file->count; i++) {
		const struct st_tensor *tensor = &file->tensors[i];
		if (tensor->offset != at)
			return error_set(error, STATUS_INVALID,
					 "'%s': bad offsets: tensor \"%s\" begins at %zu where %zu was expected (%s)",
					 file->path, tensor->name, tensor->offset, at,
					 tensor->offset > at ? "a hole" : "an overlap");
		at += tensor->bytes;
	}
	if (at > data_size)
		return error_set(error, STATUS_INVALID,
				 "'%s' is truncated: its tensors need %zu bytes of data, %zu are there", file->path, at,
				 data_size);
	if (at < data_size)
		return error_set(error, STATUS_INVALID,
				 "'%s': bad offsets: %zu bytes behind the last tensor belong to none", file->path,
				 data_size - at);
	return STATUS_OK;
}

static enum status read_metadata(struct safetensors *file, const cJSON *metadata, struct error *error)
{
	if (cJSON_IsNull(metadata))
		return STATUS_OK;
	bool good = cJSON_IsObject(metadata);
	const cJSON *value;
	cJSON_ArrayForEach(value, metadata) good = good && cJSON_IsString(value);
	if (!good)
		return error_set(error, STATUS_INVALID, "'%s': bad header: __metadata__ is not an object of strings",
				 file->path);
	file->metadata = metadata;
	return STATUS_OK;
}

static enum status read_header(struct safetensors *file, struct error *error)
{
	const struct file_map *map = &file->map;
	if (map->size < 8)
		return error_set(error, STATUS_INVALID,
				 "'%s' is truncated: it has %zu bytes, a safetensors file starts with 8 that give its "
				 "header's length",
				 file->path, map->size);
	uint64_t length = 0;
	for (int i = 7; i >= 0; i--)
		length = length << 8 | map->data[i];
	if (map->size >= 20 && memcmp(map->data, "version https://git-", 20) == 0)
		return error_set(error, STATUS_INVALID,
				 "'%s' is a Git LFS pointer, not a safetensors file; fetch the file itself",
				 file->path);
	if (length > HEADER_LIMIT)
		return error_set(error, STATUS_INVALID,
				 "'%s': header too large: %llu bytes are announced, at most %d are accepted (is this a "
				 "safetensors file?)",
				 file->path, (unsigned long long)length, HEADER_LIMIT);
	if (length > map->size - 8)
		return error_set(error, STATUS_INVALID,
				 "'%s' is truncated: its header should have %llu bytes, %zu are there", file->path,
				 (unsigned long long)length, map->size - 8);
	const char *text = (const char *)map->data + 8;
	size_t n = (size_t)length, data_size = map->size - 8 - n;
	if (n == 0 || text[0] != '{')
		return error_set(error, STATUS_INVALID, "'%s': bad header: it does not start with '{'", file->path);

	char *what = mem_printf("'%s': bad header: it", file->path);
	enum status status = json_parse(&file->header, text, n, what, error);
	if (status == STATUS_OK)
		status = check_raw_header(text, n, file->path, error);
	free(what);
	if (status)
		return status;
	what = mem_printf("'%s': duplicate tensor: the header", file->path);
	status = json_check_duplicates(file->header, what, error);
	free(what);
	if (status)
		return status;

	file->tensors = mem_alloc((size_t)cJSON_GetArraySize(file->header), sizeof *file->tensors);
	const cJSON *entry;
	cJSON_ArrayForEach(entry, file->header)
	{
		if (strcmp(entry->string, "__metadata__") == 0)
			status = read_metadata(file, entry, error);
		else
			status = read_tensor(&file->tensors[file->count++], entry, data_size, file->path, error);
		if (status)
			return status;
	}
	qsort(file->tensors, file->count, sizeof *file->tensors, compare_offsets);
	status = check_tiling(file, data_size, error);
	if (status)
		return status;

	file->by_name = mem_alloc(file->count, sizeof *file->by_name);
	for (size_t i = 0; i < file->count; i++) {
		struct st_tensor *tensor = &file->tensors[i];
		tensor->offset += 8 + n;
		tensor->data = map->data + tensor->offset;
		file->by_name[i] = tensor;
	}
	qsort(file->by_name, file->count, sizeof *file->by_name, compare_names);
	return STATUS_OK;
}

enum status safetensors_open(struct safetensors **out, const char *path, struct error *error)
{
	*out = NULL;
	struct safetensors *file = mem_alloc(1, sizeof *file);
	file->path = mem_strdup(path);
	enum status status = file_map_open(&file->map, path, error);
	if (status == STATUS_OK)
		status = read_header(file, error);
	if (status)
		safetensors_close(&file);
	*out = file;
	return status;
}

void safetensors_close(struct safetensors **pointer)
{
	struct safetensors *file = *pointer;
	*pointer = NULL;
	if (!file)
		return;
	cJSON_Delete(file->header);
	free(file->tensors);
	free(file->by_name);
	file_map_close(&file->map);
	free(file->path);
	free(file);
}

const char *safetensors_path(const struct safetensors *file)
{
	return file->path;
}

size_t safetensors_count(const struct safetensors *file)
{
	return file->count;
}

const struct st_tensor *safetensors_at(const struct safetensors *file, size_t i)
{
	return &file->tensors[i];
}

const struct st_tensor *safetensors_find(const struct safetensors *file, const char *name)
{
	const struct st_tensor key = {.name = name}, *pointer = &key;
	const struct st_tensor **found =
		bsearch(&pointer, file->by_name, file->count, sizeof *file->by_name, compare_names);
	return found ? *found : NULL;
}

const char *safetensors_metadata(const struct safetensors *file, const char *key)
{
	const cJSON *value = file->metadata ? json_member(file->metadata, key) : NULL;
	return value ? value->valuestring : NULL;
}

size_t safetensors_metadata_count(const struct safetensors *file)
{
	return file->metadata ? (size_t)cJSON_GetArraySize(file->metadata) : 0;
}

void safetensors_metadata_at(const struct safetensors *file, size_t i, const char **key, const char **value)
{
	const cJSON *pair = cJSON_GetArrayItem(file->metadata, (int)i);
	*key = pair->string;
	*value = pair->valuestring;
}

struct array_view st_tensor_view(const struct st_tensor *tensor)
{
	struct array_view view = {.data = tensor->data, .dtype = tensor->dtype, .rank = tensor->rank};
	memcpy(view.shape, tensor->shape, sizeof view.shape);
	array_view_set_contiguous(&view);
	return view;
}

size_t st_tensor_count(const struct st_tensor *tensor)
{
	return tensor->bytes * 8 / st_dtype_bits(tensor->dtype);
}

enum status st_tensor_copy_rows(const struct st_tensor *tensor, int64_t first, int64_t rows, float *out,
				const char *path, struct error *error)
{
	if (!st_dtype_is_weight(tensor->dtype))
		return error_set(error, STATUS_INVALID,
				 "'%s': unsupported dtype %s of tensor \"%s\"; weights are F32, F16, BF16 or F64", path,
				 st_dtype_name(tensor->dtype), tensor->name);
	int64_t have = tensor->rank ? tensor->shape[0] : 1;
	if (first < 0 || rows < 0 || first > have || rows > have - first)
		return error_set(error, STATUS_INVALID,
				 "'%s': rows %lld to %lld of tensor \"%s\" are wanted, it has %lld", path,
				 (long long)first, (long long)first + rows, tensor->name, (long long)have);
	if (rows == 0)
		return STATUS_OK;
	size_t width = st_tensor_count(tensor) / (size_t)have;
	size_t row_bytes = tensor->bytes / (size_t)have;
	numbers_to_float(out, tensor->data + (size_t)first * row_bytes, tensor->dtype, (size_t)rows * width);
	return STATUS_OK;
}
