/* The manual page's KEYS section is what the table of keys says. With REBOUND_UPDATE
 * set, the test writes the section instead of comparing it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "tui/keys.h"

static const char page_path[] = "tui/rebound.1";

static void test_keys_section(void **state)
{
	(void)state;
	struct error error;
	char *page;
	size_t size;
	if (file_read(&page, &size, page_path, 1 << 20, &error))
		fail_msg("%s", error.text);
	const char *section = strstr(page, ".SH KEYS\n");
	assert_non_null(section);
	const char *after = strstr(section + 1, "\n.SH ");
	assert_non_null(after);
	after++;
	struct strbuf keys = {0};
	keys_man(&keys);
	if (getenv("REBOUND_UPDATE")) {
		FILE *file = fopen(page_path, "w");
		assert_non_null(file);
		fprintf(file, "%.*s%s%s", (int)(section - page), page, keys.data, after);
		assert_int_equal(fclose(file), 0);
	} else if ((size_t)(after - section) != keys.length || memcmp(section, keys.data, keys.length) != 0) {
		fail_msg("%s does not list the keys as bound; REBOUND_UPDATE=1 build/tests/test_man rewrites it",
			 page_path);
	}
	strbuf_done(&keys);
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_section),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
