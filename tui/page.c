#include "tui/page.h"

#include "tui/list.h"

void page_scroll(struct page *page, int by)
{
	int most = page->rows - page->visible;
	page->top += by;
	if (page->top > most)
		page->top = most;
	if (page->top < 0)
		page->top = 0;
}

bool page_action(struct page *page, enum action action)
{
	int screen = page->visible > 1 ? page->visible - 1 : 1;
	switch (action) {
	case ACTION_UP:
		return page_scroll(page, -1), true;
	case ACTION_DOWN:
		return page_scroll(page, 1), true;
	case ACTION_PAGE_UP:
		return page_scroll(page, -screen), true;
	case ACTION_PAGE_DOWN:
		return page_scroll(page, screen), true;
	case ACTION_FIRST:
		return page_scroll(page, -page->rows), true;
	case ACTION_LAST:
		return page_scroll(page, page->rows), true;
	default:
		return false;
	}
}

bool page_left_by(enum action action)
{
	return (action >= ACTION_PANE_1 && action <= ACTION_PANE_STRIP) || action == ACTION_NEXT_PANE ||
	       action == ACTION_PREVIOUS_PANE;
}

struct canvas page_body(const struct canvas *c)
{
	return canvas_part(c, (struct rect){1, 0, c->rows - 1, c->cols - 1});
}

bool page_finish(struct page *page, const struct canvas *c, int rows)
{
	int top = page->top;
	page->rows = rows;
	page->visible = page_body(c).rows;
	page_scroll(page, 0);
	if (page->top != top) {
		canvas_fill(c, (struct rect){0, 0, c->rows, c->cols}, ROLE_TEXT, ' ');
		return false;
	}
	struct list seen = {.count = page->rows, .rows = page->visible, .top = top};
	list_draw_scroll(&seen, c, 1, c->cols - 1);
	return true;
}
