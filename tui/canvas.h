/* A frame composed in memory, and the strokes that panes draw it with.
 *
 * A `screen` is a grid of cells; the terminal shows it at once (term_present), a
 * test reads it as text (screen_dump). A `canvas` is a window on it: coordinates
 * are relative to the canvas, what falls outside is not drawn. Text may come from
 * strangers: control characters and invalid bytes are shown as '?'. Everything is
 * written in Unicode; on an ASCII screen each character is replaced by one that
 * stands for it, so panes need not care. No function here fails or blocks; a
 * screen belongs to one thread.
 */
#ifndef REBOUND_TUI_CANVAS_H
#define REBOUND_TUI_CANVAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/text.h"
#include "tui/rect.h"

/* What a thing is; the terminal decides what that looks like. */
enum role {
	ROLE_TEXT,
	ROLE_BASE,	/* the model as it is */
	ROLE_CLAMPED,	/* under the clamp */
	ROLE_RECOVERED, /* with the perturbation */
	ROLE_GOOD,
	ROLE_BAD,
	ROLE_RULE,  /* lines between panes, centre lines */
	ROLE_TITLE, /* a pane's title */
	ROLE_FOCUS, /* the title of the pane that gets the keys */
	ROLE_KEY,   /* a key in a hint */
	ROLE_NOTE,  /* headers, units, labels */
	ROLE_ERROR,
	ROLE_COUNT
};

/* A style is a role plus any of these. */
enum style_flag {
	STYLE_ROLE_MASK = 0xff,
	STYLE_DIM = 0x100, /* belongs to an older state than the one shown */
	STYLE_BOLD = 0x200,
	STYLE_REVERSE = 0x400, /* the cursor's row */
	STYLE_UNDERLINE = 0x800,
};

#define CELL_CODES 3 /* a character and up to two combining marks */

struct cell {
	uint32_t code[CELL_CODES]; /* 0-padded */
	uint16_t style;
	uint8_t width; /* 1 or 2; 0 for the right half of a wide character */
};

struct screen {
	int rows, cols;
	struct cell *cells; /* rows x cols */
	bool ascii;
	int cursor_row, cursor_col; /* -1: the terminal's cursor is hidden */
};

/* Blank, hidden cursor. screen_resize keeps nothing. */
void screen_init(struct screen *screen, int rows, int cols, bool ascii);
void screen_resize(struct screen *screen, int rows, int cols);
void screen_clear(struct screen *screen);
void screen_done(struct screen *screen);
/* Appends the rows as text, trailing blanks cut, each with a newline. */
void screen_dump(const struct screen *screen, struct strbuf *out);
const struct cell *screen_cell(const struct screen *screen, int row, int col);

struct canvas {
	struct screen *screen;
	int row, col;	  /* of its corner on the screen */
	int rows, cols;	  /* its size */
	struct rect clip; /* on the screen */
};

struct canvas canvas_of(struct screen *screen, struct rect where);
/* A part of a canvas, clipped to it. */
struct canvas canvas_part(const struct canvas *c, struct rect where);

/* Columns that the text takes. */
int text_columns(const char *s, size_t n);
/* The longest start of s[0..n) that takes at most `columns`; its length in bytes. */
size_t text_fit(const char *s, size_t n, int columns);

/* Each returns the column behind what was drawn (even where clipped). */
int canvas_text(const struct canvas *c, int row, int col, unsigned style, const char *s);
int canvas_text_n(const struct canvas *c, int row, int col, unsigned style, const char *s, size_t n);
int canvas_printf(const struct canvas *c, int row, int col, unsigned style, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/* Exactly `columns` wide: cut with an ellipsis or padded with blanks. */
int canvas_field(const struct canvas *c, int row, int col, int columns, unsigned style, const char *s);
/* Ends in front of column `end`. Returns the column of its first character. */
int canvas_text_right(const struct canvas *c, int row, int end, unsigned style, const char *s);
/* Words wrapped to `columns`, at most `rows` of them; returns the rows needed. A
 * newline in the text starts a row. With rows = 0 only measures. */
int canvas_wrap(const struct canvas *c, struct rect where, unsigned style, const char *s);

void canvas_put(const struct canvas *c, int row, int col, unsigned style, uint32_t code);
void canvas_fill(const struct canvas *c, struct rect where, unsigned style, uint32_t code);
/* Adds flags to cells already drawn; bars and curves are not reversed. */
void canvas_mark(const struct canvas *c, struct rect where, unsigned flags);
void canvas_rule(const struct canvas *c, int row, int col, int columns, unsigned style);
void canvas_column_rule(const struct canvas *c, int row, int col, int rows, unsigned style);
void canvas_box(const struct canvas *c, struct rect where, unsigned style);

/* A bar of `columns` cells at full scale, in eighths; fraction is clipped to
 * [0, 1], a NaN draws nothing. A positive fraction is never invisible. */
void canvas_bar(const struct canvas *c, int row, int col, int columns, unsigned style, double fraction);
/* A bar from a centre line, value in [-1, 1] of half the columns, in halves. */
void canvas_bar_signed(const struct canvas *c, int row, int col, int columns, unsigned style, double value);
/* values[0..count) from left to right over the whole width, filled from below in
 * braille dots (two values a cell, four levels a row); `low` is the floor and
 * `high` the top of the box. NaN leaves a gap. More values than dots: each dot
 * column shows the last of its values. Fewer: the curve takes the left part that
 * `total` (at least count) says. */
void canvas_curve(const struct canvas *c, struct rect where, unsigned style, const double *values, size_t count,
		  size_t total, double low, double high);

/* The same as a line of dots without a floor, put over what is there: where it meets other
 * curves their dots stay. `dotted`: every other one is left out. */
void canvas_trace(const struct canvas *c, struct rect where, unsigned style, const double *values, size_t count,
		  size_t total, double low, double high, bool dotted);

#endif
