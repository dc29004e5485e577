#include "tests/on_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct device *test_device;
static struct error device_error;

int test_device_open(void **state)
{
	(void)state;
	if (device_create(&test_device, &(struct device_options){.validation = true}, &device_error))
		test_device = NULL;
	return 0;
}

int test_device_close(void **state)
{
	(void)state;
	device_destroy(&test_device);
	return 0;
}

void test_device_need(void)
{
	if (test_device)
		return;
	print_message("%s\n", device_error.text);
	skip();
}

_Noreturn void test_stop(const char *name, const struct error *error)
{
	fail_msg("%s: %s", name, error->text);
	abort();
}
