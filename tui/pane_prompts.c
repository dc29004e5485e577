/* The prompts, with what is known of their flip. */
#include <stdio.h>
#include <string.h>

#include "tui/workbench.h"

static void title(const struct workbench *wb, struct strbuf *out)
{
	const struct snapshot *s = wb->s;
	int judged = s->cells[0][0] + s->cells[0][1] + s->cells[1][0] + s->cells[1][1];
	if (wb->prompt_filter[0])
		strbuf_printf(out, "/%s %d of %d", wb->prompt_filter, wb->prompts.count, s->prompt_count);
	else
		strbuf_add_string(out, s->task[0] ? s->task : "");
	if (s->flips_total > 0 && s->flips_done < s->flips_total)
		strbuf_printf(out, " judging %d/%d", s->flips_done, s->flips_total);
	else if (judged > 0)
		strbuf_printf(out, " %d/%d flip", s->cells[1][0], judged);
}

struct mark {
	const char *text, *words;
	unsigned style;
};

static struct mark mark_of(enum flip_state state)
{
	switch (state) {
	case FLIP_VALID:
		return (struct mark){"✓", "valid flip", ROLE_CLAMPED};
	case FLIP_RECOVERED:
		return (struct mark){"✓r", "recovered", ROLE_GOOD};
	case FLIP_KEPT:
		return (struct mark){"✗", "not suppressed", ROLE_TEXT};
	case FLIP_NO_BASE:
		return (struct mark){"✗", "base lacks it", ROLE_NOTE};
	case FLIP_ADDED:
		return (struct mark){"✗", "base lacks it", ROLE_NOTE};
	case FLIP_UNKNOWN:
	default:
		return (struct mark){"·", "", ROLE_NOTE};
	}
}

static void draw_row(const struct workbench *wb, const struct canvas *c, int row, int item)
{
	const struct snapshot_prompt *p = &wb->s->prompts[wb->prompt_rows[item]];
	struct mark mark = mark_of(p->state);
	bool here = item == wb->prompts.cursor, wide = c->cols >= 60;
	unsigned stale = p->state_stale ? (unsigned)STYLE_DIM : 0;
	int id_cols = wide ? 14 : 9;
	canvas_text(c, row, 0, ROLE_KEY, here ? ">" : " ");
	canvas_text(c, row, 1, mark.style | stale, mark.text);
	int col = canvas_field(c, row, 4, id_cols, ROLE_TEXT, p->id) + 1;
	if (wide)
		col = canvas_field(c, row, col, 14, mark.style | stale, mark.words) + 1;
	canvas_field(c, row, col, c->cols - col - 1, ROLE_TEXT, p->text);
	if (here)
		canvas_mark(c, (struct rect){row, 0, 1, c->cols - 1},
			    wb->focus == PANE_PROMPTS ? STYLE_REVERSE : STYLE_BOLD);
}

static void draw(struct workbench *wb, const struct canvas *c)
{
	if (wb->s->prompt_count == 0) {
		canvas_wrap(c, (struct rect){0, 1, c->rows, c->cols - 2}, ROLE_NOTE,
			    wb->s->job == JOB_LOADING ? "loading" : "no prompts: a adds one, i imports a file");
		return;
	}
	if (wb->prompts.count == 0) {
		canvas_wrap(c, (struct rect){0, 1, c->rows, c->cols - 2}, ROLE_NOTE,
			    "no prompt matches the filter: Esc removes it, / changes it");
		return;
	}
	list_fit(&wb->prompts, wb->prompts.count, c->rows);
	for (int row = 0; row < c->rows && wb->prompts.top + row < wb->prompts.count; row++)
		draw_row(wb, c, row, wb->prompts.top + row);
	list_draw_scroll(&wb->prompts, c, 0, c->cols - 1);
}

static void select_cursor(struct workbench *wb)
{
	workbench_select_prompt(wb, workbench_prompt(wb));
}

static bool action(struct workbench *wb, enum action action)
{
	if (list_action(&wb->prompts, action)) {
		select_cursor(wb);
		return true;
	}
	int at = workbench_prompt(wb);
	switch (action) {
	case ACTION_OPEN:
		if (at < 0)
			return true;
		if (strlen(wb->s->prompts[at].text) >= sizeof wb->s->prompts[at].text - 1)
			workbench_say(wb,
				      "the prompt %s is too long for this line: put the new text into a file and "
				      "import it with i",
				      wb->s->prompts[at].id);
		else
			ask_open(wb, ASK_EDIT, wb->s->prompts[at].text);
		return true;
	case ACTION_PROMPT_ADD:
		ask_open(wb, ASK_ADD, "");
		return true;
	case ACTION_PROMPT_IMPORT:
		ask_open(wb, ASK_IMPORT, "");
		return true;
	case ACTION_FILTER:
		ask_open(wb, ASK_PROMPT_FILTER, wb->prompt_filter);
		return true;
	default:
		return false;
	}
}

static void click(struct workbench *wb, int row, int col)
{
	(void)col;
	if (list_click(&wb->prompts, row))
		select_cursor(wb);
}

static void wheel(struct workbench *wb, int direction)
{
	list_action(&wb->prompts, direction < 0 ? ACTION_UP : ACTION_DOWN);
	select_cursor(wb);
}

const struct view view_prompts = {title, draw, action, click, wheel};
