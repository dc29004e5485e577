/* Expectations that many tests have of the program's functions. */
#ifndef REBOUND_TESTS_EXPECT_H
#define REBOUND_TESTS_EXPECT_H

#include "compute/base/error.h"

/* Fails the test with the error's sentence unless the status is STATUS_OK. */
void expect_ok(enum status status, const struct error *error);

#endif
