/* The loop in a terminal: widgets hear keys and mouse, and keys are heard however much news there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/term_harness.h"
#include "tests/toolkit_demo.h"
#include "tui/canvas.h"
#include "tui/loop.h"
#include "tui/term.h"

static void test_widgets_answer_keys_and_mouse(void **state)
{
	(void)state;
	struct harness *h = harness_start_function(&demo_terminal, demo_main, NULL);
	assert_true(harness_wait(h, "demo 80x24"));
	assert_true(harness_wait(h, ">item 0"));
	assert_true(harness_wait(h, "✓ 日本 δ"));
	harness_expect(h, "<Down>j<PgDn>", ">item 22");
	harness_expect(h, "<Home>", ">item 0");
	harness_click(h, 5, 3);
	assert_true(harness_wait(h, ">item 4"));
	harness_wheel(h, 5, 3, 1);
	harness_wheel(h, 5, 3, 1);
	assert_true(harness_wait(h, ">item 6"));
	assert_true(harness_cell(h, 1, 0).reverse);
	assert_int_equal(harness_cell(h, 22, 0).color, 33);

	harness_expect(h, ":paint gr<Tab>", ":paint gre  green grey");
	harness_expect(h, "é<Enter>", "said paint greé");
	harness_expect(h, ":<Up>", ":paint greé");
	harness_type(h, "<Esc>");
	assert_true(harness_wait_gone(h, ":paint"));

	harness_expect(h, "?", "clamp the feature, or release it");
	assert_false(harness_shows(h, "suspend the program"));
	harness_expect(h, "<End>", "suspend the program");
	harness_expect(h, "<Esc>S<Down><BS><BS>12.5<Down><Right>", "◀ encoder ▶");
	harness_expect(h, "<Enter>", "budget is 12.5");

	harness_type(h, "x");
	harness_settle(h, 100);
	size_t n;
	assert_non_null(strstr(harness_bytes(h, &n), "\033]52;c;Y29waWVkIQ==\a"));

	harness_resize(h, 10, 40);
	assert_true(harness_wait(h, "demo 40x10"));
	harness_resize(h, 60, 200);
	assert_true(harness_wait(h, "demo 200x60"));
	harness_type(h, "qn");
	harness_expect(h, "q", "Quit?");
	harness_type(h, "y");
	assert_int_equal(harness_wait_end(h), 0);
	assert_true(harness_shows(h, "goodbye"));
	assert_true(harness_restored(h));
	harness_stop(h);
}

/* ---- a worker with news all the time ---- */

struct flood {
	int wake[2], news, keys;
	bool finished;
};

static void *flood_worker(void *context)
{
	struct flood *f = context;
	while (write(f->wake[1], "x", 1) == 1)
		usleep(200);
	return NULL;
}

static void flood_event(void *context, const struct term_event *event)
{
	struct flood *f = context;
	f->keys += event->kind == TERM_KEY;
	f->finished = event->kind == TERM_KEY && event->key == 'q';
}

static void flood_woken(void *context)
{
	struct flood *f = context;
	char bytes[4096];
	ssize_t n = read(f->wake[0], bytes, sizeof bytes);
	f->news += n > 0 ? (int)n : 0;
}

static void flood_draw(void *context, struct screen *screen)
{
	struct flood *f = context;
	struct canvas c = canvas_of(screen, (struct rect){0, 0, screen->rows, screen->cols});
	canvas_printf(&c, 0, 0, ROLE_TEXT, "%s news, %d keys", f->news > 1000 ? "many" : "few", f->keys);
}

static bool flood_finished(void *context)
{
	return ((struct flood *)context)->finished;
}

static int flood_main(void *context)
{
	struct flood f = {0};
	pthread_t thread;
	(void)context;
	if (pipe(f.wake) != 0 || demo_open_terminal() != STATUS_OK)
		return 9;
	pthread_create(&thread, NULL, flood_worker, &f);
	struct loop_client client = {.context = &f,
				     .wake_fd = f.wake[0],
				     .event = flood_event,
				     .woken = flood_woken,
				     .draw = flood_draw,
				     .finished = flood_finished};
	loop_run(&client);
	term_close();
	signal(SIGPIPE, SIG_IGN);
	close(f.wake[0]); /* the worker's next write fails */
	pthread_join(thread, NULL);
	return 0;
}

static void test_keys_are_heard_over_the_worker(void **state)
{
	(void)state;
	struct harness *h = harness_start_function(&demo_terminal, flood_main, NULL);
	assert_true(harness_wait(h, "few news, 0 keys"));
	harness_expect(h, "abc", "3 keys");
	assert_true(harness_wait(h, "many news, 3 keys"));
	harness_expect(h, "<Esc>", "4 keys");
	harness_resize(h, 30, 90);
	harness_expect_end(h, "q");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_widgets_answer_keys_and_mouse),
		cmocka_unit_test(test_keys_are_heard_over_the_worker),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
