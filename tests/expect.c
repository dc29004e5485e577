#include "tests/expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void expect_ok(enum status status, const struct error *error)
{
	if (status)
		fail_msg("%d: %s", (int)status, error->text);
}
