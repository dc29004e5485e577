#include "tui/form.h"

#include <stdio.h>
#include <string.h>

#include "tui/format.h"
#include "tui/keys.h"
#include "tui/list.h"

static void store(struct form *form)
{
	snprintf(form->values[form->cursor], FORM_VALUE_SIZE, "%s", input_text(&form->editor));
}

static void go(struct form *form, int field)
{
	store(form);
	if (field >= 0 && field < form->field_count)
		form->cursor = field;
	input_set(&form->editor, form->values[form->cursor]);
}

void form_show(struct form *form, const char *title, const struct form_field *fields, int field_count,
	       const struct form_preset *presets, int preset_count, const char *const *values)
{
	form_done(form);
	*form = (struct form){.title = title,
			      .fields = fields,
			      .field_count = field_count < FORM_FIELDS_MAX ? field_count : FORM_FIELDS_MAX,
			      .presets = presets,
			      .preset_count = preset_count,
			      .preset = -1,
			      .open = true};
	for (int i = 0; i < form->field_count; i++)
		snprintf(form->values[i], FORM_VALUE_SIZE, "%s", values[i]);
	input_set(&form->editor, form->values[0]);
}

void form_done(struct form *form)
{
	input_done(&form->editor);
	*form = (struct form){0};
}

const char *form_value(const struct form *form, const char *name)
{
	for (int i = 0; i < form->field_count; i++)
		if (strcmp(form->fields[i].name, name) == 0)
			return form->values[i];
	return "";
}

/* ---- checking ---- */

static bool in_range(const struct form_field *field, const char *text)
{
	char number[FORM_VALUE_SIZE];
	snprintf(number, sizeof number, "%s", text);
	size_t n = strlen(number);
	double value;
	if (field->percent && n > 0 && number[n - 1] == '%') {
		number[n - 1] = '\0';
		return text_double(number, &value) && value >= 0;
	}
	if (field->kind == FORM_WHOLE) {
		int64_t whole;
		return text_int(number, &whole) && (double)whole >= field->least && (double)whole <= field->most;
	}
	return text_double(number, &value) && value >= field->least && value <= field->most;
}

static int choice_index(const struct form_field *field, const char *text)
{
	for (int i = 0; field->choices[i]; i++)
		if (strcmp(field->choices[i], text) == 0)
			return i;
	return -1;
}

static void range_text(char *out, size_t size, const struct form_field *field)
{
	char least[FORMAT_SIZE], most[FORMAT_SIZE];
	snprintf(out, size, "%s to %s%s", format_number(least, field->least), format_number(most, field->most),
		 field->percent ? ", or n%" : "");
}

/* Goes to the first field whose value is not acceptable and says why. */
static bool check(struct form *form)
{
	store(form);
	for (int i = 0; i < form->field_count; i++) {
		const struct form_field *field = &form->fields[i];
		const char *value = form->values[i];
		char range[64];
		if (field->kind == FORM_TEXT || (field->kind == FORM_CHOICE && choice_index(field, value) >= 0) ||
		    (field->kind < FORM_CHOICE && in_range(field, value)))
			continue;
		if (field->kind == FORM_CHOICE)
			snprintf(range, sizeof range, "one of the choices");
		else
			range_text(range, sizeof range, field);
		snprintf(form->complaint, sizeof form->complaint, "%s is \"%.40s\", expected %s%s", field->name, value,
			 field->kind == FORM_WHOLE ? "a whole number from " : "", range);
		form->cursor = i;
		input_set(&form->editor, value);
		return false;
	}
	return true;
}

/* ---- keys ---- */

static void apply_preset(struct form *form)
{
	if (form->preset_count == 0)
		return;
	store(form);
	form->preset = (form->preset + 1) % form->preset_count;
	const struct form_preset *preset = &form->presets[form->preset];
	for (int i = 0; i < form->field_count; i++)
		if (preset->values[i])
			snprintf(form->values[i], FORM_VALUE_SIZE, "%s", preset->values[i]);
	input_set(&form->editor, form->values[form->cursor]);
}

static void turn_choice(struct form *form, int by)
{
	const struct form_field *field = &form->fields[form->cursor];
	int count = 0;
	while (field->choices[count])
		count++;
	int at = choice_index(field, form->values[form->cursor]);
	if (count > 0)
		input_set(&form->editor, field->choices[(at + by + count) % count]);
	store(form);
}

enum form_result form_key(struct form *form, int key)
{
	bool choice = form->fields[form->cursor].kind == FORM_CHOICE;
	form->complaint[0] = '\0';
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
	if (!choice) {
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
	bool here = i == form->cursor;
	int value_col = name_cols + 2, value_cols = 22, help_col = value_col + value_cols + 2;
	char range[64] = "";
	canvas_field(c, row, 0, name_cols, here ? ROLE_KEY : ROLE_TEXT, field->name);
	if (field->kind == FORM_CHOICE)
		canvas_printf(c, row, value_col, here ? STYLE_BOLD : 0, here ? "◀ %s ▶" : "  %s", form->values[i]);
	else if (here)
		input_draw(&form->editor, c, row, value_col, value_cols);
	else
		canvas_field(c, row, value_col, value_cols, ROLE_TEXT, form->values[i]);
	if (field->kind < FORM_CHOICE)
		range_text(range, sizeof range, field);
	int col = canvas_text(c, row, help_col, ROLE_NOTE, range);
	canvas_field(c, row, range[0] ? col + 2 : help_col, c->cols - (range[0] ? col + 2 : help_col), ROLE_NOTE,
		     field->help);
}

void form_draw(struct form *form, const struct canvas *c)
{
	if (!form->open)
		return;
	int name_cols = 0, rows = form->field_count;
	for (int i = 0; i < form->field_count; i++) {
		int columns = text_columns(form->fields[i].name, strlen(form->fields[i].name));
		name_cols = columns > name_cols ? columns : name_cols;
	}
	if (rows > c->rows - 5)
		rows = c->rows - 5;
	int cols = c->cols - 4 < 96 ? c->cols - 4 : 96;
	if (rows < 1 || cols < 20)
		return;
	struct list view = {.top = form->top, .cursor = form->cursor};
	list_fit(&view, form->field_count, rows);
	form->top = view.top;

	struct rect box = {(c->rows - rows - 4) / 2, (c->cols - cols) / 2, rows + 4, cols};
	canvas_fill(c, box, ROLE_TEXT, ' ');
	canvas_box(c, box, ROLE_RULE);
	canvas_printf(c, box.row, box.col + 2, ROLE_FOCUS, " %s ", form->title);
	struct canvas inside = canvas_part(c, (struct rect){box.row + 1, box.col + 2, box.rows - 2, cols - 4});
	for (int row = 0; row < rows; row++)
		draw_field(form, &inside, row, form->top + row, name_cols);
	list_draw_scroll(&view, c, box.row + 1, box.col + cols - 1);
	if (form->complaint[0])
		canvas_field(&inside, rows, 0, inside.cols, ROLE_ERROR, form->complaint);
	else if (form->preset >= 0)
		canvas_printf(&inside, rows, 0, ROLE_NOTE, "preset: %s", form->presets[form->preset].name);
	else if (form->preset_count > 0)
		canvas_printf(&inside, rows, 0, ROLE_NOTE, "%d presets, the first: %s", form->preset_count,
			      form->presets[0].name);
	canvas_field(&inside, rows + 1, 0, inside.cols, ROLE_NOTE,
		     form->preset_count ? "Enter accept  Esc leave  Ctrl-P next preset" : "Enter accept  Esc leave");
}
