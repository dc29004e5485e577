#include "compute/linear_shares.h"

#include <unistd.h>

#include "compute/base/mem.h"
#include "compute/ops_internal.h"

int64_t linear_workers(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > 256 ? 256 : n;
}

uint32_t linear_tile(int64_t rows, int64_t most_rows)
{
	static const int64_t tiles[] = {8, 6, 5, 4, 3};
	if (rows <= 2 || rows > 2 * most_rows)
		return (uint32_t)(rows < most_rows ? rows : most_rows);
	int64_t best = most_rows, best_cost = INT64_MAX;
	for (size_t i = 0; i < ARRAY_LEN(tiles); i++) {
		int64_t cost = ops_div_up(rows, tiles[i]) * (tiles[i] + 3);
		if (tiles[i] <= most_rows && cost < best_cost) {
			best = tiles[i];
			best_cost = cost;
		}
	}
	return (uint32_t)best;
}

int64_t linear_strip(int64_t tiles, int64_t workers, int64_t most_tiles)
{
	int64_t rounds = ops_div_up(tiles, workers * most_tiles);
	return ops_div_up(tiles, workers * rounds);
}

int64_t linear_groups(int64_t runs, int64_t workers)
{
	int64_t best = workers, best_load = INT64_MAX;
	for (int64_t each = 4; each >= 1; each--) {
		int64_t size = ops_div_up(runs, each * workers);
		int64_t load = ops_div_up(ops_div_up(runs, size), workers) * size;
		if (load < best_load) {
			best = each * workers;
			best_load = load;
		}
	}
	return runs < best ? runs : best;
}

uint32_t linear_texels_ahead(enum dtype dtype, int64_t cols, int64_t streams)
{
	enum { SETS_BYTES = 4096, LINE_BYTES = 64, WAYS = 8 };
	int64_t apart = SETS_BYTES;
	while (apart > LINE_BYTES && (uint64_t)cols * dtype_size(dtype) % (uint64_t)apart != 0)
		apart /= 2;
	bool kept = streams <= SETS_BYTES / apart * WAYS;
	return dtype == DTYPE_F32 ? (kept ? 2 : 4) : (kept ? 1 : 2);
}
