/* A model's shards, opened together (see safetensors.h). Opening reads headers only:
 * some hundred microseconds a shard, so being lazy about it would gain nothing. */
#include "models/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"

enum {
	INDEX_LIMIT = 64 << 20, /* bytes of model.safetensors.index.json */
	SHARD_LIMIT = 4096,
};

struct place {
	const struct st_tensor *tensor;
	int shard;
};

struct weight_files {
	int shards;
	struct safetensors **shard;
	size_t count;
	struct place *places; /* sorted by name */
};

static int compare_places(const void *left, const void *right)
{
	return strcmp(((const struct place *)left)->tensor->name, ((const struct place *)right)->tensor->name);
}

static enum status add_shard(struct weight_files *files, const char *path, struct error *error)
{
	struct safetensors *shard;
	enum status status = safetensors_open(&shard, path, error);
	if (status)
		return status;
	files->shard = mem_resize(files->shard, (size_t)files->shards + 1, sizeof *files->shard);
	files->shard[files->shards] = shard;
	size_t more = safetensors_count(shard);
	files->places = mem_resize(files->places, files->count + more, sizeof *files->places);
	for (size_t i = 0; i < more; i++)
		files->places[files->count++] = (struct place){safetensors_at(shard, i), files->shards};
	files->shards++;
	return STATUS_OK;
}

static enum status sort_places(struct weight_files *files, struct error *error)
{
	qsort(files->places, files->count, sizeof *files->places, compare_places);
	for (size_t i = 1; i < files->count; i++)
		if (compare_places(&files->places[i - 1], &files->places[i]) == 0)
			return error_set(error, STATUS_INVALID, "duplicate tensor: \"%s\" is in both '%s' and '%s'",
					 files->places[i].tensor->name,
					 safetensors_path(files->shard[files->places[i - 1].shard]),
					 safetensors_path(files->shard[files->places[i].shard]));
	return STATUS_OK;
}

static bool is_plain_name(const char *name)
{
	return *name && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int find_shard(const struct weight_files *files, const char *name)
{
	for (int i = 0; i < files->shards; i++)
		if (strcmp(path_base(safetensors_path(files->shard[i])), name) == 0)
			return i;
	return -1;
}

/* Opens every shard that the map names, in order of first mention. */
static enum status open_mapped(struct weight_files *files, const cJSON *map, const char *folder, const char *index,
			       struct error *error)
{
	const char *last = NULL; /* maps name the same shard many times in a row */
	const cJSON *entry;
	cJSON_ArrayForEach(entry, map)
	{
		if (!cJSON_IsString(entry) || !is_plain_name(entry->valuestring))
			return error_set(error, STATUS_INVALID,
					 "'%s': tensor \"%s\" is mapped to %s%.100s%s; a plain file name in the same "
					 "folder was expected",
					 index, entry->string, cJSON_IsString(entry) ? "\"" : "",
					 cJSON_IsString(entry) ? entry->valuestring : "something that is no string",
					 cJSON_IsString(entry) ? "\"" : "");
		if ((last && strcmp(last, entry->valuestring) == 0) || find_shard(files, entry->valuestring) >= 0) {
			last = entry->valuestring;
			continue;
		}
		if (files->shards == SHARD_LIMIT)
			return error_set(error, STATUS_INVALID, "'%s' names more than %d files", index, SHARD_LIMIT);
		char *path = path_join(folder, entry->valuestring);
		enum status status = add_shard(files, path, error);
		free(path);
		if (status)
			return error_prefix(error, status, "shard named in '%s'", index);
		last = entry->valuestring;
	}
	return STATUS_OK;
}

static enum status open_index(struct weight_files *files, const char *folder, const char *index, struct error *error)
{
	cJSON *root;
	enum status status = json_read(&root, index, INDEX_LIMIT, error);
	if (status)
		return status;
	char *what = mem_printf("'%s'", index);
	status = json_check_duplicates(root, what, error);
	const cJSON *map = json_member(root, "weight_map");
	if (status == STATUS_OK && (!cJSON_IsObject(map) || !map->child))
		status = error_set(error, STATUS_INVALID, "%s has no object \"weight_map\" that maps tensors to files",
				   what);
	if (status == STATUS_OK)
		status = open_mapped(files, map, folder, index, error);
	if (status == STATUS_OK)
		status = sort_places(files, error);
	const cJSON *entry;
	for (entry = status == STATUS_OK ? map->child : NULL; entry && status == STATUS_OK; entry = entry->next) {
		int shard;
		if (!weight_files_find(files, entry->string, &shard) ||
		    strcmp(path_base(safetensors_path(files->shard[shard])), entry->valuestring) != 0)
			status = error_set(error, STATUS_INVALID,
					   "%s says that tensor \"%.200s\" is in \"%.200s\", which does not hold it",
					   what, entry->string, entry->valuestring);
	}
	free(what);
	cJSON_Delete(root);
	return status;
}

enum status weight_files_open(struct weight_files **out, const char *folder, struct error *error)
{
	struct weight_files *files = mem_alloc(1, sizeof *files);
	char *single = path_join(folder, "model.safetensors");
	char *index = path_join(folder, "model.safetensors.index.json");
	enum status status;
	if (file_exists(single)) {
		status = add_shard(files, single, error);
		if (status == STATUS_OK)
			status = sort_places(files, error);
	} else if (file_exists(index)) {
		status = open_index(files, folder, index, error);
	} else if (!file_is_folder(folder)) {
		status = error_set(error, STATUS_INVALID, "cannot open model '%s': there is no such folder", folder);
	} else {
		char *torch = path_join(folder, "pytorch_model.bin");
		char *torch_index = path_join(folder, "pytorch_model.bin.index.json");
		bool pickled = file_exists(torch) || file_exists(torch_index);
		status = error_set(
			error, STATUS_INVALID,
			"'%s' holds neither model.safetensors nor model.safetensors.index.json%s", folder,
			pickled ? "; its pytorch_model.bin is a pickle, which is not read: convert it to safetensors"
				: "");
		free(torch);
		free(torch_index);
	}
	free(single);
	free(index);
	if (status)
		weight_files_close(&files);
	*out = files;
	return status;
}

void weight_files_close(struct weight_files **pointer)
{
	struct weight_files *files = *pointer;
	*pointer = NULL;
	if (!files)
		return;
	for (int i = 0; i < files->shards; i++)
		safetensors_close(&files->shard[i]);
	free(files->shard);
	free(files->places);
	free(files);
}

int weight_files_shards(const struct weight_files *files)
{
	return files->shards;
}

const struct safetensors *weight_files_shard(const struct weight_files *files, int shard)
{
	return files->shard[shard];
}

size_t weight_files_count(const struct weight_files *files)
{
	return files->count;
}

const struct st_tensor *weight_files_find(const struct weight_files *files, const char *name, int *shard)
{
	const struct st_tensor key = {.name = name};
	const struct place probe = {&key, 0};
	const struct place *found = bsearch(&probe, files->places, files->count, sizeof *files->places, compare_places);
	if (found && shard)
		*shard = found->shard;
	return found ? found->tensor : NULL;
}

const struct st_tensor *weight_files_at(const struct weight_files *files, size_t i, int *shard)
{
	if (shard)
		*shard = files->places[i].shard;
	return files->places[i].tensor;
}

size_t weight_files_bytes(const struct weight_files *files)
{
	size_t bytes = 0;
	for (size_t i = 0; i < files->count; i++)
		bytes += files->places[i].tensor->bytes;
	return bytes;
}
