/* What the ops share inside compute/: checks of shapes and ways to bind tensors. */
#ifndef REBOUND_OPS_INTERNAL_H
#define REBOUND_OPS_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/record.h"
#include "compute/tensor.h"

/* A tensor that does not have the shape or type that `op` needs is our mistake: fatal. */
void ops_check(const char *op, const char *tensor, struct tensor t, int64_t rows, int64_t cols, enum dtype dtype);
/* The same if the tensor exists. */
void ops_check_optional(const char *op, const char *tensor, struct tensor t, int64_t rows, int64_t cols,
			enum dtype dtype);

/* Fatal unless it holds. */
void ops_require(const char *op, bool holds, const char *what);
/* G of gradient rows G*R over R forward rows; fatal if R does not divide them. */
int64_t ops_gradients(const char *op, struct tensor gradient, int64_t rows);
/* llvmpipe leaves every loop of an invocation, without a word, once it has made 65,535
 * turns in all its loops together (shaders/README.md). Ops cut work so that no invocation
 * makes more than this; where they can't, ops_check_turns fails the recording with a
 * sentence. */
enum { OPS_MAX_TURNS = 50000 };
void ops_check_turns(struct recorder *rec, const char *op, int64_t turns);
/* Spreads `count` workgroups over x and y; the kernel's number is y * groups in x + x
 * (shaders/grid.glsl) and may lie past `count`. */
void ops_grid(struct dispatch *dispatch, uint64_t count);

/* True where the builds of kernels for CPU devices run (shaders/README.md). */
bool ops_narrow(struct recorder *rec);
/* There, runs `kernel` instead, with the bindings in `texels` (bit i: binding i) fetched as
 * texels of one float. */
void ops_use_narrow(struct recorder *rec, struct dispatch *dispatch, const char *kernel, uint32_t texels);

/* How many of `count` elements a workgroup of `lanes` takes in a kernel over elements: one an
 * invocation, or on CPU devices enough to make a workgroup worth its cost while all cores
 * have some. */
uint32_t ops_block(struct recorder *rec, uint64_t count, uint32_t lanes);

static inline int64_t ops_div_up(int64_t a, int64_t b)
{
	return b > 0 ? (a + b - 1) / b : 0;
}

static inline struct binding ops_read(struct tensor t)
{
	return (struct binding){t, BINDING_READ, BINDING_STORAGE};
}
static inline struct binding ops_write(struct tensor t)
{
	return (struct binding){t, BINDING_WRITE, BINDING_STORAGE};
}
static inline struct binding ops_read_write(struct tensor t)
{
	return (struct binding){t, BINDING_READ_WRITE, BINDING_STORAGE};
}

/* A read of a tensor at any offset (a tensor of an imported file starts where the file
 * has it): binds from the last offset before it that the device allows, in whole
 * texels. *shift is the number of the tensor's elements between that and its start. */
struct binding ops_read_shifted(const struct device_info *info, struct tensor t, enum binding_form form,
				uint32_t *shift);

/* Whether a binding as texels of 16 bytes begins with the first element of a tensor. */
bool ops_starts_at_texel(const struct device_info *info, struct tensor t);

#endif
