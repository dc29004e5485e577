/* Push constants of the matrix products (linear*.comp), the row statistics and the
 * embedding. Counts are elements unless said otherwise. */
#ifndef REBOUND_PUSH_LINEAR_H
#define REBOUND_PUSH_LINEAR_H

#include "push.h"

/* A dispatch computes columns [n_first, n_first + n_count) of y from the inner indices
 * [k_first, k_first + k_count); all of K, or a part of it into a tensor of partial sums
 * [parts * rows, n]. The binding of w holds only what these need: its first element is
 * w[n_first, 0] (OUT_IN) resp. w[k_first, 0] (IN_OUT), w_shift behind the start. */
struct push_linear {
	uint rows;
	uint row_first; /* row of the pass that is row 0 here: back_pre repeats over the pass */
	uint back_rows;
	uint n, k; /* columns of y and of x */
	uint n_first, n_count;
	uint k_first, k_count;
	uint part, parts;
	uint k_part;	 /* inner indices of each of the parts that one dispatch makes (groups in z) */
	uint tiles;	 /* of columns; what a tile is depends on the kernel */
	uint tiles_each; /* tiles of a workgroup (groups in x) */
	uint rows_each;	 /* rows of a workgroup (groups in y) */
	uint w_shift, bias_shift;
	float norm_eps;
	uint cache_width, context; /* STEP_CACHE: the last 2 cache_width columns go to the caches */
};
PUSH_ASSERT(push_linear)

struct push_linear_norm {
	uint rows, k;
	uint w_shift, b_shift;
	float eps;
};
PUSH_ASSERT(push_linear_norm)

/* Weights of any size in up to 8 windows: row j of w is row j - first_row of this
 * dispatch's windows, window_rows to each; rows outside of them belong to another dispatch. */
struct push_gather {
	uint rows; /* of x and y */
	uint k;	   /* columns of w */
	uint ids;
	uint ids_stride; /* `ids` if each row has its own, else 0 */
	uint first_row, window_rows, row_count;
	uint w_shift; /* the same in each window */
	uint add;     /* not 0: add to what an earlier dispatch left in the output */
};
PUSH_ASSERT(push_gather)

struct push_embed {
	uint rows, width;
	uint first_row, window_rows, row_count;
	uint w_shift, wpe_shift;
	float scale;
};
PUSH_ASSERT(push_embed)

#endif
