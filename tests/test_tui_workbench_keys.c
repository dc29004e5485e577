/* The workbench on a made-up session: what its keys send, and what they do to the screens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tests/workbench_bench.h"

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
		{"Lkk\r", COMMAND_SELECT_SITE, 0, ""},
		{"L4", COMMAND_SELECT_SITE, 3, ""},
		{":saes\r1", COMMAND_SELECT_SITE, 0, ""},
		{"D", COMMAND_DROP_SAES, 0, ""},
		{"LD", COMMAND_DROP_SAES, 0, ""},
		{":drop\r", COMMAND_DROP_SAES, 0, ""},
		{":error drop\r", COMMAND_SET_ERROR, 0, "drop"},
		{":scrub 7\r", COMMAND_SCRUB, 7, "7"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct bench b;
		bench_open(&b, SAMPLE_FINISHED, 24, 80);
		bench_type(&b, cases[i].keys);
		const struct command *command = sample_command(&b.sample, cases[i].kind);
		if (!command || command->number != cases[i].number || strcmp(command->text, cases[i].text) != 0)
			fail_msg("keys %s: %lld \"%s\", expected %lld \"%s\"; the screen:\n%s", cases[i].keys,
				 command ? (long long)command->number : -99, command ? command->text : "(not sent)",
				 (long long)cases[i].number, cases[i].text, bench_look(&b));
		bench_close(&b);
	}
}

/* An SAE that isn't on the device: the pane says why and what to do, and the list follows
 * the snapshots while it is open. */
static void test_an_sae_that_is_not_loaded(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 24, 80);
	struct snapshot *s = &b.sample.snapshot;
	s->sites[2].loaded = false;
	s->sites[2].refused = true;
	s->feature_count = 0;
	bench_press(&b, '2');
	bench_shows(&b, "not loaded");
	bench_shows(&b, "tries again");
	bench_press(&b, KEYCODE_ENTER);
	assert_int_equal(sent(&b, COMMAND_SELECT_SITE)->number, 2);
	assert_null(sample_command(&b.sample, COMMAND_FEATURE));
	s->job = JOB_LOADING;
	snprintf(s->job_text, sizeof s->job_text, "loading the SAE of layer 2, 41 %%");
	workbench_update(&b.wb, s, 2500);
	bench_shows(&b, "2, 41 %");
	bench_shows(&b, "Esc stops");
	bench_press(&b, KEYCODE_ESCAPE);
	assert_int_equal(b.sample.cancels, 1);
	s->job = JOB_NONE;
	bench_press(&b, 'L');
	bench_shows(&b, "shown, not loaded");
	s->sites[2].loaded = true;
	s->sites[0].loaded = true;
	s->sites[0].has_fit = s->sites[0].fit_stale = true;
	s->sites[0].fvu = 0.77f;
	bench_press(&b, 'j');
	bench_shows(&b, "SAEs: 2 of 4 loaded");
	assert_null(strstr(bench_look(&b), ".77")); /* of another prompt */
	bench_press(&b, KEYCODE_ENTER);
	assert_int_equal(sent(&b, COMMAND_SELECT_SITE)->number, 3);
	bench_close(&b);
}

static void test_values_and_settings(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 24, 80);
	bench_type(&b, "2=-3.5\r");
	assert_int_equal(sent(&b, COMMAND_SET_CLAMP_VALUE)->number, 311);
	assert_true(sent(&b, COMMAND_SET_CLAMP_VALUE)->value == -3.5);
	bench_type(&b, "=much\r");
	bench_shows(&b, "\"much\" is no value to hold a feature at");
	bench_press(&b, 'S');
	bench_press(&b, KEYCODE_DOWN);
	bench_press(&b, KEYCODE_DOWN);
	bench_type(&b, "\x15"
		       "0\r");
	bench_shows(&b, "budget is \"0\", expected a number above 0");
	bench_type(&b, "\x15"
		       "6\r");
	assert_string_equal(sent(&b, COMMAND_SETTING)->text, "budget=6");
	bench_close(&b);
}

static void test_choices_hold_until_the_worker_follows(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 24, 80);
	bench_press(&b, '4');
	b.sample.queue_full = true;
	for (int i = 0; i < 50; i++)
		bench_press(&b, KEYCODE_LEFT);
	bench_shows(&b, "◀ 0 ▶"); /* shown, though nothing could be sent */
	b.sample.queue_full = false;
	workbench_update(&b.wb, &b.sample.snapshot, 0);
	assert_int_equal(sent(&b, COMMAND_SCRUB)->number, 0);
	bench_press(&b, KEYCODE_END);
	assert_int_equal(sent(&b, COMMAND_SCRUB)->number, -1);
	workbench_update(&b.wb, &b.sample.snapshot, 0);
	bench_shows(&b, "◀ 42 ▶");
	b.sample.snapshot.step_shown = 10; /* from then on the worker is followed */
	workbench_update(&b.wb, &b.sample.snapshot, 0);
	bench_shows(&b, "◀ 10 ▶");
	b.sample.queue_full = true;
	bench_press(&b, 'd');
	bench_shows(&b, "busy with earlier commands");
	bench_close(&b);
}

static void test_escape_and_quit(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_RUNNING, 24, 80);
	bench_press(&b, 'q');
	bench_shows(&b, "A recovery is running");
	bench_press(&b, 'n');
	assert_false(b.wb.finished);
	bench_press(&b, KEYCODE_DOWN); /* another prompt would end the run */
	assert_null(sample_command(&b.sample, COMMAND_SELECT_PROMPT));
	bench_shows(&b, "a recovery is running: r pauses it");
	bench_press(&b, KEYCODE_ESCAPE);
	bench_shows(&b, ">·  ioi-03");
	bench_press(&b, KEYCODE_ESCAPE);
	assert_int_equal(b.sample.cancels, 1);
	bench_press(&b, 'q');
	assert_true(b.wb.finished);
	bench_close(&b);
}

static void test_panes_by_key_and_mouse(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 24, 80);
	bench_press(&b, '6'); /* has no place at this size: fills the screen */
	bench_shows(&b, "rebound attribute --prompt ioi-03");
	bench_press(&b, 'y');
	assert_string_equal(b.sample.copied,
			    "rebound recover --prompt ioi-03 --clamp 2:311,625,72=set-active:-5 --steps 100 --seed 0");
	bench_press(&b, KEYCODE_TAB);
	assert_int_equal(b.wb.focus, PANE_STRIP);
	bench_press(&b, KEYCODE_TAB);
	assert_int_equal(b.wb.focus, PANE_PROMPTS);
	bench_press(&b, KEYCODE_BACK_TAB);
	bench_press(&b, KEYCODE_BACK_TAB);
	assert_int_equal(b.wb.focus, PANE_DECOMPOSITION);
	bench_press(&b, KEYCODE_DOWN);
	bench_press(&b, KEYCODE_ENTER);
	bench_shows(&b, "largest changes of features");
	bench_press(&b, KEYCODE_ESCAPE);
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
	bench_press(&b, 'z');
	assert_int_equal(b.wb.layout.kind, LAYOUT_STACKED);
	bench_close(&b);
}

static void test_filter(void **state)
{
	(void)state;
	struct bench b;
	bench_open(&b, SAMPLE_FINISHED, 24, 80);
	bench_type(&b, "/choice 07");
	bench_shows(&b, ">✓  choice-07");
	bench_shows(&b, "/choice 07");
	bench_press(&b, KEYCODE_ENTER);
	assert_int_equal(sent(&b, COMMAND_SELECT_PROMPT)->number, 30);
	bench_press(&b, KEYCODE_ESCAPE);
	bench_shows(&b, "choice-06");
	bench_type(&b, "/nothing like it\r");
	bench_shows(&b, "no prompt matches");
	bench_close(&b);
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
		bench_open(&b, (enum sample_stage)stage, 24, 80);
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
			bench_press(&b, key);
			b.wb.finished = false;
		}
		bench_close(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_send_commands),
		cmocka_unit_test(test_an_sae_that_is_not_loaded),
		cmocka_unit_test(test_values_and_settings),
		cmocka_unit_test(test_choices_hold_until_the_worker_follows),
		cmocka_unit_test(test_escape_and_quit),
		cmocka_unit_test(test_panes_by_key_and_mouse),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_random_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
