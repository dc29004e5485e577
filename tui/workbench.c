#include "tui/workbench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

const struct view *const views[PANE_STRIP + 1] = {
	[PANE_PROMPTS] = &view_prompts,
	[PANE_FEATURES] = &view_features,
	[PANE_BEHAVIOUR] = &view_behaviour,
	[PANE_RECOVERY] = &view_recovery,
	[PANE_DECOMPOSITION] = &view_decomposition,
	[PANE_LOG] = &view_log,
	[PANE_STRIP] = &view_strip,
};

void workbench_init(struct workbench *wb, const struct workbench_backend *backend, const struct snapshot *first,
		    int64_t now_ms)
{
	*wb = (struct workbench){
		.backend = *backend, .focus = PANE_PROMPTS, .hints = true, .last_top = 16, .feature_at = -1};
	workbench_update(wb, first, now_ms);
}

void workbench_done(struct workbench *wb)
{
	popup_done(&wb->popup);
	form_done(&wb->settings);
	input_done(&wb->input);
	for (int i = 0; i < ASK_COUNT; i++)
		input_history_done(&wb->history[i]);
	free(wb->prompt_rows);
	*wb = (struct workbench){0};
}

/* ---- commands to the worker ---- */

void workbench_say(struct workbench *wb, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(wb->message, sizeof wb->message, format, args);
	va_end(args);
	wb->message_shown = true;
}

static bool send(struct workbench *wb, const struct command *command)
{
	if (wb->backend.send(wb->backend.context, command))
		return true;
	workbench_say(wb, "the worker is busy with earlier commands: try again in a moment");
	return false;
}

bool workbench_send(struct workbench *wb, enum command_kind kind, int64_t number, const char *text)
{
	struct command command = {.kind = kind, .number = number};
	int n = snprintf(command.text, sizeof command.text, "%s", text ? text : "");
	if (n >= (int)sizeof command.text) {
		workbench_say(wb, "the text is %d bytes long, at most %zu can be sent", n, sizeof command.text - 1);
		return false;
	}
	return send(wb, &command);
}

bool workbench_send_value(struct workbench *wb, enum command_kind kind, int64_t number, double value)
{
	struct command command = {.kind = kind, .number = number, .value = value};
	return send(wb, &command);
}

static void want_send(struct workbench *wb, struct want *want, enum command_kind kind)
{
	struct command command = {.kind = kind, .number = want->value};
	if (want->pending && !want->sent)
		want->sent = wb->backend.send(wb->backend.context, &command);
}

static void wants_send(struct workbench *wb)
{
	want_send(wb, &wb->prompt, COMMAND_SELECT_PROMPT);
	want_send(wb, &wb->token, COMMAND_SELECT_TOKEN);
	want_send(wb, &wb->step, COMMAND_SCRUB);
}

void workbench_want(struct workbench *wb, struct want *want, int value)
{
	*want = (struct want){.value = value, .pending = true};
	wants_send(wb);
}

/* ---- a new snapshot ---- */

static void want_settle(struct want *want, bool reached)
{
	if (want->sent && reached)
		want->pending = false;
}

int workbench_token(const struct workbench *wb)
{
	int token = wb->token.pending ? wb->token.value : wb->s->token_selected;
	return token < wb->s->token_count ? token : wb->s->token_count - 1;
}

int workbench_step(const struct workbench *wb)
{
	return wb->step.pending && wb->step.value >= 0 ? wb->step.value : wb->s->step_shown;
}

int workbench_prompt(const struct workbench *wb)
{
	return wb->prompts.count > 0 ? wb->prompt_rows[wb->prompts.cursor] : -1;
}

void workbench_filter_prompts(struct workbench *wb)
{
	const struct snapshot *s = wb->s;
	int keep = wb->prompt.pending ? wb->prompt.value : s->prompt_selected, count = 0, at = 0;
	mem_reserve((void **)&wb->prompt_rows, &wb->prompt_rows_capacity, (size_t)s->prompt_count + 1,
		    sizeof *wb->prompt_rows);
	for (int i = 0; i < s->prompt_count; i++) {
		const struct snapshot_prompt *p = &s->prompts[i];
		char all[sizeof p->id + sizeof p->task + sizeof p->text + 2];
		snprintf(all, sizeof all, "%s %s %s", p->id, p->task, p->text);
		if (!list_matches(all, wb->prompt_filter))
			continue;
		if (i == keep)
			at = count;
		wb->prompt_rows[count++] = i;
	}
	list_fit(&wb->prompts, count, wb->prompts.rows);
	list_go(&wb->prompts, at);
}

void workbench_select_prompt(struct workbench *wb, int prompt)
{
	int now = wb->prompt.pending ? wb->prompt.value : wb->s->prompt_selected;
	if (prompt < 0 || prompt == now)
		return;
	if (wb->s->recovery_running) /* a slip of the finger must not end it */
		workbench_say(wb, "a recovery is running: r pauses it, then another prompt can be chosen");
	else
		workbench_want(wb, &wb->prompt, prompt);
	workbench_filter_prompts(wb);
}

static void follow_feature(struct workbench *wb)
{
	list_fit(&wb->features, wb->s->feature_count, wb->features.rows);
	for (int i = 0; i < wb->s->feature_count; i++)
		if (wb->s->features[i].feature == wb->feature_at) {
			list_go(&wb->features, i);
			return;
		}
}

void workbench_update(struct workbench *wb, const struct snapshot *s, int64_t now_ms)
{
	bool failed = wb->s && s->error_serial != wb->s->error_serial;
	bool log_at_end = wb->log.cursor >= wb->log.count - 1;
	wb->s = s;
	wb->now_ms = now_ms;
	want_settle(&wb->prompt, failed || s->prompt_selected == wb->prompt.value);
	want_settle(&wb->token, failed || s->token_selected == wb->token.value);
	want_settle(&wb->step, failed || (wb->step.value < 0 ? s->step_live : s->step_shown == wb->step.value));
	if (s->step_shown < 0)
		wb->step.pending = false;
	wants_send(wb);
	compare_update(wb);
	if (wb->chooser.open && wb->choice == CHOICE_SAE)
		sae_list_update(wb);
	workbench_filter_prompts(wb);
	follow_feature(wb);
	list_fit(&wb->parts, s->component_count, wb->parts.rows);
	list_fit(&wb->log, s->log_count, wb->log.rows);
	if (log_at_end)
		list_go(&wb->log, s->log_count - 1);
	if (s->job != wb->job) {
		wb->job = s->job;
		wb->job_since_ms = now_ms;
	}
}

const struct snapshot_feature *workbench_feature(const struct workbench *wb)
{
	return wb->features.cursor < wb->s->feature_count ? &wb->s->features[wb->features.cursor] : NULL;
}

int workbench_idle_ms(const struct workbench *wb)
{
	return wb->s->job != JOB_NONE ? 100 : -1;
}

/* ---- actions that are the same in every pane ---- */

void workbench_go(struct workbench *wb, enum pane pane)
{
	wb->focus = pane;
}

static void next_pane(struct workbench *wb, int by)
{
	int at = (int)wb->focus;
	do
		at = (at + by + PANE_STRIP + 1) % (PANE_STRIP + 1);
	while (at == PANE_LOG && !wb->zoom && rect_empty(wb->layout.pane[PANE_LOG]) &&
	       wb->layout.kind == LAYOUT_NORMAL);
	workbench_go(wb, (enum pane)at);
}

static void ask_quit(struct workbench *wb)
{
	if (!wb->s->recovery_running && wb->s->job != JOB_RECOVER) {
		wb->finished = true;
		return;
	}
	popup_ask(&wb->popup, "quit",
		  "A recovery is running. What it has done is in the journal; the rest would have to be run again.\n"
		  "Quit?");
	wb->popup_quits = true;
}

static void show_message(struct workbench *wb)
{
	const char *text = wb->message_shown ? wb->message : wb->s->error;
	if (!text[0])
		text = wb->message[0] ? wb->message : wb->s->notice;
	popup_show(&wb->popup, "last message", text[0] ? text : "No message so far.");
	wb->error_seen = wb->s->error_serial;
	wb->message_shown = false;
}

static void show_help(struct workbench *wb)
{
	struct strbuf help = {0};
	keys_help(&help, workbench_where(wb));
	strbuf_add_string(&help,
			  "\nMarks: ✓ holds, ✗ does not, · not known yet; dimmed numbers belong to an older state.\n"
			  "b base, c clamped, r recovered; δ the perturbation; ‖δ‖ its norm.");
	popup_show(&wb->popup, "keys", help.data);
	strbuf_done(&help);
}

/* Esc: the nearest thing that can be left, else what is running. */
static void go_back(struct workbench *wb)
{
	if (wb->message_shown || wb->error_seen != wb->s->error_serial) {
		wb->message_shown = false;
		wb->error_seen = wb->s->error_serial;
	} else if (wb->s->job != JOB_NONE) {
		wb->backend.cancel(wb->backend.context);
	} else if (wb->zoom) {
		wb->zoom = false;
	} else if (wb->focus == PANE_PROMPTS && wb->prompt_filter[0]) {
		wb->prompt_filter[0] = '\0';
		workbench_filter_prompts(wb);
	} else if (wb->focus == PANE_FEATURES && wb->s->filter[0]) {
		workbench_send(wb, COMMAND_FILTER, 0, "");
	} else if (wb->layout.kind == LAYOUT_STACKED && wb->focus == PANE_LOG) {
		workbench_go(wb, PANE_PROMPTS);
	}
}

static void move_token(struct workbench *wb, int by)
{
	int token = workbench_token(wb) + by;
	if (token >= 0 && token < wb->s->token_count)
		workbench_want(wb, &wb->token, token);
}

static void scrub(struct workbench *wb, int by)
{
	int most = wb->s->history.steps, step = workbench_step(wb);
	if (step < 0) {
		workbench_say(wb, "there is no recovery to look through yet: r runs one");
		return;
	}
	step += by;
	step = step < 0 ? 0 : step > most ? most : step;
	workbench_want(wb, &wb->step, step);
}

/* Panes and what is on the screen. */
static bool view_action(struct workbench *wb, enum action action)
{
	switch (action) {
	case ACTION_NEXT_PANE:
		next_pane(wb, 1);
		return true;
	case ACTION_PREVIOUS_PANE:
		next_pane(wb, -1);
		return true;
	case ACTION_PANE_1:
	case ACTION_PANE_2:
	case ACTION_PANE_3:
	case ACTION_PANE_4:
	case ACTION_PANE_5:
	case ACTION_PANE_6:
	case ACTION_PANE_STRIP:
		workbench_go(wb, (enum pane)(action - ACTION_PANE_1));
		return true;
	case ACTION_ZOOM:
		wb->zoom = !wb->zoom;
		return true;
	case ACTION_COMMAND:
		ask_open(wb, ASK_COMMAND, "");
		return true;
	case ACTION_HELP:
		show_help(wb);
		return true;
	case ACTION_MESSAGE:
		show_message(wb);
		return true;
	case ACTION_HINTS:
		wb->hints = !wb->hints;
		return true;
	case ACTION_BACK:
		go_back(wb);
		return true;
	case ACTION_REDRAW:
		term_redraw();
		return true;
	case ACTION_QUIT:
		ask_quit(wb);
		return true;
	default:
		return false;
	}
}

/* What the session does. */
static bool session_action(struct workbench *wb, enum action action)
{
	switch (action) {
	case ACTION_RUN:
		return workbench_send(wb, COMMAND_RUN, 0, NULL), true;
	case ACTION_STEP:
		return workbench_send(wb, COMMAND_STEP, 0, NULL), true;
	case ACTION_RANK:
		return workbench_send(wb, COMMAND_ATTRIBUTE, 0, NULL), true;
	case ACTION_DECOMPOSE:
		return workbench_send(wb, COMMAND_DECOMPOSE, 0, NULL), true;
	case ACTION_CLAMP_CLEAR:
		return workbench_send(wb, COMMAND_CLEAR_CLAMPS, 0, NULL), true;
	case ACTION_CLAMP_UNDO:
		return workbench_send(wb, COMMAND_UNDO_CLAMPS, 0, NULL), true;
	case ACTION_FORK:
		return workbench_send(wb, COMMAND_FORK, 0, NULL), true;
	case ACTION_COMPARE:
		return compare_choose(wb), true;
	case ACTION_GENERATE:
		return workbench_send(wb, COMMAND_GENERATE, 24, NULL), true;
	case ACTION_TWO_STAGE:
		return workbench_send(wb, COMMAND_TWO_STAGE, 0, NULL), true;
	case ACTION_SUFFIX:
		return settings_open(wb, SETTINGS_OF_SUFFIX), true;
	case ACTION_RADIUS:
		return workbench_send(wb, COMMAND_RADIUS, 0, NULL), true;
	case ACTION_VALID_FLIPS:
		return workbench_send(wb, COMMAND_FIND_FLIPS, 0, NULL), true;
	case ACTION_PERTURB_HERE:
		return workbench_send(wb, COMMAND_TOGGLE_DELTA, workbench_token(wb), NULL), true;
	case ACTION_CLAMP_TOP: {
		char k[16];
		snprintf(k, sizeof k, "%d", wb->last_top);
		return ask_open(wb, ASK_TOP, k), true;
	}
	case ACTION_SETTINGS:
		return settings_open(wb, SETTINGS_OF_RECOVERY), true;
	case ACTION_OBJECTIVE:
		return choose_open(wb, CHOICE_OBJECTIVE), true;
	case ACTION_PERTURB_RULE:
		return choose_open(wb, CHOICE_DELTA), true;
	case ACTION_CLAMP_POSITIONS:
		return choose_open(wb, CHOICE_POSITIONS), true;
	case ACTION_SAES:
		return choose_open(wb, CHOICE_SAE), true;
	case ACTION_DROP_SAES:
		return workbench_send(wb, COMMAND_DROP_SAES, 0, NULL), true;
	case ACTION_EXPORT:
		return choose_open(wb, CHOICE_EXPORT), true;
	case ACTION_TOKEN_LEFT:
		return move_token(wb, -1), true;
	case ACTION_TOKEN_RIGHT:
		return move_token(wb, 1), true;
	case ACTION_SCRUB_BACK:
		return scrub(wb, -1), true;
	case ACTION_SCRUB_ON:
		return scrub(wb, 1), true;
	case ACTION_SCRUB_BACK_10:
		return scrub(wb, -10), true;
	case ACTION_SCRUB_ON_10:
		return scrub(wb, 10), true;
	case ACTION_SCRUB_FIRST:
		return scrub(wb, -wb->s->history.steps), true;
	case ACTION_SCRUB_LAST:
		return workbench_want(wb, &wb->step, -1), true;
	default:
		return false;
	}
}

enum pane workbench_where(const struct workbench *wb)
{
	return wb->compare.open ? PANE_COMPARE : wb->view.open ? PANE_VIEW : wb->focus;
}

bool workbench_global_action(struct workbench *wb, enum action action)
{
	return view_action(wb, action) || session_action(wb, action);
}

/* ---- events ---- */

/* What lies over the panes comes first. */
static bool own_action(struct workbench *wb, enum action action)
{
	return wb->compare.open ? compare_view_action(wb, action)
	       : wb->view.open	? feature_view_action(wb, action)
				: views[wb->focus]->action(wb, action);
}

static void handle_key(struct workbench *wb, int key)
{
	if (wb->popup.open) {
		enum popup_result result = popup_key(&wb->popup, key);
		if (result == POPUP_YES && wb->popup_quits)
			wb->finished = true;
		if (result != POPUP_OPEN)
			wb->popup_quits = false;
	} else if (wb->chooser.open) {
		bool taken = wb->choice == CHOICE_SAE && sae_list_key(wb, key);
		if (!taken && chooser_key(&wb->chooser, key) == CHOOSER_CHOSEN)
			choose_done(wb);
	} else if (wb->settings.open) {
		settings_key(wb, key);
	} else if (wb->ask != ASK_NONE) {
		ask_key(wb, key);
	} else {
		enum action action = keys_action(workbench_where(wb), key);
		/* a key that does something has seen the notice and the message */
		if (action != ACTION_NONE)
			snprintf(wb->notice_seen, sizeof wb->notice_seen, "%s", wb->s->notice);
		if (action != ACTION_NONE && action != ACTION_BACK && action != ACTION_MESSAGE)
			wb->message_shown = false;
		if (action != ACTION_NONE && !own_action(wb, action))
			workbench_global_action(wb, action);
	}
}

static void handle_click(struct workbench *wb, int row, int col)
{
	if (wb->chooser.open) {
		if (chooser_click(&wb->chooser, row, col) == CHOOSER_CHOSEN)
			choose_done(wb);
		return;
	}
	if (wb->popup.open || wb->settings.open || wb->ask != ASK_NONE || wb->view.open || wb->compare.open)
		return;
	enum pane pane = layout_pane_at(&wb->layout, row, col);
	if (rect_contains(wb->layout.tabs, row, col))
		pane = (enum pane)(col * PANE_COUNT / wb->layout.cols);
	if (pane == PANE_GLOBAL)
		return;
	struct rect r = pane == PANE_STRIP ? wb->layout.strip : wb->layout.pane[pane];
	bool title = pane != PANE_STRIP && row <= r.row;
	workbench_go(wb, pane);
	if (!title && views[pane]->click)
		views[pane]->click(wb, row - r.row - (pane != PANE_STRIP), col - r.col);
}

static void handle_wheel(struct workbench *wb, const struct term_event *event)
{
	if (wb->popup.open) {
		popup_wheel(&wb->popup, event->key);
		return;
	}
	if (wb->compare.open) {
		compare_view_wheel(wb, event->key);
		return;
	}
	if (wb->view.open) {
		feature_view_wheel(wb, event->key);
		return;
	}
	enum pane pane = layout_pane_at(&wb->layout, event->row, event->col);
	if (pane != PANE_GLOBAL && views[pane]->wheel && !wb->chooser.open && !wb->settings.open)
		views[pane]->wheel(wb, event->key);
}

void workbench_event(struct workbench *wb, const struct term_event *event, int64_t now_ms)
{
	wb->now_ms = now_ms;
	switch (event->kind) {
	case TERM_KEY:
		handle_key(wb, event->key);
		break;
	case TERM_CLICK:
		handle_click(wb, event->row, event->col);
		break;
	case TERM_WHEEL:
		handle_wheel(wb, event);
		break;
	case TERM_INTERRUPT: /* first what is running, then the program */
		if (wb->s->job != JOB_NONE)
			wb->backend.cancel(wb->backend.context);
		else
			ask_quit(wb);
		break;
	case TERM_QUIT:
		wb->finished = true;
		break;
	default:
		break;
	}
}
