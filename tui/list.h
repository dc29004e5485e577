/* The position in a list that is longer than its pane. Drawing is the pane's. */
#ifndef REBOUND_TUI_LIST_H
#define REBOUND_TUI_LIST_H

#include <stdbool.h>

#include "tui/canvas.h"
#include "tui/keys.h"

/* Initialise with {0}. The cursor is always in [0, count) or 0 if the list is
 * empty, and always visible once a pane of at least one row was fitted. */
struct list {
	int count, rows; /* items; rows of the pane */
	int cursor, top; /* the item of the cursor and of the first row */
};

/* After the items or the pane changed. */
void list_fit(struct list *list, int count, int rows);
void list_go(struct list *list, int item);
/* ACTION_UP, DOWN, PAGE_UP, PAGE_DOWN, FIRST, LAST; false for any other. */
bool list_action(struct list *list, enum action action);
/* The wheel moves the view by three rows, and the cursor only to stay in it. */
void list_wheel(struct list *list, int direction);
/* A click on a row of the pane; false if there is no item. */
bool list_click(struct list *list, int row);
/* Marks in column `col` how much of the list is seen; nothing if all of it. */
void list_draw_scroll(const struct list *list, const struct canvas *c, int row, int col);

/* True if every word of `filter` occurs in `text`, in any case; ASCII letters
 * fold. An empty filter matches. */
bool list_matches(const char *text, const char *filter);

#endif
