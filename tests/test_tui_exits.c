/* Every way out of a program of the toolkit leaves the terminal as it was: stopping, ending on a signal,
 * crashing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/base/mem.h"
#include "tests/term_harness.h"
#include "tests/toolkit_demo.h"
#include "tui/canvas.h"
#include "tui/term.h"

/* As much of a shell as job control needs: runs the demo in the foreground, says
 * when it stops, continues it on a line of input. */
static int shell_main(void *context)
{
	signal(SIGTTOU, SIG_IGN);
	pid_t job = fork();
	if (job == 0) {
		setpgid(0, 0);
		tcsetpgrp(STDIN_FILENO, getpid());
		signal(SIGTTOU, SIG_DFL);
		exit(demo_main(context));
	}
	for (;;) {
		int status;
		char line[16];
		if (waitpid(job, &status, WUNTRACED) != job)
			return 99;
		tcsetpgrp(STDIN_FILENO, getpgrp());
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		puts("shell: stopped");
		fflush(stdout);
		if (read(STDIN_FILENO, line, sizeof line) <= 0)
			return 98;
		tcsetpgrp(STDIN_FILENO, job);
		kill(-job, SIGCONT);
	}
}

static void test_stops_and_goes_on(void **state)
{
	(void)state;
	struct harness *h = harness_start_function(&demo_terminal, shell_main, NULL);
	assert_true(harness_wait(h, ">item 0"));
	harness_expect(h, "<C-z>", "shell: stopped");
	assert_true(harness_restored(h));
	harness_expect(h, "<Enter>", ">item 0");
	harness_expect(h, "<Down>", ">item 1");
	assert_false(harness_restored(h));
	/* A hand holds the button for a while; Ctrl-C behind any button's release is heard. */
	for (int button = 1; button <= 3; button++) {
		harness_press(h, 5, 3, button);
		harness_settle(h, 200);
		harness_release(h, button);
		harness_settle(h, 200);
	}
	assert_true(harness_wait(h, ">item 4"));
	harness_expect(h, "<C-c>", "interrupted");
	harness_expect_end(h, "qy");
}

static void test_quits_on_request(void **state)
{
	(void)state;
	struct harness *h = harness_start_function(&demo_terminal, demo_main, NULL);
	assert_true(harness_wait(h, ">item 0"));
	harness_signal(h, SIGTERM);
	assert_int_equal(harness_wait_end(h), 0);
	assert_true(harness_restored(h));
	assert_true(harness_shows(h, "goodbye"));
	harness_stop(h);
}

enum death { DEATH_EXIT, DEATH_FATAL, DEATH_ABORT, DEATH_SEGV, DEATH_FPE, DEATH_BUS, DEATH_OVERFLOW, DEATH_HANG };

static int overflow_stack(int n)
{
	volatile char big[65536];
	big[0] = (char)n;
	return n == -1 ? 0 : overflow_stack(n + 1) + big[0];
}

static int die_main(void *context)
{
	enum death death = *(enum death *)context;
	if (demo_open_terminal() != STATUS_OK)
		return 9;
	struct screen screen;
	screen_init(&screen, term_rows(), term_cols(), false);
	struct canvas c = canvas_of(&screen, (struct rect){0, 0, 24, 80});
	canvas_text(&c, 0, 0, 0, "about to die");
	term_present(&screen);
	fprintf(stderr, "a driver's message\n");
	screen_done(&screen);
	if (death == DEATH_HANG)
		for (;;)
			pause();
	while (term_read().kind != TERM_KEY)
		term_wait(-1, -1);
	switch (death) {
	case DEATH_EXIT:
		exit(7);
	case DEATH_FATAL:
		fatal("one of our own mistakes");
	case DEATH_ABORT:
		abort();
	case DEATH_SEGV:
		raise(SIGSEGV);
		break;
	case DEATH_FPE:
		raise(SIGFPE);
		break;
	case DEATH_BUS:
		raise(SIGBUS);
		break;
	case DEATH_OVERFLOW:
		return overflow_stack(1);
	default:
		break;
	}
	return 0;
}

static void check_death(enum death death, int number, const char *says)
{
	struct harness *h = harness_start_function(&demo_terminal, die_main, &death);
	assert_true(harness_wait(h, "about to die"));
	assert_false(harness_restored(h));
	assert_false(harness_shows(h, "a driver's message"));
	harness_type(h, "x");
	int status = harness_wait_end(h);
	if (number)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == number);
	else
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	assert_true(harness_restored(h));
	assert_true(harness_shows(h, "a driver's message"));
	assert_true(harness_shows(h, says));
	harness_stop(h);
}

static void test_restored_after_each_death(void **state)
{
	(void)state;
	check_death(DEATH_EXIT, 0, "");
	check_death(DEATH_FATAL, SIGABRT, "rebound: one of our own mistakes");
	check_death(DEATH_ABORT, SIGABRT, "");
	check_death(DEATH_SEGV, SIGSEGV, "");
	check_death(DEATH_FPE, SIGFPE, "");
	check_death(DEATH_BUS, SIGBUS, "");
	check_death(DEATH_OVERFLOW, SIGSEGV, "");
}

static void test_second_signal_ends(void **state)
{
	(void)state;
	enum death death = DEATH_HANG;
	struct harness *h = harness_start_function(&demo_terminal, die_main, &death);
	assert_true(harness_wait(h, "about to die"));
	harness_signal(h, SIGTERM);
	harness_settle(h, 100);
	harness_signal(h, SIGTERM);
	int status = harness_wait_end(h);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	assert_true(harness_restored(h));
	harness_stop(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stops_and_goes_on),
		cmocka_unit_test(test_quits_on_request),
		cmocka_unit_test(test_restored_after_each_death),
		cmocka_unit_test(test_second_signal_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
