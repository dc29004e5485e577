/* The start-up self-test: a small model with made-up weights is run forward and backward
 * on the device and in double precision on the host. GPU stacks have been silently wrong
 * before; this says so where it happens. */
#ifndef REBOUND_SELFTEST_H
#define REBOUND_SELFTEST_H

#include <stdbool.h>

#include "compute/device.h"

struct self_test {
	bool ok;	  /* max_error is within SELF_TEST_TOLERANCE */
	double max_error; /* largest deviation of logits and gradients, in shares of the largest value */
};
#define SELF_TEST_TOLERANCE 1e-4

/* Takes some milliseconds once the kernels are built; blocks. */
enum status WARN_UNUSED self_test_run(struct self_test *test, struct device *device, struct error *error);

#endif
