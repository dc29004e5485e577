/* The frame around the panes, and what lies over them. */
#include <stdio.h>
#include <string.h>

#include "tui/format.h"
#include "tui/workbench.h"

unsigned state_style(const struct snapshot_state *state, int which)
{
	static const unsigned roles[STATE_COUNT] = {ROLE_BASE, ROLE_CLAMPED, ROLE_RECOVERED};
	return roles[which] | (state->stale ? (unsigned)STYLE_DIM : 0);
}

/* The pane whose numbers the running job will change. */
static enum pane job_pane(enum job_kind job)
{
	switch (job) {
	case JOB_PROMPT:
	case JOB_CLAMP:
	case JOB_GENERATE:
		return PANE_BEHAVIOUR;
	case JOB_ATTRIBUTE:
	case JOB_FEATURE:
	case JOB_USAGE:
		return PANE_FEATURES;
	case JOB_FLIPS:
		return PANE_PROMPTS;
	case JOB_RECOVER:
		return PANE_RECOVERY;
	case JOB_DECOMPOSE:
		return PANE_DECOMPOSITION;
	default:
		return PANE_GLOBAL;
	}
}

static void draw_title(const struct workbench *wb, enum pane pane, const struct canvas *c)
{
	struct strbuf detail = {0};
	canvas_rule(c, 0, 0, c->cols, ROLE_RULE);
	int at = canvas_printf(c, 0, 1, wb->focus == pane ? ROLE_FOCUS : ROLE_TITLE, "%d %s", (int)pane + 1,
			       keys_pane_name(pane));
	if (wb->s->job != JOB_NONE && job_pane(wb->s->job) == pane && status_job_ms(wb) >= 100) {
		char since[FORMAT_SIZE];
		at = canvas_printf(c, 0, at, ROLE_KEY, " %s", status_spinner(wb, c->screen->ascii));
		if (status_job_ms(wb) >= 1000)
			at = canvas_printf(c, 0, at, ROLE_NOTE, " %s",
					   format_duration(since, (double)status_job_ms(wb) / 1000));
		at = canvas_text(c, 0, at, ROLE_TEXT, " ");
	}
	if (views[pane]->title)
		views[pane]->title(wb, &detail);
	int room = c->cols - at - 3;
	if (detail.length > 0 && room > 3) {
		int columns = text_columns(detail.data, detail.length);
		canvas_put(c, 0, at + 1, ROLE_TEXT, ' ');
		canvas_field(c, 0, at + 2, columns < room ? columns : room, ROLE_NOTE, detail.data);
		canvas_put(c, 0, at + 2 + (columns < room ? columns : room), ROLE_TEXT, ' ');
	}
	strbuf_done(&detail);
}

static void draw_pane(struct workbench *wb, enum pane pane, struct screen *screen)
{
	struct rect r = wb->layout.pane[pane];
	if (rect_empty(r))
		return;
	struct canvas title = canvas_of(screen, (struct rect){r.row, r.col, 1, r.cols});
	struct canvas body = canvas_of(screen, (struct rect){r.row + 1, r.col, r.rows - 1, r.cols});
	draw_title(wb, pane, &title);
	views[pane]->draw(wb, &body);
}

/* True if a horizontal line runs through the cell: a title or the lowest rule. */
static bool has_line(const struct layout *l, int row, int col)
{
	for (int i = 0; i < PANE_COUNT; i++)
		if (l->pane[i].row == row && rect_contains(l->pane[i], row, col))
			return true;
	return rect_contains(l->rules[LAYOUT_RULES - 1], row, col);
}

static bool has_column(const struct layout *l, int row, int col)
{
	for (int i = 0; i < LAYOUT_RULES - 1; i++)
		if (rect_contains(l->rules[i], row, col))
			return true;
	return false;
}

/* Lines meet in the right character: bits up, down, left, right. */
static void draw_junctions(const struct layout *l, const struct canvas *c)
{
	static const uint32_t joints[16] = {
		' ',	0x2502, 0x2502, 0x2502, 0x2500, 0x2518, 0x2510, 0x2524,
		0x2500, 0x2514, 0x250C, 0x251C, 0x2500, 0x2534, 0x252C, 0x253C,
	};
	for (int row = 0; row < l->rows; row++)
		for (int col = 0; col < l->cols; col++) {
			bool column = has_column(l, row, col),
			     bottom = rect_contains(l->rules[LAYOUT_RULES - 1], row, col);
			if (!column && !bottom)
				continue;
			unsigned up = has_column(l, row - 1, col);
			unsigned down = has_column(l, row + 1, col);
			unsigned left = has_line(l, row, col - 1), right = has_line(l, row, col + 1);
			canvas_put(c, row, col, ROLE_RULE, joints[up | down << 1 | left << 2 | right << 3]);
		}
}

static void draw_tabs(const struct workbench *wb, const struct canvas *c)
{
	for (int i = 0; i < PANE_COUNT; i++) {
		int col = (i * c->cols + PANE_COUNT - 1) / PANE_COUNT, end = (i + 1) * c->cols / PANE_COUNT;
		char name[32];
		snprintf(name, sizeof name, "%d %s", i + 1, keys_pane_name((enum pane)i));
		bool shown = !rect_empty(wb->layout.pane[i]);
		canvas_field(c, 0, col, end - col - 1, shown ? ROLE_FOCUS : ROLE_NOTE, name);
	}
}

static void draw_panes(struct workbench *wb, struct screen *screen)
{
	const struct layout *l = &wb->layout;
	struct canvas all = canvas_of(screen, (struct rect){0, 0, screen->rows, screen->cols});
	struct canvas part = canvas_of(screen, l->tabs);
	draw_tabs(wb, &part);
	for (int i = 0; i < PANE_COUNT; i++)
		draw_pane(wb, (enum pane)i, screen);
	draw_junctions(l, &all);
	part = canvas_of(screen, l->strip);
	view_strip.draw(wb, &part);
}

void workbench_draw(struct workbench *wb, struct screen *screen, int64_t now_ms)
{
	struct layout *l = &wb->layout;
	struct canvas all = canvas_of(screen, (struct rect){0, 0, screen->rows, screen->cols});
	wb->now_ms = now_ms;
	layout_compute(l, screen->rows, screen->cols, wb->focus, wb->zoom);
	if (l->kind == LAYOUT_TINY) {
		char text[96];
		snprintf(text, sizeof text, "%d x %d is too small: 40 x 10 at least, 80 x 24 is better", l->cols,
			 l->rows);
		canvas_wrap(&all, l->message, ROLE_TEXT, text);
		return;
	}
	struct canvas part = canvas_of(screen, l->status);
	status_draw(wb, &part);
	if (wb->compare.open) {
		part = canvas_of(screen, (struct rect){1, 0, l->footer.row - 1, l->cols});
		compare_view_draw(wb, &part);
	} else if (wb->view.open) {
		part = canvas_of(screen, (struct rect){1, 0, l->footer.row - 1, l->cols});
		feature_view_draw(wb, &part);
	} else {
		draw_panes(wb, screen);
	}
	part = canvas_of(screen, l->footer);
	if (wb->ask != ASK_NONE)
		ask_draw(wb, &part);
	else
		footer_draw(wb, &part);
	chooser_draw(&wb->chooser, &all);
	form_draw(&wb->settings, &all);
	popup_draw(&wb->popup, &all);
}
