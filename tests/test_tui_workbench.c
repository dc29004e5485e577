/* The workbench on a made-up session: what is shown, what keys send, and all of it in a
 * pseudo-terminal. With REBOUND_UPDATE set, tests/screens is written anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "tests/term_harness.h"
#include "tests/workbench_sample.h"
#include "tui/loop.h"

struct bench {
	struct sample sample;
	struct workbench wb;
	struct screen screen;
	struct strbuf text;
};

static const char *look(struct bench *b)
{
	screen_clear(&b->screen);
	workbench_draw(&b->wb, &b->screen, 2500);
	strbuf_clear(&b->text);
	screen_dump(&b->screen, &b->text);
	return b->text.data;
}

static void open_bench_at(struct bench *b, enum sample_stage stage, int rows, int cols, int64_t now_ms)
{
	memset(b, 0, sizeof *b);
	sample_init(&b->sample, stage);
	struct workbench_backend backend = sample_backend(&b->sample);
	workbench_init(&b->wb, &backend, &b->sample.snapshot, now_ms);
	screen_init(&b->screen, rows, cols, false);
	look(b);
}

static void open_bench(struct bench *b, enum sample_stage stage, int rows, int cols)
{
	open_bench_at(b, stage, rows, cols, 0);
}

static void close_bench(struct bench *b)
{
	screen_done(&b->screen);
	strbuf_done(&b->text);
	workbench_done(&b->wb);
	sample_done(&b->sample);
}

static void press(struct bench *b, int key)
{
	struct term_event event = {.kind = TERM_KEY, .key = key};
	workbench_event(&b->wb, &event, 2500);
	workbench_update(&b->wb, &b->sample.snapshot, 2500);
	look(b);
}

static void type(struct bench *b, const char *text)
{
	for (size_t i = 0, n = strlen(text); i < n;) {
		uint32_t code;
		i += utf8_decode(text + i, n - i, &code);
		press(b, (int)code);
	}
}

static void shows(struct bench *b, const char *text)
{
	if (!strstr(look(b), text))
		fail_msg("\"%s\" is not on the screen:\n%s", text, b->text.data);
}

/* ---- what is shown ---- */

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
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct bench b;
		char *path = mem_printf("tests/screens/%s.txt", cases[i].name), *expected = NULL;
		size_t size;
		struct error error;
		open_bench(&b, cases[i].stage, cases[i].rows, cases[i].cols);
		b.screen.ascii = cases[i].ascii;
		type(&b, cases[i].keys);
		look(&b);
		if (getenv("REBOUND_UPDATE"))
			assert_int_equal(file_write(path, b.text.data, b.text.length, &error), STATUS_OK);
		assert_int_equal(file_read(&expected, &size, path, 1 << 20, &error), STATUS_OK);
		if (strcmp(expected, b.text.data) != 0)
			fail_msg("%s differs; expected\n%s\nfound\n%s", path, expected, b.text.data);
		free(expected);
		free(path);
		close_bench(&b);
	}
}

static void test_every_size_and_stage(void **state)
{
	(void)state;
	for (int stage = SAMPLE_LOADING; stage <= SAMPLE_FINISHED; stage++) {
		struct bench b;
		open_bench(&b, (enum sample_stage)stage, 24, 80);
		for (int focus = 0; focus <= PANE_STRIP; focus++)
			for (int rows = 1; rows < 70; rows += rows < 30 ? 1 : 13)
				for (int cols = 1; cols < 260; cols += cols < 90 ? 3 : 17) {
					screen_resize(&b.screen, rows, cols);
					b.wb.focus = (enum pane)focus;
					b.wb.zoom = (rows + cols) % 5 == 0;
					workbench_draw(&b.wb, &b.screen, 1000);
				}
		close_bench(&b);
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
	fail_msg("\"%s\" is not on the screen:\n%s", text, look(b));
	return false;
}

static void test_stale_numbers_are_dimmed(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FINISHED, 24, 80);
	assert_false(dimmed(&b, "-2.8"));
	assert_false(dimmed(&b, "2.9"));
	b.sample.snapshot.state[STATE_CLAMPED].stale = true;
	press(&b, '4');
	press(&b, KEYCODE_LEFT); /* the decomposition is of another step now */
	assert_true(dimmed(&b, "-2.8"));
	assert_true(dimmed(&b, "2.9"));
	shows(&b, "◀ 41 ▶");
	close_bench(&b);
}

static void test_the_pane_concerned_says_what_runs(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_CLAMPED, 24, 80);
	b.sample.snapshot.job = JOB_ATTRIBUTE;
	snprintf(b.sample.snapshot.job_text, sizeof b.sample.snapshot.job_text, "ranking features");
	workbench_update(&b.wb, &b.sample.snapshot, 100);
	assert_true(workbench_idle_ms(&b.wb) > 0);
	shows(&b, "2 features ⠼ 2.4 s ");
	shows(&b, "⠼ ranking features 2.4 s");
	close_bench(&b);
}

static void test_unknown_is_a_dot(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FRESH, 24, 80);
	shows(&b, "J       +2.2 ✓        ·             ·");
	b.sample.snapshot.has_self_test = false;
	shows(&b, "llvmpipe ·");
	close_bench(&b);
}

static void test_hints_follow(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FRESH, 24, 80);
	shows(&b, "next A rank features for this objective");
	b.sample.snapshot.hint = HINT_CLAMP;
	shows(&b, "next t clamp the top 16");
	b.sample.snapshot.hint = HINT_RECOVER;
	shows(&b, "next r try to recover");
	press(&b, 'H');
	assert_null(strstr(look(&b), "try to recover"));
	close_bench(&b);
}

/* With a run of its own the screen asks for the other session alone; its steps are walked
 * through, and the table is in sight. */
static void test_comparison(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FINISHED, 24, 80);
	snprintf(b.sample.snapshot.session, sizeof b.sample.snapshot.session, "20261125-000000-ioi-05");
	press(&b, 'V');
	shows(&b, "compare this run with");
	press(&b, '3');
	const struct command *command = sample_command(&b.sample, COMMAND_COMPARE);
	assert_string_equal(command->text, "\n20261123-101112-choice-02");
	shows(&b, " compare ");
	shows(&b, "they part at step 1 (objective -2.7 and -2.6), clearly at step 4");
	assert_null(strstr(look(&b), "part\n")); /* of the table, which is below */
	press(&b, KEYCODE_RIGHT);
	shows(&b, "     5     -2.1     -1.9");
	press(&b, ']');
	shows(&b, "    15");
	type(&b, "]]]]]]]]]]");
	shows(&b, "    99     +.73");
	assert_null(strstr(look(&b), "   100"));
	press(&b, KEYCODE_HOME);
	shows(&b, "what differs");
	press(&b, '?');
	shows(&b, "In the comparison of two sessions:");
	press(&b, KEYCODE_ESCAPE);
	press(&b, KEYCODE_ESCAPE);
	assert_null(strstr(look(&b), "what differs"));
	shows(&b, "4 recovery");
	close_bench(&b);

	/* Nothing to choose from. */
	open_bench(&b, SAMPLE_FRESH, 24, 80);
	press(&b, 'V');
	press(&b, KEYCODE_ESCAPE);
	b.sample.snapshot.session_count = 0;
	b.wb.compare.waiting = true;
	b.sample.snapshot.sessions_serial++;
	workbench_update(&b.wb, &b.sample.snapshot, 2500);
	shows(&b, "there is no session on disk to compare with");
	close_bench(&b);
}

static void test_failures_are_seen(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FRESH, 24, 80);
	snprintf(b.sample.snapshot.error, sizeof b.sample.snapshot.error,
		 "cannot clamp feature 4711: the SAE at layer 2 has 1024 features, expected 0 to 1023");
	b.sample.snapshot.error_serial++;
	shows(&b, "✗ cannot clamp feature 4711");
	press(&b, KEYCODE_DOWN);
	shows(&b, "✗ cannot clamp feature 4711");
	press(&b, 'M');
	shows(&b, "the SAE at layer 2 has 1024");
	press(&b, KEYCODE_ESCAPE);
	assert_null(strstr(look(&b), "4711"));
	type(&b, ":nonsense\r:prompt nobody\r");
	shows(&b, "there is no prompt \"nobody\"");
	press(&b, KEYCODE_UP); /* has been seen */
	assert_null(strstr(look(&b), "nobody"));
	press(&b, 'M'); /* the failure of the session comes first */
	shows(&b, "the SAE at layer 2 has 1024");
	press(&b, KEYCODE_ESCAPE);
	snprintf(b.sample.snapshot.notice, sizeof b.sample.snapshot.notice, "exported to a.csv");
	shows(&b, "exported to a.csv");
	press(&b, KEYCODE_DOWN);
	assert_null(strstr(look(&b), "exported"));
	close_bench(&b);
}

/* ---- what keys send ---- */

static const struct command *sent(struct bench *b, enum command_kind kind)
{
	const struct command *command = sample_command(&b->sample, kind);
	if (!command)
		fail_msg("command %d was not sent", kind);
	return command;
}

static void test_keys_send_commands(void **state)
{
	(void)state;
	static const struct {
		const char *keys;
		enum command_kind kind;
		int64_t number;
		const char *text;
	} cases[] = {
		{"A", COMMAND_ATTRIBUTE, 0, ""},
		{"t\r", COMMAND_CLAMP_TOP, 16, ""},
		{"t\x15"
		 "64\r",
		 COMMAND_CLAMP_TOP, 64, ""},
		{"r", COMMAND_RUN, 0, ""},
		{"s", COMMAND_STEP, 0, ""},
		{"d", COMMAND_DECOMPOSE, 0, ""},
		{"g", COMMAND_GENERATE, 24, ""},
		{"v", COMMAND_FIND_FLIPS, 0, ""},
		{"T", COMMAND_TWO_STAGE, 0, ""},
		{"B\r", COMMAND_SUFFIX, 0, ""},
		{"B\x15"
		 "4\r",
		 COMMAND_SUFFIX_SETTING, 0, "suffix=4"},
		{":suffix\r", COMMAND_SUFFIX, 0, ""},
		{":set-suffix steps=9\r", COMMAND_SUFFIX_SETTING, 0, "steps=9"},
		{":set-suffix st\t8\r", COMMAND_SUFFIX_SETTING, 0, "steps=8"},
		{"R", COMMAND_RADIUS, 0, ""},
		{"C", COMMAND_CLEAR_CLAMPS, 0, ""},
		{"u", COMMAND_UNDO_CLAMPS, 0, ""},
		{"f", COMMAND_FORK, 0, ""},
		{"V", COMMAND_SESSIONS, 0, ""},
		{"Vj\r\r", COMMAND_COMPARE, 0, "20261124-230955-ioi-05-encoder\n20261124-231502-ioi-05"},
		{"V\r2", COMMAND_COMPARE, 0, "20261124-231502-ioi-05\n20261123-101112-choice-02"},
		{"V\r\r\x1b", COMMAND_COMPARE, 0, ""},
		{"V\r\rq", COMMAND_COMPARE, 0, ""},
		{"V\r\r5", COMMAND_COMPARE, 0, ""},
		{"V\r\rV", COMMAND_SESSIONS, 0, ""},
		{":compare a b\r", COMMAND_COMPARE, 0, "a b"},
		{"2 ", COMMAND_TOGGLE_CLAMP, 311, ""},
		{"2j ", COMMAND_TOGGLE_CLAMP, 468, ""},
		{"2jm4", COMMAND_SET_CLAMP_MODE, -1, "ablate"},
		{"2m4", COMMAND_SET_CLAMP_MODE, 311, "ablate"},
		{"2\r", COMMAND_FEATURE, 311, ""},
		{"2j\r", COMMAND_FEATURE, 468, ""},
		{"2\rn", COMMAND_FEATURE, 468, ""},
		{"2j\rN", COMMAND_FEATURE, 311, ""},
		{"2\r\x1b", COMMAND_FEATURE, -1, ""},
		{"2\rq", COMMAND_FEATURE, -1, ""},
		{"2\r3", COMMAND_FEATURE, -1, ""},
		{"2\r ", COMMAND_TOGGLE_CLAMP, 311, ""},
		{"2\re", COMMAND_USAGE, 0, ""},
		{"2\rr", COMMAND_RUN, 0, ""},
		{":feature 7\r", COMMAND_FEATURE, 7, ""},
		{"2b", COMMAND_SORT, SORT_ATTRIBUTION, ""},
		{"2/giving\r", COMMAND_FILTER, 0, "giving"},
		{"2>", COMMAND_SELECT_SITE, 3, ""},
		{"j", COMMAND_SELECT_PROMPT, 3, ""},
		{"h", COMMAND_SELECT_TOKEN, 14, ""},
		{"p", COMMAND_TOGGLE_DELTA, 15, ""},
		{"P2", COMMAND_DELTA_POSITIONS, 0, "answer"},
		{"c2", COMMAND_CLAMP_POSITIONS, 0, "prompt"},
		{"o2", COMMAND_SET_OBJECTIVE, 0, "answer_logprob:\" Anna\""},
		{"4h", COMMAND_SCRUB, 41, ""},
		{"[", COMMAND_SCRUB, 32, ""},
		{"a new one\r", COMMAND_ADD_PROMPT, 0, " new one"},
		{"i a.jsonl\r", COMMAND_IMPORT_PROMPTS, 0, " a.jsonl"},
		{"\r!\r", COMMAND_EDIT_PROMPT, 0, "Then, Anna and Tom went to the pond. Tom gave a ring to!"},
		{"6w seen\r", COMMAND_NOTE, 0, " seen"},
		{"x2\r", COMMAND_EXPORT, 0, "csv rebound.csv"},
		{"x3\r", COMMAND_EXPORT, 0, "json rebound.json redact"},
		{":clamp 2:31=ablate\r", COMMAND_LINE, 0, "clamp 2:31=ablate"},
		{":prompt choice-02\r", COMMAND_SELECT_PROMPT, 25, ""},
		{":pro\tchoice-2\t4\r", COMMAND_SELECT_PROMPT, 47, ""},
		{":set lr=0.2\r", COMMAND_SETTING, 0, "lr=0.2"},
		{":layer 1\r", COMMAND_SELECT_SITE, 1, ""},
		{":error drop\r", COMMAND_SET_ERROR, 0, "drop"},
		{":scrub 7\r", COMMAND_SCRUB, 7, "7"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct bench b;
		open_bench(&b, SAMPLE_FINISHED, 24, 80);
		type(&b, cases[i].keys);
		const struct command *command = sample_command(&b.sample, cases[i].kind);
		if (!command || command->number != cases[i].number || strcmp(command->text, cases[i].text) != 0)
			fail_msg("keys %s: %lld \"%s\", expected %lld \"%s\"; the screen:\n%s", cases[i].keys,
				 command ? (long long)command->number : -99, command ? command->text : "(not sent)",
				 (long long)cases[i].number, cases[i].text, look(&b));
		close_bench(&b);
	}
}

static void test_values_and_settings(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FINISHED, 24, 80);
	type(&b, "2=-3.5\r");
	assert_int_equal(sent(&b, COMMAND_SET_CLAMP_VALUE)->number, 311);
	assert_true(sent(&b, COMMAND_SET_CLAMP_VALUE)->value == -3.5);
	type(&b, "=much\r");
	shows(&b, "\"much\" is no value to hold a feature at");
	press(&b, 'S');
	press(&b, KEYCODE_DOWN);
	press(&b, KEYCODE_DOWN);
	type(&b, "\x15"
		 "0\r");
	shows(&b, "budget is \"0\", expected a number above 0");
	type(&b, "\x15"
		 "6\r");
	assert_string_equal(sent(&b, COMMAND_SETTING)->text, "budget=6");
	close_bench(&b);
}

static void test_choices_hold_until_the_worker_follows(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FINISHED, 24, 80);
	press(&b, '4');
	b.sample.queue_full = true;
	for (int i = 0; i < 50; i++)
		press(&b, KEYCODE_LEFT);
	shows(&b, "◀ 0 ▶"); /* shown, though nothing could be sent */
	b.sample.queue_full = false;
	workbench_update(&b.wb, &b.sample.snapshot, 0);
	assert_int_equal(sent(&b, COMMAND_SCRUB)->number, 0);
	press(&b, KEYCODE_END);
	assert_int_equal(sent(&b, COMMAND_SCRUB)->number, -1);
	workbench_update(&b.wb, &b.sample.snapshot, 0);
	shows(&b, "◀ 42 ▶");
	b.sample.snapshot.step_shown = 10; /* from then on the worker is followed */
	workbench_update(&b.wb, &b.sample.snapshot, 0);
	shows(&b, "◀ 10 ▶");
	b.sample.queue_full = true;
	press(&b, 'd');
	shows(&b, "busy with earlier commands");
	close_bench(&b);
}

static void test_escape_and_quit(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_RUNNING, 24, 80);
	press(&b, 'q');
	shows(&b, "A recovery is running");
	press(&b, 'n');
	assert_false(b.wb.finished);
	press(&b, KEYCODE_DOWN); /* another prompt would end the run */
	assert_null(sample_command(&b.sample, COMMAND_SELECT_PROMPT));
	shows(&b, "a recovery is running: r pauses it");
	press(&b, KEYCODE_ESCAPE);
	shows(&b, ">·  ioi-03");
	press(&b, KEYCODE_ESCAPE);
	assert_int_equal(b.sample.cancels, 1);
	press(&b, 'q');
	assert_true(b.wb.finished);
	close_bench(&b);
}

static void test_panes_by_key_and_mouse(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FINISHED, 24, 80);
	press(&b, '6'); /* has no place at this size: fills the screen */
	shows(&b, "rebound attribute --prompt ioi-03");
	press(&b, 'y');
	assert_string_equal(b.sample.copied,
			    "rebound recover --prompt ioi-03 --clamp 2:311,625,72=set-active:-5 --steps 100 --seed 0");
	press(&b, KEYCODE_TAB);
	assert_int_equal(b.wb.focus, PANE_STRIP);
	press(&b, KEYCODE_TAB);
	assert_int_equal(b.wb.focus, PANE_PROMPTS);
	press(&b, KEYCODE_BACK_TAB);
	press(&b, KEYCODE_BACK_TAB);
	assert_int_equal(b.wb.focus, PANE_DECOMPOSITION);
	press(&b, KEYCODE_DOWN);
	press(&b, KEYCODE_ENTER);
	shows(&b, "largest changes of features");
	press(&b, KEYCODE_ESCAPE);
	struct rect r = b.wb.layout.pane[PANE_FEATURES];
	struct term_event click = {.kind = TERM_CLICK, .row = r.row + 3, .col = 2};
	workbench_event(&b.wb, &click, 0);
	assert_int_equal(b.wb.focus, PANE_FEATURES);
	assert_int_equal(sent(&b, COMMAND_TOGGLE_CLAMP)->number, 468);
	int strip = b.wb.layout.strip.row, at = 0;
	while (screen_cell(&b.screen, strip, at)->code[0] != 'T')
		at++; /* " Tom", the sixth token */
	click = (struct term_event){.kind = TERM_CLICK, .row = strip, .col = at};
	workbench_event(&b.wb, &click, 0);
	assert_int_equal(sent(&b, COMMAND_SELECT_TOKEN)->number, 5);
	press(&b, 'z');
	assert_int_equal(b.wb.layout.kind, LAYOUT_STACKED);
	close_bench(&b);
}

/* The run that this one was forked from stays as a dotted line, beside a line. */
static void test_fork_overlay(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FINISHED, 60, 200);
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
	shows(&b, "4 recovery─ from step 12, dotted: before encoder");
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
	look(&b);
	close_bench(&b);
}

static void test_feature_view(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FINISHED, 14, 80);
	type(&b, "2\r");
	shows(&b, "names that were given something");
	shows(&b, "the receiver of a gift");
	assert_null(strstr(look(&b), "over the prompt set"));
	press(&b, KEYCODE_END); /* what has no room is scrolled to */
	shows(&b, "1.6 % of 1304 tokens, 18 of 47 prompts  1 too long");
	press(&b, 'y');
	assert_string_equal(b.sample.copied, "https://www.neuronpedia.org/demo/2-res/311");
	screen_resize(&b.screen, 60, 80); /* and where there is room for all, nothing is scrolled */
	shows(&b, "the receiver of a gift");
	b.sample.snapshot.view->reading = true;
	b.sample.snapshot.view->prompts_done = 20;
	shows(&b, "18 of 19 prompts");
	shows(&b, " e stops reading");
	b.sample.snapshot.view->reading = false;
	shows(&b, "e reads 28 more");
	b.sample.snapshot.view->page[0] = '\0';
	press(&b, 'y');
	shows(&b, "no page is known");
	type(&b, ":feature x\r");
	shows(&b, ":feature needs the number of a feature");
	b.sample.snapshot.view->feature = 5; /* another than the one asked for is not shown */
	assert_null(strstr(look(&b), "the receiver of a gift"));
	press(&b, KEYCODE_DOWN);
	press(&b, KEYCODE_ESCAPE);
	shows(&b, "4 recovery");
	close_bench(&b);
}

static void test_filter(void **state)
{
	(void)state;
	struct bench b;
	open_bench(&b, SAMPLE_FINISHED, 24, 80);
	type(&b, "/choice 07");
	shows(&b, ">✓  choice-07");
	shows(&b, "/choice 07");
	press(&b, KEYCODE_ENTER);
	assert_int_equal(sent(&b, COMMAND_SELECT_PROMPT)->number, 30);
	press(&b, KEYCODE_ESCAPE);
	shows(&b, "choice-06");
	type(&b, "/nothing like it\r");
	shows(&b, "no prompt matches");
	close_bench(&b);
}

/* Whatever is pressed, at whatever size, nothing breaks. */
static void test_random_keys(void **state)
{
	(void)state;
	static const int keys[] = {KEYCODE_UP,	   KEYCODE_DOWN,      KEYCODE_LEFT, KEYCODE_RIGHT,
				   KEYCODE_HOME,   KEYCODE_END,	      KEYCODE_TAB,  KEYCODE_ENTER,
				   KEYCODE_ESCAPE, KEYCODE_PAGE_DOWN, 0xe9,	    0x65e5};
	srand(11);
	for (int stage = SAMPLE_LOADING; stage <= SAMPLE_FINISHED; stage++) {
		struct bench b;
		open_bench(&b, (enum sample_stage)stage, 24, 80);
		for (int i = 0; i < 4000; i++) {
			int key = rand() % 3 ? ' ' + rand() % 95 : keys[(size_t)rand() % ARRAY_LEN(keys)];
			if (key == KEYCODE_CTRL('L'))
				continue;
			if (rand() % 20 == 0)
				screen_resize(&b.screen, 1 + rand() % 60, 1 + rand() % 200);
			if (rand() % 10 == 0) {
				struct term_event event = {.kind = rand() % 2 ? TERM_CLICK : TERM_WHEEL,
							   .key = rand() % 2 ? 1 : -1,
							   .row = rand() % b.screen.rows,
							   .col = rand() % b.screen.cols};
				workbench_event(&b.wb, &event, 0);
			}
			press(&b, key);
			b.wb.finished = false;
		}
		close_bench(&b);
	}
}

/* ---- in a terminal ---- */

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
	open_bench_at(b, *(enum sample_stage *)context, 24, 80, loop_now_ms());
	b->wb.backend.copy = term_copy;
	if (term_open(&(struct term_options){0}, &error) != STATUS_OK)
		return 9;
	loop_run(&client);
	term_close();
	close_bench(b);
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
	open_bench(&b, stage, 24, 80);
	harness_settle(h, 200);
	assert_string_equal(harness_screen(h), look(&b));
	close_bench(&b);
	/* one code of colour */
	assert_true(harness_find(h, "b base", &row, &col));
	assert_int_equal(harness_cell(h, row, col).color, 33);
	assert_true(harness_find(h, "c clamped", &row, &col));
	assert_int_equal(harness_cell(h, row, col).color, 172);
	assert_true(harness_find(h, "r recovered", &row, &col));
	assert_int_equal(harness_cell(h, row, col).color, 35);
	harness_type(h, "4<Left><Left>");
	assert_true(harness_wait(h, "◀ 40 ▶"));
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
	harness_type(h, "6y");
	assert_true(harness_wait(h, "copied: rebound recover"));
	size_t n;
	assert_non_null(strstr(harness_bytes(h, &n), "\033]52;c;cmVib3VuZCByZWNvdmVy"));
	harness_type(h, "<Esc>q");
	assert_int_equal(harness_wait_end(h), 0);
	assert_true(harness_restored(h));
	harness_stop(h);
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
		cmocka_unit_test(test_screens),
		cmocka_unit_test(test_every_size_and_stage),
		cmocka_unit_test(test_stale_numbers_are_dimmed),
		cmocka_unit_test(test_the_pane_concerned_says_what_runs),
		cmocka_unit_test(test_unknown_is_a_dot),
		cmocka_unit_test(test_hints_follow),
		cmocka_unit_test(test_comparison),
		cmocka_unit_test(test_failures_are_seen),
		cmocka_unit_test(test_keys_send_commands),
		cmocka_unit_test(test_values_and_settings),
		cmocka_unit_test(test_choices_hold_until_the_worker_follows),
		cmocka_unit_test(test_escape_and_quit),
		cmocka_unit_test(test_panes_by_key_and_mouse),
		cmocka_unit_test(test_fork_overlay),
		cmocka_unit_test(test_feature_view),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_random_keys),
		cmocka_unit_test(test_in_a_terminal),
		cmocka_unit_test(test_spinner_turns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
