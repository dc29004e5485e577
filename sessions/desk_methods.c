/* The desk's longer methods: a recovery in two stages, and the recovery radius. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"
#include "sessions/radius.h"
#include "sessions/two_stage.h"

static void show_phase(void *context, const char *what)
{
	struct desk *desk = context;
	/* In between the session has the stages' objectives, which the scenes shown do not. */
	if (desk->session->frozen.count == 0 && strstr(what, "stage 2") == NULL) {
		snprintf(desk->job_text, sizeof desk->job_text, "two stages: %s", what);
		desk_pulse(desk);
	}
}

/* What the stages replace for a while. */
struct kept {
	struct recovery_settings settings;
	char *specs[OBJECTIVE_MAX_TERMS];
	int count;
};

static void keep(struct kept *kept, const struct session *session)
{
	*kept = (struct kept){0};
	(void)!settings_copy(&kept->settings, &session->settings);
	for (int i = 0; session->has_objective && i < session->objective.count; i++)
		kept->specs[kept->count++] = mem_strdup(session->objective.specs[i]);
}

static void put_back(struct kept *kept, struct session *session)
{
	(void)!settings_copy(&session->settings, &kept->settings);
	/* These were accepted before. */
	(void)!session_set_objective(session, (const char *const *)kept->specs, kept->count, NULL);
	(void)!session_set_frozen(session, NULL, NULL);
	settings_done(&kept->settings);
	for (int i = 0; i < kept->count; i++)
		free(kept->specs[i]);
}

static void show_texts(struct desk *desk, const struct refusal *t)
{
	static const int states[REFUSAL_STATES] = {STATE_BASE, STATE_CLAMPED, STATE_RECOVERED};
	for (int i = 0; i < REFUSAL_STATES; i++) {
		int state = states[i];
		if (!t->texts[i])
			continue;
		free(desk->texts[state]);
		desk->texts[state] = mem_strdup(t->texts[i]);
		desk->text_stale[state] = false;
		judge_summary(desk->verdicts[state], &t->verdicts[i]);
	}
}

enum status desk_two_stage(struct desk *desk, struct error *error)
{
	struct session *session = desk->session;
	const struct prompt *prompt = desk->prompt >= 0 ? &desk->prompts.items[desk->prompt] : NULL;
	struct recovery_settings settings[STAGE_COUNT] = {0};
	struct refusal_options options = {
		.judges = desk->judges, .max_new = 48, .on_phase = show_phase, .context = desk};
	struct refusal t = {0};
	struct kept kept;
	if (!desk->has_clamped)
		return error_set(error, STATUS_INVALID,
				 "there is nothing to recover from: clamp a feature first (space)");
	if (prompt) {
		options.answer = prompt->answer;
		options.refusals = (const char *const *)prompt->refusals;
		options.refusal_count = prompt->refusal_count;
	}
	char *command = desk_command_text(desk, "recover --stages 2", true);
	desk_begin_job(desk, JOB_GENERATE, "two stages");
	two_stage_settings(settings);
	keep(&kept, session);
	enum status status = experiment_open_journal(&options.journal, session, NULL, command, error);
	if (status == STATUS_OK)
		status = two_stage_run(&t, session, &options, settings, error);
	enum status closed = journal_close(&options.journal, status ? NULL : error);
	status = status ? status : closed;
	put_back(&kept, session);
	two_stage_settings_done(settings);
	show_texts(desk, &t);
	if (status == STATUS_OK)
		desk_log(desk, "recover --stages 2", true,
			 "%s: stage 1 %+.2f to %+.2f, stage 2 %+.2f to %+.2f, relative drift %.4f; %s",
			 !t.valid_flip ? "no valid flip"
			 : t.recovered ? "recovered"
				       : "not recovered",
			 scene_reference(&t.stages[0].clamped)->J, t.stages[0].final.objective,
			 scene_reference(&t.stages[1].clamped)->J, t.stages[1].final.objective,
			 refusal_final(&t)->drift_relative_l2, desk->verdicts[STATE_RECOVERED]);
	refusal_done(&t);
	free(command);
	return status;
}

static void show_trial(void *context, const struct radius_trial *trial)
{
	struct desk *desk = context;
	snprintf(desk->job_text, sizeof desk->job_text, "radius: %.4g %s", trial->budget,
		 trial->recovered ? "recovers" : "does not");
	desk->job_done++;
	desk_pulse(desk);
}

enum status desk_radius(struct desk *desk, struct error *error)
{
	struct session *session = desk->session;
	struct radius radius;
	struct radius_options options = {.tolerance = 0.01, .most_trials = 20, .on_trial = show_trial, .context = desk};
	if (!session->has_objective)
		return error_set(error, STATUS_INVALID, "there is no objective to recover; o chooses one");
	if (!desk->has_clamped)
		return error_set(error, STATUS_INVALID,
				 "there is nothing to recover from: clamp a feature first (space)");
	desk_begin_job(desk, JOB_RECOVER, "radius");
	enum status status = radius_find(&radius, session, &desk->clamped, &options, error);
	char *settings = settings_command(&session->settings);
	char *verb = mem_printf("radius%s%s", settings[0] ? " " : "", settings);
	if (status == STATUS_OK && radius.found) {
		desk_log(desk, verb, true, "radius %.4g: not within the steps at %.4g, %d trials", radius.upper,
			 radius.lower, radius.trial_count);
		desk_notice(desk, "the smallest budget that recovers is %.4g", radius.upper);
	} else if (status == STATUS_OK) {
		desk_log(desk, verb, true, "not recovered at %.4g", radius.lower);
		desk_notice(desk, "not recovered at the budget of %.4g", radius.lower);
	}
	radius_done(&radius);
	free(settings);
	free(verb);
	return status;
}
