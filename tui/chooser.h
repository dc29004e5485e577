/* A short list to choose one from, in a box over the screen. */
#ifndef REBOUND_TUI_CHOOSER_H
#define REBOUND_TUI_CHOOSER_H

#include <stdbool.h>

#include "tui/canvas.h"
#include "tui/list.h"

enum { CHOOSER_ITEMS_MAX = 64, CHOOSER_ITEM_SIZE = 96 };

struct chooser {
	const char *title;
	char items[CHOOSER_ITEMS_MAX][CHOOSER_ITEM_SIZE]; /* what is chosen */
	const char *notes[CHOOSER_ITEMS_MAX];		  /* what it means, or NULL; borrowed */
	struct list list;
	struct rect box; /* of the last drawing */
	bool open;
};

enum chooser_result { CHOOSER_OPEN, CHOOSER_CHOSEN, CHOOSER_CANCELLED };

/* Opens it empty; `title` is borrowed. */
void chooser_show(struct chooser *chooser, const char *title);
/* Items over the most are left out. */
void chooser_add(struct chooser *chooser, const char *item, const char *note);
/* Puts the cursor on the item, if it is there. */
void chooser_point(struct chooser *chooser, const char *item);
/* Enter and space choose, Esc and q cancel, a digit chooses at once. */
enum chooser_result chooser_key(struct chooser *chooser, int key);
enum chooser_result chooser_click(struct chooser *chooser, int row, int col);
const char *chooser_chosen(const struct chooser *chooser);
void chooser_draw(struct chooser *chooser, const struct canvas *c);

#endif
