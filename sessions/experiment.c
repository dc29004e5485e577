#include "sessions/experiment.h"

#include <stdlib.h>
#include <time.h>

#include "compute/base/mem.h"

double experiment_seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Steps between two calls of a watch: as many as are in flight at once. */
enum { WATCH_STEPS = 4 };

static enum status advance(struct recovery *recovery, const struct experiment_watch *watch, struct error *error)
{
	int64_t planned = recovery_planned(recovery);
	enum status status = STATUS_OK;
	if (!watch->on_steps)
		return recovery_advance(recovery, planned, error);
	while (status == STATUS_OK && recovery_steps(recovery) < planned) {
		status = recovery_advance(recovery, WATCH_STEPS, error);
		watch->on_steps(watch->context, recovery);
	}
	return status;
}

enum status experiment_prepare(struct experiment *x, struct session *session, struct error *error)
{
	*x = (struct experiment){.session = session};
	if (!session->has_objective)
		return error_set(error, STATUS_INVALID,
				 "recovery needs an objective; give --objective, or a --prompt whose task has one");
	if (!session_has_clamps(session))
		return error_set(error, STATUS_INVALID, "there is nothing to recover from: no --clamp is given");
	enum status status = scene_run(&x->base, session, false, error);
	if (status == STATUS_OK)
		status = scene_run(&x->clamped, session, true, error);
	if (status == STATUS_OK)
		status = recovery_create(&x->recovery, session, &x->clamped, NULL, error);
	return status;
}

enum status experiment_conclude(struct experiment *x, struct error *error)
{
	x->delta = mem_alloc((size_t)(recovery_rows(x->recovery) * x->session->model.arch.d), sizeof *x->delta);
	enum status status = recovery_result(x->recovery, x->delta, &x->result_step, error);
	if (status == STATUS_OK)
		status = recovery_evaluate(x->recovery, x->delta, &x->final, error);
	x->complete = status == STATUS_OK;
	return status;
}

enum status experiment_run(struct experiment *x, struct session *session, struct error *error)
{
	return experiment_run_watched(x, session, &(struct experiment_watch){0}, error);
}

enum status experiment_run_watched(struct experiment *x, struct session *session, const struct experiment_watch *watch,
				   struct error *error)
{
	enum status status = experiment_prepare(x, session, error);
	if (status)
		return status;
	double start = experiment_seconds();
	status = advance(x->recovery, watch, error);
	x->wall_s = experiment_seconds() - start;
	return status ? status : experiment_conclude(x, error);
}

void experiment_done(struct experiment *x)
{
	recovery_destroy(&x->recovery);
	scene_done(&x->base);
	scene_done(&x->clamped);
	free(x->delta);
	free(x->journal_path);
	*x = (struct experiment){0};
}
