/* The recovery: curves, and the step that every pane shows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/format.h"
#include "tui/workbench.h"

static void title(const struct workbench *wb, struct strbuf *out)
{
	const struct snapshot *s = wb->s;
	if (s->method.known) {
		strbuf_add_string(out, s->method.title);
		return;
	}
	if (s->run_count > 1)
		strbuf_printf(out, "from step %d, dotted: before ", s->run_begin - s->earlier[s->run_count - 2].begin);
	strbuf_add_string(out, s->suffix ? s->suffix_summary : s->settings);
}

enum metric {
	METRIC_OBJECTIVE,
	METRIC_NORM,
	METRIC_DRIFT,
	METRIC_COSINE,
	METRIC_LOSS,
	METRIC_MONITOR,
	METRIC_COUNT,
};

/* What is drawn: a run and those that it was forked from, or a method's steps. */
struct runs {
	const struct snapshot_history *history;
	int begin, earlier_count;
	const struct snapshot_run *earlier;
	int name_cols; /* for the curves' names and scales */
};

static struct runs runs_of(const struct snapshot *s)
{
	if (s->method.known)
		return (struct runs){.history = &s->method.history, .name_cols = 6};
	return (struct runs){&s->history, s->run_begin, s->run_count > 0 ? s->run_count - 1 : 0, s->earlier,
			     s->suffix ? 8 : 6};
}

struct curve {
	const char *name;
	enum metric metric;
	double shown; /* at the step shown */
	bool from_zero;
	char limit[FORMAT_SIZE + 4]; /* " / 20" */
};

static const float *series_of(const struct snapshot_history *h, enum metric metric)
{
	const float *const series[METRIC_COUNT] = {h->objective, h->delta_norm, h->drift,
						   h->cosine,	 h->loss,	h->monitor};
	return series[metric];
}

/* The names of a run's curves, in the order in which they are drawn. */
static const struct curve plain_curves[] = {{.name = "J", .metric = METRIC_OBJECTIVE},
					    {.name = "‖δ‖", .metric = METRIC_NORM, .from_zero = true},
					    {.name = "drift", .metric = METRIC_DRIFT, .from_zero = true},
					    {.name = "cos", .metric = METRIC_COSINE, .from_zero = true}};
static const struct curve suffix_curves[] = {{.name = "loss", .metric = METRIC_LOSS, .from_zero = true},
					     {.name = "‖δ‖", .metric = METRIC_NORM, .from_zero = true},
					     {.name = "monitor", .metric = METRIC_MONITOR, .from_zero = true},
					     {.name = "drift", .metric = METRIC_DRIFT, .from_zero = true}};
enum { CURVES = 4 };

/* `last`: of the state shown, by metric; NULL: none is. */
static void fill_curves(struct curve out[CURVES], bool suffix, const struct snapshot_history *h, int step,
			const double *last, double budget)
{
	memcpy(out, suffix ? suffix_curves : plain_curves, sizeof plain_curves);
	for (int i = 0; i < CURVES; i++) {
		const float *values = series_of(h, out[i].metric);
		bool made = values && step >= 0 && step < h->steps;
		out[i].shown = made ? (double)values[step] : last ? last[out[i].metric] : NAN;
		if (out[i].metric == METRIC_NORM && budget > 0)
			snprintf(out[i].limit, sizeof out[i].limit, "/%.4g", budget);
	}
}

/* What is known of the state after the last step, which no step has measured. */
static void state_metrics(double out[METRIC_COUNT], const struct snapshot *s)
{
	out[METRIC_OBJECTIVE] = s->step_objective;
	out[METRIC_NORM] = s->delta_norm;
	out[METRIC_DRIFT] = s->drift;
	out[METRIC_COSINE] = s->cosine;
	out[METRIC_LOSS] = s->suffix ? s->step_loss : NAN;
	out[METRIC_MONITOR] = s->suffix ? s->monitor : NAN;
}

static void curves_of(struct curve out[CURVES], const struct snapshot *s, int step)
{
	const struct snapshot_method *method = &s->method;
	double last[METRIC_COUNT];
	state_metrics(last, s);
	if (method->known) /* its values are those of the last step */
		fill_curves(out, false, &method->history, method->history.steps - 1, NULL, method->budget);
	else
		fill_curves(out, s->suffix, &s->history, step,
			    step == s->step_shown && s->state[STATE_RECOVERED].known ? last : NULL, s->budget);
}

/* A run's values on the axis of the first run, where it begins at step `begin`. */
static double *on_axis(const float *values, int begin, int steps)
{
	double *out = mem_alloc((size_t)(begin + steps) + 1, sizeof *out);
	for (int i = 0; i < begin + steps; i++)
		out[i] = i >= begin && values ? (double)values[i - begin] : NAN;
	return out;
}

/* Where the axis ends: a start of a long run fills a quarter rather than a dot. */
static int axis_end(const struct runs *r)
{
	int steps = r->begin + r->history->steps, planned = r->begin + r->history->planned;
	planned = planned < steps ? steps : planned > 4 * steps ? 4 * steps : planned;
	for (int i = 0; i < r->earlier_count; i++) {
		int end = r->earlier[i].begin + r->earlier[i].history.steps;
		planned = planned < end ? end : planned;
	}
	return planned;
}

static void widen(double *low, double *high, const float *values, int steps)
{
	for (int i = 0; values && i < steps; i++)
		if (isfinite(values[i])) {
			*low = fmin(*low, (double)values[i]);
			*high = fmax(*high, (double)values[i]);
		}
}

/* Earlier runs are dotted lines, and then the current one is a line too: filled, it would
 * hide them. */
static void draw_runs(const struct runs *r, const struct canvas *c, struct rect box, const struct curve *curve,
		      double low, double high)
{
	int end = axis_end(r), steps = r->begin + r->history->steps;
	double *values = on_axis(series_of(r->history, curve->metric), r->begin, r->history->steps);
	for (int i = 0; i < r->earlier_count; i++) {
		const struct snapshot_run *run = &r->earlier[i];
		int count = run->begin + run->history.steps;
		double *before = on_axis(series_of(&run->history, curve->metric), run->begin, run->history.steps);
		canvas_trace(c, box, ROLE_NOTE, before, (size_t)count, (size_t)end, low, high, true);
		free(before);
	}
	if (r->earlier_count > 0)
		canvas_trace(c, box, ROLE_RECOVERED, values, (size_t)steps, (size_t)end, low, high, false);
	else
		canvas_curve(c, box, ROLE_RECOVERED, values, (size_t)steps, (size_t)end, low, high);
	free(values);
}

static void draw_curve(const struct runs *runs, const struct canvas *c, struct rect r, const struct curve *curve)
{
	int name_cols = runs->name_cols, value_cols = curve->limit[0] ? 11 : 6;
	char value[FORMAT_SIZE], low_text[FORMAT_SIZE], high_text[FORMAT_SIZE];
	double low = INFINITY, high = -INFINITY;
	widen(&low, &high, series_of(runs->history, curve->metric), runs->history->steps);
	for (int i = 0; i < runs->earlier_count; i++)
		widen(&low, &high, series_of(&runs->earlier[i].history, curve->metric), runs->earlier[i].history.steps);
	if (curve->from_zero)
		low = fmin(low, 0);
	int bottom = r.row + r.rows - 1;
	canvas_field(c, bottom, r.col, name_cols, ROLE_NOTE, curve->name);
	struct rect box = {r.row, r.col + name_cols, r.rows, r.cols - name_cols - value_cols - 1};
	if (isfinite(high))
		draw_runs(runs, c, box, curve, low, high > low ? high : low + 1);
	if (r.rows > 1 && isfinite(high)) { /* the scale */
		canvas_field(c, r.row, r.col, name_cols, ROLE_NOTE, format_number(high_text, high));
		canvas_field(c, bottom, r.col, name_cols, ROLE_NOTE, format_number(low_text, low));
		canvas_field(c, r.row + (r.rows - 1) / 2 + (r.rows == 2), r.col, name_cols, ROLE_TEXT, curve->name);
	}
	int col = canvas_text(c, bottom, r.col + r.cols - value_cols, ROLE_RECOVERED,
			      curve->metric == METRIC_OBJECTIVE ? format_signed(value, curve->shown)
								: format_number(value, curve->shown));
	canvas_text(c, bottom, col, ROLE_NOTE, curve->limit);
}

static void draw_scrub(const struct workbench *wb, const struct canvas *c, int row, int cols)
{
	const struct snapshot *s = wb->s;
	int steps = s->history.steps, planned = s->history.planned > steps ? s->history.planned : steps;
	int step = workbench_step(wb);
	int col = canvas_printf(c, row, 1, ROLE_TEXT, "◀ %d ▶ ", step);
	char end[32];
	bool behind = s->recovery_running && !s->step_live;
	snprintf(end, sizeof end, behind ? "%d/%d goes on" : "%d/%d", steps, planned);
	int width = cols - col - 2 - text_columns(end, strlen(end));
	if (width < 3 || planned < 1)
		return;
	int made = steps * (width - 1) / planned, at = step * (width - 1) / planned;
	canvas_fill(c, (struct rect){row, col, 1, width}, ROLE_RULE, 0x00B7);
	canvas_rule(c, row, col, made + 1, ROLE_RECOVERED);
	canvas_put(c, row, col + (at < width ? at : width - 1), ROLE_RECOVERED | STYLE_BOLD, 0x25CF);
	canvas_text(c, row, col + width + 1, behind ? ROLE_KEY : ROLE_NOTE, end);
}

/* The metrics of each step, around the one shown. */
static void draw_table(const struct workbench *wb, const struct canvas *c)
{
	static const char *const plain_heads[] = {"J", "‖δ‖", "drift", "cos", "‖g‖"};
	static const char *const suffix_heads[] = {"J", "‖δ‖", "drift", "monitor", "loss"};
	enum { COLUMNS = ARRAY_LEN(plain_heads) };
	const struct snapshot *s = wb->s;
	const struct snapshot_history *h = &s->history;
	const float *series[] = {h->objective, h->delta_norm, h->drift, s->suffix ? h->monitor : h->cosine,
				 s->suffix ? h->loss : h->gradient};
	/* what the last update led to is known once it is shown */
	const double last[] = {s->step_objective, s->delta_norm, s->drift, s->suffix ? s->monitor : NAN,
			       s->suffix ? s->step_loss : NAN};
	int step = workbench_step(wb), rows = c->rows - 1, known = h->steps;
	known += s->step_shown == h->steps && s->state[STATE_RECOVERED].known;
	canvas_text_right(c, 0, 5, ROLE_NOTE, "step");
	for (int k = 0; k < COLUMNS; k++)
		canvas_text_right(c, 0, 13 + 8 * k, ROLE_NOTE, s->suffix ? suffix_heads[k] : plain_heads[k]);
	int first = step - rows / 2;
	first = first > known - rows ? known - rows : first;
	first = first < 0 ? 0 : first;
	for (int row = 0; row < rows && first + row < known; row++) {
		char number[FORMAT_SIZE];
		int i = first + row;
		snprintf(number, sizeof number, "%d", i);
		canvas_text_right(c, row + 1, 5, ROLE_TEXT, number);
		for (int k = 0; k < COLUMNS; k++) {
			double value = i == h->steps ? last[k] : series[k] ? (double)series[k][i] : NAN;
			canvas_text_right(c, row + 1, 13 + 8 * k, ROLE_TEXT,
					  k == 0 ? format_signed(number, value) : format_number(number, value));
		}
		if (i == step)
			canvas_mark(c, (struct rect){row + 1, 0, 1, c->cols - 1}, STYLE_REVERSE);
	}
}

static void draw_empty(const struct workbench *wb, const struct canvas *c)
{
	const struct snapshot *s = wb->s;
	int clamped = 0;
	for (int i = 0; i < s->site_count; i++)
		clamped += s->sites[i].clamped;
	const char *text = clamped == 0
				   ? "no recovery yet: first clamp features (A ranks them, t clamps the top ones), "
				     "then r tries to bring the behaviour back"
			   : s->flip == FLIP_KEPT
				   ? "the clamp does not suppress the behaviour: clamp more (t), or other values (=); "
				     "r runs a recovery all the same"
				   : "no recovery yet: r searches for a perturbation δ that brings the behaviour "
				     "back while the clamp holds";
	canvas_wrap(c, (struct rect){0, 1, c->rows, c->cols - 2}, ROLE_NOTE, text);
}

static void draw(struct workbench *wb, const struct canvas *c)
{
	struct curve curves[CURVES];
	const struct snapshot_method *method = &wb->s->method;
	if (wb->s->step_shown < 0 && !method->known) {
		draw_empty(wb, c);
		return;
	}
	struct runs runs = runs_of(wb->s);
	curves_of(curves, wb->s, workbench_step(wb));
	enum { TABLE_COLS = 48 };
	bool table = !method->known && c->cols >= TABLE_COLS + 44 && c->rows >= 6;
	int cols = table ? c->cols - TABLE_COLS - 2 : c->cols;
	int rows = (c->rows - 1) / 2; /* of each curve: two beside each other, two rows of them */
	int left = (cols - 3) * 6 / 11;
	for (int i = 0; i < CURVES; i++) {
		int row = i / 2 * rows;
		struct rect r =
			i % 2 ? (struct rect){row, left + 3, rows, cols - left - 4} : (struct rect){row, 1, rows, left};
		if (rows > 1)
			r.rows--; /* a blank row between */
		draw_curve(&runs, c, r, &curves[i]);
	}
	if (method->known)
		canvas_printf(c, 2 * rows, 1, ROLE_NOTE, "step %d of %d", method->history.steps,
			      method->history.planned);
	else
		draw_scrub(wb, c, 2 * rows, cols);
	if (table) {
		struct canvas part = canvas_part(c, (struct rect){0, c->cols - TABLE_COLS, c->rows, TABLE_COLS});
		draw_table(wb, &part);
	}
}

static void show_steps(struct workbench *wb)
{
	const struct snapshot_history *h = &wb->s->history;
	struct strbuf text = {0};
	bool suffix = wb->s->suffix;
	strbuf_printf(&text, "%5s %8s %8s %8s %8s %8s %8s\n", "step", "J", "norm", "drift", "rel",
		      suffix ? "monitor" : "cos", "loss");
	for (int i = 0; i < h->steps; i++) {
		const float *series[] = {
			h->objective, h->delta_norm, h->drift, h->drift_relative, suffix ? h->monitor : h->cosine,
			h->loss};
		strbuf_printf(&text, "%5d", i);
		for (size_t k = 0; k < ARRAY_LEN(series); k++) {
			char number[FORMAT_SIZE];
			double value = series[k] ? (double)series[k][i] : NAN;
			strbuf_printf(&text, " %8s", isnan(value) ? "-" : format_signed(number, value));
		}
		strbuf_add_string(&text, "\n");
	}
	popup_show(&wb->popup, "iterations", text.data);
	strbuf_done(&text);
}

static bool action(struct workbench *wb, enum action action)
{
	if (action == ACTION_OPEN && wb->s->step_shown >= 0) {
		show_steps(wb);
		return true;
	}
	if (action == ACTION_UP || action == ACTION_DOWN) {
		workbench_global_action(wb, action == ACTION_UP ? ACTION_SCRUB_BACK : ACTION_SCRUB_ON);
		return true;
	}
	return false;
}

static void wheel(struct workbench *wb, int direction)
{
	if (wb->s->step_shown >= 0)
		workbench_global_action(wb, direction < 0 ? ACTION_SCRUB_BACK : ACTION_SCRUB_ON);
}

const struct view view_recovery = {title, draw, action, NULL, wheel};
