#include "tests/st_writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scratch.h"

void st_writer_add(struct st_writer *w, const char *name, const char *dtype, int rank, const int64_t *shape,
		   const void *bytes, size_t size)
{
	size_t begin = w->data.length;
	strbuf_add(&w->data, bytes, size);
	strbuf_printf(&w->header, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[", w->header.length ? ',' : '{', name, dtype);
	for (int i = 0; i < rank; i++)
		strbuf_printf(&w->header, "%s%" PRId64, i ? "," : "", shape[i]);
	strbuf_printf(&w->header, "],\"data_offsets\":[%zu,%zu]}", begin, w->data.length);
}

char *st_writer_end(struct st_writer *w, const char *name)
{
	strbuf_add_string(&w->header, w->header.length ? "}" : "{}");
	char *path = st_write(name, w->header.data, w->data.data, w->data.length);
	strbuf_done(&w->header);
	strbuf_done(&w->data);
	*w = (struct st_writer){0};
	return path;
}

char *st_write(const char *name, const char *header, const void *data, size_t size)
{
	uint64_t length = strlen(header); /* little-endian, as the machines that run this */
	struct strbuf file = {0};
	strbuf_add(&file, &length, sizeof length);
	strbuf_add_string(&file, header);
	if (size > 0)
		strbuf_add(&file, data, size);
	char *path = scratch_file(name, file.data, file.length);
	strbuf_done(&file);
	return path;
}
