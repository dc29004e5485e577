/* The status line: can the numbers be trusted, what is going on, what went wrong; and
 * the footer: what can be pressed now. */
#include <stdio.h>
#include <string.h>

#include "tui/format.h"
#include "tui/workbench.h"

int64_t status_job_ms(const struct workbench *wb)
{
	return wb->now_ms > wb->job_since_ms ? wb->now_ms - wb->job_since_ms : 0;
}

const char *status_spinner(const struct workbench *wb, bool ascii)
{
	static const char *const turns[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
	static const char *const turns_ascii[] = {"|", "/", "-", "\\"};
	int64_t turn = status_job_ms(wb) / 100;
	return ascii ? turns_ascii[turn % 4] : turns[turn % 10];
}

/* What is running, at the right end; returns the column where it begins. */
static int draw_job(const struct workbench *wb, const struct canvas *c)
{
	const struct snapshot *s = wb->s;
	char text[160] = "", since[FORMAT_SIZE];
	int64_t ms = status_job_ms(wb);
	unsigned style = ROLE_RECOVERED;
	if (s->recovery_running) {
		snprintf(text, sizeof text, "▶ %d/%d", s->history.steps, s->history.planned);
	} else if (s->job != JOB_NONE) {
		int n = snprintf(text, sizeof text, "%s %s", status_spinner(wb, c->screen->ascii), s->job_text);
		if (s->job_total > 0)
			n += snprintf(text + n, sizeof text - (size_t)n, " %.0f/%.0f", s->job_done, s->job_total);
		if (ms >= 1000)
			snprintf(text + n, sizeof text - (size_t)n, " %s", format_duration(since, (double)ms / 1000));
		style = ROLE_KEY;
	} else if (s->recovery_paused) {
		snprintf(text, sizeof text, "‖ %d/%d", s->history.steps, s->history.planned);
		style = ROLE_CLAMPED;
	}
	return canvas_text_right(c, 0, c->cols - 1, style, text);
}

static bool has_failure(const struct workbench *wb)
{
	return wb->s->error[0] && wb->error_seen != wb->s->error_serial;
}

/* Which model, SAEs and device, and whether the numbers can be trusted. Where the
 * room is short, the verdicts outlive the names. */
static void draw_identity(const struct snapshot *s, const struct canvas *c)
{
	char model[112] = "", sae[112] = "", memory[TEXT_BYTES_SIZE + 1] = "", device[112] = "", fit[64] = "";
	char loss[64] = "", number[FORMAT_SIZE], bytes[TEXT_BYTES_SIZE];
	const char *test = !s->has_self_test ? "·" : s->self_test_ok ? "✓" : "✗ self-test failed";
	unsigned test_style = !s->has_self_test ? ROLE_NOTE : s->self_test_ok ? ROLE_GOOD : ROLE_BAD;
	if (s->model[0])
		snprintf(model, sizeof model, " %s", s->model);
	if (s->sae[0])
		snprintf(sae, sizeof sae, "  sae %s", s->sae);
	if (s->site_count > 0)
		snprintf(memory, sizeof memory, " %s", text_bytes(bytes, s->sae_bytes));
	if (s->device[0])
		snprintf(device, sizeof device, "  %s ", s->device);
	if (s->has_fvu)
		snprintf(fit, sizeof fit, "  fvu %s L0 %.0f", format_number(number, (double)s->fvu), (double)s->l0);
	if (s->has_loss)
		snprintf(loss, sizeof loss, " loss rec %s", format_number(number, (double)s->loss_recovered));
	int room = c->cols - 8 - text_columns(fit, strlen(fit)) - text_columns(loss, strlen(loss)) -
		   text_columns(test, strlen(test)) - text_columns(device, strlen(device));
	char *detail = strstr(device, " (");
	if (detail && room < text_columns(model, strlen(model)) + text_columns(sae, strlen(sae)) +
				      text_columns(memory, strlen(memory))) {
		room += text_columns(detail, strlen(detail)) - 1;
		snprintf(detail, 2, " ");
	}
	if (room < 0 && loss[0]) { /* half a number would be another one */
		room += text_columns(loss, strlen(loss));
		loss[0] = '\0';
	}
	if (room <
	    text_columns(model, strlen(model)) + text_columns(sae, strlen(sae)) + text_columns(memory, strlen(memory)))
		memory[0] = '\0';
	if (room < text_columns(model, strlen(model)) + text_columns(sae, strlen(sae)))
		sae[0] = '\0';
	if (room < text_columns(model, strlen(model)))
		model[0] = '\0';
	int col = canvas_text(c, 0, 1, ROLE_KEY, "rebound");
	col = canvas_text(c, 0, col, ROLE_TEXT, model);
	col = canvas_text(c, 0, col, ROLE_TEXT, sae);
	col = canvas_text(c, 0, col, ROLE_NOTE, memory);
	if (device[0]) {
		col = canvas_text(c, 0, col, ROLE_TEXT, device);
		col = canvas_text(c, 0, col, test_style, test);
	}
	col = canvas_text(c, 0, col, s->fvu > 0.5f ? ROLE_BAD : ROLE_TEXT, fit);
	canvas_text(c, 0, col, s->loss_recovered < 0.5f ? ROLE_BAD : ROLE_TEXT, loss);
}

void status_draw(struct workbench *wb, const struct canvas *c)
{
	const struct snapshot *s = wb->s;
	int end = draw_job(wb, c) - 2;
	struct canvas left = canvas_part(c, (struct rect){0, 0, 1, end});
	if (has_failure(wb) || wb->message_shown) {
		bool failure = has_failure(wb) && !wb->message_shown;
		int col = failure ? canvas_text(&left, 0, 0, ROLE_ERROR, " ✗ ") : 1;
		const char *keys = "  M all  Esc ok";
		int room = end - col - (int)strlen(keys);
		canvas_field(&left, 0, col, room, failure ? ROLE_ERROR : ROLE_KEY, failure ? s->error : wb->message);
		canvas_text(&left, 0, col + room, ROLE_NOTE, keys);
		return;
	}
	draw_identity(s, &left);
}

/* The next step of the loop, in plain words. */
static bool hint_of(const struct workbench *wb, const char **key, char out[64])
{
	switch (wb->s->hint) {
	case HINT_RANK:
		*key = "A";
		return snprintf(out, 64, "rank features for this objective");
	case HINT_CLAMP:
		*key = "t";
		return snprintf(out, 64, "clamp the top %d", wb->last_top);
	case HINT_OTHER_CLAMP:
		*key = "t";
		return snprintf(out, 64, "no flip yet: clamp more");
	case HINT_RECOVER:
		*key = "r";
		return snprintf(out, 64, "try to recover");
	case HINT_DECOMPOSE:
		*key = "d";
		return snprintf(out, 64, "where does it travel?");
	case HINT_EXPORT:
		*key = "x";
		return snprintf(out, 64, "export");
	case HINT_NONE:
	default:
		return false;
	}
}

/* "key word" for each binding that has a hint, while there is room. */
static int draw_keys(const struct canvas *c, int col, enum pane where)
{
	for (size_t i = 0; i < keys_count; i++) {
		const struct key_binding *b = &keys_table[i];
		char name[KEYS_NAME_SIZE];
		if (b->where != where || !b->hint)
			continue;
		keys_name(name, b->key);
		if (b->action == ACTION_SCRUB_BACK)
			snprintf(name, sizeof name, "◀▶");
		int columns = text_columns(name, strlen(name)) + 1 + text_columns(b->hint, strlen(b->hint));
		if (col + columns > c->cols)
			break;
		col = canvas_text(c, 0, col, ROLE_KEY, name);
		col = canvas_text(c, 0, col + 1, ROLE_NOTE, b->hint) + 2;
	}
	return col;
}

void footer_draw(struct workbench *wb, const struct canvas *c)
{
	const char *key;
	char hint[64];
	bool over = wb->view.open || wb->compare.open;
	const char *last = over ? "q close" : "q quit";
	int col = 1, end = canvas_text_right(c, 0, c->cols - 1, ROLE_NOTE, last);
	canvas_text(c, 0, end, ROLE_KEY, "q");
	end = canvas_text_right(c, 0, end - 2, ROLE_NOTE, "? help");
	canvas_text(c, 0, end, ROLE_KEY, "?");
	struct canvas left = canvas_part(c, (struct rect){0, 0, 1, end - 1});
	if (wb->s->notice[0] && strcmp(wb->s->notice, wb->notice_seen) != 0) {
		canvas_field(&left, 0, 1, left.cols - 1, ROLE_TEXT, wb->s->notice);
		return;
	}
	if (over) {
		draw_keys(&left, draw_keys(&left, col, workbench_where(wb)), PANE_GLOBAL);
		return;
	}
	if (wb->hints && wb->s->job == JOB_NONE && hint_of(wb, &key, hint)) {
		col = canvas_text(&left, 0, col, ROLE_GOOD, "next ");
		col = canvas_text(&left, 0, col, ROLE_KEY, key);
		col = canvas_text(&left, 0, col + 1, ROLE_TEXT, hint) + 1;
		canvas_text(&left, 0, col, ROLE_RULE, "│");
		col += 2;
	} else if (wb->s->job != JOB_NONE) {
		col = canvas_text(&left, 0, col, ROLE_KEY, "Esc");
		col = canvas_text(&left, 0, col + 1, ROLE_NOTE, "stop") + 2;
	}
	if (wb->focus < PANE_COUNT)
		col = draw_keys(&left, col, wb->focus);
	draw_keys(&left, col, PANE_GLOBAL);
}
