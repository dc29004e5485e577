/* What tests on the device share: one device for the tests of a program. */
#ifndef REBOUND_TESTS_ON_DEVICE_H
#define REBOUND_TESTS_ON_DEVICE_H

#include "compute/device.h"

/* With validation. NULL where there is none, before the first test and behind the last. */
extern struct device *test_device;

/* Set-up and tear-down of a group of tests. */
int test_device_open(void **state);
int test_device_close(void **state);
/* Says why there is no device and skips the running test, if there is none. */
void test_device_need(void);

/* Fails the running test with "name: the error"; for the analyzer, which takes fail_msg to
 * return. */
_Noreturn void test_stop(const char *name, const struct error *error);

#endif
