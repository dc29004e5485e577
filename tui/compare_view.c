/* Two sessions side by side, over the panes: how they were made, where their numbers part,
 * their curves on one axis, the figures of each step and of the end. A is a line, B is
 * dotted, everywhere. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/compare.h"
#include "tui/format.h"
#include "tui/workbench.h"

enum { STYLE_A = ROLE_RECOVERED, STYLE_B = ROLE_CLAMPED, NAME_COLS = 16 };
static_assert((int)SESSIONS_LISTED <= (int)CHOOSER_ITEMS_MAX, "each can be offered");
static const unsigned side_styles[2] = {STYLE_A, STYLE_B};

/* ---- choosing ---- */

void compare_choose(struct workbench *wb)
{
	wb->compare.sessions_seen = wb->s->sessions_serial; /* before it can be answered */
	wb->compare.waiting = workbench_send(wb, COMMAND_SESSIONS, 0, NULL);
	wb->compare.first[0] = '\0';
}

/* Fills the chooser with the sessions on disk; the first chosen one is no choice any more. */
void compare_offer(struct workbench *wb)
{
	const struct snapshot *s = wb->s;
	struct chooser *c = &wb->chooser;
	bool second = s->session[0] || wb->compare.first[0];
	chooser_show(c, !second ? "the first session" : s->session[0] ? "compare this run with" : "compare it with");
	for (int i = 0; i < s->session_count; i++) {
		char item[CHOOSER_ITEM_SIZE];
		if (strcmp(s->sessions[i].name, wb->compare.first) == 0)
			continue;
		snprintf(item, sizeof item, "%.40s  %.52s", s->sessions[i].name, s->sessions[i].summary);
		wb->compare.offered[c->list.count] = i;
		chooser_add(c, item, NULL);
	}
	if (c->list.count > 0)
		return;
	c->open = false;
	workbench_say(wb, "there is no %s on disk to compare with: r runs a recovery, which leaves one",
		      second ? "other session" : "session");
}

void compare_chosen(struct workbench *wb)
{
	const struct snapshot *s = wb->s;
	int at = wb->compare.offered[wb->chooser.list.cursor];
	char both[2 * sizeof s->session + 2];
	if (s->sessions_serial != wb->compare.sessions_seen || at >= s->session_count)
		return;
	if (!s->session[0] && !wb->compare.first[0]) {
		snprintf(wb->compare.first, sizeof wb->compare.first, "%s", s->sessions[at].name);
		choose_open(wb, CHOICE_SESSION);
		return;
	}
	snprintf(both, sizeof both, "%s\n%s", wb->compare.first, s->sessions[at].name);
	workbench_send(wb, COMMAND_COMPARE, 0, both);
}

void compare_update(struct workbench *wb)
{
	const struct snapshot *s = wb->s;
	if (wb->compare.waiting && s->sessions_serial != wb->compare.sessions_seen) {
		wb->compare.waiting = false;
		wb->compare.sessions_seen = s->sessions_serial;
		choose_open(wb, CHOICE_SESSION);
	}
	if (s->comparison && s->comparison_serial != wb->compare.seen) {
		wb->compare.open = true;
		wb->compare.seen = s->comparison_serial;
		wb->compare.page.top = 0;
		wb->compare.step = s->comparison->clear_parting.step >= 0 ? s->comparison->clear_parting.step : 0;
	}
	if (!s->comparison)
		wb->compare.open = false;
}

/* ---- drawing: each part returns the row behind it ---- */

static const char *printable(char *out, size_t size, const char *text)
{
	text_printable(out, size, text, strlen(text));
	return out;
}

/* Two texts in two columns behind a name, wrapped. */
static int draw_pair(const struct canvas *c, int row, const char *name, const char *a, const char *b)
{
	const char *texts[2] = {a, b};
	int cols = (c->cols - NAME_COLS - 3) / 2, rows = 1;
	canvas_field(c, row, 1, NAME_COLS - 2, ROLE_NOTE, name);
	for (int side = 0; side < 2; side++) {
		struct rect r = {row, NAME_COLS + side * (cols + 2), 0, cols};
		char shown[512];
		printable(shown, sizeof shown, texts[side]);
		r.rows = canvas_wrap(c, r, ROLE_TEXT, shown);
		r.rows = r.rows > 4 ? 4 : r.rows;
		canvas_wrap(c, r, side_styles[side], shown);
		rows = r.rows > rows ? r.rows : rows;
	}
	return row + rows;
}

static int draw_heads(const struct comparison *c, const struct canvas *canvas, int row)
{
	char *names[2], *prompts[2], line[2][128];
	for (int i = 0; i < 2; i++) {
		const struct record_run *run = c->run[i];
		char number[FORMAT_SIZE];
		names[i] = comparison_name(c, i);
		prompts[i] = record_prompt(run);
		snprintf(line[i], sizeof line[i], "%s%s%s, %lld steps", record_verdict(run),
			 run->recovered.known ? " at " : "",
			 run->recovered.known ? format_signed(number, run->final.objective) : "",
			 (long long)run->steps);
	}
	row = draw_pair(canvas, row, "session", names[0], names[1]);
	row = draw_pair(canvas, row, "prompt", prompts[0], prompts[1]);
	row = draw_pair(canvas, row, "outcome", line[0], line[1]);
	for (int i = 0; i < 2; i++) {
		free(names[i]);
		free(prompts[i]);
	}
	return row;
}

static int draw_sentence(const struct canvas *c, int row, unsigned style, const char *text)
{
	char shown[512];
	struct rect r = {row, 1, 0, c->cols - 2};
	printable(shown, sizeof shown, text);
	r.rows = canvas_wrap(c, r, style, shown);
	canvas_wrap(c, r, style, shown);
	return row + r.rows;
}

static int draw_setup(const struct comparison *c, const struct canvas *canvas, int row)
{
	canvas_text(canvas, row++, 1, ROLE_TITLE,
		    c->difference_count ? "what differs" : "nothing differs in how they were made");
	for (int i = 0; i < c->difference_count; i++)
		row = draw_pair(canvas, row, c->differences[i].name, c->differences[i].value[0],
				c->differences[i].value[1]);
	for (int i = 0; i < c->caution_count; i++)
		row = draw_sentence(canvas, row, ROLE_NOTE, c->cautions[i]);
	return row;
}

static int draw_result(const struct comparison *c, const struct canvas *canvas, int row)
{
	char text[400], a[FORMAT_SIZE], b[FORMAT_SIZE];
	const struct compare_parting *p = &c->parting, *clear = &c->clear_parting;
	if (c->alike && p->step < 0 && c->run[0]->steps > 0 && c->run[1]->steps > 0) {
		row = draw_sentence(canvas, row, ROLE_GOOD,
				    "every number of the steps that both made is the same, to the bit");
	} else if (c->alike && p->step >= 0) {
		int n = snprintf(text, sizeof text, "they part at step %lld (%s %s and %s)", (long long)p->step,
				 p->field, format_signed(a, p->value[0]), format_signed(b, p->value[1]));
		if (clear->step < 0)
			snprintf(text + n, sizeof text - (size_t)n, ", never by more than another device may");
		else if (clear->step > p->step)
			snprintf(text + n, sizeof text - (size_t)n, ", clearly at step %lld (%s %s and %s)",
				 (long long)clear->step, clear->field, format_signed(a, clear->value[0]),
				 format_signed(b, clear->value[1]));
		row = draw_sentence(canvas, row, ROLE_TEXT, text);
	}
	if (c->has_angle)
		snprintf(text, sizeof text, "cos(δA, δB) %+.4f, ‖δA - δB‖ %s, %lld row%s in common", c->cosine,
			 format_number(a, c->distance), (long long)c->rows, c->rows == 1 ? "" : "s");
	else
		snprintf(text, sizeof text, "the angle between the perturbations is not known: %.300s",
			 c->angle_reason);
	return draw_sentence(canvas, row, ROLE_TEXT, text);
}

/* ---- curves and steps ---- */

enum metric { METRIC_OBJECTIVE, METRIC_NORM, METRIC_DRIFT, METRIC_COSINE, METRIC_COUNT };
static const char *const metric_names[METRIC_COUNT] = {"J", "‖δ‖", "drift", "cos δA δB"};

/* NaN where it is unknown; the cosine is of both sides. */
static double metric_at(const struct comparison *c, int side, enum metric metric, int64_t step)
{
	const struct recovery_metrics *m = comparison_step(c, side, step);
	if (metric == METRIC_COSINE)
		return c->cosines && side == 0 && step < c->steps ? c->cosines[step] : NAN;
	if (!m)
		return NAN;
	return metric == METRIC_OBJECTIVE ? m->objective : metric == METRIC_NORM ? m->delta_norm : m->drift_l2;
}

static void draw_curve(const struct comparison *c, const struct canvas *canvas, struct rect r, enum metric metric)
{
	enum { LABEL_COLS = 7 };
	char number[FORMAT_SIZE];
	size_t n = (size_t)c->steps;
	bool from_zero = metric == METRIC_NORM || metric == METRIC_DRIFT;
	double low = from_zero ? 0 : INFINITY, high = -INFINITY;
	double *values = mem_alloc(2 * n, sizeof *values);
	for (int side = 0; side < 2; side++)
		for (size_t i = 0; i < n; i++) {
			double v = values[(size_t)side * n + i] = metric_at(c, side, metric, (int64_t)i);
			if (isfinite(v)) {
				low = fmin(low, v);
				high = fmax(high, v);
			}
		}
	canvas_field(canvas, r.row, r.col, r.cols, ROLE_TITLE, metric_names[metric]);
	struct rect box = {r.row + 1, r.col + LABEL_COLS, r.rows - 1, r.cols - LABEL_COLS};
	if (isfinite(high) && box.cols > 0) {
		double top = high > low ? high : low + 1;
		canvas_field(canvas, box.row, r.col, LABEL_COLS - 1, ROLE_NOTE, format_number(number, high));
		canvas_field(canvas, box.row + box.rows - 1, r.col, LABEL_COLS - 1, ROLE_NOTE,
			     format_number(number, low));
		for (int side = 1; side >= 0; side--)
			canvas_trace(canvas, box, side_styles[side], values + (size_t)side * n, n, n, low, top,
				     side == 1);
	} else {
		canvas_text(canvas, box.row, box.col, ROLE_NOTE, "·");
	}
	free(values);
}

static int draw_curves(const struct comparison *c, const struct canvas *canvas, int row)
{
	int rows = canvas->rows >= 40 ? 8 : 5, cols = (canvas->cols - 4) / 2;
	int col = canvas_text(canvas, row, 1, ROLE_TITLE, "by step");
	col = canvas_text(canvas, row, col + 2, STYLE_A, "A line");
	canvas_text(canvas, row++, col + 2, STYLE_B, "B dotted");
	for (int m = 0; m < METRIC_COUNT; m++)
		draw_curve(c, canvas, (struct rect){row + m / 2 * rows, 1 + m % 2 * (cols + 2), rows, cols},
			   (enum metric)m);
	return row + 2 * rows;
}

static void table_head(const struct canvas *c, int row)
{
	static const char *const heads[] = {"step", "J A", "J B", "‖δ‖ A", "‖δ‖ B", "drift A", "drift B", "cos"};
	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		canvas_text_right(c, row, 6 + 9 * (int)i, ROLE_NOTE, heads[i]);
}

static const char *value_text(char out[FORMAT_SIZE], enum metric metric, double value)
{
	if (metric != METRIC_COSINE || isnan(value))
		return metric == METRIC_OBJECTIVE ? format_signed(out, value) : format_number(out, value);
	snprintf(out, FORMAT_SIZE, "%+.3f", value); /* near 1 the third digit tells */
	return out;
}

static int draw_table(const struct workbench *wb, const struct comparison *c, const struct canvas *canvas, int row)
{
	int rows = canvas->rows >= 40 ? 15 : 7;
	int64_t step = wb->compare.step, first = step - rows / 2;
	first = first > c->steps - rows ? c->steps - rows : first;
	first = first < 0 ? 0 : first;
	table_head(canvas, row++);
	for (int64_t i = first; i < c->steps && i < first + rows; i++, row++) {
		char number[FORMAT_SIZE];
		snprintf(number, sizeof number, "%lld", (long long)i);
		canvas_text_right(canvas, row, 6, ROLE_TEXT, number);
		for (int k = 0; k < 2 * METRIC_COUNT - 1; k++) {
			enum metric metric = (enum metric)(k / 2);
			double value = metric_at(c, k % 2, metric, i);
			canvas_text_right(canvas, row, 15 + 9 * k,
					  metric == METRIC_COSINE ? (unsigned)ROLE_TEXT : side_styles[k % 2],
					  value_text(number, metric, value));
		}
		if (i == step)
			canvas_mark(canvas, (struct rect){row, 0, 1, canvas->cols - 1}, STYLE_REVERSE);
		if (i == c->clear_parting.step || (i == c->parting.step && c->clear_parting.step < 0))
			canvas_text(canvas, row, 72, ROLE_KEY, "part");
	}
	if (c->steps == 0)
		canvas_text(canvas, row++, 1, ROLE_NOTE, "neither has made a step");
	return row;
}

static int draw_end(const struct comparison *c, const struct canvas *canvas, int row)
{
	char number[FORMAT_SIZE];
	canvas_text(canvas, row, 1, ROLE_TITLE, "at the end");
	canvas_text_right(canvas, row, 46, STYLE_A, "A");
	canvas_text_right(canvas, row++, 60, STYLE_B, "B");
	for (const struct record_field *f = record_final_fields; f->name; f++, row++) {
		canvas_field(canvas, row, 1, 34, ROLE_NOTE, f->name);
		for (int side = 0; side < 2; side++) {
			const struct record_run *run = c->run[side];
			double value = run->recovered.known ? record_field_get(f, &run->final) : NAN;
			if (isnan(value))
				format_number(number, value);
			else
				snprintf(number, sizeof number, "%.5g", value);
			canvas_text_right(canvas, row, 46 + 14 * side, side_styles[side], number);
		}
	}
	return row;
}

void compare_view_draw(struct workbench *wb, const struct canvas *c)
{
	const struct comparison *comparison = wb->s->comparison;
	if (!comparison)
		return;
	int gap = c->rows >= 30;
	canvas_rule(c, 0, 0, c->cols, ROLE_RULE);
	canvas_text(c, 0, 1, ROLE_FOCUS, " compare ");
	canvas_text(c, 0, NAME_COLS, STYLE_A, " A ");
	canvas_text(c, 0, NAME_COLS + (c->cols - 1 - NAME_COLS - 3) / 2 + 2, STYLE_B, " B ");
	struct canvas body = page_body(c);
	int first = -wb->compare.page.top, row = first;
	row = draw_heads(comparison, &body, row) + gap;
	row = draw_setup(comparison, &body, row) + gap;
	row = draw_result(comparison, &body, row) + gap;
	if (comparison->steps > 0)
		row = draw_curves(comparison, &body, row) + gap;
	wb->compare.table = row - first;
	row = draw_table(wb, comparison, &body, row) + gap;
	wb->compare.table_end = row - first;
	row = draw_end(comparison, &body, row);
	if (!page_finish(&wb->compare.page, c, row - first))
		compare_view_draw(wb, c);
}

/* ---- keys ---- */

static void close_view(struct workbench *wb)
{
	wb->compare.open = false;
	workbench_send(wb, COMMAND_COMPARE, 0, "");
}

static void go_to_step(struct workbench *wb, int64_t by)
{
	int64_t most = wb->s->comparison->steps - 1;
	wb->compare.step += by;
	if (wb->compare.step > most)
		wb->compare.step = most;
	if (wb->compare.step < 0)
		wb->compare.step = 0;
	/* The step is in the table: that has to be seen. */
	int past = wb->compare.table_end - wb->compare.page.visible;
	if (wb->compare.page.top < past)
		page_scroll(&wb->compare.page, past - wb->compare.page.top);
	if (wb->compare.page.top > wb->compare.table)
		page_scroll(&wb->compare.page, wb->compare.table - wb->compare.page.top);
}

bool compare_view_action(struct workbench *wb, enum action action)
{
	if (page_action(&wb->compare.page, action))
		return true;
	switch (action) {
	case ACTION_BACK:
		if (wb->message_shown || wb->error_seen != wb->s->error_serial || wb->s->job != JOB_NONE)
			return false;
		close_view(wb);
		return true;
	case ACTION_SCRUB_BACK:
		return go_to_step(wb, -1), true;
	case ACTION_SCRUB_ON:
		return go_to_step(wb, 1), true;
	case ACTION_SCRUB_BACK_10:
		return go_to_step(wb, -10), true;
	case ACTION_SCRUB_ON_10:
		return go_to_step(wb, 10), true;
	case ACTION_COPY: {
		const struct snapshot *s = wb->s;
		/* The log's last line is the comparison, unless more was done since. */
		for (int i = s->log_count - 1; i >= 0; i--)
			if (strncmp(s->log[i].command, "rebound compare ", 16) == 0) {
				if (wb->backend.copy(s->log[i].command, strlen(s->log[i].command)))
					workbench_say(wb, "copied: %s", s->log[i].command);
				break;
			}
		return true;
	}
	case ACTION_ZOOM:
		return true;
	default:
		if (page_left_by(action))
			close_view(wb);
		return false;
	}
}

void compare_view_wheel(struct workbench *wb, int direction)
{
	page_scroll(&wb->compare.page, 3 * direction);
}
