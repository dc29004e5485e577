#include "models/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/pickle_machine.h"
#include "models/zip_file.h"

enum {
	PICKLE_LIMIT = 1 << 20, /* bytes of data.pkl; real ones have some thousand */
	NESTING_LIMIT = 4,
	ITEM_LIMIT = 100000, /* items looked at: shared dictionaries could multiply without end */
};

struct torch_file {
	struct zip_file *zip;
	struct pickle_machine machine;
	char *prefix;	/* "archive/" in front of "data.pkl" and "data/0" */
	bool swapped;	/* written on a big-endian machine */
	size_t visited; /* items of dictionaries */
	size_t count, capacity;
	struct torch_entry *entries;
	const struct pickle_value **tensors; /* of each entry, or NULL */
	size_t tensors_capacity;
};

static enum status find_pickle(struct torch_file *file, size_t *member, struct error *error)
{
	bool found = false;
	for (size_t i = 0; i < zip_file_count(file->zip); i++) {
		const char *name = zip_file_name(file->zip, i);
		const char *base = strrchr(name, '/');
		base = base ? base + 1 : name;
		if (strcmp(base, "data.pkl") != 0)
			continue;
		if (found)
			return error_set(error, STATUS_INVALID, "'%s' holds more than one data.pkl",
					 zip_file_path(file->zip));
		found = true;
		*member = i;
		file->prefix = mem_strndup(name, (size_t)(base - name));
	}
	if (!found)
		return error_set(error, STATUS_INVALID,
				 "'%s' is a zip file without a data.pkl, so not one that torch saved",
				 zip_file_path(file->zip));
	if (zip_file_size(file->zip, *member) > PICKLE_LIMIT)
		return error_set(error, STATUS_INVALID, "'%s': bad pickle: it has %zu bytes; at most %d are accepted",
				 zip_file_path(file->zip), zip_file_size(file->zip, *member), PICKLE_LIMIT);
	return STATUS_OK;
}

static bool find_storage(const struct torch_file *file, const struct pickle_value *storage, size_t *member)
{
	char *name = mem_printf("%sdata/%.*s", file->prefix, storage->length < 100 ? (int)storage->length : 100,
				storage->text);
	bool found = zip_file_find(file->zip, name, member);
	free(name);
	return found;
}

static enum status read_byte_order(struct torch_file *file, struct error *error)
{
	char *name = mem_printf("%sbyteorder", file->prefix);
	size_t member;
	enum status status = STATUS_OK;
	if (zip_file_find(file->zip, name, &member)) {
		const unsigned char *data;
		size_t n = zip_file_size(file->zip, member);
		status = zip_file_data(file->zip, member, &data, error);
		if (status == STATUS_OK) {
			file->swapped = n == 3 && memcmp(data, "big", 3) == 0;
			if (!file->swapped && !(n == 6 && memcmp(data, "little", 6) == 0))
				status = error_set(error, STATUS_INVALID, "'%s' states an unknown byte order",
						   zip_file_path(file->zip));
		}
	}
	free(name);
	return status;
}

static enum status check_storage(const struct torch_file *file, const char *name, const struct pickle_value *tensor,
				 struct error *error)
{
	const struct pickle_value *storage = tensor->storage;
	size_t member, bytes;
	if (!find_storage(file, storage, &member))
		return error_set(error, STATUS_INVALID,
				 "'%s': missing storage: tensor \"%s\" is in data/%.*s, which is not there",
				 zip_file_path(file->zip), name, storage->length < 100 ? (int)storage->length : 100,
				 storage->text);
	if (!size_mul((size_t)storage->elements, st_dtype_bits(storage->dtype) / 8, &bytes) ||
	    bytes != zip_file_size(file->zip, member))
		return error_set(
			error, STATUS_INVALID,
			"'%s': size mismatch: the storage of tensor \"%s\" should hold %lld numbers of %s, it has %zu "
			"bytes",
			zip_file_path(file->zip), name, (long long)storage->elements, st_dtype_name(storage->dtype),
			zip_file_size(file->zip, member));
	return STATUS_OK;
}

static enum status add_entry(struct torch_file *file, char *name, const struct pickle_value *value, struct error *error)
{
	struct torch_entry entry = {.name = name};
	const struct pickle_value *tensor = NULL;
	enum status status = STATUS_OK;
	switch (value->kind) {
	case PICKLE_TENSOR:
		entry.kind = TORCH_TENSOR;
		entry.shape = *value->shape;
		tensor = value;
		status = check_storage(file, name, value, error);
		break;
	case PICKLE_INT:
		entry.kind = TORCH_INT;
		entry.number = (double)value->integer;
		break;
	case PICKLE_BOOL:
		entry.kind = TORCH_BOOL;
		entry.number = (double)value->integer;
		break;
	case PICKLE_FLOAT:
		entry.kind = TORCH_FLOAT;
		entry.number = value->real;
		break;
	case PICKLE_STRING:
		entry.kind = TORCH_STRING;
		entry.text = mem_strndup(value->text, value->length);
		break;
	default:
		free(name);
		return STATUS_OK;
	}
	if (status) {
		free(name);
		free(entry.text);
		return status;
	}
	mem_reserve((void **)&file->entries, &file->capacity, file->count + 1, sizeof *file->entries);
	mem_reserve((void **)&file->tensors, &file->tensors_capacity, file->count + 1, sizeof *file->tensors);
	file->entries[file->count] = entry;
	file->tensors[file->count] = tensor;
	file->count++;
	return STATUS_OK;
}

static enum status flatten(struct torch_file *file, const struct pickle_value *dict, const char *prefix, int depth,
			   struct error *error)
{
	for (size_t i = 0; i + 1 < dict->count; i += 2) {
		const struct pickle_value *key = dict->items[i], *value = dict->items[i + 1];
		if (file->visited++ == ITEM_LIMIT)
			return error_set(error, STATUS_INVALID, "'%s': bad pickle: more than %d items",
					 zip_file_path(file->zip), ITEM_LIMIT);
		if (key->kind != PICKLE_STRING)
			continue;
		if (key->length > 1000)
			return error_set(error, STATUS_INVALID, "'%s': bad pickle: a key of %zu bytes",
					 zip_file_path(file->zip), key->length);
		char *name = mem_printf("%s%.*s", prefix, (int)key->length, key->text);
		enum status status;
		if (value->kind != PICKLE_DICT) {
			status = add_entry(file, name, value, error);
		} else {
			char *inner = mem_printf("%s.", name);
			status = depth < NESTING_LIMIT
					 ? flatten(file, value, inner, depth + 1, error)
					 : error_set(error, STATUS_INVALID,
						     "'%s': bad pickle: dictionaries nested more than %d deep",
						     zip_file_path(file->zip), NESTING_LIMIT);
			free(inner);
			free(name);
		}
		if (status)
			return status;
	}
	return STATUS_OK;
}

static int compare_entry_names(const void *left, const void *right)
{
	return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static enum status check_unique(const struct torch_file *file, struct error *error)
{
	const char **names = mem_alloc(file->count, sizeof *names);
	for (size_t i = 0; i < file->count; i++)
		names[i] = file->entries[i].name;
	qsort(names, file->count, sizeof *names, compare_entry_names);
	enum status status = STATUS_OK;
	for (size_t i = 1; i < file->count && status == STATUS_OK; i++)
		if (strcmp(names[i - 1], names[i]) == 0)
			status = error_set(error, STATUS_INVALID, "'%s': duplicate tensor: \"%s\" is there twice",
					   zip_file_path(file->zip), names[i]);
	free(names);
	return status;
}

static enum status read_file(struct torch_file *file, struct error *error)
{
	size_t member = 0;
	const unsigned char *bytes;
	enum status status = find_pickle(file, &member, error);
	if (status == STATUS_OK)
		status = read_byte_order(file, error);
	if (status == STATUS_OK)
		status = zip_file_data(file->zip, member, &bytes, error);
	if (status)
		return status;
	char *what = mem_printf("'%s'", zip_file_path(file->zip));
	const struct pickle_value *root = NULL;
	status = pickle_run(&file->machine, &root, what, bytes, zip_file_size(file->zip, member), error);
	if (status == STATUS_OK && root->kind != PICKLE_DICT)
		status = error_set(error, STATUS_INVALID, "%s: bad pickle: it holds no dictionary of tensors", what);
	file->machine.what = NULL;
	free(what);
	if (status == STATUS_OK)
		status = flatten(file, root, "", 0, error);
	if (status == STATUS_OK)
		status = check_unique(file, error);
	return status;
}

enum status torch_file_open(struct torch_file **out, const char *path, struct error *error)
{
	struct torch_file *file = mem_alloc(1, sizeof *file);
	enum status status = zip_file_open(&file->zip, path, error);
	if (status == STATUS_OK)
		status = read_file(file, error);
	if (status)
		torch_file_close(&file);
	*out = file;
	return status;
}

void torch_file_close(struct torch_file **pointer)
{
	struct torch_file *file = *pointer;
	*pointer = NULL;
	if (!file)
		return;
	for (size_t i = 0; i < file->count; i++) {
		free(file->entries[i].name);
		free(file->entries[i].text);
	}
	free(file->entries);
	free(file->tensors);
	free(file->prefix);
	pickle_machine_done(&file->machine);
	zip_file_close(&file->zip);
	free(file);
}

size_t torch_file_count(const struct torch_file *file)
{
	return file->count;
}

const struct torch_entry *torch_file_at(const struct torch_file *file, size_t i)
{
	return &file->entries[i];
}

enum status torch_file_load(struct torch_file *file, size_t i, struct array_view *view, struct error *error)
{
	const struct pickle_value *tensor = file->tensors[i];
	size_t member;
	const unsigned char *data;
	if (!find_storage(file, tensor->storage, &member))
		fatal("torch_file_load: a storage that was there is gone");
	enum status status = zip_file_data(file->zip, member, &data, error);
	if (status)
		return status;
	*view = *tensor->shape;
	view->data = data + (size_t)tensor->offset * (st_dtype_bits(view->dtype) / 8);
	view->swapped = file->swapped;
	return STATUS_OK;
}
