/* Terminals that can do less or are called otherwise, and those that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "compute/base/mem.h"
#include "tests/term_harness.h"
#include "tests/toolkit_demo.h"

static void test_degrades_without_colour_or_unicode(void **state)
{
	(void)state;
	struct harness_options options = demo_terminal;
	options.locale = "C";
	struct harness *h = harness_start_function(&options, demo_main, NULL);
	assert_true(harness_wait(h, "+ ???? d"));
	for (const char *p = harness_screen(h); *p; p++)
		assert_true((unsigned char)*p < 0x80);
	harness_stop(h);

	static const char *const no_color[] = {"NO_COLOR=1", NULL};
	options = demo_terminal;
	options.env = no_color;
	h = harness_start_function(&options, demo_main, NULL);
	assert_true(harness_wait(h, "✓ 日本 δ"));
	assert_int_equal(harness_cell(h, 22, 0).color, -1);
	harness_stop(h);

	options = demo_terminal;
	options.term = "xterm";
	h = harness_start_function(&options, demo_main, NULL);
	assert_true(harness_wait(h, "✓ 日本 δ"));
	assert_int_equal(harness_cell(h, 22, 0).color, 4);
	harness_stop(h);
}

static void test_other_terminals_work_and_are_restored(void **state)
{
	(void)state;
	static const char *const names[] = {"vt100", "linux", "screen-256color", "tmux-256color", "xterm"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct harness_options options = demo_terminal;
		options.term = names[i];
		struct harness *h = harness_start_function(&options, demo_main, NULL);
		harness_settle(h, 200);
		if (harness_shows(h, "does not know")) { /* the terminfo database of the machine lacks it */
			harness_stop(h);
			continue;
		}
		assert_true(harness_wait(h, ">item 0"));
		harness_expect(h, "j", ">item 1");
		harness_signal(h, SIGSEGV);
		int status = harness_wait_end(h);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		assert_true(harness_restored(h));
		harness_stop(h);
	}
}

static void test_unusable_terminals_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *term, *says;
	} cases[] = {{"dumb", "TERM is \"dumb\""}, {"no-such-terminal", "does not know"}, {"", "TERM is not set"}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct harness_options options = demo_terminal;
		options.term = cases[i].term;
		struct harness *h = harness_start_function(&options, demo_main, NULL);
		int status = harness_wait_end(h);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == STATUS_INVALID);
		assert_true(harness_shows(h, cases[i].says));
		assert_true(harness_restored(h));
		harness_stop(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_degrades_without_colour_or_unicode),
		cmocka_unit_test(test_other_terminals_work_and_are_restored),
		cmocka_unit_test(test_unusable_terminals_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
