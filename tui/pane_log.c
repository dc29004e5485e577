/* What was done: each line is the headless command that repeats it. */
#include <stdio.h>
#include <string.h>

#include "tui/workbench.h"

static void title(const struct workbench *wb, struct strbuf *out)
{
	if (wb->s->log_count > 0)
		strbuf_printf(out, "%d actions, each as its command", wb->s->log_count);
}

static void draw(struct workbench *wb, const struct canvas *c)
{
	const struct snapshot *s = wb->s;
	if (s->log_count == 0) {
		canvas_wrap(c, (struct rect){0, 1, c->rows, c->cols - 2}, ROLE_NOTE,
			    "every action is recorded here as the command that repeats it; y copies one");
		return;
	}
	/* two rows an entry: the command, what came out */
	list_fit(&wb->log, s->log_count, c->rows / 2 > 0 ? c->rows / 2 : 1);
	for (int i = 0; i < wb->log.rows && wb->log.top + i < s->log_count; i++) {
		const struct snapshot_log *entry = &s->log[wb->log.top + i];
		bool here = wb->log.top + i == wb->log.cursor;
		canvas_text(c, 2 * i, 0, ROLE_KEY, here ? ">" : " ");
		canvas_field(c, 2 * i, 1, c->cols - 2, ROLE_TEXT, entry->command ? entry->command : "");
		canvas_field(c, 2 * i + 1, 3, c->cols - 4, ROLE_NOTE, entry->result ? entry->result : "");
		if (here && wb->focus == PANE_LOG)
			canvas_mark(c, (struct rect){2 * i, 0, 1, c->cols - 1}, STYLE_REVERSE);
	}
	list_draw_scroll(&wb->log, c, 0, c->cols - 1);
}

static bool action(struct workbench *wb, enum action action)
{
	if (list_action(&wb->log, action))
		return true;
	if (action == ACTION_NOTE) {
		ask_open(wb, ASK_NOTE, "");
		return true;
	}
	if ((action != ACTION_COPY && action != ACTION_OPEN) || wb->log.cursor >= wb->s->log_count)
		return action == ACTION_COPY;
	const struct snapshot_log *entry = &wb->s->log[wb->log.cursor];
	const char *command = entry->command ? entry->command : "";
	if (action == ACTION_OPEN) {
		struct strbuf text = {0};
		strbuf_printf(&text, "%s\n\n%s", command, entry->result ? entry->result : "");
		popup_show(&wb->popup, "log", text.data);
		strbuf_done(&text);
	} else if (wb->backend.copy(command, strlen(command))) {
		workbench_say(wb, "copied: %s", command);
	} else {
		workbench_say(wb, "the command is too long for the terminal's clipboard");
	}
	return true;
}

static void click(struct workbench *wb, int row, int col)
{
	(void)col;
	list_click(&wb->log, row / 2);
}

static void wheel(struct workbench *wb, int direction)
{
	list_wheel(&wb->log, direction);
}

const struct view view_log = {title, draw, action, click, wheel};
