/* Device memory and the arrays in it.
 *
 * A `struct buffer` owns memory. A `struct tensor` is a plain value that borrows a
 * range of a buffer: a matrix [rows, cols] in C order (a vector is [1, n]). The
 * memory of a buffer is released when the buffer is destroyed; whoever destroys it
 * makes sure that no submitted work still uses it (device_wait_idle or a ticket).
 */
#ifndef REBOUND_TENSOR_H
#define REBOUND_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/device.h"

enum dtype {
	DTYPE_F32,
	DTYPE_BF16,
	DTYPE_F16,
	DTYPE_U32,
};
/* Bytes of one element. */
size_t dtype_size(enum dtype dtype);
const char *dtype_name(enum dtype dtype);

struct buffer;

enum buffer_kind {
	BUFFER_DEVICE, /* fastest for kernels; the host reaches it through buffer_write/read */
	BUFFER_HOST,   /* host-visible, coherent and kept mapped: rings, tables that change */
};

/* `name` (copied) shows in errors: "cannot allocate 'key cache' (3.1 GB): ...".
 * Contents are undefined (NaN on a device with validation, where the host can write them). */
enum status WARN_UNUSED buffer_create(struct buffer **out, struct device *device, uint64_t bytes, enum buffer_kind kind,
				      const char *name, struct error *error);
/* Uses [data, data + bytes) of the host in place, read-only, where the device allows
 * it (data aligned to device_info.host_alignment; bytes are rounded up to it, so the
 * pages must exist: true for a mapped file). STATUS_NOTHING if it can't be imported;
 * the memory must outlive the buffer. */
enum status WARN_UNUSED buffer_import(struct buffer **out, struct device *device, const void *data, uint64_t bytes,
				      const char *name, struct error *error);
void buffer_destroy(struct buffer **buffer);
uint64_t buffer_bytes(const struct buffer *buffer);
/* The mapping of a BUFFER_HOST buffer (NULL for others). */
void *buffer_mapped(struct buffer *buffer);

/* Blocking copies; they wait for earlier submissions. */
enum status WARN_UNUSED buffer_write(struct buffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
				     struct error *error);
enum status WARN_UNUSED buffer_read(struct buffer *buffer, uint64_t offset, void *data, uint64_t bytes,
				    struct error *error);

struct tensor {
	struct buffer *buffer; /* NULL: no tensor (an absent bias) */
	uint64_t offset;       /* bytes */
	int64_t rows, cols;
	enum dtype dtype;
};

static inline uint64_t tensor_count(struct tensor t)
{
	return (uint64_t)t.rows * (uint64_t)t.cols;
}
static inline uint64_t tensor_bytes(struct tensor t)
{
	return tensor_count(t) * dtype_size(t.dtype);
}
static inline bool tensor_exists(struct tensor t)
{
	return t.buffer != NULL;
}
/* Rows [first, first + rows) of t; kernels need the result to start at the device's
 * storage alignment, copies do not. */
struct tensor tensor_rows(struct tensor t, int64_t first, int64_t rows);
/* The same bytes seen as [rows, cols]; the count must not change. */
struct tensor tensor_reshape(struct tensor t, int64_t rows, int64_t cols);

/* Blocking; data has tensor_bytes(t) bytes, resp. tensor_count(t) floats (t is f32). */
enum status WARN_UNUSED tensor_write(struct tensor t, const void *data, struct error *error);
enum status WARN_UNUSED tensor_read(struct tensor t, void *data, struct error *error);

/* Many tensors that live and die together, in as few buffers as the device's limits
 * allow. Declare them all (the addresses are kept), then allocate: every declared
 * tensor then has its buffer and offset. A failure names needed and available
 * bytes. */
struct arena;
struct arena *arena_create(struct device *device, enum buffer_kind kind, const char *name);
void arena_add(struct arena *arena, struct tensor *out, enum dtype dtype, int64_t rows, int64_t cols);
/* Bytes that arena_allocate will take. */
uint64_t arena_bytes(const struct arena *arena);
enum status WARN_UNUSED arena_allocate(struct arena *arena, struct error *error);
void arena_destroy(struct arena **arena);

#endif
