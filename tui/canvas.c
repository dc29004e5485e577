#include "tui/canvas.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "compute/base/mem.h"

/* ---- the grid ---- */

void screen_init(struct screen *screen, int rows, int cols, bool ascii)
{
	*screen = (struct screen){.ascii = ascii};
	screen_resize(screen, rows, cols);
}

void screen_resize(struct screen *screen, int rows, int cols)
{
	screen->rows = rows > 0 ? rows : 1;
	screen->cols = cols > 0 ? cols : 1;
	screen->cells = mem_resize(screen->cells, (size_t)screen->rows * (size_t)screen->cols, sizeof(struct cell));
	screen_clear(screen);
}

void screen_clear(struct screen *screen)
{
	size_t count = (size_t)screen->rows * (size_t)screen->cols;
	for (size_t i = 0; i < count; i++)
		screen->cells[i] = (struct cell){.code = {' '}, .width = 1};
	screen->cursor_row = screen->cursor_col = -1;
}

void screen_done(struct screen *screen)
{
	free(screen->cells);
	*screen = (struct screen){0};
}

const struct cell *screen_cell(const struct screen *screen, int row, int col)
{
	return &screen->cells[(size_t)row * (size_t)screen->cols + (size_t)col];
}

void screen_dump(const struct screen *screen, struct strbuf *out)
{
	for (int row = 0; row < screen->rows; row++) {
		size_t keep = out->length;
		for (int col = 0; col < screen->cols; col++) {
			const struct cell *cell = screen_cell(screen, row, col);
			if (cell->width == 0)
				continue;
			for (int i = 0; i < CELL_CODES && cell->code[i]; i++) {
				char bytes[4];
				strbuf_add(out, bytes, utf8_encode(bytes, cell->code[i]));
			}
			if (cell->code[0] != ' ')
				keep = out->length;
		}
		if (out->data) {
			out->length = keep;
			out->data[keep] = '\0';
		}
		strbuf_add_char(out, '\n');
	}
}

/* ---- windows on it ---- */

struct canvas canvas_of(struct screen *screen, struct rect where)
{
	struct rect all = {0, 0, screen->rows, screen->cols};
	return (struct canvas){screen, where.row, where.col, where.rows, where.cols, rect_intersect(all, where)};
}

struct canvas canvas_part(const struct canvas *c, struct rect where)
{
	where.row += c->row;
	where.col += c->col;
	return (struct canvas){c->screen, where.row, where.col, where.rows, where.cols, rect_intersect(c->clip, where)};
}

static struct cell *cell_at(const struct canvas *c, int row, int col)
{
	row += c->row;
	col += c->col;
	if (!rect_contains(c->clip, row, col))
		return NULL;
	return &c->screen->cells[(size_t)row * (size_t)c->screen->cols + (size_t)col];
}

/* ---- characters ---- */

/* The character that stands for ours on an ASCII screen; '?' for a stranger's. */
static uint32_t ascii_of(uint32_t code)
{
	static const struct {
		uint32_t code;
		char ascii;
	} map[] = {
		{0x00B7, '.'}, {0x2014, '-'},  {0x2013, '-'},  {0x2026, '~'}, {0x2713, '+'}, {0x2717, 'x'},
		{0x25B6, '>'}, {0x25C0, '<'},  {0x25CF, 'o'},  {0x2016, '|'}, {0x03B4, 'd'}, {0x0394, 'D'},
		{0x2500, '-'}, {0x2502, '|'},  {0x2190, '<'},  {0x2192, '>'}, {0x2191, '^'}, {0x2193, 'v'},
		{0x00D7, 'x'}, {0x2588, '#'},  {0x2589, '#'},  {0x258A, '#'}, {0x258B, '='}, {0x258C, '='},
		{0x258D, '-'}, {0x258E, '-'},  {0x258F, '.'},  {0x2590, '='}, {0x2595, '|'}, {0x2212, '-'},
		{0x00A0, ' '}, {0x2018, '\''}, {0x2019, '\''}, {0x201C, '"'}, {0x201D, '"'}, {0x2261, '='},
		{0x2594, '-'}, {0x2581, '_'},  {0x2205, '0'},  {0x23CE, '$'}, {0x2237, ':'},
	};
	if (code < 0x7F)
		return code;
	if (code >= 0x2500 && code < 0x2580 && code != 0x2500 && code != 0x2502)
		return '+';
	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (map[i].code == code)
			return (uint32_t)map[i].ascii;
	return '?';
}

/* One character of s[0..n): its bytes, the code to draw, its columns (0 for a
 * combining mark). */
static size_t next_character(const char *s, size_t n, uint32_t *code, int *columns)
{
	size_t bytes = utf8_decode(s, n, code);
	if (bytes == 0) {
		*code = '?';
		bytes = 1;
	}
	if (*code == '\n' || *code == '\t')
		*code = ' ';
	else if (text_is_control(*code))
		*code = '?';
	*columns = *code < 0x7F ? 1 : utf8proc_charwidth((utf8proc_int32_t)*code);
	if (*columns < 0)
		*columns = 1;
	return bytes;
}

int text_columns(const char *s, size_t n)
{
	int total = 0;
	for (size_t i = 0; i < n;) {
		uint32_t code;
		int columns;
		i += next_character(s + i, n - i, &code, &columns);
		total += columns;
	}
	return total;
}

size_t text_fit(const char *s, size_t n, int columns)
{
	size_t i = 0;
	while (i < n) {
		uint32_t code;
		int width;
		size_t bytes = next_character(s + i, n - i, &code, &width);
		if (width > columns)
			break;
		columns -= width;
		i += bytes;
	}
	return i;
}

/* Overwriting half of a wide character leaves no orphan of the other half. */
static void cell_clear_wide(const struct canvas *c, int row, int col)
{
	struct cell *cell = cell_at(c, row, col);
	if (!cell)
		return;
	int at = col + c->col;
	if (cell->width == 0 && at > 0)
		cell[-1] = (struct cell){.code = {' '}, .style = cell[-1].style, .width = 1};
	if (cell->width == 2 && at + 1 < c->screen->cols)
		cell[1] = (struct cell){.code = {' '}, .style = cell[1].style, .width = 1};
}

static void put_wide(const struct canvas *c, int row, int col, unsigned style, uint32_t code, int columns)
{
	struct cell *cell = cell_at(c, row, col);
	if (!cell)
		return;
	if (columns == 2 && !cell_at(c, row, col + 1)) {
		code = ' '; /* half of it would stick out */
		columns = 1;
	}
	cell_clear_wide(c, row, col);
	if (columns == 2) {
		cell_clear_wide(c, row, col + 1);
		cell[1] = (struct cell){.style = (uint16_t)style, .width = 0};
	}
	*cell = (struct cell){.code = {code}, .style = (uint16_t)style, .width = (uint8_t)columns};
}

void canvas_put(const struct canvas *c, int row, int col, unsigned style, uint32_t code)
{
	put_wide(c, row, col, style, c->screen->ascii ? ascii_of(code) : code, 1);
}

int canvas_text_n(const struct canvas *c, int row, int col, unsigned style, const char *s, size_t n)
{
	int last = -1; /* column of the character that a combining mark belongs to */
	for (size_t i = 0; i < n;) {
		uint32_t code;
		int columns;
		i += next_character(s + i, n - i, &code, &columns);
		if (columns == 0) {
			struct cell *cell = last >= 0 && !c->screen->ascii ? cell_at(c, row, last) : NULL;
			for (int k = 1; cell && k < CELL_CODES; k++)
				if (cell->code[k] == 0) {
					cell->code[k] = code;
					break;
				}
			continue;
		}
		last = col;
		if (!c->screen->ascii) {
			put_wide(c, row, col, style, code, columns);
		} else {
			put_wide(c, row, col, style, ascii_of(code), 1);
			if (columns == 2)
				put_wide(c, row, col + 1, style, '?', 1);
		}
		col += columns;
	}
	return col;
}

int canvas_text(const struct canvas *c, int row, int col, unsigned style, const char *s)
{
	return canvas_text_n(c, row, col, style, s, strlen(s));
}

int canvas_printf(const struct canvas *c, int row, int col, unsigned style, const char *format, ...)
{
	char text[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return canvas_text(c, row, col, style, text);
}

int canvas_field(const struct canvas *c, int row, int col, int columns, unsigned style, const char *s)
{
	if (columns <= 0)
		return col;
	size_t n = strlen(s), fit = text_fit(s, n, columns);
	bool cut = fit < n;
	if (cut)
		fit = text_fit(s, n, columns - 1);
	int at = canvas_text_n(c, row, col, style, s, fit);
	if (cut)
		canvas_put(c, row, at++, style, 0x2026);
	while (at < col + columns)
		canvas_put(c, row, at++, style, ' ');
	return at;
}

int canvas_text_right(const struct canvas *c, int row, int end, unsigned style, const char *s)
{
	int col = end - text_columns(s, strlen(s));
	canvas_text(c, row, col, style, s);
	return col;
}

int canvas_wrap(const struct canvas *c, struct rect where, unsigned style, const char *s)
{
	int row = 0;
	size_t n = strlen(s);
	if (where.cols < 1)
		return 0;
	for (size_t i = 0; i < n;) {
		const char *newline = memchr(s + i, '\n', n - i);
		size_t line = newline ? (size_t)(newline - s) - i : n - i;
		size_t take = text_fit(s + i, line, where.cols);
		if (take < line) { /* back to the last blank, if there is one */
			size_t cut = take;
			while (cut > 0 && s[i + cut] != ' ')
				cut--;
			if (cut > 0)
				take = cut;
		}
		if (take == 0 && line > 0)
			take = line < 4 ? line : 4; /* wider than the box: never stuck */
		if (row < where.rows)
			canvas_text_n(c, where.row + row, where.col, style, s + i, take);
		row++;
		i += take;
		if (i < n && (s[i] == '\n' || s[i] == ' '))
			i++;
	}
	return row;
}

void canvas_fill(const struct canvas *c, struct rect where, unsigned style, uint32_t code)
{
	for (int row = 0; row < where.rows; row++)
		for (int col = 0; col < where.cols; col++)
			canvas_put(c, where.row + row, where.col + col, style, code);
}

/* Bars and curves: reversed they would read as their own absence. */
static bool is_drawing(uint32_t code)
{
	return (code >= 0x2580 && code < 0x25A0) || (code >= 0x2800 && code < 0x2900);
}

void canvas_mark(const struct canvas *c, struct rect where, unsigned flags)
{
	for (int row = 0; row < where.rows; row++)
		for (int col = 0; col < where.cols; col++) {
			struct cell *cell = cell_at(c, where.row + row, where.col + col);
			if (cell)
				cell->style |= (uint16_t)(is_drawing(cell->code[0]) ? flags & ~(unsigned)STYLE_REVERSE
										    : flags);
		}
}

void canvas_rule(const struct canvas *c, int row, int col, int columns, unsigned style)
{
	canvas_fill(c, (struct rect){row, col, 1, columns}, style, 0x2500);
}

void canvas_column_rule(const struct canvas *c, int row, int col, int rows, unsigned style)
{
	canvas_fill(c, (struct rect){row, col, rows, 1}, style, 0x2502);
}

void canvas_box(const struct canvas *c, struct rect r, unsigned style)
{
	if (r.rows < 2 || r.cols < 2)
		return;
	int bottom = r.row + r.rows - 1, right = r.col + r.cols - 1;
	canvas_rule(c, r.row, r.col, r.cols, style);
	canvas_rule(c, bottom, r.col, r.cols, style);
	canvas_column_rule(c, r.row, r.col, r.rows, style);
	canvas_column_rule(c, r.row, right, r.rows, style);
	canvas_put(c, r.row, r.col, style, 0x250C);
	canvas_put(c, r.row, right, style, 0x2510);
	canvas_put(c, bottom, r.col, style, 0x2514);
	canvas_put(c, bottom, right, style, 0x2518);
}

/* ---- bars and curves ---- */

void canvas_bar(const struct canvas *c, int row, int col, int columns, unsigned style, double fraction)
{
	if (!(fraction > 0) || columns <= 0)
		return;
	int eighths = (int)lround(fmin(fraction, 1) * columns * 8);
	if (eighths == 0)
		eighths = 1;
	for (; eighths >= 8; eighths -= 8)
		canvas_put(c, row, col++, style, 0x2588);
	if (eighths)
		canvas_put(c, row, col, style, 0x2590u - (uint32_t)eighths); /* U+258F is one eighth, U+2589 seven */
}

void canvas_bar_signed(const struct canvas *c, int row, int col, int columns, unsigned style, double value)
{
	int half = (columns - 1) / 2, centre = col + half;
	canvas_put(c, row, centre, ROLE_RULE, 0x2502);
	if (isnan(value) || half <= 0)
		return;
	int halves = (int)lround(fmin(fabs(value), 1) * half * 2);
	if (halves == 0 && value != 0)
		halves = 1;
	int step = value < 0 ? -1 : 1, at = centre + step;
	for (; halves >= 2; halves -= 2, at += step)
		canvas_put(c, row, at, style, 0x2588);
	if (halves)
		canvas_put(c, row, at, style, value < 0 ? 0x2590 : 0x258C);
}

/* The value that dot column x of `dots` shows, or NaN. */
static double curve_value(const double *values, size_t count, size_t total, int x, int dots)
{
	size_t last = (size_t)(x + 1) * total / (size_t)dots;
	size_t index = last > 0 ? last - 1 : 0;
	return index < count ? values[index] : NAN;
}

/* Height in dots, at least the bottom one; 0 for a gap. */
static int curve_level(double value, double low, double high, int levels)
{
	if (isnan(value))
		return 0;
	double at = high > low ? (value - low) / (high - low) : 0;
	return 1 + (int)lround(fmax(0, fmin(at, 1)) * (levels - 1));
}

/* Dots of the lower `level` rows of one braille column, of 0 to 4. */
static uint32_t braille_column(int level, bool right)
{
	static const uint32_t dot[2][4] = {{0x40, 0x04, 0x02, 0x01}, {0x80, 0x20, 0x10, 0x08}};
	uint32_t bits = 0;
	for (int i = 0; i < level && i < 4; i++)
		bits |= dot[right][i];
	return bits;
}

void canvas_curve(const struct canvas *c, struct rect r, unsigned style, const double *values, size_t count,
		  size_t total, double low, double high)
{
	static const char levels_ascii[] = " .-=#";
	if (count == 0 || rect_empty(r))
		return;
	if (total < count)
		total = count;
	int dots = 2 * r.cols;
	for (int col = 0; col < r.cols; col++) {
		int left = curve_level(curve_value(values, count, total, 2 * col, dots), low, high, 4 * r.rows);
		int right = curve_level(curve_value(values, count, total, 2 * col + 1, dots), low, high, 4 * r.rows);
		for (int row = 0; row < r.rows; row++) {
			int below = 4 * (r.rows - 1 - row);
			int a = left - below, b = right - below;
			if (a <= 0 && b <= 0)
				continue;
			uint32_t code = 0x2800 + braille_column(a, false) + braille_column(b, true);
			if (c->screen->ascii) {
				int level = a > b ? a : b;
				code = (uint32_t)levels_ascii[level < 4 ? level : 4];
			}
			canvas_put(c, r.row + row, r.col + col, style, code);
		}
	}
}

/* The dots of a cell that is braille already; none where nothing is drawn. */
static uint32_t dots_at(const struct canvas *c, int row, int col)
{
	if (!rect_contains(c->clip, c->row + row, c->col + col))
		return 0;
	uint32_t code = screen_cell(c->screen, c->row + row, c->col + col)->code[0];
	return code >= 0x2800 && code <= 0x28FF ? code - 0x2800 : 0;
}

void canvas_trace(const struct canvas *c, struct rect r, unsigned style, const double *values, size_t count,
		  size_t total, double low, double high, bool dotted)
{
	if (count == 0 || rect_empty(r))
		return;
	if (total < count)
		total = count;
	int dots = 2 * r.cols;
	for (int x = 0; x < dots; x += dotted ? 2 : 1) {
		int level = curve_level(curve_value(values, count, total, x, dots), low, high, 4 * r.rows);
		if (level == 0)
			continue;
		int row = r.row + r.rows - 1 - (level - 1) / 4, col = r.col + x / 2;
		uint32_t dot = braille_column((level - 1) % 4 + 1, x % 2) ^ braille_column((level - 1) % 4, x % 2);
		if (c->screen->ascii)
			canvas_put(c, row, col, style, dotted ? '.' : '*');
		else
			canvas_put(c, row, col, style, 0x2800 + (dots_at(c, row, col) | dot));
	}
}
