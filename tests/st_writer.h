/* Writes small safetensors files. */
#ifndef REBOUND_TESTS_ST_WRITER_H
#define REBOUND_TESTS_ST_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "compute/base/text.h"

/* A file in the making. Initialise with {0}. */
struct st_writer {
	struct strbuf header, data;
};

/* A tensor of `size` bytes; names are written as they are. */
void st_writer_add(struct st_writer *w, const char *name, const char *dtype, int rank, const int64_t *shape,
		   const void *bytes, size_t size);
/* Writes the file `name` below the test's temporary folder, and empties the writer; its
 * path, a new string. */
char *st_writer_end(struct st_writer *w, const char *name);

/* The same of a header and data as they are. */
char *st_write(const char *name, const char *header, const void *data, size_t size);

#endif
