/* Commands of the screens, carried out on the desk. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"

/* ---- prompts ---- */

static enum status select_prompt(struct desk *desk, const struct command *command, struct error *error)
{
	int64_t index = command->number;
	if (index < 0 || index >= desk->prompts.count)
		return STATUS_OK;
	const struct prompt *p = &desk->prompts.items[index];
	bool new_task = desk->prompt < 0 || strcmp(desk->prompts.items[desk->prompt].task, p->task) != 0;
	desk_prompt_changed(desk);
	enum status status =
		session_set_text(desk->session, p->text, strlen(p->text), p->chat, desk->options.no_bos, false, error);
	if (status)
		return status;
	desk->prompt = (int)index;
	free(desk->session->prompt_id);
	desk->session->prompt_id = mem_strdup(p->id);
	free(desk->session->prompts_path);
	desk->session->prompts_path = desk->prompts.path ? mem_strdup(desk->prompts.path) : NULL;
	for (int i = 0; i < desk->objective_count; i++)
		free(desk->objectives[i]);
	desk->objective_count = prompt_objectives(p, desk->objectives, 8);
	status = session_set_objective(desk->session, (const char *const *)desk->objectives, desk->objective_count > 0,
				       error);
	if (new_task)
		desk_recommend(desk, p->task);
	desk->token = (int)desk->session->prompt.count - 1;
	desk->exported = false;
	if (status == STATUS_OK)
		status = desk_refresh(desk, error);
	if (status == STATUS_OK)
		desk_log(desk, "logits", true, desk->base.has_objective ? "base %+.3f%s" : "base known%.0f%s",
			 desk->base.has_objective ? desk->base.J : 0, desk->has_clamped ? ", clamped too" : "");
	return status;
}

static enum status add_prompt_text(struct desk *desk, const char *text, const struct prompt *like, struct error *error)
{
	if (text[0] == '\0')
		return error_set(error, STATUS_INVALID, "an empty prompt can't be added");
	desk_usage_forget(desk);
	int index = prompt_set_add(&desk->prompts, text, like);
	mem_reserve((void **)&desk->states, &desk->state_capacity, (size_t)desk->prompts.count + 1,
		    sizeof *desk->states);
	desk->states[index] = (struct prompt_state){0};
	return select_prompt(desk, &(struct command){.number = index}, error);
}

static enum status add_prompt(struct desk *desk, const struct command *command, struct error *error)
{
	return add_prompt_text(desk, command->text, NULL, error);
}

static enum status edit_prompt(struct desk *desk, const struct command *command, struct error *error)
{
	if (desk->prompt < 0)
		return add_prompt(desk, command, error);
	/* A copy: the set may move while it grows. */
	struct prompt like = desk->prompts.items[desk->prompt];
	return add_prompt_text(desk, command->text, &like, error);
}

static enum status import_prompts(struct desk *desk, const struct command *command, struct error *error)
{
	struct prompt_set set;
	enum status status = prompt_set_load(&set, command->text, error);
	if (status)
		return status;
	desk_usage_forget(desk);
	int first = desk->prompts.count;
	for (int i = 0; i < set.count; i++) {
		mem_reserve((void **)&desk->prompts.items, &desk->prompts.capacity, (size_t)desk->prompts.count + 1,
			    sizeof *desk->prompts.items);
		desk->prompts.items[desk->prompts.count++] = set.items[i];
	}
	desk_notice(desk, "%d prompts imported from %s", set.count, command->text);
	set.count = 0; /* they belong to the desk now */
	prompt_set_done(&set);
	mem_reserve((void **)&desk->states, &desk->state_capacity, (size_t)desk->prompts.count + 1,
		    sizeof *desk->states);
	memset(desk->states + first, 0, (size_t)(desk->prompts.count - first) * sizeof *desk->states);
	return desk->prompt < 0 ? select_prompt(desk, &(struct command){.number = first}, error) : STATUS_OK;
}

static enum status find_flips(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	if (desk->prompts.count == 0)
		return error_set(error, STATUS_INVALID, "there are no prompts to judge");
	desk_leave_suffix(desk);
	desk->flips_running = !desk->flips_running;
	desk->flips_at = 0;
	if (!desk->flips_running)
		desk_notice(desk, "the search for valid flips was stopped");
	return STATUS_OK;
}

/* ---- what is shown ---- */

static enum status select_token(struct desk *desk, const struct command *command, struct error *error)
{
	(void)error;
	if (command->number >= 0 && command->number < (int64_t)desk->session->prompt.count) {
		desk->token = (int)command->number;
		desk->features_dirty = true;
	}
	return STATUS_OK;
}

static enum status select_site(struct desk *desk, const struct command *command, struct error *error)
{
	if (command->number < 0 || command->number >= desk->session->site_count)
		return error_set(error, STATUS_INVALID, "there is no SAE number %lld", (long long)command->number);
	desk->site = (int)command->number;
	desk_forget_features(desk); /* they would be taken for those of the other SAE while it is loaded */
	free(desk->ranking);
	desk->ranking = NULL;
	desk_ask_for_sae(desk, desk->site);
	return desk_refresh(desk, error);
}

static enum status drop_saes(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	(void)error;
	if (desk->session->site_count > 0)
		desk_ask_for_sae(desk, desk->site);
	desk_drop_saes(desk);
	return STATUS_OK;
}

static enum status set_sort(struct desk *desk, const struct command *command, struct error *error)
{
	(void)error;
	if (command->number >= 0 && command->number < SORT_COUNT)
		desk->sort = (enum feature_sort)command->number;
	return STATUS_OK;
}

static enum status set_filter(struct desk *desk, const struct command *command, struct error *error)
{
	(void)error;
	text_printable(desk->filter, sizeof desk->filter, command->text, strlen(command->text));
	return STATUS_OK;
}

static enum status view_feature(struct desk *desk, const struct command *command, struct error *error)
{
	return desk_view_open(desk, command->number, error);
}

static enum status toggle_usage(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	return desk_usage_toggle(desk, error);
}

/* ---- objective and settings ---- */

static enum status set_objective(struct desk *desk, const struct command *command, struct error *error)
{
	const char *spec = command->text;
	desk_leave_suffix(desk);
	enum status status = session_set_objective(desk->session, &spec, 1, error);
	if (status)
		return status;
	desk_prompt_changed(desk);
	return desk_refresh(desk, error);
}

static enum status delta_positions(struct desk *desk, const struct command *command, struct error *error)
{
	return settings_set(desk_settings(desk), "delta-positions", command->text, error);
}

static enum status toggle_delta(struct desk *desk, const struct command *command, struct error *error)
{
	struct session *session = desk->session;
	desk_leave_suffix(desk);
	int64_t total = session_total_length(session), T = (int64_t)session->prompt.count;
	if (command->number < 0 || command->number >= T)
		return STATUS_OK;
	bool *on = mem_alloc((size_t)total, sizeof *on);
	struct positions *p = &session->settings.delta_positions;
	enum status status = positions_resolve(p, T, total, on, error);
	on[command->number] = !on[command->number];
	int64_t count = 0;
	int64_t *list = mem_alloc((size_t)total, sizeof *list);
	for (int64_t i = 0; i < total; i++)
		if (on[i])
			list[count++] = i;
	free(on);
	if (status || count == 0) {
		free(list);
		return status ? status : error_set(error, STATUS_INVALID, "at least one position has to be perturbed");
	}
	positions_done(p);
	*p = (struct positions){POSITIONS_LIST, list, count};
	return STATUS_OK;
}

static enum status set_setting(struct desk *desk, const struct command *command, struct error *error)
{
	const char *equals = strchr(command->text, '=');
	if (!equals)
		return error_set(error, STATUS_INVALID, "a setting is written NAME=VALUE; found '%s'", command->text);
	char *name = mem_strndup(command->text, (size_t)(equals - command->text));
	enum status status = command->kind == COMMAND_SUFFIX_SETTING
				     ? suffix_options_set(&desk->suffix, name, equals + 1, error)
				     : settings_set(desk_settings(desk), name, equals + 1, error);
	free(name);
	return status == STATUS_NOTHING ? STATUS_INVALID : status;
}

/* ---- recovery ---- */

static enum status run_or_pause(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	struct desk_run *run = &desk->run;
	if (run->recovery && run->running) {
		run->running = false;
		run->paused = true;
		return STATUS_OK;
	}
	if (run->recovery && run->paused) {
		run->running = true;
		run->paused = false;
		run->live = true;
		return STATUS_OK;
	}
	return desk_run_start(desk, error);
}

static enum status one_step(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	struct desk_run *run = &desk->run;
	enum status status = STATUS_OK;
	if (!run->recovery || run->finished) {
		status = desk_run_start(desk, error);
		if (status)
			return status;
	}
	run->running = false;
	run->paused = true;
	status = recovery_advance(run->recovery, 1, error);
	if (status == STATUS_OK)
		status = desk_run_show(desk, recovery_steps(run->recovery), error);
	return status;
}

static enum status scrub(struct desk *desk, const struct command *command, struct error *error)
{
	struct desk_run *run = &desk->run;
	if (!run->recovery)
		return STATUS_OK;
	int64_t steps = recovery_steps(run->recovery);
	run->live = command->number < 0 || (command->number >= steps && !run->running);
	return desk_run_show(desk, command->number < 0 ? steps : command->number, error);
}

static enum status fork_run(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	return desk_fork(desk, error);
}

static enum status run_decompose(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	return desk_run_decompose(desk, error);
}

static enum status run_generate(struct desk *desk, const struct command *command, struct error *error)
{
	int64_t tokens = command->number < 1 ? 24 : command->number > 4096 ? 4096 : command->number;
	return desk_generate(desk, tokens, error);
}

static enum status run_two_stage(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	return desk_two_stage(desk, error);
}

static enum status run_suffix(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	return desk_suffix(desk, error);
}

static enum status run_radius(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	return desk_radius(desk, error);
}

static enum status list_sessions(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	return desk_sessions(desk, error);
}

static enum status compare_sessions(struct desk *desk, const struct command *command, struct error *error)
{
	return desk_compare(desk, command->text, error);
}

static enum status note(struct desk *desk, const struct command *command, struct error *error)
{
	return desk_note(desk, command->text, error);
}

static enum status run_export(struct desk *desk, const struct command *command, struct error *error)
{
	return desk_export(desk, command->text, error);
}

void desk_command(struct desk *desk, const struct command *command)
{
	static desk_handler *const handlers[] = {
		[COMMAND_SELECT_PROMPT] = select_prompt,
		[COMMAND_ADD_PROMPT] = add_prompt,
		[COMMAND_EDIT_PROMPT] = edit_prompt,
		[COMMAND_IMPORT_PROMPTS] = import_prompts,
		[COMMAND_FIND_FLIPS] = find_flips,
		[COMMAND_SELECT_TOKEN] = select_token,
		[COMMAND_SELECT_SITE] = select_site,
		[COMMAND_DROP_SAES] = drop_saes,
		[COMMAND_TOGGLE_CLAMP] = desk_toggle_clamp,
		[COMMAND_SET_CLAMP_VALUE] = desk_set_clamp_value,
		[COMMAND_SET_CLAMP_MODE] = desk_set_clamp_mode,
		[COMMAND_CLAMP_TOP] = desk_clamp_top,
		[COMMAND_CLEAR_CLAMPS] = desk_clear_clamps,
		[COMMAND_UNDO_CLAMPS] = desk_undo_clamps,
		[COMMAND_CLAMP_POSITIONS] = desk_clamp_positions,
		[COMMAND_TOGGLE_DELTA] = toggle_delta,
		[COMMAND_DELTA_POSITIONS] = delta_positions,
		[COMMAND_SET_ERROR] = desk_set_error,
		[COMMAND_SET_OBJECTIVE] = set_objective,
		[COMMAND_SORT] = set_sort,
		[COMMAND_FILTER] = set_filter,
		[COMMAND_FEATURE] = view_feature,
		[COMMAND_USAGE] = toggle_usage,
		[COMMAND_ATTRIBUTE] = desk_attribute,
		[COMMAND_GENERATE] = run_generate,
		[COMMAND_TWO_STAGE] = run_two_stage,
		[COMMAND_SUFFIX] = run_suffix,
		[COMMAND_RADIUS] = run_radius,
		[COMMAND_RUN] = run_or_pause,
		[COMMAND_STEP] = one_step,
		[COMMAND_SCRUB] = scrub,
		[COMMAND_FORK] = fork_run,
		[COMMAND_SETTING] = set_setting,
		[COMMAND_SUFFIX_SETTING] = set_setting,
		[COMMAND_DECOMPOSE] = run_decompose,
		[COMMAND_EXPORT] = run_export,
		[COMMAND_NOTE] = note,
		[COMMAND_SESSIONS] = list_sessions,
		[COMMAND_COMPARE] = compare_sessions,
		[COMMAND_LINE] = desk_clamp_line,
	};
	struct error error = {0};
	enum status status = STATUS_INVALID;
	if ((size_t)command->kind < ARRAY_LEN(handlers) && handlers[command->kind])
		status = handlers[command->kind](desk, command, &error);
	else
		error_set(&error, STATUS_INVALID, "this command is not available in this version");
	if (desk->job != JOB_RECOVER || !desk->run.running)
		desk_end_job(desk);
	if (status == STATUS_OK)
		status = desk_update_saes(desk, &error);
	if (status == STATUS_OK)
		status = desk_update_features(desk, &error);
	desk_report(desk, status, &error);
}
