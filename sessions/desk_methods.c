/* The desk's longer methods: a refused answer in two stages, and the recovery radius. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"
#include "sessions/radius.h"
#include "sessions/two_stage.h"

/* What a method replaces while it runs. Between steps it is put back for as long as it takes
 * to make a snapshot: the screens show the desk's own prompt, objective and settings. */
struct running {
	struct desk *desk;
	struct recovery_settings settings;
	struct objective objective;
	bool has_objective;
};

static void take(struct running *r, struct desk *desk)
{
	struct session *session = desk->session;
	*r = (struct running){.desk = desk, .objective = session->objective};
	r->has_objective = session->has_objective;
	session->objective = (struct objective){0};
	session->has_objective = false;
	(void)!settings_copy(&r->settings, &session->settings); /* it copies memory only */
}

static void exchange(struct running *r)
{
	struct session *session = r->desk->session;
	struct running now = {.settings = session->settings,
			      .objective = session->objective,
			      .has_objective = session->has_objective};
	session->settings = r->settings;
	session->objective = r->objective;
	session->has_objective = r->has_objective;
	r->settings = now.settings;
	r->objective = now.objective;
	r->has_objective = now.has_objective;
}

static void put_back(struct running *r)
{
	exchange(r);
	(void)!session_set_frozen(r->desk->session, NULL, NULL); /* none is accepted */
	settings_done(&r->settings);
	if (r->has_objective)
		objective_done(&r->objective);
}

static void publish(struct running *r)
{
	exchange(r);
	desk_pulse(r->desk);
	exchange(r);
}

static void show_phase(void *context, const char *what)
{
	struct running *r = context;
	snprintf(r->desk->job_text, sizeof r->desk->job_text, "two stages: %s", what);
	r->desk->job_done = r->desk->job_total = 0;
	publish(r);
}

static void show_steps(void *context, const struct recovery *recovery)
{
	struct running *r = context;
	struct desk *desk = r->desk;
	struct snapshot_method *method = &desk->method;
	desk_method_forget(desk);
	method->known = true;
	method->budget = recovery_budget(recovery);
	snprintf(method->title, sizeof method->title, "%s", desk->job_text);
	desk_history(&method->history, recovery);
	desk->job_done = (double)recovery_steps(recovery);
	desk->job_total = (double)recovery_planned(recovery);
	publish(r);
}

void desk_method_forget(struct desk *desk)
{
	snapshot_history_done(&desk->method.history);
	desk->method = (struct snapshot_method){0};
}

enum status desk_refusal_options(struct refusal_options *options, const struct desk *desk, struct error *error)
{
	const struct prompt *prompt = desk->prompt >= 0 ? &desk->prompts.items[desk->prompt] : NULL;
	*options = (struct refusal_options){.judges = desk->judges, .max_new = REFUSAL_NEW_TOKENS};
	if (prompt) {
		options->answer = prompt->answer;
		options->refusals = (const char *const *)prompt->refusals;
		options->refusal_count = prompt->refusal_count;
	}
	return desk_check_clamped(desk, error);
}

void desk_show_texts(struct desk *desk, const struct refusal *t)
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

/* What came of it; of each stage where its objective went. */
static void log_result(struct desk *desk, const char *verb, const struct refusal *t)
{
	struct strbuf stages = {0};
	for (int i = 0; i < t->stage_count; i++) {
		const struct experiment *x = &t->stages[i];
		strbuf_printf(&stages, "stage %d %+.2f to %+.2f, ", i + 1, scene_reference(&x->clamped)->J,
			      x->final.objective);
	}
	desk_log(desk, verb, true, "%s: %srelative drift %.4f; %s",
		 !t->valid_flip ? "no valid flip"
		 : t->recovered ? "recovered"
				: "not recovered",
		 stages.data, refusal_final(t)->drift_relative_l2, desk->verdicts[STATE_RECOVERED]);
	strbuf_done(&stages);
}

enum status desk_two_stage(struct desk *desk, struct error *error)
{
	static const char verb[] = "recover --stages 2";
	desk_leave_suffix(desk);
	struct session *session = desk->session;
	struct running running;
	struct refusal_options options;
	struct refusal t = {0};
	struct recovery_settings stages[STAGE_COUNT];
	enum status status = desk_refusal_options(&options, desk, error);
	if (status)
		return status;
	options.on_phase = show_phase;
	options.on_steps = show_steps;
	options.context = &running;
	desk_method_forget(desk);
	desk_begin_job(desk, JOB_GENERATE, "two stages");
	/* The method's objective is its own: the commands name none. */
	take(&running, desk);
	two_stage_settings(stages);
	char *command = desk_command_text(desk, verb, true);
	status = experiment_open_journal(&options.journal, session, NULL, command, error);
	if (status == STATUS_OK)
		status = two_stage_run(&t, session, &options, stages, error);
	enum status closed = journal_close(&options.journal, status ? NULL : error);
	status = status ? status : closed;
	desk_show_texts(desk, &t);
	(void)!session_set_objective(session, NULL, 0, NULL); /* none is accepted */
	if (status == STATUS_OK)
		log_result(desk, verb, &t);
	put_back(&running);
	refusal_done(&t);
	two_stage_settings_done(stages);
	free(command);
	return status;
}

/* The desk's own budget, which the trials replace while they run. */
struct trials {
	struct desk *desk;
	struct amount budget;
};

/* The curves of the trial that is made now, and the bracket so far. */
static void show_trial(void *context, const struct radius *radius, const struct recovery *recovery)
{
	const struct trials *trials = context;
	struct desk *desk = trials->desk;
	struct amount *budget = &desk->session->settings.budget, trial = *budget;
	struct snapshot_method *method = &desk->method;
	desk_method_forget(desk);
	method->known = true;
	method->budget = recovery_budget(recovery);
	int n = snprintf(method->title, sizeof method->title, "radius, trial %d at budget %.4g",
			 radius->trial_count + 1, method->budget);
	if (radius->found)
		snprintf(method->title + n, sizeof method->title - (size_t)n, ": between %.4g and %.4g", radius->lower,
			 radius->upper);
	desk_history(&method->history, recovery);
	snprintf(desk->job_text, sizeof desk->job_text, "radius, trial %d at %.4g", radius->trial_count + 1,
		 method->budget);
	desk->job_done = (double)recovery_steps(recovery);
	desk->job_total = (double)recovery_planned(recovery);
	*budget = trials->budget;
	desk_pulse(desk);
	*budget = trial;
}

/* What the pane keeps: the last trial's curves, unless a run of the desk's is there to be shown
 * again. */
static void end_trials(struct desk *desk, const struct radius *radius)
{
	struct snapshot_method *method = &desk->method;
	if (desk->run.recovery)
		desk_method_forget(desk);
	else if (method->known && radius->found)
		snprintf(method->title, sizeof method->title, "radius between %.4g and %.4g after %d trial%s",
			 radius->lower, radius->upper, radius->trial_count, radius->trial_count == 1 ? "" : "s");
}

enum status desk_radius(struct desk *desk, struct error *error)
{
	desk_leave_suffix(desk);
	struct session *session = desk->session;
	struct radius radius;
	struct trials trials = {desk, session->settings.budget};
	struct radius_options options = {
		.tolerance = 0.01, .most_trials = 20, .on_steps = show_trial, .context = &trials};
	enum status status = desk_check_ready(desk, error);
	if (status)
		return status;
	desk_method_forget(desk);
	desk_begin_job(desk, JOB_RECOVER, "radius");
	status = radius_find(&radius, session, &desk->clamped, &options, error);
	end_trials(desk, &radius);
	if (status == STATUS_CANCELLED && radius.found) {
		/* What was shown holds; the rest can be gone on with from there. */
		desk_notice(desk, "stopped: the radius is between %.4g and %.4g", radius.lower, radius.upper);
		radius_done(&radius);
		atomic_store(&desk->cancel, false);
		return STATUS_OK;
	}
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
