#include "tui/list.h"

#include <ctype.h>
#include <string.h>

static int between(int value, int least, int most)
{
	if (value > most)
		value = most;
	return value < least ? least : value;
}

static void keep_visible(struct list *list)
{
	list->cursor = between(list->cursor, 0, list->count - 1);
	if (list->rows == 0) /* not drawn yet: the first drawing says how much there is room for */
		return;
	list->top = between(list->top, list->cursor - list->rows + 1, list->cursor);
	list->top = between(list->top, 0, list->count - list->rows);
}

void list_fit(struct list *list, int count, int rows)
{
	list->count = count > 0 ? count : 0;
	list->rows = rows > 0 ? rows : list->rows > 0 ? 1 : 0;
	keep_visible(list);
}

void list_go(struct list *list, int item)
{
	list->cursor = item;
	keep_visible(list);
}

bool list_action(struct list *list, enum action action)
{
	int page = list->rows > 1 ? list->rows - 1 : 1;
	switch (action) {
	case ACTION_UP:
		list_go(list, list->cursor - 1);
		return true;
	case ACTION_DOWN:
		list_go(list, list->cursor + 1);
		return true;
	case ACTION_PAGE_UP:
		list_go(list, list->cursor - page);
		return true;
	case ACTION_PAGE_DOWN:
		list_go(list, list->cursor + page);
		return true;
	case ACTION_FIRST:
		list_go(list, 0);
		return true;
	case ACTION_LAST:
		list_go(list, list->count - 1);
		return true;
	default:
		return false;
	}
}

void list_wheel(struct list *list, int direction)
{
	list->top = between(list->top + 3 * direction, 0, list->count - list->rows);
	list->cursor = between(list->cursor, list->top, list->top + list->rows - 1);
	keep_visible(list);
}

bool list_click(struct list *list, int row)
{
	if (row < 0 || row >= list->rows || list->top + row >= list->count)
		return false;
	list_go(list, list->top + row);
	return true;
}

void list_draw_scroll(const struct list *list, const struct canvas *c, int row, int col)
{
	if (list->count <= list->rows || list->rows < 2)
		return;
	int size = between(list->rows * list->rows / list->count, 1, list->rows - 1);
	int at = list->top * (list->rows - size) / (list->count - list->rows);
	canvas_fill(c, (struct rect){row + at, col, size, 1}, ROLE_RULE, 0x2590);
}

static bool contains_word(const char *text, const char *word, size_t n)
{
	for (; *text; text++) {
		size_t i = 0;
		while (i < n && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)word[i]))
			i++;
		if (i == n)
			return true;
	}
	return n == 0;
}

bool list_matches(const char *text, const char *filter)
{
	for (;;) {
		filter += strspn(filter, " ");
		size_t n = strcspn(filter, " ");
		if (n == 0)
			return true;
		if (!contains_word(text, filter, n))
			return false;
		filter += n;
	}
}
