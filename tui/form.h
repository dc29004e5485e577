/* A form of settings with ranges, choices and presets.
 *
 * The values are text, as on the command line; the owner reads them when the form
 * is accepted. Up and Down choose a field, typing edits it, Left and Right change
 * a choice, Ctrl-P applies the next preset; Enter accepts if every value is within
 * its range (a message under the fields says what is not), Esc leaves all as it was.
 */
#ifndef REBOUND_TUI_FORM_H
#define REBOUND_TUI_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include "tui/canvas.h"
#include "tui/input.h"

enum form_kind {
	FORM_NUMBER, /* within [least, most]; `percent` admits "6%" too */
	FORM_WHOLE,
	FORM_CHOICE, /* one of `choices` */
	FORM_TEXT,
};

struct form_field {
	const char *name; /* as in the command's option; also the label */
	enum form_kind kind;
	double least, most;
	bool percent;
	const char *const *choices; /* ends with NULL */
	const char *help;	    /* one line: meaning and unit */
};

struct form_preset {
	const char *name;
	const char *const *values; /* one a field; NULL leaves a field as it is */
};

enum { FORM_FIELDS_MAX = 24, FORM_VALUE_SIZE = 256 };

struct form {
	const char *title;
	const struct form_field *fields; /* borrowed */
	const struct form_preset *presets;
	int field_count, preset_count;
	char values[FORM_FIELDS_MAX][FORM_VALUE_SIZE];
	int cursor, top, preset; /* preset: index of the one applied last, -1 none */
	struct input editor;	 /* holds the value at the cursor */
	char complaint[160];
	bool open;
};

enum form_result { FORM_OPEN, FORM_ACCEPTED, FORM_CANCELLED };

/* `values` (field_count texts) are the present settings. */
void form_show(struct form *form, const char *title, const struct form_field *fields, int field_count,
	       const struct form_preset *presets, int preset_count, const char *const *values);
void form_done(struct form *form);
enum form_result form_key(struct form *form, int key);
void form_draw(struct form *form, const struct canvas *c);
/* Its text, or "" if there is no such field. */
const char *form_value(const struct form *form, const char *name);

#endif
