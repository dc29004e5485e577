#include "tests/toolkit_demo.h"

#include <stdio.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "tui/canvas.h"
#include "tui/input.h"
#include "tui/keys.h"
#include "tui/list.h"
#include "tui/loop.h"
#include "tui/popup.h"
#include "tui/term.h"

const struct harness_options demo_terminal = {.rows = 24, .cols = 80};

const char *screen_text(struct screen *screen)
{
	static struct strbuf out;
	strbuf_clear(&out);
	screen_dump(screen, &out);
	return out.data;
}

void demo_complete(void *context, const char *line, size_t at, size_t *start, struct strbuf *matches)
{
	static const char *const words[] = {"red", "green", "grey"};
	(void)context;
	while (*start > 0 && line[*start - 1] != ' ')
		(*start)--;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strncmp(words[i], line + *start, at - *start) == 0)
			strbuf_printf(matches, "%s\n", words[i]);
}

/* ---- a form ---- */

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

void demo_open_form(struct form *form)
{
	form_show(form, "settings of the recovery", presets, 1, check_field, NULL);
	for (int i = 0; i < 3; i++)
		form_add(form, &fields[i], present[i]);
}

/* ---- the program ---- */

struct demo {
	struct list list;
	struct popup popup;
	struct form form;
	struct input input;
	struct input_history history;
	bool typing, finished;
	char said[128];
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
		demo_open_form(&d->form);
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

int demo_open_terminal(void)
{
	struct error error;
	enum status status = term_open(&(struct term_options){0}, &error);
	if (status != STATUS_OK)
		fprintf(stderr, "%s\n", error.text);
	return status;
}

int demo_main(void *context)
{
	(void)context;
	struct demo d = {.input = {.label = ":", .complete = demo_complete}};
	int status = demo_open_terminal();
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
