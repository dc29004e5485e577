/* What the perturbation is made of, and which part carries the recovery. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/format.h"
#include "tui/workbench.h"

static void title(const struct workbench *wb, struct strbuf *out)
{
	const struct snapshot *s = wb->s;
	if (s->has_decomposition && s->decomposition_of_suffix)
		strbuf_printf(out, "of its change at L%d", s->decomposition_layer);
	else
		strbuf_add_string(out, s->suffix ? "of the suffix's change" : "of δ");
	if (s->has_decomposition)
		strbuf_printf(out, " at step %d%s", s->decomposition_step, s->decomposition_stale ? ", stale" : "");
}

static const char *part_name(const char *component)
{
	static const char *const names[][2] = {
		{"full", "full"},
		{"clamped_features", "clamped"},
		{"non_clamped_features", "other feats"},
		{"top_k_non_clamped", "top-k others"},
		{"sae_residual", "SAE residual"},
		{"top_k_knockout", "all but top-k"},
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i][0], component) == 0)
			return names[i][1];
	return component;
}

/* The step that the numbers are of is not the one shown. */
static bool is_old(const struct workbench *wb)
{
	return wb->s->decomposition_stale || wb->s->decomposition_step != workbench_step(wb);
}

struct table {
	int norm, bar, bar_cols, cosine, replay, without;
};

static struct table lay_out(int cols)
{
	struct table t = {.norm = 15};
	int spare = cols - 52; /* for the bars of norm and cosine */
	spare = spare < 0 ? 0 : spare > 24 ? 24 : spare;
	t.bar = t.norm + 6;
	t.bar_cols = 6 + spare / 2;
	t.cosine = t.bar + t.bar_cols + 1;
	t.replay = t.cosine + 6 + spare / 2;
	t.without = t.replay + 9;
	return t;
}

static void draw_verdict(const struct canvas *c, int row, int col, bool has, double objective, bool recovered,
			 unsigned dim)
{
	char number[FORMAT_SIZE];
	if (!has) {
		canvas_text(c, row, col + 1, ROLE_NOTE, "·");
		return;
	}
	canvas_text_right(c, row, col + 6, ROLE_TEXT | dim, format_signed(number, objective));
	canvas_text(c, row, col + 7, (recovered ? ROLE_GOOD : ROLE_BAD) | dim, recovered ? "✓" : "✗");
}

static void draw_part(const struct workbench *wb, const struct canvas *c, int row, int part, const struct table *t,
		      double scale)
{
	const struct snapshot_component *k = &wb->s->components[part];
	char number[FORMAT_SIZE];
	unsigned dim = is_old(wb) ? STYLE_DIM : 0;
	int cosine_bar = t->replay - t->cosine - 6;
	canvas_text(c, row, 0, ROLE_KEY, part == wb->parts.cursor ? ">" : " ");
	canvas_field(c, row, 1, t->norm - 1, ROLE_TEXT, part_name(k->name));
	canvas_text_right(c, row, t->norm + 5, ROLE_TEXT | dim, format_number(number, k->norm));
	canvas_bar(c, row, t->bar, t->bar_cols, ROLE_RECOVERED | dim, scale > 0 ? k->norm / scale : NAN);
	canvas_text_right(c, row, t->cosine + 5, ROLE_TEXT | dim, format_number(number, k->cosine));
	if (cosine_bar >= 5)
		canvas_bar_signed(c, row, t->cosine + 6, cosine_bar - 1, ROLE_RECOVERED | dim, k->cosine);
	draw_verdict(c, row, t->replay, k->has_replay, k->replay_objective, k->replay_recovered, dim);
	draw_verdict(c, row, t->without, k->has_knockout, k->knockout_objective, k->knockout_recovered, dim);
	if (part == wb->parts.cursor)
		canvas_mark(c, (struct rect){row, 0, 1, c->cols - 1},
			    wb->focus == PANE_DECOMPOSITION ? STYLE_REVERSE : STYLE_BOLD);
}

static double norm_scale(const struct snapshot *s)
{
	double scale = 0;
	for (int i = 0; i < s->component_count; i++)
		scale = fmax(scale, s->components[i].norm);
	return scale;
}

/* Eight heights of a block; the empty one is a low line. */
static void draw_height(const struct canvas *c, int row, int col, unsigned style, double fraction)
{
	int level = isfinite(fraction) && fraction > 0 ? (int)ceil(fmin(fraction, 1) * 8) : 0;
	static const char ascii[] = "__..--==#";
	uint32_t code = level == 0 ? '_' : 0x2580u + (uint32_t)level;
	canvas_put(c, row, col, level ? style : ROLE_RULE, c->screen->ascii ? (uint32_t)ascii[level] : code);
}

/* A strip a part: its norm at each token, all on one scale. */
static void draw_strips(const struct workbench *wb, const struct canvas *c, int row)
{
	const struct snapshot *s = wb->s;
	double scale = 0;
	char number[FORMAT_SIZE];
	int tokens = 0, first = 0, room = c->cols - 17;
	for (int i = 0; i < s->component_count; i++) {
		const struct snapshot_component *k = &s->components[i];
		tokens = k->per_token && k->token_count > tokens ? k->token_count : tokens;
		for (int n = 0; k->per_token && n < k->token_count; n++)
			scale = fmax(scale, (double)k->per_token[n]);
	}
	if (tokens == 0 || c->rows - row < 3 || room < 8)
		return;
	if (tokens > room) /* the end, where perturbations are */
		first = tokens - room;
	canvas_printf(c, row++, 1, ROLE_NOTE, "norm at each token, 0-%s%s", format_number(number, scale),
		      first ? ", the last ones" : "");
	for (int i = 0; i < s->component_count && row < c->rows; i++) {
		const struct snapshot_component *k = &s->components[i];
		if (!k->per_token)
			continue;
		canvas_field(c, row, 1, 14, ROLE_TEXT, part_name(k->name));
		for (int n = first; n < k->token_count; n++)
			draw_height(c, row, 16 + n - first, ROLE_RECOVERED | (is_old(wb) ? (unsigned)STYLE_DIM : 0),
				    scale > 0 ? (double)k->per_token[n] / scale : NAN);
		row++;
	}
}

static void draw(struct workbench *wb, const struct canvas *c)
{
	const struct snapshot *s = wb->s;
	if (!s->has_decomposition) {
		canvas_wrap(
			c, (struct rect){0, 1, c->rows, c->cols - 2}, ROLE_NOTE,
			s->suffix ? "d decomposes the change that the suffix makes in the residual stream where the "
				    "answer "
				    "is read: which part of it would carry the recovery?"
			: s->step_shown < 0
				? "after a recovery, d shows which part of δ carries it: the clamped features, other "
				  "features, or what the SAE does not explain"
				: "d decomposes δ at the step shown: which part carries the recovery?");
		return;
	}
	struct table t = lay_out(c->cols);
	char number[FORMAT_SIZE];
	double scale = norm_scale(s);
	canvas_text(c, 0, 1, ROLE_NOTE, "part");
	canvas_text_right(c, 0, t.norm + 5, ROLE_NOTE, "norm");
	canvas_printf(c, 0, t.bar, ROLE_NOTE, "0-%s", format_number(number, scale));
	canvas_text_right(c, 0, t.cosine + 5, ROLE_NOTE, "cos");
	canvas_text(c, 0, t.replay, ROLE_NOTE, "replay");
	canvas_text(c, 0, t.without, ROLE_NOTE, "without");
	int rows = s->component_count < c->rows - 1 ? s->component_count : c->rows - 1;
	list_fit(&wb->parts, s->component_count, rows);
	for (int row = 0; row < rows; row++)
		draw_part(wb, c, row + 1, wb->parts.top + row, &t, scale);
	if (rows + 1 < c->rows) {
		char text[96];
		snprintf(text, sizeof text, "the parts add up to %s within %s; norms do not add",
			 s->decomposition_of_suffix ? "it" : "δ", format_number(number, s->identity_error));
		canvas_field(c, rows + 1, 1, c->cols - 2, ROLE_NOTE, text);
	}
	draw_strips(wb, c, rows + 3);
}

/* The part's own view: its features and tokens. */
static void show_part(struct workbench *wb)
{
	const struct snapshot *s = wb->s;
	if (!s->has_decomposition || wb->parts.cursor >= s->component_count)
		return;
	const struct snapshot_component *k = &s->components[wb->parts.cursor];
	struct strbuf text = {0};
	char number[FORMAT_SIZE];
	strbuf_printf(&text, "norm %s", format_number(number, k->norm));
	strbuf_printf(&text, ", cosine with δ %s\n", format_number(number, k->cosine));
	if (k->top_count > 0)
		strbuf_add_string(&text, "\nlargest changes of features\n");
	for (int i = 0; i < k->top_count; i++)
		strbuf_printf(&text, "  L%d %6u  %7s  %s\n", k->top[i].layer, k->top[i].feature,
			      format_signed(number, (double)k->top[i].change), k->top[i].label);
	if (k->per_token)
		strbuf_add_string(&text, "\nnorm at each token\n");
	for (int i = 0; k->per_token && i < k->token_count && i < s->token_count; i++)
		strbuf_printf(&text, "  %3d  %7s  %s\n", i, format_number(number, (double)k->per_token[i]),
			      s->tokens[i].piece);
	popup_show(&wb->popup, part_name(k->name), text.data);
	strbuf_done(&text);
}

static bool action(struct workbench *wb, enum action action)
{
	if (action == ACTION_OPEN) {
		show_part(wb);
		return true;
	}
	return list_action(&wb->parts, action);
}

static void click(struct workbench *wb, int row, int col)
{
	(void)col;
	list_click(&wb->parts, row - 1);
}

static void wheel(struct workbench *wb, int direction)
{
	list_wheel(&wb->parts, direction);
}

const struct view view_decomposition = {title, draw, action, click, wheel};
