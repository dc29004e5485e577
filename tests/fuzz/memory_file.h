/* The fuzzed readers take paths: one file in memory, with the input in it. */
#ifndef REBOUND_FUZZ_MEMORY_FILE_H
#define REBOUND_FUZZ_MEMORY_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Replaces the content and gives a path that can be opened; static. */
static inline const char *memory_file(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[40];
	if (fd < 0) {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	}
	if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	return path;
}

#endif
