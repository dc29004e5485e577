/* Where everything is: one pure function from the screen's size to rectangles.
 *
 * Every cell belongs to exactly one region; nothing overlaps or sticks out.
 *
 *   80x24         prompts, features | behaviour, recovery, decomposition
 *   from 120 wide the same with decomposition | log, and a row of marks
 *   smaller, or zoomed: a row of tabs and the focused pane
 *   under 40x10   one region that says so
 */
#ifndef REBOUND_TUI_LAYOUT_H
#define REBOUND_TUI_LAYOUT_H

#include <stdbool.h>

#include "tui/rect.h"

enum pane {
	PANE_PROMPTS,
	PANE_FEATURES,
	PANE_BEHAVIOUR,
	PANE_RECOVERY,
	PANE_DECOMPOSITION,
	PANE_LOG,
	PANE_COUNT,
	PANE_STRIP = PANE_COUNT, /* the token strip takes keys too, but is always there */
	PANE_VIEW,		 /* a feature's own view, over all of them */
	PANE_COMPARE,		 /* two sessions side by side, over all of them */
	PANE_GLOBAL,		 /* in the key table: wherever the focus is */
};

enum layout_kind { LAYOUT_TINY, LAYOUT_STACKED, LAYOUT_NORMAL, LAYOUT_WIDE };

#define LAYOUT_RULES 3

struct layout {
	enum layout_kind kind;
	int rows, cols;
	struct rect status;		 /* one row */
	struct rect tabs;		 /* one row, stacked only */
	struct rect pane[PANE_COUNT];	 /* the first row is the title; empty if not shown */
	struct rect rules[LAYOUT_RULES]; /* between columns, and above the strip; empty if unused */
	struct rect strip;		 /* tokens; two rows when wide: tokens, marks */
	struct rect footer;		 /* one row */
	struct rect message;		 /* tiny only: everything */
};

/* `focus` (a pane, or PANE_STRIP for none) is shown zoomed if there is no room
 * for all or `zoom` is set. Any size, even 0 or negative (taken as 1). */
void layout_compute(struct layout *layout, int rows, int cols, enum pane focus, bool zoom);

/* The pane at a cell (a pane, PANE_STRIP), or PANE_GLOBAL for anything else. */
enum pane layout_pane_at(const struct layout *layout, int row, int col);

#endif
