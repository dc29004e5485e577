#include "tui/form.h"

#include <stdio.h>
#include <string.h>

#include "tui/keys.h"
#include "tui/list.h"

static void store(struct form *form)
{
	snprintf(form->values[form->cursor], FORM_VALUE_SIZE, "%s", input_text(&form->editor));
}

static void go(struct form *form, int field)
{
	store(form);
	if (field >= 0 && field < form->count)
		form->cursor = field;
	input_set(&form->editor, form->values[form->cursor]);
}

void form_show(struct form *form, const char *title, const struct form_preset *presets, int preset_count,
	       form_check *check, void *check_context)
{
	form_done(form);
	form->title = title;
	form->presets = presets;
	form->preset_count = preset_count;
	form->preset = -1;
	form->check = check;
	form->check_context = check_context;
	form->open = true;
	input_set(&form->editor, "");
}

void form_add(struct form *form, const struct form_field *field, const char *value)
{
	if (form->count == FORM_FIELDS_MAX)
		return;
	form->fields[form->count] = *field;
	snprintf(form->values[form->count], FORM_VALUE_SIZE, "%s", value);
	if (form->count++ == 0)
		input_set(&form->editor, form->values[0]);
}

void form_done(struct form *form)
{
	input_done(&form->editor);
	memset(form, 0, sizeof *form);
}

static int field_index(const struct form *form, const char *name)
{
	for (int i = 0; i < form->count; i++)
		if (strcmp(form->fields[i].name, name) == 0)
			return i;
	return -1;
}

const char *form_value(const struct form *form, const char *name)
{
	int i = field_index(form, name);
	return i < 0 ? "" : form->values[i];
}

/* ---- choices: "none|encoder|jacobian" ---- */

static bool is_choice(const struct form_field *field)
{
	/* "last|answer|N,N" is more than its words: it is typed */
	return strchr(field->allowed, '|') &&
	       !field->allowed[strspn(field->allowed, "abcdefghijklmnopqrstuvwxyz0123456789_-|")];
}

/* Writes choice `at` (any integer: they go round); `value` is found at *index, -1 if it
 * is none of them. */
static void choice(const struct form_field *field, const char *value, int *index, int at, char *out, size_t size)
{
	int count = 0;
	*index = -1;
	for (int pass = 0; pass < 2; pass++) {
		int i = 0;
		for (const char *p = field->allowed; *p; i++) {
			size_t n = strcspn(p, "|");
			if (pass == 0 && strlen(value) == n && strncmp(value, p, n) == 0)
				*index = i;
			if (pass == 1 && ((at % count) + count) % count == i)
				snprintf(out, size, "%.*s", (int)n, p);
			p += n;
			p += *p == '|';
		}
		count = i;
	}
}

static void turn_choice(struct form *form, int by)
{
	const struct form_field *field = &form->fields[form->cursor];
	char next[FORM_VALUE_SIZE];
	int now, again;
	choice(field, form->values[form->cursor], &now, 0, next, sizeof next);
	choice(field, form->values[form->cursor], &again, now + by, next, sizeof next);
	input_set(&form->editor, next);
	store(form);
}

/* ---- keys ---- */

/* Goes to the first field whose value is refused; the complaint says why. */
static bool check(struct form *form)
{
	store(form);
	for (int i = 0; form->check && i < form->count; i++)
		if (form->check(form->check_context, form->fields[i].name, form->values[i], &form->complaint) !=
		    STATUS_OK) {
			form->cursor = i;
			input_set(&form->editor, form->values[i]);
			return false;
		}
	return true;
}

static void apply_preset(struct form *form)
{
	if (form->preset_count == 0)
		return;
	store(form);
	form->preset = (form->preset + 1) % form->preset_count;
	const char *const *pairs = form->presets[form->preset].pairs;
	for (; pairs[0]; pairs += 2) {
		int i = field_index(form, pairs[0]);
		if (i >= 0)
			snprintf(form->values[i], FORM_VALUE_SIZE, "%s", pairs[1]);
	}
	input_set(&form->editor, form->values[form->cursor]);
}

enum form_result form_key(struct form *form, int key)
{
	form->complaint.text[0] = '\0';
	switch (key) {
	case KEYCODE_ESCAPE:
		form->open = false;
		return FORM_CANCELLED;
	case KEYCODE_ENTER:
		if (!check(form))
			return FORM_OPEN;
		form->open = false;
		return FORM_ACCEPTED;
	case KEYCODE_UP:
	case KEYCODE_BACK_TAB:
		go(form, form->cursor - 1);
		return FORM_OPEN;
	case KEYCODE_DOWN:
	case KEYCODE_TAB:
		go(form, form->cursor + 1);
		return FORM_OPEN;
	case KEYCODE_CTRL('P'):
		apply_preset(form);
		return FORM_OPEN;
	default:
		break;
	}
	if (form->count == 0)
		return FORM_OPEN;
	if (!is_choice(&form->fields[form->cursor])) {
		input_key(&form->editor, key);
		store(form);
	} else if (key == KEYCODE_LEFT || key == KEYCODE_RIGHT || key == ' ') {
		turn_choice(form, key == KEYCODE_LEFT ? -1 : 1);
	}
	return FORM_OPEN;
}

/* ---- drawing ---- */

static void draw_field(struct form *form, const struct canvas *c, int row, int i, int name_cols)
{
	const struct form_field *field = &form->fields[i];
	bool here = i == form->cursor, choices = is_choice(field);
	int value_col = name_cols + 2, value_cols = 20, about_col = value_col + value_cols + 2;
	canvas_field(c, row, 0, name_cols, here ? ROLE_KEY : ROLE_TEXT, field->name);
	if (choices)
		canvas_printf(c, row, value_col, here ? STYLE_BOLD : 0, here ? "◀ %s ▶" : "  %s", form->values[i]);
	else if (here)
		input_draw(&form->editor, c, row, value_col, value_cols);
	else
		canvas_field(c, row, value_col, value_cols, ROLE_TEXT, form->values[i]);
	int col = about_col;
	if (!choices)
		col = canvas_printf(c, row, col, ROLE_NOTE, "%s  ", field->allowed);
	canvas_field(c, row, col, c->cols - col, ROLE_NOTE, field->about);
}

static void draw_below(const struct form *form, const struct canvas *c, int row)
{
	if (form->complaint.text[0])
		canvas_field(c, row, 0, c->cols, ROLE_ERROR, form->complaint.text);
	else if (form->preset >= 0)
		canvas_printf(c, row, 0, ROLE_NOTE, "preset: %s", form->presets[form->preset].name);
	else if (form->preset_count > 0)
		canvas_printf(c, row, 0, ROLE_NOTE, "%d presets, the first: %s", form->preset_count,
			      form->presets[0].name);
	canvas_printf(c, row + 1, 0, ROLE_NOTE, "Enter %s  Esc leave%s", form->accept ? form->accept : "accept",
		      form->preset_count ? "  Ctrl-P next preset" : "");
}

void form_draw(struct form *form, const struct canvas *c)
{
	if (!form->open)
		return;
	int name_cols = 0, rows = form->count;
	for (int i = 0; i < form->count; i++) {
		int columns = text_columns(form->fields[i].name, strlen(form->fields[i].name));
		name_cols = columns > name_cols ? columns : name_cols;
	}
	if (rows > c->rows - 5)
		rows = c->rows - 5;
	int cols = c->cols - 4 < 110 ? c->cols - 4 : 110;
	if (rows < 1 || cols < 20)
		return;
	struct list view = {.top = form->top, .cursor = form->cursor};
	list_fit(&view, form->count, rows);
	form->top = view.top;

	struct rect box = {(c->rows - rows - 4) / 2, (c->cols - cols) / 2, rows + 4, cols};
	canvas_fill(c, box, ROLE_TEXT, ' ');
	canvas_box(c, box, ROLE_RULE);
	canvas_printf(c, box.row, box.col + 2, ROLE_FOCUS, " %s ", form->title);
	struct canvas inside = canvas_part(c, (struct rect){box.row + 1, box.col + 2, box.rows - 2, cols - 4});
	for (int row = 0; row < rows; row++)
		draw_field(form, &inside, row, form->top + row, name_cols);
	list_draw_scroll(&view, c, box.row + 1, box.col + cols - 1);
	draw_below(form, &inside, rows);
}
