#include "sessions/experiment.h"

#include <stdlib.h>
#include <time.h>

#include "compute/base/mem.h"

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

enum status experiment_run(struct experiment *x, struct session *session, struct error *error)
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
	if (status)
		return status;
	double start = seconds();
	status = recovery_advance(x->recovery, recovery_planned(x->recovery), error);
	x->wall_s = seconds() - start;
	x->delta = mem_alloc((size_t)(recovery_rows(x->recovery) * session->model.arch.d), sizeof *x->delta);
	if (status == STATUS_OK)
		status = recovery_result(x->recovery, x->delta, &x->result_step, error);
	if (status == STATUS_OK)
		status = recovery_evaluate(x->recovery, x->delta, &x->final, error);
	x->complete = status == STATUS_OK;
	return status;
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
