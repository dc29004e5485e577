#include "tui/layout.h"

enum { LEAST_ROWS = 10, LEAST_COLS = 40, NORMAL_ROWS = 24, NORMAL_COLS = 80, WIDE_COLS = 120 };

static int clamp_int(int value, int least, int most)
{
	return value < least ? least : value > most ? most : value;
}

/* Cuts `rows` from the top (or the bottom, if negative) of *from. */
static struct rect cut_rows(struct rect *from, int rows)
{
	struct rect part = *from;
	if (rows >= 0) {
		part.rows = rows;
		from->row += rows;
		from->rows -= rows;
	} else {
		part.rows = -rows;
		from->rows += rows;
		part.row = from->row + from->rows;
	}
	return part;
}

static struct rect cut_cols(struct rect *from, int cols)
{
	struct rect part = *from;
	part.cols = cols;
	from->col += cols;
	from->cols -= cols;
	return part;
}

static void layout_stacked(struct layout *l, struct rect body, enum pane focus)
{
	l->kind = LAYOUT_STACKED;
	l->tabs = cut_rows(&body, 1);
	l->pane[focus < PANE_COUNT ? focus : PANE_PROMPTS] = body;
}

/* The right side: behaviour and recovery get what they need first, then grow
 * with the decomposition in proportion. */
static void layout_right(struct layout *l, struct rect right, bool wide)
{
	int extra = right.rows - 19; /* 6 + 4 + 9 fit in 24 rows */
	extra = extra > 0 ? extra : 0;
	int behaviour = 6 + extra * 3 / 10, recovery = 4 + extra * 4 / 10;
	l->pane[PANE_BEHAVIOUR] = cut_rows(&right, behaviour);
	l->pane[PANE_RECOVERY] = cut_rows(&right, recovery);
	if (wide) {
		l->pane[PANE_DECOMPOSITION] = cut_cols(&right, clamp_int(right.cols * 11 / 20, 50, 90));
		l->rules[1] = cut_cols(&right, 1);
		l->pane[PANE_LOG] = right;
	} else {
		l->pane[PANE_DECOMPOSITION] = right;
	}
}

static void layout_columns(struct layout *l, struct rect body)
{
	bool wide = l->cols >= WIDE_COLS;
	l->kind = wide ? LAYOUT_WIDE : LAYOUT_NORMAL;
	l->rules[2] = cut_rows(&body, -1);
	struct rect left = cut_cols(&body, clamp_int(l->cols * 32 / 100, 26, 72));
	l->rules[0] = cut_cols(&body, 1);
	l->pane[PANE_PROMPTS] = cut_rows(&left, clamp_int(left.rows * 2 / 5, 6, 24));
	l->pane[PANE_FEATURES] = left;
	layout_right(l, body, wide);
}

void layout_compute(struct layout *l, int rows, int cols, enum pane focus, bool zoom)
{
	rows = rows > 0 ? rows : 1;
	cols = cols > 0 ? cols : 1;
	*l = (struct layout){.rows = rows, .cols = cols};
	struct rect body = {0, 0, rows, cols};
	if (rows < LEAST_ROWS || cols < LEAST_COLS) {
		l->message = body;
		return;
	}
	l->status = cut_rows(&body, 1);
	l->footer = cut_rows(&body, -1);
	l->strip = cut_rows(&body, cols >= WIDE_COLS && rows >= NORMAL_ROWS ? -2 : -1);
	bool small = rows < NORMAL_ROWS || cols < NORMAL_COLS;
	bool hidden = focus == PANE_LOG && cols < WIDE_COLS;
	if (small || zoom || hidden)
		layout_stacked(l, body, focus);
	else
		layout_columns(l, body);
}

enum pane layout_pane_at(const struct layout *l, int row, int col)
{
	for (int i = 0; i < PANE_COUNT; i++)
		if (rect_contains(l->pane[i], row, col))
			return (enum pane)i;
	return rect_contains(l->strip, row, col) ? PANE_STRIP : PANE_GLOBAL;
}
