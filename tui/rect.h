/* Rectangles of character cells. */
#ifndef REBOUND_TUI_RECT_H
#define REBOUND_TUI_RECT_H

#include <stdbool.h>

struct rect {
	int row, col, rows, cols; /* empty if rows or cols is 0 */
};

static inline bool rect_empty(struct rect r)
{
	return r.rows <= 0 || r.cols <= 0;
}

static inline bool rect_contains(struct rect r, int row, int col)
{
	return row >= r.row && row < r.row + r.rows && col >= r.col && col < r.col + r.cols;
}

static inline struct rect rect_intersect(struct rect a, struct rect b)
{
	int row = a.row > b.row ? a.row : b.row;
	int col = a.col > b.col ? a.col : b.col;
	int row_end = a.row + a.rows < b.row + b.rows ? a.row + a.rows : b.row + b.rows;
	int col_end = a.col + a.cols < b.col + b.cols ? a.col + a.cols : b.col + b.cols;
	if (row_end <= row || col_end <= col)
		return (struct rect){.row = row, .col = col};
	return (struct rect){row, col, row_end - row, col_end - col};
}

#endif
