/* A line editor: UTF-8, history, completion.
 *
 * Left, Right, Home, End, Backspace, Delete; Ctrl-A -E -B -F -D -H as in a shell;
 * Ctrl-U and Ctrl-K cut to the start and end, Ctrl-W a word; Up and Down recall;
 * Tab completes. Control characters never get into the text.
 */
#ifndef REBOUND_TUI_INPUT_H
#define REBOUND_TUI_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/text.h"
#include "tui/canvas.h"

enum { INPUT_LENGTH_MAX = 16384, INPUT_HISTORY_MAX = 200 };

/* Lines entered before; the oldest are dropped. Initialise with {0}. */
struct input_history {
	char *lines[INPUT_HISTORY_MAX];
	int count;
};
void input_history_add(struct input_history *history, const char *line);
void input_history_done(struct input_history *history);

/* Appends to `matches` each text that could stand for the word line[start..at),
 * one a line, and sets *start to where that word begins. */
typedef void input_complete(void *context, const char *line, size_t at, size_t *start, struct strbuf *matches);

struct input {
	struct strbuf text;	       /* never without data after input_set */
	size_t at;		       /* the cursor, in bytes */
	const char *label;	       /* in front, for instance ":"; borrowed */
	struct input_history *history; /* borrowed; may be NULL */
	int recalled;		       /* index in the history, or its count: the line being typed */
	char *typed;		       /* that line while another is recalled */
	input_complete *complete;      /* may be NULL */
	void *complete_context;
	char *offer; /* matches of the last Tab, separated by blanks; NULL if none or one */
};

enum input_result { INPUT_OPEN, INPUT_ACCEPTED, INPUT_CANCELLED };

/* Starts with `text` and the cursor behind it. The other fields are kept. */
void input_set(struct input *input, const char *text);
void input_done(struct input *input);
const char *input_text(const struct input *input);
/* Enter accepts (and adds to the history), Esc cancels; so does Backspace in an
 * empty line that has a label. */
enum input_result input_key(struct input *input, int key);
/* In one row; scrolls so that the cursor is seen, and shows it. */
void input_draw(const struct input *input, const struct canvas *c, int row, int col, int columns);

#endif
