/* An image is "\x93NUMPY", version (2 bytes), the header's length (2 bytes
 * little-endian in version 1, 4 in 2 and 3), the header, the data. The header is
 * {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } in any order. */
#include "models/npy.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"

enum { HEADER_LIMIT = 10000 }; /* numpy's own default */

static const char magic[] = "\x93NUMPY";

/* The header's text and how far it was read. */
struct scan {
	const char *at, *end;
};

static void skip_space(struct scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
		s->at++;
}

static bool take(struct scan *s, const char *text)
{
	skip_space(s);
	size_t n = strlen(text);
	if ((size_t)(s->end - s->at) < n || memcmp(s->at, text, n) != 0)
		return false;
	s->at += n;
	return true;
}

/* A string literal without escapes, shorter than 40 bytes. */
static bool take_string(struct scan *s, char out[40])
{
	char quote = '\'';
	if (!take(s, "'")) {
		if (!take(s, "\""))
			return false;
		quote = '"';
	}
	size_t n = 0;
	for (; s->at < s->end && *s->at != quote; s->at++) {
		if (*s->at == '\\' || *s->at == '\n' || n == 39)
			return false;
		out[n++] = *s->at;
	}
	out[n] = '\0';
	return take(s, quote == '"' ? "\"" : "'");
}

static bool take_size(struct scan *s, int64_t *out)
{
	skip_space(s);
	const char *start = s->at;
	*out = 0;
	for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
		if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, *s->at - '0', out))
			return false;
	bool some = s->at > start;
	take(s, "L"); /* Python 2 wrote long integers so */
	return some;
}

/* (), (3,), (2, 3): a comma is a must behind a single element. */
static bool take_shape(struct scan *s, int *rank, int64_t shape[ARRAY_MAX_RANK])
{
	*rank = 0;
	if (!take(s, "("))
		return false;
	bool comma = true;
	while (!take(s, ")")) {
		if (!comma || *rank == ARRAY_MAX_RANK || !take_size(s, &shape[*rank]))
			return false;
		++*rank;
		comma = take(s, ",");
	}
	return *rank != 1 || comma;
}

static bool parse_descr(const char *descr, struct array_view *view)
{
	static const struct {
		const char *code;
		enum st_dtype dtype;
	} codes[] = {
		{"f4", ST_F32}, {"f2", ST_F16}, {"f8", ST_F64}, {"b1", ST_BOOL}, {"i1", ST_I8},	 {"u1", ST_U8},
		{"i2", ST_I16}, {"u2", ST_U16}, {"i4", ST_I32}, {"u4", ST_U32},	 {"i8", ST_I64}, {"u8", ST_U64},
	};
	if (descr[0] != '<' && descr[0] != '>' && descr[0] != '|')
		return false;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (strcmp(descr + 1, codes[i].code) != 0)
			continue;
		if (descr[0] == '|' && codes[i].code[1] != '1')
			return false;
		view->dtype = codes[i].dtype;
		view->swapped = descr[0] == '>';
		return true;
	}
	return false;
}

/* shape x bytes, false on overflow even where a zero hides it. */
static bool data_size(const struct array_view *view, size_t *out)
{
	*out = st_dtype_bits(view->dtype) / 8;
	bool empty = false;
	for (int i = 0; i < view->rank; i++) {
		if (view->shape[i] == 0)
			empty = true;
		else if (!size_mul(*out, (size_t)view->shape[i], out))
			return false;
	}
	if (*out > INT64_MAX)
		return false;
	if (empty)
		*out = 0;
	return true;
}

static enum status parse_header(struct array_view *view, size_t *need, struct scan *s, const char *what,
				struct error *error)
{
	bool fortran = false;
	unsigned seen = 0;
	char key[40], descr[40];
	if (!take(s, "{"))
		goto bad;
	while (!take(s, "}")) {
		if (!take_string(s, key) || !take(s, ":"))
			goto bad;
		unsigned bit;
		if (strcmp(key, "descr") == 0) {
			bit = 1;
			skip_space(s);
			if (s->at < s->end && *s->at == '[')
				return error_set(error, STATUS_INVALID,
						 "%s: unsupported dtype: records, where plain numbers were expected",
						 what);
			if (!take_string(s, descr))
				goto bad;
			if (!parse_descr(descr, view))
				return error_set(
					error, STATUS_INVALID,
					"%s: unsupported dtype '%s'; floats of 2, 4 or 8 bytes, integers and bool "
					"are read",
					what, descr);
		} else if (strcmp(key, "fortran_order") == 0) {
			bit = 2;
			fortran = take(s, "True");
			if (!fortran && !take(s, "False"))
				goto bad;
		} else if (strcmp(key, "shape") == 0) {
			bit = 4;
			if (!take_shape(s, &view->rank, view->shape))
				goto bad;
		} else {
			goto bad;
		}
		if (seen & bit)
			goto bad;
		seen |= bit;
		if (!take(s, ",")) {
			if (!take(s, "}"))
				goto bad;
			break;
		}
	}
	skip_space(s);
	if (seen != 7 || s->at != s->end)
		goto bad;
	if (!data_size(view, need))
		return error_set(error, STATUS_INVALID, "%s: bad npy header: its shape overflows 64 bits", what);
	array_view_set_contiguous(view);
	if (fortran) {
		int64_t stride = 1;
		for (int i = 0; i < view->rank; i++) {
			view->stride[i] = stride;
			if (view->shape[i] > 0)
				stride *= view->shape[i];
		}
	}
	return STATUS_OK;
bad:
	return error_set(
		error, STATUS_INVALID,
		"%s: bad npy header: expected {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } with "
		"sizes that are whole and not negative",
		what);
}

enum status npy_parse(struct array_view *view, size_t *header_size, const unsigned char *bytes, size_t present,
		      size_t size, const char *what, struct error *error)
{
	*view = (struct array_view){0};
	if (present < 10 || memcmp(bytes, magic, 6) != 0)
		return error_set(error, STATUS_INVALID,
				 "%s: bad npy header: it does not start with the bytes \\x93NUMPY and a version", what);
	if (bytes[6] < 1 || bytes[6] > 3)
		return error_set(error, STATUS_INVALID, "%s: bad npy header: version %d; 1 to 3 are known", what,
				 bytes[6]);
	size_t at = bytes[6] == 1 ? 10 : 12;
	if (present < at)
		return error_set(error, STATUS_INVALID, "%s: bad npy header: cut short", what);
	size_t n = (size_t)bytes[8] | (size_t)bytes[9] << 8;
	if (at == 12)
		n |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
	if (n > HEADER_LIMIT)
		return error_set(error, STATUS_INVALID,
				 "%s: bad npy header: it announces %zu bytes, at most %d are accepted", what, n,
				 HEADER_LIMIT);
	if (present - at < n)
		return error_set(error, STATUS_INVALID, "%s: bad npy header: cut short (%zu of %zu bytes)", what,
				 present - at, n);
	struct scan scan = {(const char *)bytes + at, (const char *)bytes + at + n};
	*header_size = at + n;
	size_t need = 0;
	enum status status = parse_header(view, &need, &scan, what, error);
	if (status)
		return status;
	if (need != size - *header_size) {
		char shape[200];
		return error_set(error, STATUS_INVALID,
				 "%s: size mismatch: shape %s of %s needs %zu bytes, %zu are there", what,
				 array_view_shape_text(shape, sizeof shape, view->rank, view->shape),
				 st_dtype_name(view->dtype), need, size - *header_size);
	}
	view->data = bytes + *header_size;
	return STATUS_OK;
}

enum element { ELEMENT_FLOAT, ELEMENT_DOUBLE, ELEMENT_INT };

static enum status read_file(const char *path, enum element element, void **out, size_t *count, struct array_view *view,
			     struct error *error)
{
	*out = NULL;
	struct file_map map;
	enum status status = file_map_open(&map, path, error);
	if (status)
		return status;
	struct array_view local;
	size_t header;
	char *what = mem_printf("'%s'", path);
	status = npy_parse(&local, &header, map.data, map.size, map.size, what, error);
	if (status == STATUS_OK) {
		*count = array_view_count(&local);
		*out = mem_alloc(*count, element == ELEMENT_FLOAT ? sizeof(float) : sizeof(double));
		if (element == ELEMENT_FLOAT)
			array_view_read_float(&local, *out);
		else if (element == ELEMENT_DOUBLE)
			array_view_read_double(&local, *out);
		else if (!array_view_read_int(&local, *out))
			status = error_set(error, STATUS_INVALID, "%s holds numbers that are not whole", what);
	}
	if (status) {
		free(*out);
		*out = NULL;
	} else if (view) {
		*view = local;
		view->data = NULL;
	}
	free(what);
	file_map_close(&map);
	return status;
}

enum status npy_read_float(const char *path, float **out, size_t *count, struct array_view *view, struct error *error)
{
	void *data;
	enum status status = read_file(path, ELEMENT_FLOAT, &data, count, view, error);
	*out = data;
	return status;
}

enum status npy_read_double(const char *path, double **out, size_t *count, struct array_view *view, struct error *error)
{
	void *data;
	enum status status = read_file(path, ELEMENT_DOUBLE, &data, count, view, error);
	*out = data;
	return status;
}

enum status npy_read_int(const char *path, int64_t **out, size_t *count, struct array_view *view, struct error *error)
{
	void *data;
	enum status status = read_file(path, ELEMENT_INT, &data, count, view, error);
	*out = data;
	return status;
}

static enum status write_file(const char *path, const char *descr, size_t bytes, const void *data, int rank,
			      const int64_t *shape, struct error *error)
{
	struct strbuf header = {0}, image = {0};
	strbuf_printf(&header, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
	size_t size = bytes;
	for (int i = 0; i < rank; i++) {
		strbuf_printf(&header, i ? ", %lld" : "%lld", (long long)shape[i]);
		if (shape[i] < 0 || !size_mul(size, (size_t)shape[i], &size))
			fatal("npy_write: a shape that cannot be");
	}
	strbuf_add_string(&header, rank == 1 ? ",), }" : "), }");
	while ((10 + header.length + 1) % 64)
		strbuf_add_char(&header, ' ');
	strbuf_add_char(&header, '\n');

	strbuf_add(&image, magic, 6);
	const char preamble[4] = {1, 0, (char)(header.length & 0xff), (char)(header.length >> 8)};
	strbuf_add(&image, preamble, 4);
	strbuf_add(&image, header.data, header.length);
	strbuf_add(&image, data, size);
	enum status status = file_write(path, image.data, image.length, error);
	strbuf_done(&header);
	strbuf_done(&image);
	return status;
}

enum status npy_write_float(const char *path, const float *data, int rank, const int64_t *shape, struct error *error)
{
	return write_file(path, "<f4", sizeof *data, data, rank, shape, error);
}

enum status npy_write_double(const char *path, const double *data, int rank, const int64_t *shape, struct error *error)
{
	return write_file(path, "<f8", sizeof *data, data, rank, shape, error);
}
