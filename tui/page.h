/* A page of rows that covers the panes and is scrolled as a whole: a feature's own view, a comparison. */
#ifndef REBOUND_TUI_PAGE_H
#define REBOUND_TUI_PAGE_H

#include "tui/canvas.h"
#include "tui/keys.h"

/* Initialise with {0}. */
struct page {
	int top;	   /* first row seen */
	int rows, visible; /* all rows and those seen, of the last drawing */
};

/* By so many rows, as far as there are any. */
void page_scroll(struct page *page, int by);
/* ACTION_UP, DOWN, PAGE_UP, PAGE_DOWN, FIRST, LAST; false for any other. */
bool page_action(struct page *page, enum action action);
/* Does the action go to one of the panes under the page? Then the page is to be closed first. */
bool page_left_by(enum action action);

/* Where drawing begins: the part of c under its first row and left of the scroll bar. The first row of the page
 * belongs at -page->top of it. */
struct canvas page_body(const struct canvas *c);
/* After all `rows` were drawn: draws the scroll bar. False if the page is shorter than where it was scrolled to; then
 * c was cleared, and it is to be drawn once more. */
bool page_finish(struct page *page, const struct canvas *c, int rows);

#endif
