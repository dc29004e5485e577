/* NumPy's .npy files: one array each.
 *
 * Read: versions 1 to 3; float16/32/64, bool and integers of 8 to 64 bits in either
 * byte order; C and Fortran order (always given back in C order). The header is a
 * Python literal of which exactly the three known keys are understood; nothing is
 * evaluated. Written: version 1, little-endian, C order.
 */
#ifndef REBOUND_NPY_H
#define REBOUND_NPY_H

#include "models/array_view.h"

/* Describes the array whose .npy image begins at bytes[0]. `view` points into the
 * bytes; *header_size is the number of bytes before the data. The image claims
 * `size` bytes in all, of which data and header must be exactly that; only the
 * first `present` (<= size) need to be readable for this. `what` names the source
 * in errors. */
enum status WARN_UNUSED npy_parse(struct array_view *view, size_t *header_size, const unsigned char *bytes,
				  size_t present, size_t size, const char *what, struct error *error);

/* Reads a whole file into a new array in C order (free() it): *count elements of the
 * shape given in `view`, whose `data` is NULL afterwards. `view` may be NULL. */
enum status WARN_UNUSED npy_read_float(const char *path, float **out, size_t *count, struct array_view *view,
				       struct error *error);
enum status WARN_UNUSED npy_read_double(const char *path, double **out, size_t *count, struct array_view *view,
					struct error *error);
/* An error if an element is not a whole number. */
enum status WARN_UNUSED npy_read_int(const char *path, int64_t **out, size_t *count, struct array_view *view,
				     struct error *error);

/* Write through file_write: the old file or all of the new one. rank <= ARRAY_MAX_RANK. */
enum status WARN_UNUSED npy_write_float(const char *path, const float *data, int rank, const int64_t *shape,
					struct error *error);
enum status WARN_UNUSED npy_write_double(const char *path, const double *data, int rank, const int64_t *shape,
					 struct error *error);

#endif
