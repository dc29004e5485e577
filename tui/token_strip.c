/* The prompt's tokens; the cursor chooses whose features are listed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tui/format.h"
#include "tui/workbench.h"

static const char legend[] = "δ perturbed c clamped J readout g generated";

/* Columns that a token takes: the cursor's is framed. */
static int token_cols(const struct snapshot_token *t, bool here)
{
	int columns = text_columns(t->piece, strlen(t->piece));
	return (columns > 0 ? columns : 1) + (here ? 2 : 0);
}

/* The first token shown, so that the cursor is seen with what stands before it. */
static int first_shown(const struct snapshot *s, int at, int room)
{
	int used = token_cols(&s->tokens[at], true) + 1, first = at;
	for (int i = at + 1; i < s->token_count && i <= at + 3; i++)
		used += token_cols(&s->tokens[i], false);
	while (first > 0 && used + token_cols(&s->tokens[first - 1], false) <= room)
		used += token_cols(&s->tokens[--first], false);
	return first;
}

static unsigned token_style(const struct snapshot_token *t)
{
	unsigned style = t->perturbed ? ROLE_RECOVERED | STYLE_BOLD : t->special ? ROLE_NOTE : ROLE_TEXT;
	return style | (t->generated ? (unsigned)STYLE_UNDERLINE : 0);
}

static void draw_marks(const struct canvas *c, int col, const struct snapshot_token *t)
{
	if (t->perturbed)
		canvas_text(c, 1, col++, ROLE_RECOVERED, "δ");
	if (t->clamped)
		canvas_text(c, 1, col++, ROLE_CLAMPED, "c");
	if (t->readout)
		canvas_text(c, 1, col++, ROLE_KEY, "J");
	if (t->generated)
		canvas_text(c, 1, col++, ROLE_NOTE, "g");
}

/* Columns in front of `col` are free: marks wider than their token are cut there. */
static int draw_token(const struct canvas *c, int col, int end, const struct snapshot_token *t, bool here, bool focus)
{
	int columns = token_cols(t, here);
	if (here) {
		canvas_text(c, 0, col, ROLE_KEY, "▕");
		canvas_text(c, 0, col + 1, token_style(t), t->piece);
		canvas_text(c, 0, col + columns - 1, ROLE_KEY, "▏");
		canvas_mark(c, (struct rect){0, col + 1, 1, columns - 2}, focus ? STYLE_REVERSE : STYLE_BOLD);
	} else {
		canvas_text(c, 0, col, token_style(t), t->piece);
	}
	if (c->rows > 1) {
		int left = col + here, width = columns - 2 * here;
		struct canvas marks = canvas_part(c, (struct rect){0, 0, 2, left + width < end ? left + width : end});
		draw_marks(&marks, left, t);
	}
	return col + columns;
}

/* Column where the tokens end; what stands right of them is written to `info`. */
static int tokens_end(const struct workbench *wb, char info[112], int cols, int rows)
{
	const struct snapshot *s = wb->s;
	const struct snapshot_token *t = &s->tokens[workbench_token(wb)];
	char norm[FORMAT_SIZE];
	int used = snprintf(info, 112, "c: %s  δ: %s", s->clamp_positions, s->delta_positions);
	bool reading = t->trained && t->nearness > 0;
	if (t->delta_norm > 0)
		used += snprintf(info + used, 112 - (size_t)used, "  ‖δ‖ %s%s", reading && rows == 1 ? "" : "here ",
				 format_number(norm, (double)t->delta_norm));
	if (reading)
		snprintf(info + used, 112 - (size_t)used, "  %scos %s", rows > 1 ? "nearest token, " : "",
			 format_number(norm, (double)t->nearness));
	int taken = text_columns(info, strlen(info)), end = cols - taken - 3;
	int least = text_columns(legend, strlen(legend)) + 3;
	if (rows > 1)
		return cols - (taken + 3 > least ? taken + 3 : least);
	if (end >= cols / 2)
		return end;
	info[0] = '\0'; /* a narrow screen: the tokens matter more */
	return cols - 1;
}

static void draw(struct workbench *wb, const struct canvas *c)
{
	const struct snapshot *s = wb->s;
	int at = workbench_token(wb);
	char info[112];
	if (s->token_count == 0 || at < 0) {
		canvas_text(c, 0, 1, ROLE_NOTE, "no tokens");
		return;
	}
	int end = tokens_end(wb, info, c->cols, c->rows);
	canvas_text(c, 0, end + 2, ROLE_NOTE, info);
	if (c->rows > 1)
		canvas_text(c, 1, end + 2, ROLE_NOTE, legend);
	struct canvas tokens = canvas_part(c, (struct rect){0, 0, c->rows, end});
	int col = 1, first = first_shown(s, at, end - 2);
	if (first > 0)
		canvas_text(&tokens, 0, 0, ROLE_NOTE, "…");
	for (int i = first; i < s->token_count && col < end; i++)
		col = draw_token(&tokens, col, end, &s->tokens[i], i == at, wb->focus == PANE_STRIP);
	if (col > end)
		canvas_text(c, 0, end, ROLE_NOTE, "…");
}

static bool action(struct workbench *wb, enum action action)
{
	int token;
	switch (action) {
	case ACTION_FIRST:
		token = 0;
		break;
	case ACTION_LAST:
		token = wb->s->token_count - 1;
		break;
	default:
		return false;
	}
	if (wb->s->token_count > 0)
		workbench_want(wb, &wb->token, token);
	return true;
}

static void click(struct workbench *wb, int row, int col)
{
	const struct snapshot *s = wb->s;
	int at = workbench_token(wb);
	(void)row;
	if (at < 0)
		return;
	/* the same walk as the drawing */
	char info[112];
	int end = tokens_end(wb, info, wb->layout.strip.cols, wb->layout.strip.rows), x = 1;
	for (int i = first_shown(s, at, end - 2); i < s->token_count && x < end; i++) {
		x += token_cols(&s->tokens[i], i == at);
		if (col < x && col < end) {
			workbench_want(wb, &wb->token, i);
			return;
		}
	}
}

static void wheel(struct workbench *wb, int direction)
{
	workbench_global_action(wb, direction < 0 ? ACTION_TOKEN_LEFT : ACTION_TOKEN_RIGHT);
}

const struct view view_strip = {NULL, draw, action, click, wheel};
