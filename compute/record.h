/* Recording work and submitting it, once or many times.
 *
 * A recorder turns dispatches and copies into one command buffer. It derives the
 * barriers: a command waits for the earlier ones whose byte ranges it reads after a
 * write, or writes after a use; commands that touch different ranges may overlap.
 * The first error of a recording is kept and reported by recorder_finish, so that
 * model code reads as equations. A finished recording can be submitted again and
 * again, also while earlier submissions of it run; submissions execute in order.
 * Belongs to the device's thread.
 */
#ifndef REBOUND_RECORD_H
#define REBOUND_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/device.h"
#include "compute/tensor.h"

struct recorder;

struct recorder *recorder_create(struct device *device, const char *name);
/* Waits for its own submissions. */
void recorder_destroy(struct recorder **recorder);
struct device *recorder_device(struct recorder *recorder);

/* From here on, ops choose only kernels, norms and cuts whose sums of a row don't depend on how many
 * rows go along: on CPU devices a row's numbers are then the same to the bit alone and among others.
 * Costs the kernels made for one or two rows. Kept by recorder_begin; off at first. */
void recorder_set_rows_alike(struct recorder *recorder, bool alike);
bool recorder_rows_alike(const struct recorder *recorder);

/* Drops what was recorded (waits for its submissions) and starts anew. */
void recorder_begin(struct recorder *recorder);
/* Keeps the first error; later calls record nothing. */
void recorder_fail(struct recorder *recorder, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);
bool recorder_failed(const struct recorder *recorder);
/* A float32 tensor for what passes between the dispatches of one op. It belongs to the
 * recording (until recorder_begin or recorder_destroy); contents undefined. Without
 * memory the recording fails and the tensor has no buffer. */
struct tensor recorder_scratch(struct recorder *recorder, int64_t rows, int64_t cols);

enum binding_access {
	BINDING_READ,
	BINDING_WRITE, /* all or part is written, nothing read */
	BINDING_READ_WRITE,
};
enum binding_form {
	BINDING_STORAGE,    /* a storage buffer */
	BINDING_TEXEL_R32F, /* uniform texel buffers: read-only, fetched by element */
	BINDING_TEXEL_RGBA32F,
	BINDING_TEXEL_RG32UI,
	BINDING_TEXEL_RGBA32UI,
	BINDING_IMAGE_R32F, /* storage texel buffers, for reading too: llvmpipe compiles their loads in
				  line, and calls a function for a fetch from a uniform one */
	BINDING_IMAGE_RGBA32F,
	BINDING_IMAGE_RGBA32UI,
};
struct binding {
	struct tensor tensor; /* without a buffer: a dummy is bound (the kernel must not use it) */
	enum binding_access access;
	enum binding_form form;
};

enum { DISPATCH_MAX_BINDINGS = 14, DISPATCH_MAX_CONSTANTS = 10 };
struct dispatch {
	const char *kernel;			    /* a name of the shader table */
	uint32_t constants[DISPATCH_MAX_CONSTANTS]; /* specialisation constants 0.. */
	int constant_count;
	struct binding bindings[DISPATCH_MAX_BINDINGS]; /* binding 0.. of set 0 */
	int binding_count;
	const void *push;
	size_t push_bytes;  /* a multiple of 4, at most 128 */
	uint32_t groups[3]; /* 0 counts as 1 in y and z; groups[0] == 0 records nothing */
};
/* Groups beyond the device's limit (65,535 at least) are an error: ops split. */
void record_dispatch(struct recorder *recorder, const struct dispatch *dispatch);

/* Copies `bytes` between ranges of buffers; multiples of 4. */
void record_copy(struct recorder *recorder, struct tensor to, uint64_t to_byte, struct tensor from, uint64_t from_byte,
		 uint64_t bytes);
/* Whole tensors of equal size. */
void record_copy_tensor(struct recorder *recorder, struct tensor to, struct tensor from);
void record_fill(struct recorder *recorder, struct tensor to, uint32_t word);

/* Timed spans for the bench: the time between the last mark and this one is booked
 * under `name` (static). No effect on devices without timestamps. */
void record_mark(struct recorder *recorder, const char *name);

enum status WARN_UNUSED recorder_finish(struct recorder *recorder, struct error *error);

/* Does not block. *ticket identifies the submission. */
enum status WARN_UNUSED recorder_submit(struct recorder *recorder, uint64_t *ticket, struct error *error);
/* Blocks until the submission and all before it have completed. */
enum status WARN_UNUSED device_wait(struct device *device, uint64_t ticket, struct error *error);
/* True if it has completed; does not block. */
bool device_poll(struct device *device, uint64_t ticket);
/* finish + submit + wait. */
enum status WARN_UNUSED recorder_run(struct recorder *recorder, struct error *error);

struct recorder_counts {
	int dispatches, barriers, copies;
	uint64_t bytes_bound; /* bytes of all bindings, each dispatch counted */
};
struct recorder_counts recorder_get_counts(const struct recorder *recorder);
/* After a wait: milliseconds of mark i of the last submission. False at the end. */
bool recorder_get_mark(struct recorder *recorder, int i, const char **name, double *ms);

#endif
