#include "sessions/record_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/journal.h"

/* Below this many bytes a file is summed anew each time. */
enum { CACHED_FROM = 1 << 20 };

void record_files_done(struct record_files *files)
{
	for (int i = 0; i < files->count; i++)
		free(files->items[i].name);
	free(files->items);
	*files = (struct record_files){0};
}

/* Where the sum of a file as it is now is kept; NULL if nowhere. */
static char *cache_path(const char *path, const struct stat *info)
{
	char *cache = user_folder("XDG_CACHE_HOME", ".cache"), *real = realpath(path, NULL), *place = NULL;
	if (cache && real) {
		char *key = mem_printf("%s|%lld|%lld.%09ld|%llu", real, (long long)info->st_size,
				       (long long)info->st_mtim.tv_sec, (long)info->st_mtim.tv_nsec,
				       (unsigned long long)info->st_ino);
		char name[65];
		bytes_sha256(name, key, strlen(key));
		place = mem_printf("%s/sha256/%s", cache, name);
		free(key);
	}
	free(cache);
	free(real);
	return place;
}

static bool is_sum(const char *text, size_t n)
{
	return n >= 64 && strspn(text, "0123456789abcdef") == 64 && (text[64] == '\n' || text[64] == '\0');
}

static bool read_cached(char sha256[65], const char *place)
{
	char *text;
	size_t n;
	if (!place || !file_exists(place) || file_read(&text, &n, place, 256, NULL))
		return false;
	bool good = is_sum(text, n);
	if (good) {
		memcpy(sha256, text, 64);
		sha256[64] = '\0';
	}
	free(text);
	return good;
}

/* A cache that can't be written is no reason to fail. */
static void write_cached(const char *place, const char *sha256)
{
	char *folder = mem_strndup(place, (size_t)(path_base(place) - place));
	if (file_make_folder(folder, NULL) == STATUS_OK) {
		char *line = mem_printf("%s\n", sha256);
		(void)!file_write(place, line, strlen(line), NULL);
		free(line);
	}
	free(folder);
}

enum status record_file_sum(char sha256[65], int64_t *bytes, const char *path, struct error *error)
{
	struct stat info;
	if (stat(path, &info) != 0)
		return error_set(error, STATUS_INVALID, "cannot open '%s': %s", path, strerror(errno));
	*bytes = info.st_size;
	char *place = info.st_size >= CACHED_FROM ? cache_path(path, &info) : NULL;
	enum status status = STATUS_OK;
	if (!read_cached(sha256, place)) {
		status = file_sha256(sha256, path, error);
		if (status == STATUS_OK && place)
			write_cached(place, sha256);
	}
	free(place);
	return status;
}

static enum status add_file(struct record_files *files, const char *path, const char *name, struct error *error)
{
	struct record_file file = {0};
	enum status status = record_file_sum(file.sha256, &file.bytes, path, error);
	if (status)
		return status;
	file.name = mem_strdup(name);
	files->items = mem_resize(files->items, (size_t)files->count + 1, sizeof *files->items);
	files->items[files->count++] = file;
	return STATUS_OK;
}

static bool ends_with(const char *name, const char *ending)
{
	size_t n = strlen(name), e = strlen(ending);
	return n >= e && strcmp(name + n - e, ending) == 0;
}

static int is_weights(const struct dirent *entry)
{
	static const char *const endings[] = {".safetensors", ".npz", ".pt", ".pth", ".bin"};
	for (size_t i = 0; i < ARRAY_LEN(endings); i++)
		if (entry->d_name[0] != '.' && ends_with(entry->d_name, endings[i]))
			return 1;
	return 0;
}

/* The named files that are there, then those that hold weights. */
static enum status add_folder(struct record_files *files, const char *folder, const char *const *names, size_t count,
			      struct error *error)
{
	*files = (struct record_files){0};
	enum status status = STATUS_OK;
	for (size_t i = 0; i < count && status == STATUS_OK; i++) {
		char *path = path_join(folder, names[i]);
		if (file_exists(path))
			status = add_file(files, path, names[i], error);
		free(path);
	}
	struct dirent **weights = NULL;
	int n = status ? 0 : scandir(folder, &weights, is_weights, alphasort);
	if (n < 0)
		status = error_set(error, STATUS_INVALID, "cannot read the folder '%s': %s", folder, strerror(errno));
	for (int i = 0; i < n; i++) {
		char *path = path_join(folder, weights[i]->d_name);
		if (status == STATUS_OK)
			status = add_file(files, path, weights[i]->d_name, error);
		free(path);
		free(weights[i]);
	}
	free(weights);
	if (status)
		record_files_done(files);
	return status;
}

enum status record_files_of_model(struct record_files *files, const char *folder, struct error *error)
{
	static const char *const names[] = {"config.json",
					    "tokenizer.json",
					    "tokenizer_config.json",
					    "vocab.json",
					    "merges.txt",
					    "encoder.json",
					    "vocab.bpe",
					    "tokenizer.model",
					    "original/tokenizer.model",
					    "added_tokens.json",
					    "special_tokens_map.json"};
	return add_folder(files, folder, names, ARRAY_LEN(names), error);
}

enum status record_files_of_sae(struct record_files *files, const char *path, struct error *error)
{
	static const char *const names[] = {"cfg.json", "config.json", "hyperparams.json", "../hyperparams.json",
					    "checkpoints/final.safetensors"};
	if (!file_is_folder(path))
		return record_files_of_file(files, path, error);
	return add_folder(files, path, names, ARRAY_LEN(names), error);
}

enum status record_files_of_file(struct record_files *files, const char *path, struct error *error)
{
	*files = (struct record_files){0};
	return add_file(files, path, path_base(path), error);
}

enum status record_files_check(const struct record_files *files, const char *path, const char *session,
			       struct error *error)
{
	bool folder = file_is_folder(path);
	enum status status = STATUS_OK;
	for (int i = 0; i < files->count && status == STATUS_OK; i++) {
		const struct record_file *file = &files->items[i];
		char *place = folder ? path_join(path, file->name) : mem_strdup(path);
		char sha256[65];
		int64_t bytes;
		status = record_file_sum(sha256, &bytes, place, error);
		if (status == STATUS_OK && (bytes != file->bytes || strcmp(sha256, file->sha256) != 0))
			status = error_set(
				error, STATUS_INVALID,
				"'%s' is not the file that '%s' was recorded with: SHA-256 %.12s (%lld bytes), "
				"recorded %.12s (%lld bytes)",
				place, session, sha256, (long long)bytes, file->sha256, (long long)file->bytes);
		free(place);
	}
	return status;
}
