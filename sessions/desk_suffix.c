/* The desk's suffix baseline: a run like any other, on an input, objective and settings of its
 * own. What they replace is put aside as long as the run is there (struct desk_aside). */
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"
#include "sessions/record_write.h"
#include "sessions/suffix.h"

/* ---- what is put aside ---- */

static void put_aside(struct desk *desk)
{
	struct session *session = desk->session;
	struct desk_aside *aside = &desk->aside;
	*aside = (struct desk_aside){.on = true,
				     .objective = session->objective,
				     .has_objective = session->has_objective,
				     .base = desk->base,
				     .clamped = desk->clamped,
				     .token = desk->token};
	aside->options = (struct suffix_options){desk->suffix.tokens, mem_strdup(desk->suffix.placeholder), {0}};
	/* These copy memory only. */
	(void)!settings_copy(&aside->options.settings, &desk->suffix.settings);
	(void)!settings_copy(&aside->settings, &session->settings);
	session->objective = (struct objective){0};
	session->has_objective = false;
	desk->base = desk->clamped = (struct scene){0};
	desk->has_base = desk->has_clamped = false;
}

void desk_put_back(struct desk *desk)
{
	struct session *session = desk->session;
	struct desk_aside *aside = &desk->aside;
	if (!aside->on)
		return;
	session_take_suffix(session);
	if (session->has_objective)
		objective_done(&session->objective);
	session->objective = aside->objective;
	session->has_objective = aside->has_objective;
	settings_done(&session->settings);
	session->settings = aside->settings;
	suffix_reader_destroy(&aside->reader);
	suffix_options_done(&aside->options);
	free(aside->nearest);
	scene_done(&desk->base);
	scene_done(&desk->clamped);
	desk->base = aside->base;
	desk->clamped = aside->clamped;
	desk->has_base = desk->has_clamped = true;
	desk->token = aside->token;
	desk->features_dirty = true;
	*aside = (struct desk_aside){0};
}

void desk_leave_suffix(struct desk *desk)
{
	if (desk->aside.on)
		desk_run_stop(desk);
}

struct recovery_settings *desk_settings(struct desk *desk)
{
	return desk->aside.on ? &desk->aside.settings : &desk->session->settings;
}

struct scene *desk_plain_base(struct desk *desk)
{
	return desk->aside.on ? &desk->aside.base : &desk->base;
}

/* ---- the run ---- */

static void say(void *context, const char *what)
{
	desk_begin_job(context, JOB_GENERATE, what);
}

static void write_texts(struct desk *desk, const struct refusal *t)
{
	struct journal *journal = desk->run.journal;
	struct error error;
	enum status status = STATUS_OK;
	for (int i = 0; journal && i < REFUSAL_RECOVERED && status == STATUS_OK; i++)
		status = record_write_generation(journal, desk->session, refusal_state_name((enum refusal_state)i),
						 t->ids[i].ids, t->ids[i].count, &error);
	if (status)
		desk_report(desk, status, &error);
}

/* Everything is put aside, and the session still has the prompt without a suffix. */
static enum status begin(struct desk *desk, const struct refusal *t, const struct refusal_options *options,
			 struct error *error)
{
	struct session *session = desk->session;
	enum status status = suffix_baseline_prepare(t, options, &desk->aside.options, error);
	if (status)
		return status;
	desk->token = (int)session->prompt.count - 1;
	desk->aside.nearest = mem_alloc((size_t)session->suffix.count, sizeof *desk->aside.nearest);
	status = suffix_reader_create(&desk->aside.reader, session, error);
	if (status == STATUS_OK)
		status = scene_run(&desk->base, session, false, error);
	desk->has_base = status == STATUS_OK;
	if (status == STATUS_OK)
		status = scene_run(&desk->clamped, session, true, error);
	desk->has_clamped = status == STATUS_OK;
	return status ? status : desk_run_begin(desk, NULL, error);
}

enum status desk_suffix(struct desk *desk, struct error *error)
{
	struct refusal_options options;
	struct refusal t;
	bool go_on;
	desk_run_stop(desk);
	enum status status = desk_refusal_options(&options, desk, error);
	if (status)
		return status;
	options.on_phase = say;
	options.context = desk;
	status = refusal_begin(&t, desk->session, &options, desk->suffix.settings.answer.tokens, &go_on, error);
	desk_show_texts(desk, &t);
	if (status == STATUS_OK) {
		put_aside(desk);
		status = begin(desk, &t, &options, error);
		if (status == STATUS_OK) {
			desk->aside.valid_flip = t.valid_flip;
			write_texts(desk, &t);
		} else {
			desk_run_stop(desk);
		}
	}
	refusal_done(&t);
	return status;
}

enum status desk_suffix_read(struct desk *desk, struct error *error)
{
	return suffix_reader_read(desk->aside.reader, desk->run.delta, desk->aside.nearest, error);
}

enum status desk_suffix_finish(struct desk *desk, struct error *error)
{
	const struct desk_run *run = &desk->run;
	struct judge_verdict verdict;
	desk_begin_job(desk, JOB_GENERATE, "the recovered answer");
	enum status status = desk_generate_recovered(desk, REFUSAL_NEW_TOKENS, &verdict, error);
	if (status)
		return status;
	bool recovered = !verdict.findings[JUDGE_REFUSAL].yes;
	desk_log(desk, run->verb, true, "%s: %+.2f to %+.2f, monitor %.2f of its start, relative drift %.4f; %s",
		 !desk->aside.valid_flip ? "no valid flip"
		 : recovered		 ? "recovered"
					 : "not recovered",
		 scene_reference(&desk->clamped)->J, run->final.objective, run->final.monitor_relative,
		 run->final.drift_relative_l2, desk->verdicts[STATE_RECOVERED]);
	if (desk->prompt >= 0 && desk->aside.valid_flip && recovered)
		desk->states[desk->prompt].state = FLIP_RECOVERED;
	return STATUS_OK;
}
