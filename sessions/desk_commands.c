/* Commands of the screens, carried out on the desk. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"

typedef enum status handler(struct desk *desk, const struct command *command, struct error *error);

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
	desk->features_dirty = true;
	free(desk->ranking);
	desk->ranking = NULL;
	return desk_refresh(desk, error);
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

/* ---- clamps ---- */

static void remember(struct desk *desk)
{
	if (desk->undo_count == (int)ARRAY_LEN(desk->undo)) {
		free(desk->undo[0].rules);
		memmove(desk->undo, desk->undo + 1, sizeof desk->undo - sizeof desk->undo[0]);
		desk->undo_count--;
	}
	desk->undo[desk->undo_count++] =
		(struct clamp_state){mem_copy(desk->rules, desk->rule_count * sizeof *desk->rules), desk->rule_count};
}

static void add_rule(struct desk *desk, struct layer_rule rule)
{
	mem_reserve((void **)&desk->rules, &desk->rule_capacity, desk->rule_count + 1, sizeof *desk->rules);
	desk->rules[desk->rule_count++] = rule;
}

/* Applies the rules and shows what they do. */
static enum status apply(struct desk *desk, struct error *error)
{
	desk->job = JOB_CLAMP;
	snprintf(desk->job_text, sizeof desk->job_text, "running under the clamp");
	enum status status = desk_apply_rules(desk, error);
	if (status == STATUS_OK)
		status = desk_refresh(desk, error);
	if (status == STATUS_OK && desk->has_clamped && desk->clamped.has_objective)
		desk_log(desk, "logits", true, "clamped %+.3f, base %+.3f: %s", desk->clamped.J, desk->base.J,
			 !desk->base.present	 ? "the base lacks the behaviour"
			 : desk->clamped.present ? "the behaviour is still there"
						 : "valid flip");
	return status;
}

static int find_rule(const struct desk *desk, int layer, uint32_t feature)
{
	for (size_t i = 0; i < desk->rule_count; i++)
		if (desk->rules[i].layer == layer && desk->rules[i].rule.feature == feature)
			return (int)i;
	return -1;
}

static enum status check_feature(const struct desk *desk, int64_t feature, struct error *error)
{
	if (desk->session->site_count == 0)
		return error_set(error, STATUS_INVALID,
				 "no SAE is loaded, so there is nothing to clamp; start with --sae");
	int64_t F = desk->session->sites[desk->site].sae.features;
	if (feature < 0 || feature >= F)
		return error_set(error, STATUS_INVALID,
				 "feature %lld does not exist: the SAE at layer %d has 0 to %lld", (long long)feature,
				 desk->session->sites[desk->site].sae.layer, (long long)F - 1);
	return STATUS_OK;
}

static enum status toggle_clamp(struct desk *desk, const struct command *command, struct error *error)
{
	enum status status = check_feature(desk, command->number, error);
	if (status)
		return status;
	int layer = desk->session->sites[desk->site].sae.layer;
	uint32_t feature = (uint32_t)command->number;
	remember(desk);
	int at = find_rule(desk, layer, feature);
	if (at >= 0) {
		desk->rule_count--;
		memmove(desk->rules + at, desk->rules + at + 1, (desk->rule_count - (size_t)at) * sizeof *desk->rules);
	} else {
		add_rule(desk, (struct layer_rule){layer, {feature, desk->mode, desk->mode_value}});
	}
	return apply(desk, error);
}

static enum status set_clamp_value(struct desk *desk, const struct command *command, struct error *error)
{
	enum status status = check_feature(desk, command->number, error);
	if (status)
		return status;
	int at = find_rule(desk, desk->session->sites[desk->site].sae.layer, (uint32_t)command->number);
	if (!isfinite(command->value))
		return error_set(error, STATUS_INVALID, "a clamp's value has to be a finite number");
	if (at < 0)
		return error_set(error, STATUS_INVALID, "feature %lld is not clamped; space clamps it",
				 (long long)command->number);
	if (desk->rules[at].rule.mode == OP_CLAMP_ABLATE)
		return error_set(error, STATUS_INVALID, "ablate takes no value; m chooses another mode");
	remember(desk);
	desk->rules[at].rule.value = (float)command->value;
	return apply(desk, error);
}

static enum status set_clamp_mode(struct desk *desk, const struct command *command, struct error *error)
{
	enum op_clamp_mode mode;
	float value;
	enum status status = clamp_mode_parse(command->text, &mode, &value, error);
	if (status)
		return status;
	desk->mode = mode;
	desk->mode_value = value;
	if (command->number < 0)
		return STATUS_OK;
	status = check_feature(desk, command->number, error);
	int at = status ? -1 : find_rule(desk, desk->session->sites[desk->site].sae.layer, (uint32_t)command->number);
	if (at < 0)
		return status;
	remember(desk);
	desk->rules[at].rule.mode = mode;
	desk->rules[at].rule.value = value;
	return apply(desk, error);
}

static int by_feature(const void *a, const void *b)
{
	const struct attribution *x = a, *y = b;
	return (x->feature > y->feature) - (x->feature < y->feature);
}

static enum status attribute(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	if (desk->session->site_count == 0)
		return error_set(error, STATUS_INVALID,
				 "no SAE is loaded, so there are no features to rank; start with --sae");
	if (!desk->session->has_objective)
		return error_set(error, STATUS_INVALID, "there is no objective to attribute; o chooses one");
	desk_leave_suffix(desk);
	desk_begin_job(desk, JOB_ATTRIBUTE, "ranking features");
	struct attribution *items;
	int64_t count;
	enum status status = desk_refresh(desk, error);
	if (status == STATUS_OK)
		status = attribute_rank(&items, &count, desk->session, &desk->base, desk->site, error);
	if (status)
		return status;
	uint32_t best = items[0].feature;
	double most = items[0].attribution;
	qsort(items, (size_t)count, sizeof *items, by_feature);
	free(desk->ranking);
	desk->ranking = items;
	desk->ranking_count = count;
	desk->ranking_site = desk->site;
	desk->sort = SORT_ATTRIBUTION;
	/* At the readout position: where the attribution was taken. */
	desk->token = (int)desk->session->prompt.count - 1;
	desk->features_dirty = true;
	int layer = desk->session->sites[desk->site].sae.layer;
	char *verb = mem_printf("attribute --layer %d", layer);
	desk_log(desk, verb, false, "first: feature %u of layer %d, attribution %+.3f", best, layer, most);
	free(verb);
	return STATUS_OK;
}

static int by_attribution(const void *a, const void *b)
{
	const struct attribution *x = a, *y = b;
	if (x->attribution != y->attribution)
		return x->attribution > y->attribution ? -1 : 1;
	return by_feature(a, b);
}

static enum status clamp_top(struct desk *desk, const struct command *command, struct error *error)
{
	enum status status = STATUS_OK;
	if (command->number < 1)
		return error_set(error, STATUS_INVALID, "the number of features to clamp has to be 1 or more");
	if (!desk->ranking || desk->ranking_site != desk->site)
		status = attribute(desk, command, error);
	if (status)
		return status;
	struct attribution *items = mem_copy(desk->ranking, (size_t)desk->ranking_count * sizeof *items);
	qsort(items, (size_t)desk->ranking_count, sizeof *items, by_attribution);
	int layer = desk->session->sites[desk->site].sae.layer;
	remember(desk);
	/* The top k take the place of what was clamped at this layer. */
	size_t kept = 0;
	for (size_t i = 0; i < desk->rule_count; i++)
		if (desk->rules[i].layer != layer)
			desk->rules[kept++] = desk->rules[i];
	desk->rule_count = kept;
	int64_t n = 0;
	for (; n < command->number && n < desk->ranking_count && items[n].attribution > 0; n++)
		add_rule(desk, (struct layer_rule){layer, {items[n].feature, desk->mode, desk->mode_value}});
	free(items);
	if (n < command->number)
		desk_notice(desk, "only %lld features have a positive attribution", (long long)n);
	return apply(desk, error);
}

static enum status clear_clamps(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	remember(desk);
	desk->rule_count = 0;
	return apply(desk, error);
}

static enum status undo_clamps(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	if (desk->undo_count == 0) {
		desk_notice(desk, "nothing to undo");
		return STATUS_OK;
	}
	struct clamp_state last = desk->undo[--desk->undo_count];
	desk->rule_count = 0;
	for (size_t i = 0; i < last.count; i++)
		add_rule(desk, last.rules[i]);
	free(last.rules);
	return apply(desk, error);
}

static enum status clamp_positions(struct desk *desk, const struct command *command, struct error *error)
{
	struct positions parsed = {0};
	enum status status = positions_parse(&parsed, command->text, "clamp positions", error);
	if (status)
		return status;
	positions_done(&desk->session->clamp_positions);
	desk->session->clamp_positions = parsed;
	return apply(desk, error);
}

static enum status set_error_treatment(struct desk *desk, const struct command *command, struct error *error)
{
	enum status status = session_set_error_treatment(desk->session, command->text, error);
	return status ? status : apply(desk, error);
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

static enum status line(struct desk *desk, const struct command *command, struct error *error)
{
	/* "clamp LAYER:F,F=MODE" as on the command line; the screens know the rest themselves. */
	if (strncmp(command->text, "clamp ", 6) != 0)
		return error_set(error, STATUS_INVALID, "there is no command '%s'; ? lists them", command->text);
	struct layer_rule *rules = NULL;
	size_t count = 0, capacity = 0;
	enum status status = clamp_rules_parse(&rules, &count, &capacity, command->text + 6, error);
	if (status == STATUS_OK) {
		remember(desk);
		for (size_t i = 0; i < count; i++) {
			int at = find_rule(desk, rules[i].layer, rules[i].rule.feature);
			if (at >= 0)
				desk->rules[at] = rules[i];
			else
				add_rule(desk, rules[i]);
		}
		status = apply(desk, error);
		if (status == STATUS_INVALID) {
			/* A layer or feature that is not there: as it was before. */
			struct error ignored;
			(void)!undo_clamps(desk, command, &ignored);
		}
	}
	free(rules);
	return status;
}

void desk_command(struct desk *desk, const struct command *command)
{
	static handler *const handlers[] = {
		[COMMAND_SELECT_PROMPT] = select_prompt,
		[COMMAND_ADD_PROMPT] = add_prompt,
		[COMMAND_EDIT_PROMPT] = edit_prompt,
		[COMMAND_IMPORT_PROMPTS] = import_prompts,
		[COMMAND_FIND_FLIPS] = find_flips,
		[COMMAND_SELECT_TOKEN] = select_token,
		[COMMAND_SELECT_SITE] = select_site,
		[COMMAND_TOGGLE_CLAMP] = toggle_clamp,
		[COMMAND_SET_CLAMP_VALUE] = set_clamp_value,
		[COMMAND_SET_CLAMP_MODE] = set_clamp_mode,
		[COMMAND_CLAMP_TOP] = clamp_top,
		[COMMAND_CLEAR_CLAMPS] = clear_clamps,
		[COMMAND_UNDO_CLAMPS] = undo_clamps,
		[COMMAND_CLAMP_POSITIONS] = clamp_positions,
		[COMMAND_TOGGLE_DELTA] = toggle_delta,
		[COMMAND_DELTA_POSITIONS] = delta_positions,
		[COMMAND_SET_ERROR] = set_error_treatment,
		[COMMAND_SET_OBJECTIVE] = set_objective,
		[COMMAND_SORT] = set_sort,
		[COMMAND_FILTER] = set_filter,
		[COMMAND_FEATURE] = view_feature,
		[COMMAND_USAGE] = toggle_usage,
		[COMMAND_ATTRIBUTE] = attribute,
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
		[COMMAND_LINE] = line,
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
		status = desk_update_features(desk, &error);
	desk_report(desk, status, &error);
}
