#include "tui/popup.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/keys.h"

void popup_show(struct popup *popup, const char *title, const char *text)
{
	popup_done(popup);
	popup->title = mem_strdup(title);
	popup->text = mem_strdup(text);
	popup->open = true;
}

void popup_ask(struct popup *popup, const char *title, const char *text)
{
	popup_show(popup, title, text);
	popup->question = true;
}

void popup_done(struct popup *popup)
{
	free(popup->title);
	free(popup->text);
	*popup = (struct popup){0};
}

static void scroll(struct popup *popup, int by)
{
	int most = popup->rows - popup->visible;
	popup->top += by;
	if (popup->top > most)
		popup->top = most;
	if (popup->top < 0)
		popup->top = 0;
}

enum popup_result popup_key(struct popup *popup, int key)
{
	if (popup->question) {
		bool yes = key == 'y' || key == 'Y' || key == KEYCODE_ENTER;
		bool no = key == 'n' || key == 'N' || key == KEYCODE_ESCAPE || key == 'q';
		if (!yes && !no)
			return POPUP_OPEN;
		popup_done(popup);
		return yes ? POPUP_YES : POPUP_NO;
	}
	switch (key) {
	case KEYCODE_ESCAPE:
	case KEYCODE_ENTER:
	case KEYCODE_F1:
	case 'q':
	case '?':
		popup_done(popup);
		return POPUP_CLOSED;
	case KEYCODE_UP:
	case 'k':
		scroll(popup, -1);
		break;
	case KEYCODE_DOWN:
	case 'j':
		scroll(popup, 1);
		break;
	case KEYCODE_PAGE_UP:
		scroll(popup, -popup->visible);
		break;
	case KEYCODE_PAGE_DOWN:
	case ' ':
		scroll(popup, popup->visible);
		break;
	case KEYCODE_HOME:
		scroll(popup, -popup->rows);
		break;
	case KEYCODE_END:
		scroll(popup, popup->rows);
		break;
	default:
		break;
	}
	return POPUP_OPEN;
}

void popup_wheel(struct popup *popup, int direction)
{
	scroll(popup, 3 * direction);
}

static int widest_line(const char *text)
{
	int widest = 0;
	for (const char *line = text; *line;) {
		size_t n = strcspn(line, "\n");
		int columns = text_columns(line, n);
		widest = columns > widest ? columns : widest;
		line += n;
		line += *line == '\n';
	}
	return widest;
}

void popup_draw(struct popup *popup, const struct canvas *c)
{
	if (!popup->open)
		return;
	int widest = widest_line(popup->text);
	int least = text_columns(popup->title, strlen(popup->title)) + 4;
	int cols = widest < 30 ? 30 : widest > 100 ? 100 : widest;
	cols = cols < least ? least : cols;
	if (cols > c->cols - 6)
		cols = c->cols - 6;
	if (cols < 1 || c->rows < 4)
		return;
	popup->rows = canvas_wrap(c, (struct rect){0, 0, 0, cols}, 0, popup->text);
	popup->visible = popup->rows < c->rows - 4 ? popup->rows : c->rows - 4;
	scroll(popup, 0);

	struct rect box = {(c->rows - popup->visible - 2) / 2, (c->cols - cols - 4) / 2, popup->visible + 2, cols + 4};
	canvas_fill(c, box, ROLE_TEXT, ' ');
	canvas_box(c, box, ROLE_RULE);
	canvas_printf(c, box.row, box.col + 2, ROLE_FOCUS, " %s ", popup->title);
	struct canvas inside = canvas_part(c, (struct rect){box.row + 1, box.col + 2, popup->visible, cols});
	canvas_wrap(&inside, (struct rect){-popup->top, 0, popup->rows, cols}, ROLE_TEXT, popup->text);
	struct list seen = {.count = popup->rows, .rows = popup->visible, .top = popup->top};
	list_draw_scroll(&seen, c, box.row + 1, box.col + box.cols - 1);
	const char *keys = popup->question		  ? " y yes  n no "
			   : popup->rows > popup->visible ? " PgUp PgDn scroll  Esc close "
							  : " Esc close ";
	canvas_text_right(c, box.row + box.rows - 1, box.col + box.cols - 2, ROLE_NOTE, keys);
}
