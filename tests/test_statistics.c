/* Means and their bootstrap intervals; Wilson's is in test_export. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sessions/statistics.h"

static void near(double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance))
		fail_msg("%.9g, expected %.9g within %g", got, want, tolerance);
}

/* The interval of a mean of n independent numbers is some 1.96 standard errors wide on each side. */
static void test_bootstrap(void **state)
{
	(void)state;
	enum { N = 400 };
	double values[N], low, high, again_low, again_high;
	for (int i = 0; i < N; i++)
		values[i] = i % 4 == 0;
	near(mean_of(values, N), 0.25, 1e-15);
	bootstrap_interval(values, N, &low, &high);
	double half = 1.96 * sqrt(0.25 * 0.75 / N);
	near(low, 0.25 - half, 0.004);
	near(high, 0.25 + half, 0.004);
	bootstrap_interval(values, N, &again_low, &again_high);
	assert_true(low == again_low && high == again_high);
}

static void test_few(void **state)
{
	(void)state;
	double one = -3.5, two[] = {1, 2}, low, high;
	bootstrap_interval(&one, 1, &low, &high);
	assert_true(low == -3.5 && high == -3.5);
	/* Both the same with probability 1/4 each. */
	bootstrap_interval(two, 2, &low, &high);
	assert_true(low == 1 && high == 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bootstrap),
		cmocka_unit_test(test_few),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
