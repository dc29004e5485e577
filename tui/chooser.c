#include "tui/chooser.h"

#include <stdio.h>
#include <string.h>

void chooser_show(struct chooser *chooser, const char *title)
{
	memset(chooser, 0, sizeof *chooser);
	chooser->title = title;
	chooser->open = true;
	list_fit(&chooser->list, 0, 1);
}

void chooser_add(struct chooser *chooser, const char *item, const char *note)
{
	int at = chooser->list.count;
	if (at >= CHOOSER_ITEMS_MAX)
		return;
	snprintf(chooser->items[at], CHOOSER_ITEM_SIZE, "%s", item);
	chooser->notes[at] = note;
	list_fit(&chooser->list, at + 1, at + 1);
}

void chooser_point(struct chooser *chooser, const char *item)
{
	for (int i = 0; i < chooser->list.count; i++)
		if (strcmp(chooser->items[i], item) == 0)
			list_go(&chooser->list, i);
}

const char *chooser_chosen(const struct chooser *chooser)
{
	return chooser->list.count ? chooser->items[chooser->list.cursor] : "";
}

static enum chooser_result choose(struct chooser *chooser)
{
	chooser->open = false;
	return chooser->list.count ? CHOOSER_CHOSEN : CHOOSER_CANCELLED;
}

enum chooser_result chooser_key(struct chooser *chooser, int key)
{
	if (key == KEYCODE_ENTER || key == ' ')
		return choose(chooser);
	if (key == KEYCODE_ESCAPE || key == 'q') {
		chooser->open = false;
		return CHOOSER_CANCELLED;
	}
	if (key >= '1' && key <= '9' && key - '1' < chooser->list.count) {
		list_go(&chooser->list, key - '1');
		return choose(chooser);
	}
	list_action(&chooser->list, keys_action(PANE_GLOBAL, key));
	return CHOOSER_OPEN;
}

enum chooser_result chooser_click(struct chooser *chooser, int row, int col)
{
	if (!rect_contains(chooser->box, row, col)) {
		chooser->open = false;
		return CHOOSER_CANCELLED;
	}
	return list_click(&chooser->list, row - chooser->box.row - 1) ? choose(chooser) : CHOOSER_OPEN;
}

void chooser_draw(struct chooser *chooser, const struct canvas *c)
{
	if (!chooser->open)
		return;
	int item_cols = 0, note_cols = 0;
	for (int i = 0; i < chooser->list.count; i++) {
		const char *note = chooser->notes[i] ? chooser->notes[i] : "";
		int item = text_columns(chooser->items[i], strlen(chooser->items[i]));
		int columns = text_columns(note, strlen(note));
		item_cols = item > item_cols ? item : item_cols;
		note_cols = columns > note_cols ? columns : note_cols;
	}
	int cols = 2 + item_cols + (note_cols ? 2 + note_cols : 0);
	int least = text_columns(chooser->title, strlen(chooser->title)) + 4;
	cols = cols < least ? least : cols;
	cols = cols > c->cols - 4 ? c->cols - 4 : cols;
	int rows = chooser->list.count < c->rows - 2 ? chooser->list.count : c->rows - 2;
	if (rows < 1 || cols < 4)
		return;
	list_fit(&chooser->list, chooser->list.count, rows);
	struct rect box = {(c->rows - rows - 2) / 2, (c->cols - cols - 4) / 2, rows + 2, cols + 4};
	chooser->box = box;
	canvas_fill(c, box, ROLE_TEXT, ' ');
	canvas_box(c, box, ROLE_RULE);
	canvas_printf(c, box.row, box.col + 2, ROLE_FOCUS, " %s ", chooser->title);
	struct canvas inside = canvas_part(c, (struct rect){box.row + 1, box.col + 2, rows, cols});
	for (int row = 0; row < rows; row++) {
		int i = chooser->list.top + row;
		canvas_printf(&inside, row, 0, ROLE_KEY, i < 9 ? "%d" : " ", i + 1);
		canvas_text(&inside, row, 2, ROLE_TEXT, chooser->items[i]);
		if (chooser->notes[i])
			canvas_text(&inside, row, item_cols + 4, ROLE_NOTE, chooser->notes[i]);
		if (i == chooser->list.cursor)
			canvas_mark(&inside, (struct rect){row, 0, 1, cols}, STYLE_REVERSE);
	}
	list_draw_scroll(&chooser->list, c, box.row + 1, box.col + box.cols - 1);
}
