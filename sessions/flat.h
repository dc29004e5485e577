/* Numbers of several hooked layers one behind the other in a flat tensor (ops.h): where the
 * parts may start, and parts as tensors of their own. */
#ifndef REBOUND_FLAT_H
#define REBOUND_FLAT_H

#include "compute/tensor.h"

/* Elements that a part of n takes, so that the next one starts where devices let tensors
 * start. */
static inline int64_t flat_aligned(int64_t n)
{
	return (n + 63) / 64 * 64;
}

/* [rows, cols] from element `first` of t. */
static inline struct tensor flat_view(struct tensor t, int64_t first, int64_t rows, int64_t cols)
{
	t.offset += (uint64_t)first * dtype_size(t.dtype);
	t.rows = rows;
	t.cols = cols;
	return t;
}

#endif
