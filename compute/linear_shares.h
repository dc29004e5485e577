/* How op_linear's kernels for CPU devices share a product out: over tiles in registers, over
 * workgroups and over threads. What changes the order of a sum depends on shapes alone; the number
 * of threads decides only who does what. */
#ifndef REBOUND_LINEAR_SHARES_H
#define REBOUND_LINEAR_SHARES_H

#include <stdint.h>

#include "compute/tensor.h"

/* Threads that a CPU device runs workgroups on, 1 to 256. */
int64_t linear_workers(void);

/* Rows of x that a kernel takes at a time, at most `most_rows` (4 or 8): those that cost least, where a tile
 * costs as much as three rows beside its own. More rows than two tiles go the common way: each
 * tile is a pipeline that a device must compile. */
uint32_t linear_tile(int64_t rows, int64_t most_rows);

/* Tiles of columns whose sums linear_slabs holds at once, at most `most_tiles`: an even share of what a
 * thread gets. */
int64_t linear_strip(int64_t tiles, int64_t workers, int64_t most_tiles);

/* Workgroups that `runs` runs of columns are dealt out to, at most four for each worker: as many as leave the
 * busiest worker the least to do, if each takes its share of the groups. */
int64_t linear_groups(int64_t runs, int64_t workers);

/* Texels of each row of w (`cols` elements) that linear_rows loads before it uses them, where it reads
 * `streams` rows at once: all of a cache line if the caches of the common kind (64 sets of 8
 * lines, 64 bytes each) can't keep that many lines between two loads, else as few as suit the
 * code. */
uint32_t linear_texels_ahead(enum dtype dtype, int64_t cols, int64_t streams);

#endif
