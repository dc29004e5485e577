/* Files: mapped for reading, written whole or not at all. */
#ifndef REBOUND_BASE_FILE_H
#define REBOUND_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"

/* A read-only private mapping of a whole regular file. */
struct file_map {
	const unsigned char *data; /* page-aligned; NULL for an empty file */
	size_t size;
};
enum status WARN_UNUSED file_map_open(struct file_map *map, const char *path, struct error *error);
void file_map_close(struct file_map *map);

/* Reads all of a regular file of at most `limit` bytes; *out is NUL-terminated
 * (the NUL is not counted in *size) and the caller frees it. */
enum status WARN_UNUSED file_read(char **out, size_t *size, const char *path, size_t limit, struct error *error);

/* Writes to a temporary file beside `path`, fsyncs and renames: `path` holds the
 * old bytes or all the new ones. */
enum status WARN_UNUSED file_write(const char *path, const void *data, size_t size, struct error *error);

bool file_exists(const char *path);
bool file_is_folder(const char *path);
/* mkdir -p */
enum status WARN_UNUSED file_make_folder(const char *path, struct error *error);
/* "folder/name"; a new string. */
char *path_join(const char *folder, const char *name);
/* The part behind the last '/'; borrowed. */
const char *path_base(const char *path);

/* SHA-256 of a file (or of bytes) as 64 lower-case hexadecimal digits. */
enum status WARN_UNUSED file_sha256(char out[65], const char *path, struct error *error);
void bytes_sha256(char out[65], const void *data, size_t size);

#endif
