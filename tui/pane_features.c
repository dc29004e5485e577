/* The features of one SAE at the selected token: bars, clamps, movement. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tui/format.h"
#include "tui/workbench.h"

static const char *sort_name(enum feature_sort sort)
{
	static const char *const names[SORT_COUNT] = {"activation", "attribution", "change", "number"};
	return sort < SORT_COUNT ? names[sort] : "";
}

static void title(const struct workbench *wb, struct strbuf *out)
{
	const struct snapshot *s = wb->s;
	int token = workbench_token(wb);
	if (s->site_count > 1)
		strbuf_printf(out, "L%d ", s->sites[s->site_selected].layer);
	if (token >= 0)
		strbuf_printf(out, "@ %d \"%s\"", token, s->tokens[token].piece);
	if (s->filter[0])
		strbuf_printf(out, " /%s", s->filter);
	if (s->sort != SORT_ACTIVATION)
		strbuf_printf(out, " by %s", sort_name(s->sort));
}

/* "set -5" -> "-5", "set-active -5" -> "-5a", "ablate" -> "0", "scale 3" -> "×3",
 * "floor 2" -> "≥2" written ">2"; three significant digits, for the column is narrow. */
static void short_clamp(char out[16], const char *clamp)
{
	char mode[24] = "", value[24] = "";
	sscanf(clamp, "%23[^ :]%*[ :]%23s", mode, value);
	const char *before = strncmp(mode, "scale", 5) == 0 ? "×" : strcmp(mode, "floor") == 0 ? ">" : "";
	const char *behind = strstr(mode, "-active") ? "a" : "";
	if (strcmp(mode, "ablate") == 0)
		snprintf(value, sizeof value, "0");
	double number = strtod(value, NULL);
	snprintf(value, sizeof value, fabs(number) < 1000 ? "%.3g" : "%.0f", number);
	snprintf(out, 16, "%s%.6s%s", before, value, behind);
}

/* What the bars show, and its largest size in the rows. */
static double bar_value(const struct snapshot *s, const struct snapshot_feature *f)
{
	switch (s->sort) {
	case SORT_ATTRIBUTION:
		return f->has_attribution ? (double)f->attribution : NAN;
	case SORT_CHANGE:
		return f->has_change ? (double)f->change : NAN;
	default:
		return (double)f->activation;
	}
}

static double bar_scale(const struct snapshot *s)
{
	double scale = 0;
	if (s->sort != SORT_ATTRIBUTION && s->sort != SORT_CHANGE && s->feature_scale > 0)
		return (double)s->feature_scale;
	for (int i = 0; i < s->feature_count; i++) {
		double value = fabs(bar_value(s, &s->features[i]));
		if (value > scale)
			scale = value;
	}
	return scale;
}

/* Columns of the table; a width of 0 leaves one out. */
struct table {
	int clamp, id, bar, value, held, attribution, change; /* where each begins */
	int label;					      /* 0: no room; the cursor's is shown in the last row */
	int bar_cols;
};

static struct table lay_out(int cols)
{
	struct table t = {.clamp = 1, .id = 7, .bar = 13};
	t.bar_cols = cols >= 60 ? 8 : cols >= 36 ? 6 : cols - 20;
	t.value = t.bar + t.bar_cols + 1;
	int at = t.value + 5;
	/* Numbers take up to six columns, seven with a sign, and have a blank in front. */
	if (cols >= 44) {
		t.attribution = at;
		at += 8;
	}
	if (cols >= 60) {
		t.held = at;
		t.change = at + 7;
		at += 15;
	}
	t.label = cols - at >= 10 ? at : 0;
	return t;
}

static void draw_header(const struct snapshot *s, const struct canvas *c, const struct table *t, double scale)
{
	char number[FORMAT_SIZE], text[48];
	canvas_text(c, 0, t->clamp, ROLE_NOTE, "clamp");
	canvas_text_right(c, 0, t->id + 5, ROLE_NOTE, "id");
	bool signed_bars = s->sort == SORT_ATTRIBUTION || s->sort == SORT_CHANGE;
	snprintf(text, sizeof text, "%s%s", signed_bars ? "±" : "0-", format_number(number, scale));
	canvas_field(c, 0, t->bar, t->bar_cols, ROLE_NOTE, scale > 0 ? text : "");
	canvas_text_right(c, 0, t->value + 4, ROLE_NOTE, "act");
	if (t->attribution)
		canvas_text_right(c, 0, t->attribution + 7, ROLE_NOTE, "attr");
	if (t->held)
		canvas_text_right(c, 0, t->held + 6, ROLE_NOTE, "held");
	if (t->change)
		canvas_text_right(c, 0, t->change + 7, ROLE_NOTE, "Δ r-c");
	if (t->label)
		canvas_field(c, 0, t->label, c->cols - t->label - 1, ROLE_NOTE, "label");
}

static void draw_row(const struct workbench *wb, const struct canvas *c, int row, int item, const struct table *t,
		     double scale)
{
	const struct snapshot *s = wb->s;
	const struct snapshot_feature *f = &s->features[item];
	char number[FORMAT_SIZE], clamp[16] = " ";
	bool here = item == wb->features.cursor;
	if (f->clamped)
		short_clamp(clamp, f->clamp);
	canvas_text(c, row, 0, ROLE_KEY, here ? ">" : " ");
	canvas_printf(c, row, t->clamp, f->clamped ? ROLE_CLAMPED : ROLE_NOTE, "[%s]", clamp);
	snprintf(number, sizeof number, "%u", f->feature);
	canvas_text_right(c, row, t->id + 5, ROLE_TEXT, number);
	double value = bar_value(s, f);
	unsigned style = f->clamped ? ROLE_CLAMPED : ROLE_BASE;
	if (s->sort == SORT_ATTRIBUTION || s->sort == SORT_CHANGE)
		canvas_bar_signed(c, row, t->bar, t->bar_cols, style, scale > 0 ? value / scale : NAN);
	else
		canvas_bar(c, row, t->bar, t->bar_cols, style, scale > 0 ? value / scale : NAN);
	canvas_text_right(c, row, t->value + 4, ROLE_TEXT, format_number(number, (double)f->activation));
	if (t->attribution)
		canvas_text_right(c, row, t->attribution + 7, ROLE_TEXT,
				  format_signed(number, f->has_attribution ? (double)f->attribution : NAN));
	if (t->held)
		canvas_text_right(c, row, t->held + 6, ROLE_CLAMPED,
				  format_number(number, f->has_held ? (double)f->held : NAN));
	if (t->change)
		canvas_text_right(c, row, t->change + 7, ROLE_RECOVERED,
				  format_signed(number, f->has_change ? (double)f->change : NAN));
	if (t->label)
		canvas_field(c, row, t->label, c->cols - t->label - 1, ROLE_TEXT, f->label);
	if (here)
		canvas_mark(c, (struct rect){row, 0, 1, c->cols - 1},
			    wb->focus == PANE_FEATURES ? STYLE_REVERSE : STYLE_BOLD);
}

/* The SAE shown is not on the device. */
static void draw_missing(const struct snapshot *s, const struct canvas *c, struct rect inside)
{
	const struct snapshot_site *site = &s->sites[s->site_selected];
	char text[160], bytes[TEXT_BYTES_SIZE];
	if (s->job == JOB_LOADING)
		snprintf(text, sizeof text, "%s; Esc stops it", s->job_text);
	else if (site->refused)
		snprintf(text, sizeof text,
			 "the SAE of layer %d (%s) is not loaded: Enter tries again, D drops those not in use",
			 site->layer, text_bytes(bytes, site->bytes));
	else
		snprintf(text, sizeof text, "the SAE of layer %d (%s) is loaded with the first prompt", site->layer,
			 text_bytes(bytes, site->bytes));
	canvas_wrap(c, inside, ROLE_NOTE, text);
}

static void draw(struct workbench *wb, const struct canvas *c)
{
	const struct snapshot *s = wb->s;
	struct rect inside = {0, 1, c->rows, c->cols - 2};
	if (s->site_count == 0) {
		canvas_wrap(c, inside, ROLE_NOTE,
			    s->job == JOB_LOADING ? "loading" : "no SAE is attached: start with --sae PATH");
		return;
	}
	if (!s->sites[s->site_selected].loaded) {
		draw_missing(s, c, inside);
		return;
	}
	if (s->feature_count == 0) {
		canvas_wrap(c, inside, ROLE_NOTE,
			    s->filter[0] ? "no feature matches: Esc removes the filter, / changes it"
					 : "no feature is active at this token: ◀ ▶ choose another");
		return;
	}
	struct table t = lay_out(c->cols);
	double scale = bar_scale(s);
	draw_header(s, c, &t, scale);
	int rows = c->rows - (t.label ? 1 : 2);
	list_fit(&wb->features, s->feature_count, rows);
	if (!t.label && workbench_feature(wb))
		canvas_field(c, c->rows - 1, 1, c->cols - 2, ROLE_NOTE, workbench_feature(wb)->label);
	for (int row = 0; row < rows && wb->features.top + row < s->feature_count; row++)
		draw_row(wb, c, row + 1, wb->features.top + row, &t, scale);
	list_draw_scroll(&wb->features, c, 1, c->cols - 1);
}

static void remember(struct workbench *wb)
{
	const struct snapshot_feature *f = workbench_feature(wb);
	if (f)
		wb->feature_at = f->feature;
}

static void choose_layer(struct workbench *wb, int by)
{
	int site = wb->s->site_selected + by;
	if (site >= 0 && site < wb->s->site_count)
		workbench_send(wb, COMMAND_SELECT_SITE, site, NULL);
}

static void sort(struct workbench *wb, enum feature_sort by)
{
	if (by == SORT_ATTRIBUTION && wb->s->feature_count > 0 && !wb->s->features[0].has_attribution)
		workbench_say(wb, "the features are not ranked yet: A ranks them for the objective");
	workbench_send(wb, COMMAND_SORT, by, NULL);
	list_go(&wb->features, 0);
	remember(wb);
}

static bool action(struct workbench *wb, enum action action)
{
	const struct snapshot_feature *f = workbench_feature(wb);
	if (list_action(&wb->features, action)) {
		remember(wb);
		return true;
	}
	switch (action) {
	case ACTION_CLAMP_TOGGLE:
		if (f)
			workbench_send(wb, COMMAND_TOGGLE_CLAMP, f->feature, NULL);
		return true;
	case ACTION_CLAMP_VALUE:
		if (f)
			ask_open(wb, ASK_VALUE, "");
		return true;
	case ACTION_CLAMP_MODE:
		choose_open(wb, CHOICE_MODE);
		return true;
	case ACTION_SORT_ACTIVATION:
		sort(wb, SORT_ACTIVATION);
		return true;
	case ACTION_SORT_ATTRIBUTION:
		sort(wb, SORT_ATTRIBUTION);
		return true;
	case ACTION_SORT_CHANGE:
		sort(wb, SORT_CHANGE);
		return true;
	case ACTION_SORT_ID:
		sort(wb, SORT_ID);
		return true;
	case ACTION_LAYER_DOWN:
		choose_layer(wb, -1);
		return true;
	case ACTION_LAYER_UP:
		choose_layer(wb, 1);
		return true;
	case ACTION_FILTER:
		ask_open(wb, ASK_FEATURE_FILTER, wb->s->filter);
		return true;
	case ACTION_OPEN:
		if (f)
			feature_view_open(wb, f->feature);
		else if (wb->s->site_count > 0 && !wb->s->sites[wb->s->site_selected].loaded)
			choose_layer(wb, 0);
		return true;
	default:
		return false;
	}
}

static void click(struct workbench *wb, int row, int col)
{
	if (!list_click(&wb->features, row - 1))
		return;
	remember(wb);
	if (col >= 1 && col < 7) /* on the brackets */
		action(wb, ACTION_CLAMP_TOGGLE);
}

static void wheel(struct workbench *wb, int direction)
{
	list_wheel(&wb->features, direction);
	remember(wb);
}

const struct view view_features = {title, draw, action, click, wheel};
