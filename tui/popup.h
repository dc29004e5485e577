/* A box over the screen: help, the whole text of a message, a question. */
#ifndef REBOUND_TUI_POPUP_H
#define REBOUND_TUI_POPUP_H

#include <stdbool.h>

#include "tui/canvas.h"
#include "tui/list.h"

struct popup {
	char *title, *text; /* owned; text with newlines, long lines are wrapped */
	bool question;	    /* answered by y or n */
	bool open;
	int top, rows, visible; /* first row seen; all rows and those seen, of the last drawing */
};

enum popup_result { POPUP_OPEN, POPUP_CLOSED, POPUP_YES, POPUP_NO };

/* Copies both. */
void popup_show(struct popup *popup, const char *title, const char *text);
void popup_ask(struct popup *popup, const char *title, const char *text);
void popup_done(struct popup *popup);
/* Esc, q, Enter and ? close; Up, Down, PgUp, PgDn, Home, End scroll; a question
 * takes y, Enter (yes) and n, Esc, q (no). */
enum popup_result popup_key(struct popup *popup, int key);
void popup_wheel(struct popup *popup, int direction);
/* Centred, as large as its text needs and the canvas allows. */
void popup_draw(struct popup *popup, const struct canvas *c);

#endif
