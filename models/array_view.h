/* A strided array of numbers inside a file: what safetensors, .npy files, npz
 * members and pickled tensors have in common.
 */
#ifndef REBOUND_ARRAY_VIEW_H
#define REBOUND_ARRAY_VIEW_H

#include "models/half.h"

enum { ARRAY_MAX_RANK = 8 };

/* Borrowed: valid as long as what it was taken from. Whoever makes one has checked
 * that every element lies inside that memory. */
struct array_view {
	const unsigned char *data; /* element [0, ...]; any alignment */
	enum st_dtype dtype;
	bool swapped; /* big-endian elements */
	int rank;     /* 0: one element */
	int64_t shape[ARRAY_MAX_RANK];
	int64_t stride[ARRAY_MAX_RANK]; /* in elements, not negative */
};

/* Product of the shape; the maker has checked that it fits. */
size_t array_view_count(const struct array_view *view);
/* Strides of C order for the view's shape. */
void array_view_set_contiguous(struct array_view *view);
/* The same elements with the two axes of a matrix exchanged. */
struct array_view array_view_transposed(const struct array_view *view);
/* Entries [first, first + n) of the first axis; rank at least 1. */
struct array_view array_view_rows(const struct array_view *view, int64_t first, int64_t n);
/* "[3, 4]" or "[]", cut if it does not fit; returns `out`. */
const char *array_view_shape_text(char *out, size_t size, int rank, const int64_t *shape);

/* Copy all elements in C order. The dtype must satisfy st_dtype_is_number. */
void array_view_read_float(const struct array_view *view, float *out);
void array_view_read_double(const struct array_view *view, double *out);
/* False at the first element that is not a whole number in the range of int64. */
bool array_view_read_int(const struct array_view *view, int64_t *out);

#endif
