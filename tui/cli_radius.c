/* rebound radius: the smallest budget that recovers. */
#include <stdio.h>

#include "models/npy.h"
#include "sessions/radius.h"
#include "tui/cli.h"

static void on_trial(void *context, const struct radius_trial *trial)
{
	const struct options *o = context;
	if (!o->quiet)
		fprintf(stderr, "budget %-10.5g %s at %+.4f, relative drift %.4f, %lld steps\n", trial->budget,
			trial->recovered ? "recovers" : "does not", trial->objective, trial->drift_relative_l2,
			(long long)trial->steps);
}

static cJSON *radius_json(const struct radius *r, const struct scene *base, const struct scene *clamped)
{
	cJSON *json = cJSON_CreateObject();
	if (r->found)
		cJSON_AddNumberToObject(json, "radius", r->upper);
	else
		cJSON_AddNullToObject(json, "radius");
	cJSON_AddNumberToObject(json, "lower", r->lower);
	if (r->found)
		cJSON_AddNumberToObject(json, "upper", r->upper);
	else
		cJSON_AddNullToObject(json, "upper");
	cJSON_AddBoolToObject(json, "valid_flip", base->present && !clamped->present);
	cJSON *list = cJSON_AddArrayToObject(json, "trials");
	for (int i = 0; i < r->trial_count; i++) {
		const struct radius_trial *t = &r->trials[i];
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "budget", t->budget);
		cJSON_AddBoolToObject(item, "recovered", t->recovered);
		cJSON_AddNumberToObject(item, "objective", t->objective);
		cJSON_AddNumberToObject(item, "drift_relative_l2", t->drift_relative_l2);
		cJSON_AddNumberToObject(item, "delta_norm", t->delta_norm);
		cJSON_AddNumberToObject(item, "steps", (double)t->steps);
		cJSON_AddItemToArray(list, item);
	}
	return json;
}

static enum status show(const struct radius *r, const struct scene *base, const struct scene *clamped, bool json,
			struct error *error)
{
	if (json)
		return cli_print_json(radius_json(r, base, clamped), error);
	if (clamped->present)
		printf("radius     0  (the clamp does not remove the behaviour: nothing to recover)\n");
	else if (r->found)
		printf("radius     %.5g  (not within the steps at %.5g, %d trials)\n", r->upper, r->lower,
		       r->trial_count);
	else
		printf("no radius: not recovered at %.5g\n", r->lower);
	if (!base->present)
		printf("the base model lacks the behaviour: no valid flip\n");
	return STATUS_OK;
}

enum status cli_radius(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct opened opened;
	struct radius_options options = {.on_trial = on_trial, .context = (void *)o};
	int64_t trials;
	enum status status = options_int(o->trials, "trials", 1, RADIUS_MOST_TRIALS, 20, &trials, error);
	if (status == STATUS_OK)
		status = options_double(o->tolerance, "tolerance", 0.01, &options.tolerance, error);
	if (status == STATUS_OK && !(options.tolerance > 0 && options.tolerance < 1))
		status = error_set(error, STATUS_INVALID, "--tolerance is %g; expected a number between 0 and 1",
				   options.tolerance);
	if (status == STATUS_OK && o->suffix)
		status = error_set(
			error, STATUS_INVALID,
			"radius bisects the budget of delta in the residual stream; --suffix belongs to recover");
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_INPUT | NEED_SAES, error);
	if (status)
		return status;
	options.most_trials = (int)trials;
	struct session *session = opened.session;
	struct scene base = {0}, clamped = {0};
	struct radius radius = {0};
	if (!session->has_objective)
		status = error_set(error, STATUS_INVALID,
				   "a radius needs an objective; give --objective, or a --prompt "
				   "whose task has one");
	else if (!session_has_clamps(session))
		status = error_set(error, STATUS_INVALID, "there is nothing to recover from: no --clamp is given");
	if (status == STATUS_OK)
		status = scene_run(&base, session, false, error);
	if (status == STATUS_OK)
		status = scene_run(&clamped, session, true, error);
	if (status == STATUS_OK)
		status = radius_find(&radius, session, &clamped, &options, error);
	/* Interrupted: the bracket so far. */
	if (status == STATUS_OK || (status == STATUS_CANCELLED && radius.trial_count > 0)) {
		enum status shown = show(&radius, &base, &clamped, o->json, status ? NULL : error);
		status = status ? status : shown;
	}
	if (status == STATUS_OK && o->save_delta && radius.delta) {
		int64_t shape[] = {radius.rows, session->model.arch.d};
		status = npy_write_float(o->save_delta, radius.delta, 2, shape, error);
	}
	radius_done(&radius);
	scene_done(&base);
	scene_done(&clamped);
	options_close(&opened);
	return status;
}
