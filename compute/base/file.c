#include "compute/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sha2.h>

#include "compute/base/mem.h"

static enum status open_regular(int *fd, size_t *size, const char *path, struct error *error)
{
	/* O_NONBLOCK: a FIFO must not block the open before fstat can refuse it. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return error_set(error, STATUS_INVALID, "cannot open '%s': %s", path, strerror(errno));
	struct stat info;
	if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode)) {
		close(*fd);
		return error_set(error, STATUS_INVALID, "'%s' is not a regular file", path);
	}
	*size = (size_t)info.st_size;
	return STATUS_OK;
}

enum status file_map_open(struct file_map *map, const char *path, struct error *error)
{
	*map = (struct file_map){0};
	int fd;
	size_t size;
	enum status status = open_regular(&fd, &size, path, error);
	if (status)
		return status;
	if (size > 0) {
		void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data == MAP_FAILED)
			status = error_set(error, STATUS_FAILED, "cannot map '%s' (%zu bytes): %s", path, size,
					   strerror(errno));
		else
			*map = (struct file_map){data, size};
	}
	close(fd);
	return status;
}

void file_map_close(struct file_map *map)
{
	if (map->data)
		munmap((void *)(uintptr_t)map->data, map->size);
	*map = (struct file_map){0};
}

enum status file_read(char **out, size_t *out_size, const char *path, size_t limit, struct error *error)
{
	*out = NULL;
	int fd;
	size_t size;
	enum status status = open_regular(&fd, &size, path, error);
	if (status)
		return status;
	if (size > limit) {
		close(fd);
		return error_set(error, STATUS_INVALID, "'%s' has %zu bytes; at most %zu are accepted here", path, size,
				 limit);
	}
	char *data = mem_alloc(size + 1, 1);
	size_t got = 0;
	while (got < size) {
		ssize_t n = read(fd, data + got, size - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			status = error_set(error, STATUS_INVALID, "cannot read '%s': %s", path,
					   n < 0 ? strerror(errno) : "it became shorter while being read");
			break;
		}
		got += (size_t)n;
	}
	close(fd);
	if (status) {
		free(data);
		return status;
	}
	*out = data;
	*out_size = size;
	return STATUS_OK;
}

static enum status write_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return STATUS_FAILED;
		data += n;
		size -= (size_t)n;
	}
	return STATUS_OK;
}

enum status file_write(const char *path, const void *data, size_t size, struct error *error)
{
	char *temporary = mem_printf("%s.tmp-%ld", path, (long)getpid());
	enum status status = STATUS_OK;
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0) {
		status = error_set(error, STATUS_INVALID, "cannot create '%s': %s", temporary, strerror(errno));
	} else {
		status = write_all(fd, data, size);
		if (status == STATUS_OK && fsync(fd) != 0)
			status = STATUS_FAILED;
		int saved = errno;
		if (close(fd) != 0 && status == STATUS_OK) {
			saved = errno;
			status = STATUS_FAILED;
		}
		if (status == STATUS_OK && rename(temporary, path) != 0) {
			saved = errno;
			status = STATUS_FAILED;
		}
		if (status) {
			unlink(temporary);
			error_set(error, status, "cannot write '%s': %s", path, strerror(saved));
		}
	}
	free(temporary);
	return status;
}

bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

bool file_is_folder(const char *path)
{
	struct stat info;
	return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

enum status file_make_folder(const char *path, struct error *error)
{
	char *copy = mem_strdup(path);
	enum status status = STATUS_OK;
	for (char *at = copy + 1; status == STATUS_OK; at++) {
		if (*at != '/' && *at != '\0')
			continue;
		char kept = *at;
		*at = '\0';
		if (mkdir(copy, 0777) != 0 && errno != EEXIST)
			status = error_set(error, STATUS_INVALID, "cannot create the folder '%s': %s", copy,
					   strerror(errno));
		*at = kept;
		if (kept == '\0')
			break;
	}
	if (status == STATUS_OK && !file_is_folder(path))
		status = error_set(error, STATUS_INVALID, "'%s' exists and is not a folder", path);
	free(copy);
	return status;
}

char *path_join(const char *folder, const char *name)
{
	size_t n = strlen(folder);
	return mem_printf("%s%s%s", folder, n > 0 && folder[n - 1] == '/' ? "" : "/", name);
}

const char *path_base(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

void bytes_sha256(char out[65], const void *data, size_t size)
{
	SHA2_CTX context;
	SHA256Init(&context);
	SHA256Update(&context, data, size);
	SHA256End(&context, out);
}

enum status file_sha256(char out[65], const char *path, struct error *error)
{
	struct file_map map;
	enum status status = file_map_open(&map, path, error);
	if (status)
		return status;
	bytes_sha256(out, map.data ? map.data : (const void *)"", map.size);
	file_map_close(&map);
	return STATUS_OK;
}
