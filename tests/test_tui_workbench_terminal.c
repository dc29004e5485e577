/* The workbench on a made-up session, in a pseudo-terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tests/term_harness.h"
#include "tests/workbench_bench.h"
#include "tui/loop.h"

static struct bench terminal_bench;

static void on_event(void *context, const struct term_event *event)
{
	struct bench *b = context;
	workbench_event(&b->wb, event, loop_now_ms());
	workbench_update(&b->wb, &b->sample.snapshot, loop_now_ms());
}

static int idle_ms(void *context)
{
	return workbench_idle_ms(&((struct bench *)context)->wb);
}

static void draw(void *context, struct screen *screen)
{
	workbench_draw(&((struct bench *)context)->wb, screen, loop_now_ms());
}

static bool finished(void *context)
{
	return ((struct bench *)context)->wb.finished;
}

static int workbench_main(void *context)
{
	struct bench *b = &terminal_bench;
	struct error error;
	struct loop_client client = {
		.context = b, .wake_fd = -1, .event = on_event, .idle_ms = idle_ms, .draw = draw, .finished = finished};
	bench_open_at(b, *(enum sample_stage *)context, 24, 80, loop_now_ms());
	b->wb.backend.copy = term_copy;
	if (term_open(&(struct term_options){0}, &error) != STATUS_OK)
		return 9;
	loop_run(&client);
	term_close();
	bench_close(b);
	return 0;
}

static void test_in_a_terminal(void **state)
{
	(void)state;
	enum sample_stage stage = SAMPLE_FINISHED;
	struct harness *h =
		harness_start_function(&(struct harness_options){.rows = 24, .cols = 80}, workbench_main, &stage);
	int row, col;
	assert_true(harness_wait(h, "valid flip, recovered"));
	/* the same screen as drawn in memory */
	struct bench b;
	bench_open(&b, stage, 24, 80);
	harness_settle(h, 200);
	assert_string_equal(harness_screen(h), bench_look(&b));
	bench_close(&b);
	/* one code of colour */
	assert_true(harness_find(h, "b base", &row, &col));
	assert_int_equal(harness_cell(h, row, col).color, 33);
	assert_true(harness_find(h, "c clamped", &row, &col));
	assert_int_equal(harness_cell(h, row, col).color, 172);
	assert_true(harness_find(h, "r recovered", &row, &col));
	assert_int_equal(harness_cell(h, row, col).color, 35);
	harness_expect(h, "4<Left><Left>", "◀ 40 ▶");
	harness_resize(h, 60, 200);
	assert_true(harness_wait(h, "3 actions, each as its command"));
	harness_resize(h, 10, 40);
	assert_true(harness_wait(h, "─4 recovery─"));
	harness_resize(h, 9, 30);
	assert_true(harness_wait(h, "too small"));
	harness_resize(h, 24, 80);
	assert_true(harness_find(h, "2 features", &row, &col) || harness_wait(h, "2 features"));
	harness_settle(h, 100);
	assert_true(harness_find(h, "[0]", &row, &col));
	harness_click(h, row, col + 8);
	assert_true(harness_wait(h, ">[0]"));
	harness_expect(h, "6y", "copied: rebound recover");
	size_t n;
	assert_non_null(strstr(harness_bytes(h, &n), "\033]52;c;cmVib3VuZCByZWNvdmVy"));
	harness_expect_end(h, "<Esc>q");
}

static void test_spinner_turns(void **state)
{
	(void)state;
	enum sample_stage stage = SAMPLE_LOADING;
	struct harness *h =
		harness_start_function(&(struct harness_options){.rows = 24, .cols = 80}, workbench_main, &stage);
	assert_true(harness_wait(h, "reading the model 3/10"));
	assert_true(harness_wait(h, "⠸ reading"));
	assert_true(harness_wait(h, "⠏ reading"));
	assert_true(harness_wait(h, "3/10 1.")); /* for how long */
	harness_type(h, "q");
	assert_int_equal(harness_wait_end(h), 0);
	harness_stop(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_a_terminal),
		cmocka_unit_test(test_spinner_turns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
