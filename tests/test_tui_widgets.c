/* Keys and the widgets that hear them, without a terminal: the list, the line of input, the form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "tests/toolkit_demo.h"
#include "tui/canvas.h"
#include "tui/form.h"
#include "tui/input.h"
#include "tui/keys.h"
#include "tui/list.h"

static void test_keys_are_bound_once(void **state)
{
	(void)state;
	bool used[ACTION_COUNT] = {false};
	for (size_t i = 0; i < keys_count; i++) {
		const struct key_binding *a = &keys_table[i];
		used[a->action] = true;
		if (!a->help) {
			assert_true(i > 0 && keys_table[i - 1].action == a->action);
			assert_true(keys_table[i - 1].where == a->where);
		}
		for (size_t k = 0; k < i; k++)
			if (keys_table[k].where == a->where && keys_table[k].key == a->key)
				fail_msg("key %d is bound twice in %s", a->key, keys_pane_name(a->where));
	}
	for (int action = 1; action < ACTION_COUNT; action++)
		if (!used[action])
			fail_msg("action %d has no key", action);
	assert_int_equal(keys_action(PANE_PROMPTS, 'a'), ACTION_PROMPT_ADD);
	assert_int_equal(keys_action(PANE_FEATURES, 'a'), ACTION_SORT_ACTIVATION);
	assert_int_equal(keys_action(PANE_LOG, 'a'), ACTION_NONE);
	assert_int_equal(keys_action(PANE_BEHAVIOUR, 'j'), ACTION_JUDGE);
	assert_int_equal(keys_action(PANE_LOG, 'j'), ACTION_DOWN);
}

static void test_keys_help_lists_the_pane_first(void **state)
{
	(void)state;
	struct strbuf help = {0};
	keys_help(&help, PANE_FEATURES);
	assert_non_null(strstr(help.data, "space       clamp the feature"));
	assert_non_null(strstr(help.data, "Up k        up"));
	assert_true(strstr(help.data, "In features") < strstr(help.data, "Everywhere"));
	strbuf_clear(&help);
	keys_man(&help);
	assert_non_null(strstr(help.data, ".SS In the recovery pane"));
	assert_non_null(strstr(help.data, ".B Left, h"));
	strbuf_done(&help);
}

static void test_list_stays_in_view(void **state)
{
	(void)state;
	struct list list = {0};
	srand(7);
	/* Before the first drawing nothing scrolls: the pane may have room for all. */
	list_fit(&list, 9, 0);
	list_go(&list, 3);
	assert_true(list.cursor == 3 && list.top == 0);
	list_fit(&list, 9, 6);
	assert_true(list.cursor == 3 && list.top == 0);
	list_fit(&list, 9, 2);
	assert_true(list.cursor == 3 && list.top == 2);
	list_fit(&list, 0, 5);
	assert_true(list_action(&list, ACTION_DOWN) && list.cursor == 0 && list.top == 0);
	assert_false(list_click(&list, 0));
	for (int i = 0; i < 20000; i++) {
		switch (rand() % 4) {
		case 0:
			list_fit(&list, rand() % 30, rand() % 12);
			break;
		case 1:
			list_wheel(&list, rand() % 2 ? 1 : -1);
			break;
		case 2:
			list_click(&list, rand() % 14 - 1);
			break;
		default:
			list_action(&list, (enum action)(ACTION_UP + rand() % 8));
		}
		assert_true(list.cursor >= 0 && (list.count == 0 ? list.cursor == 0 : list.cursor < list.count));
		assert_true(list.top >= 0 && list.top <= list.cursor && list.cursor < list.top + list.rows);
		assert_true(list.top == 0 || list.top + list.rows <= list.count);
	}
	assert_true(list_matches("Mary and John", "jo MARY"));
	assert_false(list_matches("Mary and John", "jon"));
	assert_true(list_matches("", " "));
}

static void type(struct input *input, const char *text)
{
	for (size_t i = 0, n = strlen(text); i < n;) {
		uint32_t code;
		i += utf8_decode(text + i, n - i, &code);
		assert_int_equal(input_key(input, (int)code), INPUT_OPEN);
	}
}

static void test_input_edits_completes_recalls(void **state)
{
	(void)state;
	struct input_history history = {0};
	struct input input = {.history = &history, .complete = demo_complete, .label = ":"};
	input_set(&input, "");
	type(&input, "aé日e\u0301z");
	input_key(&input, KEYCODE_LEFT);
	input_key(&input, KEYCODE_BACKSPACE); /* the base goes with its mark */
	assert_string_equal(input_text(&input), "aé日z");
	input_key(&input, KEYCODE_LEFT);
	input_key(&input, KEYCODE_DELETE);
	assert_string_equal(input_text(&input), "aéz");
	input_key(&input, 0x9b); /* a C1 control */
	input_key(&input, 0x202e);
	input_key(&input, KEYCODE_F1);
	assert_string_equal(input_text(&input), "aéz");
	assert_int_equal(input_key(&input, KEYCODE_ENTER), INPUT_ACCEPTED);

	input_set(&input, "");
	type(&input, "paint gr");
	input_key(&input, KEYCODE_TAB);
	assert_string_equal(input_text(&input), "paint gre");
	assert_string_equal(input.offer, "green grey ");
	type(&input, "y");
	assert_null(input.offer);
	input_key(&input, KEYCODE_TAB);
	assert_string_equal(input_text(&input), "paint grey ");
	input_key(&input, KEYCODE_CTRL('W'));
	assert_string_equal(input_text(&input), "paint ");
	input_key(&input, KEYCODE_UP);
	assert_string_equal(input_text(&input), "aéz");
	input_key(&input, KEYCODE_UP);
	input_key(&input, KEYCODE_DOWN);
	assert_string_equal(input_text(&input), "paint ");
	input_key(&input, KEYCODE_CTRL('U'));
	assert_int_equal(input_key(&input, KEYCODE_BACKSPACE), INPUT_CANCELLED);
	for (int i = 0; i < INPUT_HISTORY_MAX + 10; i++) {
		char line[16];
		snprintf(line, sizeof line, "%d", i);
		input_history_add(&history, line);
	}
	assert_int_equal(history.count, INPUT_HISTORY_MAX);
	assert_string_equal(history.lines[0], "10");

	struct screen s;
	screen_init(&s, 1, 8, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 1, 8});
	input_set(&input, "0123456789");
	input_draw(&input, &c, 0, 0, 8);
	assert_string_equal(screen_text(&s), ":…56789\n");
	assert_int_equal(s.cursor_col, 7);
	screen_done(&s);
	input_done(&input);
	input_history_done(&history);
}

static void test_form_complains_and_completes(void **state)
{
	(void)state;
	struct form form = {0};
	demo_open_form(&form);
	form_key(&form, KEYCODE_BACKSPACE);
	form_key(&form, KEYCODE_BACKSPACE);
	form_key(&form, '0');
	form_key(&form, KEYCODE_DOWN);
	assert_int_equal(form_key(&form, KEYCODE_ENTER), FORM_OPEN);
	assert_string_equal(form.complaint.text, "steps is \"0\", expected a whole number above 0");
	assert_int_equal(form.cursor, 0);
	form_key(&form, '5');
	form_key(&form, KEYCODE_DOWN);
	form_key(&form, KEYCODE_DOWN);
	form_key(&form, KEYCODE_RIGHT);
	assert_string_equal(form_value(&form, "project"), "encoder");
	form_key(&form, KEYCODE_RIGHT);
	form_key(&form, KEYCODE_RIGHT);
	assert_string_equal(form_value(&form, "project"), "none");
	form_key(&form, KEYCODE_LEFT);
	assert_int_equal(form_key(&form, KEYCODE_ENTER), FORM_ACCEPTED);
	assert_string_equal(form_value(&form, "steps"), "05");
	assert_string_equal(form_value(&form, "budget"), "6%");
	assert_string_equal(form_value(&form, "project"), "jacobian");
	form.open = true;
	form_key(&form, KEYCODE_CTRL('P'));
	assert_string_equal(form_value(&form, "budget"), "20");
	assert_string_equal(form_value(&form, "nothing"), "");
	form_done(&form);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_are_bound_once),
		cmocka_unit_test(test_keys_help_lists_the_pane_first),
		cmocka_unit_test(test_list_stays_in_view),
		cmocka_unit_test(test_input_edits_completes_recalls),
		cmocka_unit_test(test_form_complains_and_completes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
