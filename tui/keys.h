/* The keys: one table from which dispatch, the help, the footer and the manual
 * page's section are made. */
#ifndef REBOUND_TUI_KEYS_H
#define REBOUND_TUI_KEYS_H

#include <stddef.h>

#include "compute/base/text.h"
#include "tui/layout.h"

/* Keys are code points (Ctrl-A is 1) and, above them, these. */
enum keycode {
	KEYCODE_TAB = 9,
	KEYCODE_ENTER = 13,
	KEYCODE_ESCAPE = 27,
	KEYCODE_BACKSPACE = 127,
	KEYCODE_UP = 0x110000,
	KEYCODE_DOWN,
	KEYCODE_LEFT,
	KEYCODE_RIGHT,
	KEYCODE_HOME,
	KEYCODE_END,
	KEYCODE_PAGE_UP,
	KEYCODE_PAGE_DOWN,
	KEYCODE_DELETE,
	KEYCODE_BACK_TAB,
	KEYCODE_F1,
};
#define KEYCODE_CTRL(letter) ((letter)&0x1f)

enum action {
	ACTION_NONE,
	/* moving */
	ACTION_UP,
	ACTION_DOWN,
	ACTION_FIRST,
	ACTION_LAST,
	ACTION_PAGE_UP,
	ACTION_PAGE_DOWN,
	ACTION_NEXT_PANE,
	ACTION_PREVIOUS_PANE,
	ACTION_PANE_1, /* to ACTION_PANE_1 + PANE_COUNT - 1 */
	ACTION_PANE_2,
	ACTION_PANE_3,
	ACTION_PANE_4,
	ACTION_PANE_5,
	ACTION_PANE_6,
	ACTION_PANE_STRIP,
	ACTION_ZOOM,
	/* everywhere */
	ACTION_COMMAND,
	ACTION_HELP,
	ACTION_MESSAGE,
	ACTION_BACK,
	ACTION_QUIT,
	ACTION_SUSPEND,
	ACTION_REDRAW,
	ACTION_HINTS,
	/* lists */
	ACTION_OPEN,
	ACTION_FILTER,
	/* prompts */
	ACTION_PROMPT_ADD,
	ACTION_PROMPT_IMPORT,
	ACTION_VALID_FLIPS,
	/* token strip */
	ACTION_TOKEN_LEFT,
	ACTION_TOKEN_RIGHT,
	ACTION_PERTURB_HERE,
	ACTION_PERTURB_RULE,
	ACTION_CLAMP_POSITIONS,
	/* features */
	ACTION_CLAMP_TOGGLE,
	ACTION_CLAMP_VALUE,
	ACTION_CLAMP_MODE,
	ACTION_RANK,
	ACTION_CLAMP_TOP,
	ACTION_CLAMP_CLEAR,
	ACTION_CLAMP_UNDO,
	ACTION_SORT_ACTIVATION,
	ACTION_SORT_ATTRIBUTION,
	ACTION_SORT_CHANGE,
	ACTION_SORT_ID,
	ACTION_LAYER_DOWN,
	ACTION_LAYER_UP,
	ACTION_SAES,
	ACTION_DROP_SAES,
	ACTION_NEXT_FEATURE,
	ACTION_PREVIOUS_FEATURE,
	ACTION_EXAMPLES,
	/* behaviour */
	ACTION_OBJECTIVE,
	ACTION_GENERATE,
	ACTION_TWO_STAGE,
	ACTION_SUFFIX,
	ACTION_RADIUS,
	ACTION_JUDGE,
	/* recovery */
	ACTION_RUN,
	ACTION_STEP,
	ACTION_SCRUB_BACK,
	ACTION_SCRUB_ON,
	ACTION_SCRUB_BACK_10,
	ACTION_SCRUB_ON_10,
	ACTION_SCRUB_FIRST,
	ACTION_SCRUB_LAST,
	ACTION_FORK,
	ACTION_COMPARE,
	ACTION_SETTINGS,
	/* decomposition, log */
	ACTION_DECOMPOSE,
	ACTION_EXPORT,
	ACTION_COPY,
	ACTION_NOTE,
	ACTION_COUNT
};

struct key_binding {
	enum pane where; /* PANE_GLOBAL: everywhere that the pane does not bind the key itself */
	int key;
	enum action action;
	const char *hint; /* for the footer, a word or two; NULL: not there */
	const char *help; /* NULL: another key for the action of the row above */
};

extern const struct key_binding keys_table[];
extern const size_t keys_count;

/* The pane's own binding first, then the global one; ACTION_NONE if neither. */
enum action keys_action(enum pane where, int key);
/* "space", "Ctrl-L", "Up"; NUL-terminated. Returns `out`. */
#define KEYS_NAME_SIZE 16
const char *keys_name(char out[KEYS_NAME_SIZE], int key);
/* "prompts", "features", ... "tokens", "everywhere" */
const char *keys_pane_name(enum pane where);

/* Text of the help: one binding a line, keys padded, this pane's part first. */
void keys_help(struct strbuf *out, enum pane where);
/* The KEYS section of a manual page, in man(7) markup. */
void keys_man(struct strbuf *out);

#endif
