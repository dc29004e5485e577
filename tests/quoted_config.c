#include "tests/quoted_config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"

static char *quoted(const char *text)
{
	char *copy = mem_strdup(text);
	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	return copy;
}

enum status quoted_config_parse(struct arch *arch, const char *text, struct error *error)
{
	char *json = quoted(text);
	enum status status = arch_parse(arch, json, strlen(json), "'m/config.json'", error);
	free(json);
	return status;
}

void quoted_config_accept(struct arch *arch, const char *text)
{
	struct error error;
	if (quoted_config_parse(arch, text, &error))
		fail_msg("%s", error.text);
}

void assert_near(double x, double y)
{
	if (!(fabs(x - y) <= 1e-12 * (1 + fabs(y))))
		fail_msg("%.15g is not %.15g", x, y);
}
