/* A feature's own view, in the place of the panes: what it is, where it is active, what it
 * does to the logits, what is like it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/sae_sparsity.h"
#include "tui/format.h"
#include "tui/workbench.h"

void feature_view_open(struct workbench *wb, int64_t feature)
{
	const struct snapshot *s = wb->s;
	if (s->site_count == 0) {
		workbench_say(wb, "no SAE is attached: start with --sae PATH");
		return;
	}
	if (!workbench_send(wb, COMMAND_FEATURE, feature, NULL))
		return;
	wb->view.open = true;
	wb->view.layer = s->sites[s->site_selected].layer;
	wb->view.feature = (uint32_t)feature;
	wb->view.page.top = 0;
}

/* The view that was asked for, or NULL while it is not there. */
static const struct snapshot_view *view_of(const struct workbench *wb)
{
	const struct snapshot_view *v = wb->s->view;
	return v && v->feature == wb->view.feature && v->layer == wb->view.layer ? v : NULL;
}

/* ---- drawing: each part returns the row behind it ---- */

static int draw_labels(const struct snapshot_view *v, const struct canvas *c, int row)
{
	enum { LEFT = 8 };
	struct rect r = {row, LEFT, 0, c->cols - LEFT - 1};
	if (v->label_count == 0) {
		canvas_text(c, row, 1, ROLE_NOTE, "label  none: --labels FILE reads Neuronpedia's explanations");
		return row + 1;
	}
	for (int i = 0; i < v->label_count; i++) {
		canvas_text(c, r.row, 1, ROLE_NOTE, "label");
		r.rows = 0;
		r.rows = canvas_wrap(c, r, ROLE_TEXT, v->labels[i]);
		canvas_wrap(c, r, ROLE_TEXT, v->labels[i]);
		r.row += r.rows;
	}
	return r.row;
}

static int draw_facts(const struct snapshot_view *v, const struct canvas *c, int row)
{
	char number[FORMAT_SIZE];
	if (v->page[0]) {
		canvas_text(c, row, 1, ROLE_NOTE, "page");
		int col = canvas_text(c, row, 8, ROLE_TEXT, v->page);
		canvas_text(c, row, col + 2, ROLE_KEY, "y");
		canvas_text(c, row++, col + 4, ROLE_NOTE, "copies");
	}
	int col = canvas_text(c, row, 1, ROLE_NOTE, "‖W_dec‖ ");
	col = canvas_text(c, row, col, ROLE_TEXT, format_number(number, v->decoder_norm));
	col = canvas_text(c, row, col + 3, ROLE_NOTE, "‖W_enc‖ ");
	col = canvas_text(c, row, col, ROLE_TEXT, format_number(number, v->encoder_norm));
	col = canvas_text(c, row, col + 3, ROLE_NOTE, "cos(W_enc, W_dec) ");
	canvas_text(c, row++, col, ROLE_TEXT, format_signed(number, v->has_alignment ? v->alignment : NAN));
	if (v->has_training_rate) {
		char training[FORMAT_TRAINING_SIZE];
		canvas_text(c, row++, 1, v->training_rate < SAE_DEAD_RATE ? ROLE_BAD : ROLE_TEXT,
			    format_training(training, v->training_rate));
	}
	return row;
}

static const struct snapshot_feature *listed(const struct workbench *wb, const struct snapshot_view *v)
{
	for (int i = 0; i < wb->s->feature_count; i++)
		if (wb->s->features[i].feature == v->feature && wb->s->features[i].layer == v->layer)
			return &wb->s->features[i];
	return NULL;
}

/* The prompt's tokens, wrapped, with the activation in each known state below. */
static int draw_along(const struct workbench *wb, const struct snapshot_view *v, const struct canvas *c, int row)
{
	static const char *const names[STATE_COUNT] = {"b", "c", "r"};
	static const unsigned styles[STATE_COUNT] = {ROLE_BASE, ROLE_CLAMPED, ROLE_RECOVERED};
	enum { LEFT = 3, LEAST = 5, MOST = 14 };
	const struct snapshot *s = wb->s;
	const struct snapshot_feature *f = listed(wb, v);
	char number[FORMAT_SIZE];
	int col = canvas_text(c, row, 1, ROLE_TITLE, "along the prompt");
	if (f && f->clamped)
		canvas_printf(c, row, col + 2, ROLE_CLAMPED, "clamped: %s", f->clamp);
	row++;
	int count = v->token_count < s->token_count ? v->token_count : s->token_count, lines = 1;
	for (int i = 0; i < STATE_COUNT; i++)
		lines += v->along[i] != NULL;
	if (lines == 1 || count == 0) {
		canvas_text(c, row, 1, ROLE_NOTE, "·");
		return row + 1;
	}
	col = c->cols; /* the first token begins a line */
	row -= lines;
	for (int t = 0; t < count; t++) {
		const char *piece = s->tokens[t].piece;
		int width = text_columns(piece, strlen(piece));
		width = width < LEAST ? LEAST : width > MOST ? MOST : width;
		if (col + width > c->cols - 1) {
			col = LEFT;
			row += lines;
			for (int i = 0, line = 1; i < STATE_COUNT; i++)
				if (v->along[i])
					canvas_text(c, row + line++, 1, styles[i], names[i]);
		}
		canvas_field(c, row, col, width, s->tokens[t].special ? ROLE_NOTE : ROLE_TEXT, piece);
		for (int i = 0, line = 1; i < STATE_COUNT; i++)
			if (v->along[i]) {
				float a = v->along[i][t];
				canvas_text(c, row + line++, col, a == 0 ? (unsigned)ROLE_RULE : styles[i],
					    format_number(number, (double)a));
			}
		if (t == workbench_token(wb))
			canvas_mark(c, (struct rect){row, col, 1, width}, STYLE_REVERSE);
		col += width + 1;
	}
	return row + lines;
}

static void draw_scores(const struct canvas *c, int row, const char *head, const struct snapshot_score *scores,
			int count, bool features)
{
	char number[FORMAT_SIZE];
	canvas_field(c, row, 0, c->cols, ROLE_TITLE, head);
	if (count == 0)
		canvas_text(c, row + 1, 0, ROLE_NOTE, "none");
	for (int i = 0; i < count; i++) {
		int col = 7;
		canvas_text_right(c, row + 1 + i, 6, ROLE_TEXT, format_signed(number, (double)scores[i].score));
		if (features) {
			snprintf(number, sizeof number, "%u", scores[i].id);
			canvas_text_right(c, row + 1 + i, 13, ROLE_KEY, number);
			col = 14;
		}
		canvas_field(c, row + 1 + i, col, c->cols - col, features ? ROLE_NOTE : ROLE_TEXT, scores[i].text);
	}
}

static int least(int a, int b)
{
	return a < b ? a : b;
}

static int draw_lists(const struct snapshot_view *v, const struct canvas *c, int row, int most)
{
	int cols = c->cols - 2, token_cols = least(cols / 4, 26);
	struct canvas part = canvas_part(c, (struct rect){row, 1, most + 1, token_cols - 1});
	draw_scores(&part, 0, "promotes", v->promoted, least(v->promoted_count, most), false);
	part = canvas_part(c, (struct rect){row, 1 + token_cols, most + 1, token_cols - 1});
	draw_scores(&part, 0, "demotes", v->demoted, least(v->demoted_count, most), false);
	part = canvas_part(c, (struct rect){row, 1 + 2 * token_cols, most + 1, cols - 2 * token_cols});
	draw_scores(&part, 0, "nearest by cos(W_dec)", v->near, least(v->near_count, most), true);
	return row + 1 + most;
}

/* The token stands in one column, so that the eye can compare. */
static void draw_example(const struct canvas *c, int row, const struct snapshot_example *e)
{
	enum { LEFT = 26 };
	char number[FORMAT_SIZE];
	canvas_text_right(c, row, 6, ROLE_BASE, format_number(number, (double)e->activation));
	canvas_field(c, row, 8, 11, ROLE_NOTE, e->prompt);
	canvas_printf(c, row, 20, ROLE_NOTE, "@ %d", e->position);
	int room = (c->cols - LEFT) * 3 / 5;
	struct canvas before = canvas_part(c, (struct rect){row, LEFT, 1, room});
	canvas_text_right(&before, 0, room, ROLE_TEXT, e->before);
	int col = canvas_text(c, row, LEFT + room, ROLE_BASE | STYLE_BOLD | STYLE_UNDERLINE, e->token);
	canvas_text(c, row, col, ROLE_TEXT, e->after);
}

static int draw_usage(const struct workbench *wb, const struct snapshot_view *v, const struct canvas *c, int row)
{
	char percent[FORMAT_SIZE];
	int col = canvas_text(c, row, 1, ROLE_TITLE, "over the prompt set") + 2;
	if (v->prompts == 0) {
		canvas_text(c, row, col, ROLE_NOTE, "none is loaded");
		return row + 1;
	}
	if (v->has_usage && v->prompts_done > v->prompts_skipped)
		col = canvas_printf(c, row, col, ROLE_TEXT, "%s%s %% of %lld tokens, %d of %d prompts",
				    c->cols >= 100 ? "active at " : "",
				    format_number(percent, 100 * (double)v->active_tokens / (double)v->tokens),
				    (long long)v->tokens, v->active_prompts, v->prompts_done - v->prompts_skipped) +
		      2;
	if (v->reading) {
		col = canvas_text(c, row, col, ROLE_KEY, status_spinner(wb, c->screen->ascii));
		col = canvas_text(c, row, col + 1, ROLE_KEY, "e");
		canvas_text(c, row, col + 1, ROLE_NOTE, "stops reading");
	} else if (v->prompts_done < v->prompts) {
		col = canvas_text(c, row, col, ROLE_KEY, "e");
		canvas_printf(c, row, col + 1, ROLE_NOTE, "reads %d more", v->prompts - v->prompts_done);
	} else if (v->prompts_skipped > 0) {
		canvas_printf(c, row, col, ROLE_NOTE, "%d too long", v->prompts_skipped);
	}
	for (int i = 0; i < v->example_count; i++)
		draw_example(c, ++row, &v->examples[i]);
	return row + 1;
}

void feature_view_draw(struct workbench *wb, const struct canvas *c)
{
	const struct snapshot_view *v = view_of(wb);
	canvas_rule(c, 0, 0, c->cols, ROLE_RULE);
	int col = canvas_printf(c, 0, 1, ROLE_FOCUS, " feature %u ", wb->view.feature);
	if (!v) {
		canvas_text(c, 2, 1, ROLE_NOTE,
			    wb->s->job == JOB_NONE ? "the feature could not be looked at: Esc goes back"
						   : "looking at the feature");
		return;
	}
	canvas_printf(c, 0, col + 1, ROLE_NOTE, " layer %d %s, one of %lld ", v->layer, v->hook,
		      (long long)v->features);
	struct canvas body = page_body(c);
	int first = -wb->view.page.top, row = first, gap = c->rows >= 30;
	row = draw_labels(v, &body, row);
	row = draw_facts(v, &body, row) + gap;
	row = draw_along(wb, v, &body, row) + gap;
	row = draw_lists(v, &body, row, c->rows >= 30 ? 12 : 6) + gap;
	row = draw_usage(wb, v, &body, row);
	if (!page_finish(&wb->view.page, c, row - first))
		feature_view_draw(wb, c);
}

/* ---- keys ---- */

static void close_view(struct workbench *wb)
{
	wb->view.open = false;
	workbench_send(wb, COMMAND_FEATURE, -1, NULL);
}

static void open_listed(struct workbench *wb, int by)
{
	int at = wb->features.cursor + by;
	if (at < 0 || at >= wb->s->feature_count)
		return;
	list_go(&wb->features, at);
	wb->feature_at = wb->s->features[at].feature;
	feature_view_open(wb, wb->feature_at);
}

static void copy_page(struct workbench *wb)
{
	const struct snapshot_view *v = view_of(wb);
	if (!v || !v->page[0])
		workbench_say(wb, "no page is known: the SAE's file names no source on Neuronpedia");
	else if (wb->backend.copy(v->page, strlen(v->page)))
		workbench_say(wb, "copied: %s", v->page);
}

bool feature_view_action(struct workbench *wb, enum action action)
{
	if (page_action(&wb->view.page, action))
		return true;
	switch (action) {
	case ACTION_BACK:
		if (wb->message_shown || wb->error_seen != wb->s->error_serial)
			return false;
		close_view(wb);
		return true;
	case ACTION_CLAMP_TOGGLE:
		return workbench_send(wb, COMMAND_TOGGLE_CLAMP, wb->view.feature, NULL), true;
	case ACTION_NEXT_FEATURE:
		return open_listed(wb, 1), true;
	case ACTION_PREVIOUS_FEATURE:
		return open_listed(wb, -1), true;
	case ACTION_EXAMPLES:
		return workbench_send(wb, COMMAND_USAGE, 0, NULL), true;
	case ACTION_COPY:
		return copy_page(wb), true;
	case ACTION_ZOOM:
		return true;
	default:
		if (page_left_by(action))
			close_view(wb);
		return false;
	}
}

void feature_view_wheel(struct workbench *wb, int direction)
{
	page_scroll(&wb->view.page, 3 * direction);
}
