/* What the model does: base, clamped and recovered side by side. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tui/format.h"
#include "tui/text_diff.h"
#include "tui/workbench.h"

static const char *const names[STATE_COUNT] = {"base", "clamped", "recovered"};

static void title(const struct workbench *wb, struct strbuf *out)
{
	if (wb->s->objective[0])
		strbuf_add_string(out, wb->s->objective);
	else if (wb->s->prompt_count > 0)
		strbuf_add_string(out, "no objective: o chooses one");
}

static const char *flip_words(const struct snapshot *s)
{
	switch (s->flip) {
	case FLIP_NO_BASE:
		return "the base model lacks it: nothing to suppress";
	case FLIP_KEPT:
		return "not suppressed by this clamp";
	case FLIP_VALID:
		return s->step_shown < 0 ? "valid flip"
		       : s->recovered	 ? "valid flip, recovered"
					 : "valid flip, not recovered yet";
	case FLIP_RECOVERED:
		return s->recovered ? "valid flip, recovered" : "valid flip";
	case FLIP_ADDED:
		return "appears under the clamp";
	case FLIP_UNKNOWN:
	default:
		return s->state[STATE_CLAMPED].known ? "" : "no clamp yet";
	}
}

struct columns {
	int label, width; /* of the label, of each of the three */
};
enum { NUMBER_COLS = 7 }; /* a probability and a blank, at the end of each of the three */

static int column_at(const struct columns *k, int which)
{
	return 1 + k->label + which * k->width;
}

static void draw_header(const struct snapshot *s, const struct canvas *c, const struct columns *k)
{
	canvas_field(c, 0, 1, k->label - 1, ROLE_NOTE, "p 0-1");
	for (int i = 0; i < STATE_COUNT; i++) {
		char step[24] = "";
		if (i == STATE_RECOVERED && s->step_shown >= 0)
			snprintf(step, sizeof step, " @%d", s->step_shown);
		bool fits = column_at(k, i) + 2 + (int)(strlen(names[i]) + strlen(step)) <= c->cols;
		canvas_printf(c, 0, column_at(k, i), state_style(&s->state[i], i), "%c %s%s", names[i][0],
			      fits ? names[i] : "", step);
	}
}

/* A token's probability in each state. */
static void draw_read(const struct snapshot *s, const struct canvas *c, int row, const struct columns *k, int read)
{
	const char *piece = NULL;
	for (int i = 0; i < STATE_COUNT; i++) {
		const struct snapshot_state *state = &s->state[i];
		char number[FORMAT_SIZE];
		bool known = state->known && read < state->read_count;
		double p = known ? (double)state->reads[read].probability : NAN;
		int col = column_at(k, i), bar = k->width - NUMBER_COLS - 1;
		if (known && !piece)
			piece = state->reads[read].piece;
		canvas_bar(c, row, col, bar, state_style(state, i), p);
		int numbers = bar > 0 ? col + bar + 1 : col;
		canvas_text(c, row, numbers, known ? state_style(state, i) : ROLE_NOTE, format_number(number, p));
	}
	if (piece)
		canvas_field(c, row, 1, k->label - 1, ROLE_TEXT, piece);
}

static void draw_objective(const struct snapshot *s, const struct canvas *c, int row, const struct columns *k)
{
	canvas_field(c, row, 1, k->label - 1, ROLE_NOTE, k->label > 12 ? "objective J" : "J");
	for (int i = 0; i < STATE_COUNT; i++) {
		const struct snapshot_state *state = &s->state[i];
		char number[FORMAT_SIZE];
		bool known = state->known && state->has_objective;
		int col = canvas_text(c, row, column_at(k, i), known ? state_style(state, i) | STYLE_BOLD : ROLE_NOTE,
				      format_signed(number, known ? state->objective : NAN));
		if (state->has_verdict)
			canvas_text(c, row, col + 1,
				    (state->verdict ? ROLE_GOOD : ROLE_BAD) | (state->stale ? (unsigned)STYLE_DIM : 0),
				    state->verdict ? "✓" : "✗");
		else if (known)
			canvas_text(c, row, col + 1, ROLE_NOTE, "·");
	}
}

/* The likeliest next tokens of each state, one under the other. */
static int draw_top(const struct snapshot *s, const struct canvas *c, int row, int rows, const struct columns *k)
{
	int most = 0;
	for (int i = 0; i < STATE_COUNT; i++)
		most = s->state[i].known && s->state[i].top_count > most ? s->state[i].top_count : most;
	if (most == 0 || rows < 3)
		return row;
	most = most < rows - 1 ? most : rows - 1;
	most = most < 5 ? most : 5;
	canvas_text(c, row, 1, ROLE_NOTE, "next");
	for (int i = 0; i < STATE_COUNT; i++)
		for (int n = 0; s->state[i].known && n < most && n < s->state[i].top_count; n++) {
			const struct snapshot_read *read = &s->state[i].top[n];
			char number[FORMAT_SIZE];
			int col = column_at(k, i);
			int piece_cols = k->width - NUMBER_COLS - 1;
			canvas_field(c, row + n, col, piece_cols, state_style(&s->state[i], i), read->piece);
			canvas_text(c, row + n, col + piece_cols + 1, state_style(&s->state[i], i),
				    format_number(number, (double)read->probability));
		}
	return row + most + 1;
}

/* Words wrapped, those that differ from the base's underlined; returns rows used. */
static int draw_words(const struct canvas *c, struct rect r, unsigned style, const char *text, const char *base)
{
	struct text_diff diff;
	int row = 0, col = 0;
	text_diff(&diff, text, base ? base : text);
	for (int i = 0; i < diff.count; i++) {
		int columns = text_columns(text + diff.word[i].at, diff.word[i].n);
		if (col > 0 && col + columns > r.cols) {
			row++;
			col = 0;
		}
		if (row >= r.rows)
			return r.rows;
		canvas_text_n(c, r.row + row, r.col + col,
			      style | (diff.word[i].differs ? (unsigned)STYLE_UNDERLINE : 0), text + diff.word[i].at,
			      diff.word[i].n);
		col += columns + 1;
	}
	return row + 1;
}

static void draw_texts(const struct snapshot *s, const struct canvas *c, int row)
{
	const char *base = s->state[STATE_BASE].has_text ? s->state[STATE_BASE].text : NULL;
	bool any = false;
	for (int i = 0; i < STATE_COUNT; i++)
		any = any || (s->state[i].has_text && s->state[i].text);
	if (!any) {
		if (c->rows - row >= 1)
			canvas_text(c, row, 1, ROLE_NOTE, "g generates the three texts");
		return;
	}
	for (int i = 0; i < STATE_COUNT && row < c->rows; i++) {
		const struct snapshot_state *state = &s->state[i];
		if (!state->has_text || !state->text)
			continue;
		int share = (c->rows - row) / (STATE_COUNT - i);
		unsigned style = state_style(state, i) | (state->text_stale ? (unsigned)STYLE_DIM : 0);
		canvas_printf(c, row, 1, style, "%c", names[i][0]);
		row += draw_words(c, (struct rect){row, 3, share > 0 ? share : 1, c->cols - 4}, style, state->text,
				  i > 0 ? base : NULL);
	}
}

static void draw(struct workbench *wb, const struct canvas *c)
{
	const struct snapshot *s = wb->s;
	if (!s->state[STATE_BASE].known) {
		canvas_text(c, 0, 1, ROLE_NOTE,
			    s->job == JOB_LOADING ? "loading"
			    : s->job == JOB_NONE  ? "choose a prompt"
						  : "computing what the model says");
		return;
	}
	struct columns k = {.label = c->cols >= 70 ? 14 : 8};
	k.width = (c->cols - 1 - k.label) / STATE_COUNT;
	k.width = k.width < 30 ? k.width : 30;
	int reads = s->state[STATE_BASE].read_count, room = c->rows - 2;
	reads = reads < room ? reads : room;
	draw_header(s, c, &k);
	for (int i = 0; i < reads; i++)
		draw_read(s, c, 1 + i, &k, i);
	draw_objective(s, c, 1 + reads, &k);
	/* the verdict in words: behind the third number, or in a row of its own */
	const char *words = flip_words(s);
	int words_cols = text_columns(words, strlen(words)), row = 2 + reads;
	int behind = column_at(&k, STATE_RECOVERED) + 9;
	if (behind + words_cols < c->cols)
		canvas_text(c, 1 + reads, behind, ROLE_TEXT, words);
	else if (row < c->rows)
		canvas_field(c, row++, 1, c->cols - 2, ROLE_TEXT, words);
	row++;
	row = draw_top(s, c, row, c->rows - row, &k);
	draw_texts(s, c, row);
}

static bool action(struct workbench *wb, enum action action)
{
	if (action != ACTION_JUDGE)
		return false;
	struct strbuf text = {0};
	for (int i = 0; i < STATE_COUNT; i++) {
		const struct snapshot_state *state = &wb->s->state[i];
		const char *verdict = !state->has_verdict ? "·" : state->verdict ? "✓" : "✗";
		const char *rule = state->judge[0]	? state->judge
				   : state->has_verdict ? "judged by the objective"
							: "not judged yet";
		strbuf_printf(&text, "%s %-9s  %s\n", verdict, names[i], rule);
	}
	popup_show(&wb->popup, "judge", text.data);
	strbuf_done(&text);
	return true;
}

const struct view view_behaviour = {title, draw, action, NULL, NULL};
