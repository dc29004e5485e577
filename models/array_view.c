#include "models/array_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

size_t array_view_count(const struct array_view *view)
{
	size_t count = 1;
	for (int i = 0; i < view->rank; i++)
		count *= (size_t)view->shape[i];
	return count;
}

void array_view_set_contiguous(struct array_view *view)
{
	int64_t stride = 1;
	for (int i = view->rank - 1; i >= 0; i--) {
		view->stride[i] = stride;
		if (view->shape[i] > 0)
			stride *= view->shape[i];
	}
}

struct array_view array_view_transposed(const struct array_view *view)
{
	struct array_view t = *view;
	t.shape[0] = view->shape[1];
	t.shape[1] = view->shape[0];
	t.stride[0] = view->stride[1];
	t.stride[1] = view->stride[0];
	return t;
}

struct array_view array_view_rows(const struct array_view *view, int64_t first, int64_t n)
{
	struct array_view rows = *view;
	rows.data += (size_t)(first * view->stride[0]) * (st_dtype_bits(view->dtype) / 8);
	rows.shape[0] = n;
	return rows;
}

const char *array_view_shape_text(char *out, size_t size, int rank, const int64_t *shape)
{
	size_t used = (size_t)snprintf(out, size, "[");
	for (int i = 0; i < rank && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
	if (used < size)
		snprintf(out + used, size - used, "]");
	return out;
}

static bool is_contiguous(const struct array_view *view)
{
	struct array_view c = *view;
	array_view_set_contiguous(&c);
	for (int i = 0; i < view->rank; i++)
		if (view->shape[i] > 1 && view->stride[i] != c.stride[i])
			return false;
	return true;
}

/* Offsets, in bytes, of the elements in C order, one after the other. */
struct walk {
	const struct array_view *view;
	int64_t index[ARRAY_MAX_RANK];
	size_t offset, bytes;
};

static void walk_next(struct walk *w)
{
	for (int i = w->view->rank - 1; i >= 0; i--) {
		w->offset += (size_t)w->view->stride[i] * w->bytes;
		if (++w->index[i] < w->view->shape[i])
			return;
		w->offset -= (size_t)w->view->stride[i] * (size_t)w->view->shape[i] * w->bytes;
		w->index[i] = 0;
	}
}

enum { TILE = 32 };

/* n elements of `bytes` bytes, `step` bytes apart, side by side. */
static void gather(unsigned char *to, const unsigned char *from, size_t n, size_t step, size_t bytes)
{
	switch (bytes) {
	case 2:
		for (size_t i = 0; i < n; i++)
			memcpy(to + 2 * i, from + i * step, 2);
		return;
	case 4:
		for (size_t i = 0; i < n; i++)
			memcpy(to + 4 * i, from + i * step, 4);
		return;
	default:
		for (size_t i = 0; i < n; i++)
			memcpy(to + bytes * i, from + i * step, bytes);
	}
}

/* A transposed matrix, in tiles: reading down whole columns would miss the cache on
 * every element. */
static void read_tiled(const struct array_view *view, float *out)
{
	int64_t rows = view->shape[0], cols = view->shape[1];
	size_t bytes = st_dtype_bits(view->dtype) / 8;
	unsigned char line[TILE * 8];
	for (int64_t r0 = 0; r0 < rows; r0 += TILE) {
		int64_t r1 = r0 + TILE < rows ? r0 + TILE : rows;
		for (int64_t c0 = 0; c0 < cols; c0 += TILE) {
			size_t n = (size_t)(c0 + TILE < cols ? TILE : cols - c0);
			for (int64_t r = r0; r < r1; r++) {
				size_t at = (size_t)(r * view->stride[0] + c0 * view->stride[1]) * bytes;
				gather(line, view->data + at, n, (size_t)view->stride[1] * bytes, bytes);
				numbers_to_float(out + r * cols + c0, line, view->dtype, n);
			}
		}
	}
}

void array_view_read_float(const struct array_view *view, float *out)
{
	size_t count = array_view_count(view);
	if (is_contiguous(view) && !view->swapped) {
		numbers_to_float(out, view->data, view->dtype, count);
		return;
	}
	if (view->rank == 2 && !view->swapped) {
		read_tiled(view, out);
		return;
	}
	struct walk w = {.view = view, .bytes = st_dtype_bits(view->dtype) / 8};
	for (size_t i = 0; i < count; i++, walk_next(&w))
		out[i] = (float)number_get(view->data + w.offset, view->dtype, view->swapped);
}

void array_view_read_double(const struct array_view *view, double *out)
{
	size_t count = array_view_count(view);
	struct walk w = {.view = view, .bytes = st_dtype_bits(view->dtype) / 8};
	for (size_t i = 0; i < count; i++, walk_next(&w))
		out[i] = number_get(view->data + w.offset, view->dtype, view->swapped);
}

bool array_view_read_int(const struct array_view *view, int64_t *out)
{
	size_t count = array_view_count(view);
	struct walk w = {.view = view, .bytes = st_dtype_bits(view->dtype) / 8};
	for (size_t i = 0; i < count; i++, walk_next(&w)) {
		const unsigned char *at = view->data + w.offset;
		if (view->dtype == ST_I64 && !view->swapped) {
			memcpy(out + i, at, sizeof *out);
			continue;
		}
		double value = number_get(at, view->dtype, view->swapped);
		if (value != floor(value) || !(value >= -0x1p63 && value < 0x1p63))
			return false;
		out[i] = (int64_t)value;
	}
	return true;
}
