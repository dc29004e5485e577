/* The workbench on a made-up session: what it shows. With REBOUND_UPDATE set, tests/screens is
 * written anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "tests/workbench_bench.h"

static void test_screens(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum sample_stage stage;
		int rows, cols;
		bool ascii;
		const char *keys;
	} cases[] = {
		{"loading-80x24", SAMPLE_LOADING, 24, 80, false, ""},
		{"fresh-80x24", SAMPLE_FRESH, 24, 80, false, ""},
		{"method-80x24", SAMPLE_METHOD, 24, 80, false, "4z"},
		{"suffix-80x24", SAMPLE_SUFFIX, 24, 80, false, "4z"},
		{"suffix-200x60", SAMPLE_SUFFIX, 60, 200, false, "4"},
		{"suffix-form-80x24", SAMPLE_FINISHED, 24, 80, false, "B"},
		{"running-80x24", SAMPLE_RUNNING, 24, 80, false, "4"},
		{"finished-80x24", SAMPLE_FINISHED, 24, 80, false, "2"},
		{"finished-80x24-ascii", SAMPLE_FINISHED, 24, 80, true, "2"},
		{"finished-120x30", SAMPLE_FINISHED, 30, 120, false, "5"},
		{"finished-200x60", SAMPLE_FINISHED, 60, 200, false, "4"},
		{"stacked-50x14", SAMPLE_FINISHED, 14, 50, false, "5"},
		{"help-80x24", SAMPLE_FINISHED, 24, 80, false, "2?"},
		{"feature-80x24", SAMPLE_FINISHED, 24, 80, false, "2\r"},
		{"feature-80x24-ascii", SAMPLE_FINISHED, 24, 80, true, "2\rG"},
		{"feature-200x60", SAMPLE_FINISHED, 60, 200, false, "2\r"},
		{"compare-80x24", SAMPLE_FINISHED, 24, 80, false, "V\r\r"},
		{"compare-80x24-ascii", SAMPLE_FINISHED, 24, 80, true, "V\r\rG"},
		{"compare-200x60", SAMPLE_FINISHED, 60, 200, false, "V\r\r"},
		{"settings-80x24", SAMPLE_FINISHED, 24, 80, false, "S"},
		{"saes-80x24", SAMPLE_FINISHED, 24, 80, false, "L"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct bench b;
		char *path = mem_printf("tests/screens/%s.txt", cases[i].name), *expected = NULL;
		size_t size;
		struct error error;
		bench_open(&b, cases[i].stage, cases[i].rows, cases[i].cols);
		b.screen.ascii = cases[i].ascii;
		bench_type(&b, cases[i].keys);
		bench_look(&b);
		if (getenv("REBOUND_UPDATE"))
			assert_int_equal(file_write(path, b.text.data, b.text.length, &error), STATUS_OK);
		assert_int_equal(file_read(&expected, &size, path, 1 << 20, &error), STATUS_OK);
		if (strcmp(expected, b.text.data) != 0)
			fail_msg("%s differs; expected\n%s\nfound\n%s", path, expected, b.text.data);
		free(expected);
		free(path);
		bench_close(&b);
	}
}

static void test_every_size_and_stage(void **state)
{
	(void)state;
	for (int stage = SAMPLE_LOADING; stage <= SAMPLE_FINISHED; stage++) {
		struct bench b;
		bench_open(&b, (enum sample_stage)stage, 24, 80);
		for (int focus = 0; focus <= PANE_STRIP; focus++)
			for (int rows = 1; rows < 70; rows += rows < 30 ? 1 : 13)
				for (int cols = 1; cols < 260; cols += cols < 90 ? 3 : 17) {
					screen_resize(&b.screen, rows, cols);
					b.wb.focus = (enum pane)focus;
					b.wb.zoom = (rows + cols) % 5 == 0;
					workbench_draw(&b.wb, &b.screen, 1000);
				}
		bench_close(&b);
	}
}

static bool dimmed(struct bench *b, const char *text)
{
	const struct cell *cell;
	for (int row = 0; row < b->screen.rows; row++)
		for (int col = 0; col + (int)strlen(text) <= b->screen.cols; col++) {
			size_t n = 0;
			while (n < strlen(text) &&
			       screen_cell(&b->screen, row, col + (int)n)->code[0] == (uint32_t)text[n])
				n++;
			cell = screen_cell(&b->screen, row, col);
			if (n == strlen(text))
				return cell->style & STYLE_DIM;
		}
	fail_msg("\"%s\" is not on the screen:\n%s", text, bench_look(b));
	return false;
}

static void test_stale_numbers_are_dimmed(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 24, 80);
	assert_false(dimmed(&b, "-2.8"));
	assert_false(dimmed(&b, "2.9"));
	b.sample.snapshot.state[STATE_CLAMPED].stale = true;
	bench_press(&b, '4');
	bench_press(&b, KEYCODE_LEFT); /* the decomposition is of another step now */
	assert_true(dimmed(&b, "-2.8"));
	assert_true(dimmed(&b, "2.9"));
	bench_shows(&b, "◀ 41 ▶");
	bench_close(&b);
}

static void test_the_pane_concerned_says_what_runs(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_CLAMPED, 24, 80);
	b.sample.snapshot.job = JOB_ATTRIBUTE;
	snprintf(b.sample.snapshot.job_text, sizeof b.sample.snapshot.job_text, "ranking features");
	workbench_update(&b.wb, &b.sample.snapshot, 100);
	assert_true(workbench_idle_ms(&b.wb) > 0);
	bench_shows(&b, "2 features ⠼ 2.4 s ");
	bench_shows(&b, "⠼ ranking features 2.4 s");
	bench_close(&b);
}

static void test_unknown_is_a_dot(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FRESH, 24, 80);
	bench_shows(&b, "J       +2.2 ✓        ·             ·");
	b.sample.snapshot.has_self_test = false;
	bench_shows(&b, "llvmpipe ·");
	bench_close(&b);
}

static void test_hints_follow(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FRESH, 24, 80);
	bench_shows(&b, "next A rank features for this objective");
	b.sample.snapshot.hint = HINT_CLAMP;
	bench_shows(&b, "next t clamp the top 16");
	b.sample.snapshot.hint = HINT_RECOVER;
	bench_shows(&b, "next r try to recover");
	bench_press(&b, 'H');
	assert_null(strstr(bench_look(&b), "try to recover"));
	bench_close(&b);
}

/* With a run of its own the screen asks for the other session alone; its steps are walked
 * through, and the table is in sight. */
static void test_comparison(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 24, 80);
	snprintf(b.sample.snapshot.session, sizeof b.sample.snapshot.session, "20261125-000000-ioi-05");
	bench_press(&b, 'V');
	bench_shows(&b, "compare this run with");
	bench_press(&b, '3');
	const struct command *command = sample_command(&b.sample, COMMAND_COMPARE);
	assert_string_equal(command->text, "\n20261123-101112-choice-02");
	bench_shows(&b, " compare ");
	bench_shows(&b, "they part at step 1 (objective -2.7 and -2.6), clearly at step 4");
	assert_null(strstr(bench_look(&b), "part\n")); /* of the table, which is below */
	bench_press(&b, KEYCODE_RIGHT);
	bench_shows(&b, "     5     -2.1     -1.9");
	bench_press(&b, ']');
	bench_shows(&b, "    15");
	bench_type(&b, "]]]]]]]]]]");
	bench_shows(&b, "    99     +.73");
	assert_null(strstr(bench_look(&b), "   100"));
	bench_press(&b, KEYCODE_HOME);
	bench_shows(&b, "what differs");
	bench_press(&b, '?');
	bench_shows(&b, "In the comparison of two sessions:");
	bench_press(&b, KEYCODE_ESCAPE);
	bench_press(&b, KEYCODE_ESCAPE);
	assert_null(strstr(bench_look(&b), "what differs"));
	bench_shows(&b, "4 recovery");
	bench_close(&b);

	/* Nothing to choose from. */
	bench_open(&b, SAMPLE_FRESH, 24, 80);
	bench_press(&b, 'V');
	bench_press(&b, KEYCODE_ESCAPE);
	b.sample.snapshot.session_count = 0;
	b.wb.compare.waiting = true;
	b.sample.snapshot.sessions_serial++;
	workbench_update(&b.wb, &b.sample.snapshot, 2500);
	bench_shows(&b, "there is no session on disk to compare with");
	bench_close(&b);
}

/* The run that this one was forked from stays as a dotted line, beside a line. */
static void test_fork_overlay(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 60, 200);
	struct snapshot *s = &b.sample.snapshot;
	struct snapshot_run before = {.begin = 0, .history = s->history};
	float flat[42];
	for (int i = 0; i < 42; i++)
		flat[i] = -2.8f;
	before.history.objective = flat;
	s->earlier = &before;
	s->run_begin = 12;
	s->run_count = 2;
	s->run_selected = 1;
	bench_shows(&b, "4 recovery─ from step 12, dotted: before encoder");
	int row = b.wb.layout.pane[PANE_RECOVERY].row, col = b.wb.layout.pane[PANE_RECOVERY].col, dotted = 0, line = 0;
	for (; row < b.wb.layout.pane[PANE_DECOMPOSITION].row; row++)
		for (int x = col; x < col + 50; x++) {
			const struct cell *cell = screen_cell(&b.screen, row, x);
			if (cell->code[0] < 0x2800 || cell->code[0] > 0x28ff)
				continue;
			dotted += (cell->style & STYLE_ROLE_MASK) == ROLE_NOTE;
			line += (cell->style & STYLE_ROLE_MASK) == ROLE_RECOVERED;
		}
	assert_true(dotted > 5);
	assert_true(line > 5);
	s->earlier = NULL;
	s->run_count = 1;
	bench_look(&b);
	bench_close(&b);
}

static void test_feature_view(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 14, 80);
	bench_type(&b, "2\r");
	bench_shows(&b, "names that were given something");
	bench_shows(&b, "the receiver of a gift");
	assert_null(strstr(bench_look(&b), "over the prompt set"));
	bench_press(&b, KEYCODE_END); /* what has no room is scrolled to */
	bench_shows(&b, "1.6 % of 1304 tokens, 18 of 47 prompts  1 too long");
	bench_press(&b, 'y');
	assert_string_equal(b.sample.copied, "https://www.neuronpedia.org/demo/2-res/311");
	screen_resize(&b.screen, 60, 80); /* and where there is room for all, nothing is scrolled */
	bench_shows(&b, "the receiver of a gift");
	b.sample.snapshot.view->reading = true;
	b.sample.snapshot.view->prompts_done = 20;
	bench_shows(&b, "18 of 19 prompts");
	bench_shows(&b, " e stops reading");
	b.sample.snapshot.view->reading = false;
	bench_shows(&b, "e reads 28 more");
	b.sample.snapshot.view->page[0] = '\0';
	bench_press(&b, 'y');
	bench_shows(&b, "no page is known");
	bench_type(&b, ":feature x\r");
	bench_shows(&b, ":feature needs the number of a feature");
	b.sample.snapshot.view->feature = 5; /* another than the one asked for is not shown */
	assert_null(strstr(bench_look(&b), "the receiver of a gift"));
	bench_press(&b, KEYCODE_DOWN);
	bench_press(&b, KEYCODE_ESCAPE);
	bench_shows(&b, "4 recovery");
	bench_close(&b);
}

static void test_failures_are_seen(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FRESH, 24, 80);
	snprintf(b.sample.snapshot.error, sizeof b.sample.snapshot.error,
		 "cannot clamp feature 4711: the SAE at layer 2 has 1024 features, expected 0 to 1023");
	b.sample.snapshot.error_serial++;
	bench_shows(&b, "✗ cannot clamp feature 4711");
	bench_press(&b, KEYCODE_DOWN);
	bench_shows(&b, "✗ cannot clamp feature 4711");
	bench_press(&b, 'M');
	bench_shows(&b, "the SAE at layer 2 has 1024");
	bench_press(&b, KEYCODE_ESCAPE);
	assert_null(strstr(bench_look(&b), "4711"));
	bench_type(&b, ":nonsense\r:prompt nobody\r");
	bench_shows(&b, "there is no prompt \"nobody\"");
	bench_press(&b, KEYCODE_UP); /* has been seen */
	assert_null(strstr(bench_look(&b), "nobody"));
	bench_press(&b, 'M'); /* the failure of the session comes first */
	bench_shows(&b, "the SAE at layer 2 has 1024");
	bench_press(&b, KEYCODE_ESCAPE);
	snprintf(b.sample.snapshot.notice, sizeof b.sample.snapshot.notice, "exported to a.csv");
	bench_shows(&b, "exported to a.csv");
	bench_press(&b, KEYCODE_DOWN);
	assert_null(strstr(bench_look(&b), "exported"));
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_screens),
		cmocka_unit_test(test_every_size_and_stage),
		cmocka_unit_test(test_stale_numbers_are_dimmed),
		cmocka_unit_test(test_the_pane_concerned_says_what_runs),
		cmocka_unit_test(test_unknown_is_a_dot),
		cmocka_unit_test(test_hints_follow),
		cmocka_unit_test(test_comparison),
		cmocka_unit_test(test_fork_overlay),
		cmocka_unit_test(test_feature_view),
		cmocka_unit_test(test_failures_are_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
