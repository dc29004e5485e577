/* NumPy's .npz archives: a zip file whose members are .npy images.
 */
#ifndef REBOUND_NPZ_H
#define REBOUND_NPZ_H

#include "models/array_view.h"

struct npz;

/* Opens the archive and reads the header of every member: each must be a good .npy
 * image of exactly the member's size. The data are not read. */
enum status WARN_UNUSED npz_open(struct npz **out, const char *path, struct error *error);
void npz_close(struct npz **npz);

size_t npz_count(const struct npz *npz);
/* The member's name without ".npy". */
const char *npz_name(const struct npz *npz, size_t i);
/* Shape and dtype; `data` is NULL. */
const struct array_view *npz_shape(const struct npz *npz, size_t i);
/* Inflates if necessary, checks the CRC-32, and gives a view that lives until the
 * archive is closed. Not safe from two threads. */
enum status WARN_UNUSED npz_load(struct npz *npz, size_t i, struct array_view *view, struct error *error);

#endif
