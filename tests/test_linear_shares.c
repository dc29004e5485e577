/* How products are shared out: nothing left over, nobody idle where it can be helped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compute/linear_shares.h"

static void test_tiles(void **state)
{
	(void)state;
	static const struct {
		int64_t rows, most;
		uint32_t tile;
	} cases[] = {{1, 8, 1}, {2, 8, 2},  {3, 8, 3},	{4, 8, 4},  {5, 8, 5}, {7, 8, 8}, {8, 8, 8},
		     {9, 8, 5}, {11, 8, 6}, {16, 8, 8}, {17, 8, 8}, {9, 4, 4}, {3, 4, 3}, {6, 4, 3}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (linear_tile(cases[i].rows, cases[i].most) != cases[i].tile)
			fail_msg("%lld rows, at most %lld at a time: %u, expected %u", (long long)cases[i].rows,
				 (long long)cases[i].most, linear_tile(cases[i].rows, cases[i].most), cases[i].tile);
}

/* Where workers take the groups in equal shares, the busiest has no more than a fair share of the runs. */
static void test_groups(void **state)
{
	(void)state;
	for (int64_t workers = 1; workers <= 64; workers++)
		for (int64_t runs = 1; runs <= 300; runs++) {
			int64_t groups = linear_groups(runs, workers);
			assert_in_range(groups, 1, runs < 4 * workers ? runs : 4 * workers);
			int64_t size = (runs + groups - 1) / groups, real = (runs + size - 1) / size;
			int64_t load = (real + workers - 1) / workers * size, fair = (runs + workers - 1) / workers;
			if (load != fair)
				fail_msg("%lld runs, %lld workers: %lld groups leave one worker %lld runs, %lld are "
					 "fair",
					 (long long)runs, (long long)workers, (long long)groups, (long long)load,
					 (long long)fair);
		}
}

static void test_texels_ahead(void **state)
{
	(void)state;
	assert_int_equal(linear_texels_ahead(DTYPE_F32, 768, 32), 2);
	assert_int_equal(linear_texels_ahead(DTYPE_F32, 1024, 32), 4); /* all rows in one set */
	assert_int_equal(linear_texels_ahead(DTYPE_F32, 1024, 8), 2);
	assert_int_equal(linear_texels_ahead(DTYPE_F32, 512, 32), 4);
	assert_int_equal(linear_texels_ahead(DTYPE_BF16, 1024, 16), 1);
	assert_int_equal(linear_texels_ahead(DTYPE_BF16, 2048, 16), 2);
	assert_int_equal(linear_texels_ahead(DTYPE_F32, 4, 64), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tiles),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_texels_ahead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
