/* The terminal toolkit: pure parts directly, the rest in a pseudo-terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/base/mem.h"
#include "tests/term_harness.h"
#include "tui/canvas.h"
#include "tui/form.h"
#include "tui/format.h"
#include "tui/input.h"
#include "tui/keys.h"
#include "tui/layout.h"
#include "tui/list.h"
#include "tui/loop.h"
#include "tui/popup.h"
#include "tui/term.h"

/* ---- layout ---- */

static int cover(unsigned char *count, const struct layout *l, struct rect r)
{
	if (r.rows == 0 || r.cols == 0)
		return 0;
	assert_true(r.rows > 0 && r.cols > 0);
	assert_true(r.row >= 0 && r.col >= 0 && r.row + r.rows <= l->rows && r.col + r.cols <= l->cols);
	for (int row = r.row; row < r.row + r.rows; row++)
		for (int col = r.col; col < r.col + r.cols; col++)
			count[row * l->cols + col]++;
	return r.rows * r.cols;
}

static void check_layout(const struct layout *l)
{
	unsigned char *count = mem_alloc((size_t)(l->rows * l->cols), 1);
	int total = cover(count, l, l->status) + cover(count, l, l->tabs) + cover(count, l, l->strip) +
		    cover(count, l, l->footer) + cover(count, l, l->message);
	for (int i = 0; i < PANE_COUNT; i++)
		total += cover(count, l, l->pane[i]);
	for (int i = 0; i < LAYOUT_RULES; i++)
		total += cover(count, l, l->rules[i]);
	if (total != l->rows * l->cols || memchr(count, 0, (size_t)total) || memchr(count, 2, (size_t)total))
		fail_msg("%d x %d: %d of %d cells, or one twice", l->rows, l->cols, total, l->rows * l->cols);
	free(count);
}

static void test_layout_covers_every_size(void **state)
{
	(void)state;
	for (int rows = -1; rows <= 70; rows++)
		for (int cols = -1; cols <= 210; cols += cols < 130 ? 1 : 7)
			for (int focus = 0; focus <= PANE_STRIP; focus++)
				for (int zoom = 0; zoom < 2; zoom++) {
					struct layout l;
					layout_compute(&l, rows, cols, (enum pane)focus, zoom);
					check_layout(&l);
					if (l.kind != LAYOUT_TINY && focus < PANE_COUNT)
						assert_true(l.pane[focus].rows >= 4);
				}
}

static void test_layout_kinds(void **state)
{
	(void)state;
	static const struct {
		int rows, cols;
		enum layout_kind kind;
	} cases[] = {{9, 200, LAYOUT_TINY},	{60, 39, LAYOUT_TINY},	  {10, 40, LAYOUT_STACKED},
		     {23, 200, LAYOUT_STACKED}, {24, 79, LAYOUT_STACKED}, {24, 80, LAYOUT_NORMAL},
		     {24, 119, LAYOUT_NORMAL},	{24, 120, LAYOUT_WIDE}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct layout l;
		layout_compute(&l, cases[i].rows, cases[i].cols, PANE_PROMPTS, false);
		assert_int_equal(l.kind, cases[i].kind);
	}
	struct layout l;
	layout_compute(&l, 24, 80, PANE_FEATURES, false);
	for (int i = 0; i < PANE_LOG; i++)
		assert_true(l.pane[i].rows >= 4 && l.pane[i].cols >= 26);
	assert_int_equal(layout_pane_at(&l, l.pane[PANE_RECOVERY].row, l.pane[PANE_RECOVERY].col), PANE_RECOVERY);
	assert_int_equal(layout_pane_at(&l, l.strip.row, 5), PANE_STRIP);
	assert_int_equal(layout_pane_at(&l, 0, 0), PANE_GLOBAL);
}

/* ---- canvas ---- */

static const char *dump(struct screen *screen)
{
	static struct strbuf out;
	strbuf_clear(&out);
	screen_dump(screen, &out);
	return out.data;
}

static void test_canvas_text(void **state)
{
	(void)state;
	struct screen s;
	screen_init(&s, 3, 10, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 3, 10});
	canvas_text(&c, 0, 0, 0,
		    "a\033[2Jb\xff"
		    "e\u0301");
	assert_string_equal(dump(&s), "a?[2Jb?e\u0301\n\n\n");
	screen_clear(&s);
	/* wide characters: never half of one */
	assert_int_equal(canvas_text(&c, 0, 7, 0, "日本"), 11);
	assert_string_equal(dump(&s), "       日\n\n\n");
	canvas_text(&c, 0, 8, 0, "x");
	assert_string_equal(dump(&s), "        x\n\n\n");
	screen_clear(&s);
	assert_int_equal(canvas_field(&c, 1, 0, 5, 0, "abcdef"), 5);
	assert_int_equal(canvas_field(&c, 2, 0, 5, 0, "日本語"), 5);
	assert_string_equal(dump(&s), "\nabcd…\n日本…\n");
	screen_done(&s);
}

static void test_canvas_clips(void **state)
{
	(void)state;
	struct screen s;
	screen_init(&s, 4, 8, false);
	struct canvas all = canvas_of(&s, (struct rect){0, 0, 4, 8});
	canvas_fill(&all, (struct rect){0, 0, 4, 8}, 0, '.');
	struct canvas part = canvas_part(&all, (struct rect){1, 2, 2, 3});
	for (int row = -3; row < 6; row++)
		canvas_text(&part, row, -2, 0, "0123456789");
	canvas_box(&part, (struct rect){-1, -1, 9, 9}, 0);
	canvas_bar(&part, 0, 0, 100, 0, 1);
	assert_string_equal(dump(&s), "........\n..███...\n..234...\n........\n");
	screen_done(&s);
}

static void test_canvas_bars(void **state)
{
	(void)state;
	struct screen s;
	screen_init(&s, 6, 9, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 6, 9});
	canvas_bar(&c, 0, 0, 4, 0, 0.5 + 1 / 32.);
	canvas_bar(&c, 1, 0, 4, 0, 1e-9);
	canvas_bar(&c, 2, 0, 4, 0, 7);
	canvas_bar(&c, 3, 0, 4, 0, NAN);
	canvas_bar_signed(&c, 4, 0, 9, 0, -0.625);
	canvas_bar_signed(&c, 5, 0, 9, 0, 0.5);
	assert_string_equal(dump(&s), "██▏\n▏\n████\n\n ▐██│\n    │██\n");
	screen_done(&s);
	screen_init(&s, 2, 9, true);
	c = canvas_of(&s, (struct rect){0, 0, 2, 9});
	canvas_bar(&c, 0, 0, 4, 0, 0.5 + 1 / 8.);
	canvas_text(&c, 1, 0, 0, "✓ ✗ · δ é");
	assert_string_equal(dump(&s), "##=\n+ x . d ?\n");
	screen_done(&s);
}

static void test_canvas_curve(void **state)
{
	(void)state;
	static const double ramp[] = {0, 1, 2, 3, 4, 5, 6, 7};
	static const double gap[] = {0, NAN, 3, 3};
	struct screen s;
	screen_init(&s, 3, 4, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 3, 4});
	canvas_curve(&c, (struct rect){0, 0, 2, 4}, 0, ramp, 8, 8, 0, 7);
	canvas_curve(&c, (struct rect){2, 0, 1, 2}, 0, gap, 4, 4, 0, 3);
	assert_string_equal(dump(&s), "  ⣠⣾\n⣠⣾⣿⣿\n⡀⣿\n");
	screen_clear(&s);
	canvas_curve(&c, (struct rect){0, 0, 1, 4}, 0, ramp, 4, 8, 0, 3); /* half of the run is done */
	assert_string_equal(dump(&s), "⣠⣾\n\n\n");
	screen_done(&s);
}

static void test_canvas_wrap(void **state)
{
	(void)state;
	struct screen s;
	screen_init(&s, 4, 6, false);
	struct canvas c = canvas_of(&s, (struct rect){0, 0, 4, 6});
	assert_int_equal(canvas_wrap(&c, (struct rect){0, 0, 4, 6}, 0, "one two\nabcdefgh"), 4);
	assert_string_equal(dump(&s), "one\ntwo\nabcdef\ngh\n");
	screen_done(&s);
}

static void test_format(void **state)
{
	(void)state;
	static const struct {
		double value;
		const char *plain, *sign;
	} cases[] = {{.81, ".81", "+.81"},   {-2.8, "-2.8", "-2.8"},   {0, "0", "0"},
		     {3.21, "3.2", "+3.2"},  {120, "120", "+120"},     {.0004, ".00040", "+.00040"},
		     {.04, ".040", "+.040"}, {2e-7, "2e-7", "+2e-7"},  {NAN, "·", "·"},
		     {-.5, "-.50", "-.50"},  {-1e9, "-1e+9", "-1e+9"}, {1, "1.0", "+1.0"},
		     {-5, "-5.0", "-5.0"},   {.999, "1.0", "+1.0"},    {INFINITY, "inf", "+inf"}};
	char out[FORMAT_SIZE];
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_string_equal(format_number(out, cases[i].value), cases[i].plain);
		assert_string_equal(format_signed(out, cases[i].value), cases[i].sign);
	}
	assert_string_equal(format_duration(out, .34), "340 ms");
	assert_string_equal(format_duration(out, 125), "2 min 5 s");
	assert_string_equal(format_bytes(out, 12345678), "12 MB");
}

/* ---- keys ---- */

static void test_keys_table(void **state)
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

/* ---- list, input, form ---- */

static void test_list(void **state)
{
	(void)state;
	struct list list = {0};
	srand(7);
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

static void complete_color(void *context, const char *line, size_t at, size_t *start, struct strbuf *matches)
{
	static const char *const words[] = {"red", "green", "grey"};
	(void)context;
	while (*start > 0 && line[*start - 1] != ' ')
		(*start)--;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strncmp(words[i], line + *start, at - *start) == 0)
			strbuf_printf(matches, "%s\n", words[i]);
}

static void test_input_edits(void **state)
{
	(void)state;
	struct input_history history = {0};
	struct input input = {.history = &history, .complete = complete_color, .label = ":"};
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
	assert_string_equal(dump(&s), ":…56789\n");
	assert_int_equal(s.cursor_col, 7);
	screen_done(&s);
	input_done(&input);
	input_history_done(&history);
}

static const struct form_field fields[] = {
	{"steps", "whole number above 0", "iterations"},
	{"budget", "number above 0, or n%", "largest norm of delta"},
	{"project", "none|encoder|jacobian", "projection of the gradient"},
};
static const char *const present[] = {"10", "6%", "none"};
static const char *const ioi[] = {"steps", "100", "budget", "20", "project", "encoder", "unknown", "1", NULL};
static const struct form_preset presets[] = {{"IOI of the paper", ioi}};

static enum status check_field(void *context, const char *name, const char *value, struct error *error)
{
	(void)context;
	int64_t n;
	if (strcmp(name, "steps") == 0 && (!text_int(value, &n) || n < 1))
		return error_set(error, STATUS_INVALID, "steps is \"%s\", expected a whole number above 0", value);
	return STATUS_OK;
}

static void open_form(struct form *form)
{
	form_show(form, "settings of the recovery", presets, 1, check_field, NULL);
	for (int i = 0; i < 3; i++)
		form_add(form, &fields[i], present[i]);
}

static void test_form(void **state)
{
	(void)state;
	struct form form = {0};
	open_form(&form);
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

/* ---- in a terminal: a small program of the toolkit's parts ---- */

struct demo {
	struct list list;
	struct popup popup;
	struct form form;
	struct input input;
	struct input_history history;
	bool typing, finished;
	char said[128];
	int ticks;
};

static void demo_key(struct demo *d, int key)
{
	if (d->popup.open) {
		enum popup_result r = popup_key(&d->popup, key);
		if (r == POPUP_YES)
			d->finished = true;
		return;
	}
	if (d->form.open) {
		if (form_key(&d->form, key) == FORM_ACCEPTED)
			snprintf(d->said, sizeof d->said, "budget is %s", form_value(&d->form, "budget"));
		return;
	}
	if (d->typing) {
		enum input_result r = input_key(&d->input, key);
		d->typing = r == INPUT_OPEN;
		if (r == INPUT_ACCEPTED)
			snprintf(d->said, sizeof d->said, "said %.100s", input_text(&d->input));
		return;
	}
	struct strbuf help = {0};
	enum action action = keys_action(PANE_FEATURES, key);
	if (list_action(&d->list, action))
		return;
	switch (action) {
	case ACTION_COMMAND:
		d->typing = true;
		input_set(&d->input, "");
		break;
	case ACTION_HELP:
		keys_help(&help, PANE_FEATURES);
		popup_show(&d->popup, "keys", help.data);
		break;
	case ACTION_SETTINGS:
		open_form(&d->form);
		break;
	case ACTION_EXPORT:
		term_copy("copied!", 7);
		break;
	case ACTION_QUIT:
		popup_ask(&d->popup, "quit", "A recovery is running. Quit?");
		break;
	default:
		snprintf(d->said, sizeof d->said, "key %d", key);
	}
	strbuf_done(&help);
}

static void demo_event(void *context, const struct term_event *event)
{
	struct demo *d = context;
	if (event->kind == TERM_KEY)
		demo_key(d, event->key);
	else if (event->kind == TERM_CLICK)
		list_click(&d->list, event->row - 1);
	else if (event->kind == TERM_WHEEL)
		list_wheel(&d->list, event->key);
	else if (event->kind == TERM_INTERRUPT)
		snprintf(d->said, sizeof d->said, "interrupted");
	else if (event->kind == TERM_QUIT)
		d->finished = true;
}

static int demo_idle(void *context)
{
	(void)context;
	return -1;
}

static bool demo_finished(void *context)
{
	return ((struct demo *)context)->finished;
}

static void demo_draw(void *context, struct screen *screen)
{
	struct demo *d = context;
	struct canvas c = canvas_of(screen, (struct rect){0, 0, screen->rows, screen->cols});
	canvas_printf(&c, 0, 0, ROLE_FOCUS, "demo %dx%d", screen->cols, screen->rows);
	list_fit(&d->list, 100, screen->rows - 3);
	for (int row = 0; row < d->list.rows && d->list.top + row < d->list.count; row++) {
		int item = d->list.top + row;
		canvas_printf(&c, row + 1, 0, item == d->list.cursor ? STYLE_REVERSE : 0, "%citem %d",
			      item == d->list.cursor ? '>' : ' ', item);
		canvas_bar(&c, row + 1, 12, 10, ROLE_RECOVERED, item / 100.);
	}
	list_draw_scroll(&d->list, &c, 1, screen->cols - 1);
	canvas_text(&c, screen->rows - 2, 0, ROLE_BASE, "✓ 日本 δ");
	canvas_text(&c, screen->rows - 2, 12, ROLE_ERROR, d->said);
	if (d->typing)
		input_draw(&d->input, &c, screen->rows - 1, 0, screen->cols);
	form_draw(&d->form, &c);
	popup_draw(&d->popup, &c);
}

static int demo_open(void)
{
	struct error error;
	enum status status = term_open(&(struct term_options){0}, &error);
	if (status != STATUS_OK)
		fprintf(stderr, "%s\n", error.text);
	return status;
}

static int demo_main(void *context)
{
	(void)context;
	struct demo d = {.input = {.label = ":", .complete = complete_color}};
	int status = demo_open();
	if (status != STATUS_OK)
		return status;
	d.input.history = &d.history;
	struct loop_client client = {.context = &d,
				     .wake_fd = -1,
				     .event = demo_event,
				     .idle_ms = demo_idle,
				     .draw = demo_draw,
				     .finished = demo_finished};
	loop_run(&client);
	term_close();
	popup_done(&d.popup);
	form_done(&d.form);
	input_done(&d.input);
	input_history_done(&d.history);
	puts("goodbye");
	return 0;
}

static const struct harness_options plain = {.rows = 24, .cols = 80};

static void test_terminal_widgets(void **state)
{
	(void)state;
	struct harness *h = harness_start_function(&plain, demo_main, NULL);
	assert_true(harness_wait(h, "demo 80x24"));
	assert_true(harness_wait(h, ">item 0"));
	assert_true(harness_wait(h, "✓ 日本 δ"));
	harness_type(h, "<Down>j<PgDn>");
	assert_true(harness_wait(h, ">item 22"));
	harness_type(h, "<Home>");
	assert_true(harness_wait(h, ">item 0"));
	harness_click(h, 5, 3);
	assert_true(harness_wait(h, ">item 4"));
	harness_wheel(h, 5, 3, 1);
	harness_wheel(h, 5, 3, 1);
	assert_true(harness_wait(h, ">item 6"));
	assert_true(harness_cell(h, 1, 0).reverse);
	assert_int_equal(harness_cell(h, 22, 0).color, 33);

	harness_type(h, ":paint gr<Tab>");
	assert_true(harness_wait(h, ":paint gre  green grey"));
	harness_type(h, "é<Enter>");
	assert_true(harness_wait(h, "said paint greé"));
	harness_type(h, ":<Up>");
	assert_true(harness_wait(h, ":paint greé"));
	harness_type(h, "<Esc>");
	assert_true(harness_wait_gone(h, ":paint"));

	harness_type(h, "?");
	assert_true(harness_wait(h, "clamp the feature, or release it"));
	assert_false(harness_shows(h, "suspend the program"));
	harness_type(h, "<End>");
	assert_true(harness_wait(h, "suspend the program"));
	harness_type(h, "<Esc>S<Down><BS><BS>12.5<Down><Right>");
	assert_true(harness_wait(h, "◀ encoder ▶"));
	harness_type(h, "<Enter>");
	assert_true(harness_wait(h, "budget is 12.5"));

	harness_type(h, "x");
	harness_settle(h, 100);
	size_t n;
	assert_non_null(strstr(harness_bytes(h, &n), "\033]52;c;Y29waWVkIQ==\a"));

	harness_resize(h, 10, 40);
	assert_true(harness_wait(h, "demo 40x10"));
	harness_resize(h, 60, 200);
	assert_true(harness_wait(h, "demo 200x60"));
	harness_type(h, "qn");
	harness_type(h, "q");
	assert_true(harness_wait(h, "Quit?"));
	harness_type(h, "y");
	assert_int_equal(harness_wait_end(h), 0);
	assert_true(harness_shows(h, "goodbye"));
	assert_true(harness_restored(h));
	harness_stop(h);
}

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

static void test_terminal_stops_and_goes_on(void **state)
{
	(void)state;
	struct harness *h = harness_start_function(&plain, shell_main, NULL);
	assert_true(harness_wait(h, ">item 0"));
	harness_type(h, "<C-z>");
	assert_true(harness_wait(h, "shell: stopped"));
	assert_true(harness_restored(h));
	harness_type(h, "<Enter>");
	assert_true(harness_wait(h, ">item 0"));
	harness_type(h, "<Down>");
	assert_true(harness_wait(h, ">item 1"));
	assert_false(harness_restored(h));
	/* A hand holds the button for a while; Ctrl-C behind any button's release is heard. */
	for (int button = 1; button <= 3; button++) {
		harness_press(h, 5, 3, button);
		harness_settle(h, 200);
		harness_release(h, button);
		harness_settle(h, 200);
	}
	assert_true(harness_wait(h, ">item 4"));
	harness_type(h, "<C-c>");
	assert_true(harness_wait(h, "interrupted"));
	harness_type(h, "qy");
	assert_int_equal(harness_wait_end(h), 0);
	assert_true(harness_restored(h));
	harness_stop(h);
}

static void test_terminal_quits_on_request(void **state)
{
	(void)state;
	struct harness *h = harness_start_function(&plain, demo_main, NULL);
	assert_true(harness_wait(h, ">item 0"));
	harness_signal(h, SIGTERM);
	assert_int_equal(harness_wait_end(h), 0);
	assert_true(harness_restored(h));
	assert_true(harness_shows(h, "goodbye"));
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
	if (pipe(f.wake) != 0 || demo_open() != STATUS_OK)
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
	struct harness *h = harness_start_function(&plain, flood_main, NULL);
	assert_true(harness_wait(h, "few news, 0 keys"));
	harness_type(h, "abc");
	assert_true(harness_wait(h, "3 keys"));
	assert_true(harness_wait(h, "many news, 3 keys"));
	harness_type(h, "<Esc>");
	assert_true(harness_wait(h, "4 keys"));
	harness_resize(h, 30, 90);
	harness_type(h, "q");
	assert_int_equal(harness_wait_end(h), 0);
	assert_true(harness_restored(h));
	harness_stop(h);
}

/* ---- every way out ---- */

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
	if (demo_open() != STATUS_OK)
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
	struct harness *h = harness_start_function(&plain, die_main, &death);
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

static void test_terminal_is_restored(void **state)
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
	struct harness *h = harness_start_function(&plain, die_main, &death);
	assert_true(harness_wait(h, "about to die"));
	harness_signal(h, SIGTERM);
	harness_settle(h, 100);
	harness_signal(h, SIGTERM);
	int status = harness_wait_end(h);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	assert_true(harness_restored(h));
	harness_stop(h);
}

/* ---- lesser terminals ---- */

static void test_terminal_degrades(void **state)
{
	(void)state;
	struct harness_options options = plain;
	options.locale = "C";
	struct harness *h = harness_start_function(&options, demo_main, NULL);
	assert_true(harness_wait(h, "+ ???? d"));
	for (const char *p = harness_screen(h); *p; p++)
		assert_true((unsigned char)*p < 0x80);
	harness_stop(h);

	static const char *const no_color[] = {"NO_COLOR=1", NULL};
	options = plain;
	options.env = no_color;
	h = harness_start_function(&options, demo_main, NULL);
	assert_true(harness_wait(h, "✓ 日本 δ"));
	assert_int_equal(harness_cell(h, 22, 0).color, -1);
	harness_stop(h);

	options = plain;
	options.term = "xterm";
	h = harness_start_function(&options, demo_main, NULL);
	assert_true(harness_wait(h, "✓ 日本 δ"));
	assert_int_equal(harness_cell(h, 22, 0).color, 4);
	harness_stop(h);
}

static void test_terminals_of_other_names(void **state)
{
	(void)state;
	static const char *const names[] = {"vt100", "linux", "screen-256color", "tmux-256color", "xterm"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct harness_options options = plain;
		options.term = names[i];
		struct harness *h = harness_start_function(&options, demo_main, NULL);
		harness_settle(h, 200);
		if (harness_shows(h, "does not know")) { /* the terminfo database of the machine lacks it */
			harness_stop(h);
			continue;
		}
		assert_true(harness_wait(h, ">item 0"));
		harness_type(h, "j");
		assert_true(harness_wait(h, ">item 1"));
		harness_signal(h, SIGSEGV);
		int status = harness_wait_end(h);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		assert_true(harness_restored(h));
		harness_stop(h);
	}
}

static void test_terminal_refuses(void **state)
{
	(void)state;
	static const struct {
		const char *term, *says;
	} cases[] = {{"dumb", "TERM is \"dumb\""}, {"no-such-terminal", "does not know"}, {"", "TERM is not set"}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct harness_options options = plain;
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
		cmocka_unit_test(test_layout_covers_every_size),
		cmocka_unit_test(test_layout_kinds),
		cmocka_unit_test(test_canvas_text),
		cmocka_unit_test(test_canvas_clips),
		cmocka_unit_test(test_canvas_bars),
		cmocka_unit_test(test_canvas_curve),
		cmocka_unit_test(test_canvas_wrap),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_keys_table),

		cmocka_unit_test(test_list),
		cmocka_unit_test(test_input_edits),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_terminal_widgets),
		cmocka_unit_test(test_terminal_stops_and_goes_on),
		cmocka_unit_test(test_terminal_quits_on_request),
		cmocka_unit_test(test_terminal_is_restored),
		cmocka_unit_test(test_second_signal_ends),
		cmocka_unit_test(test_keys_are_heard_over_the_worker),
		cmocka_unit_test(test_terminal_degrades),
		cmocka_unit_test(test_terminals_of_other_names),
		cmocka_unit_test(test_terminal_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
