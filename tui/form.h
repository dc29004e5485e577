/* A form of settings: text values, choices, presets.
 *
 * The values are text, as on the command line, and their owner checks them. Up and
 * Down choose a field, typing edits it, Left and Right change a choice, Ctrl-P applies
 * the next preset; Enter accepts if the owner's check passes every value (what is wrong
 * stands under the fields), Esc leaves all as it was.
 */
#ifndef REBOUND_TUI_FORM_H
#define REBOUND_TUI_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"
#include "tui/canvas.h"
#include "tui/input.h"

enum { FORM_FIELDS_MAX = 32, FORM_VALUE_SIZE = 256, FORM_CHOICES_MAX = 8 };

struct form_field {
	const char *name;    /* as the option is called; borrowed */
	const char *allowed; /* "number above 0", or the choices as "none|encoder"; borrowed */
	const char *about;   /* one line; borrowed */
};

struct form_preset {
	const char *name;
	const char *const *pairs; /* name, value, name, value, ..., NULL */
};

/* STATUS_OK if the field may have this value. */
typedef enum status form_check(void *context, const char *name, const char *value, struct error *error);

struct form {
	const char *title;
	const char *accept; /* what Enter does; NULL: "accept" */
	struct form_field fields[FORM_FIELDS_MAX];
	char values[FORM_FIELDS_MAX][FORM_VALUE_SIZE];
	int count;
	const struct form_preset *presets;
	int preset_count, preset; /* preset: the one applied last, -1 none */
	form_check *check;
	void *check_context;

	int cursor, top;
	struct input editor; /* holds the value at the cursor */
	struct error complaint;
	bool open;
};

enum form_result { FORM_OPEN, FORM_ACCEPTED, FORM_CANCELLED };

/* Opens it without fields; the presets are borrowed. */
void form_show(struct form *form, const char *title, const struct form_preset *presets, int preset_count,
	       form_check *check, void *check_context);
/* A field and its present value; fields over the most are left out. */
void form_add(struct form *form, const struct form_field *field, const char *value);
void form_done(struct form *form);
enum form_result form_key(struct form *form, int key);
void form_draw(struct form *form, const struct canvas *c);
/* Its text, or "" if there is no such field. */
const char *form_value(const struct form *form, const char *name);

#endif
