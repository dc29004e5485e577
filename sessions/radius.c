#include "sessions/radius.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* How many steps lie between two looks. */
enum { LOOK_EVERY = 10 };

struct search {
	struct radius *radius;
	struct session *session;
	struct scene *clamped;
	const struct radius_options *options;
	size_t count; /* numbers of delta */
};

static double norm_of(const float *x, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

/* Looks at the recovery's current delta, which is left in `delta`. */
static enum status look(const struct search *s, struct recovery *recovery, float *delta, struct radius_trial *trial,
			struct error *error)
{
	struct recovery_final final;
	enum status status = recovery_delta(recovery, recovery_steps(recovery), delta, error);
	if (status == STATUS_OK)
		status = recovery_evaluate(recovery, delta, &final, error);
	if (status)
		return status;
	trial->recovered = final.present;
	trial->objective = final.objective;
	trial->drift_relative_l2 = final.drift_relative_l2;
	trial->delta_norm = final.delta_norm;
	if (s->options->on_steps)
		s->options->on_steps(s->options->context, s->radius, recovery);
	return STATUS_OK;
}

/* Keeps a delta that recovered as the smallest so far. */
static void keep(struct search *s, const float *delta, double budget)
{
	struct radius *r = s->radius;
	double norm = norm_of(delta, s->count);
	if (!r->delta)
		r->delta = mem_alloc(s->count, sizeof *r->delta);
	memcpy(r->delta, delta, s->count * sizeof *delta);
	r->found = true;
	r->upper = norm < budget ? norm : budget;
}

/* One optimisation at the session's budget from `start` (NULL: zero). */
static enum status optimise(struct search *s, const float *start, struct radius_trial *trial, struct error *error)
{
	struct recovery *recovery;
	enum status status = recovery_create(&recovery, s->session, s->clamped, start, error);
	if (status)
		return status;
	struct radius *r = s->radius;
	r->rows = recovery_rows(recovery);
	s->count = (size_t)(r->rows * s->session->model.arch.d);
	float *delta = mem_alloc(s->count, sizeof *delta);
	/* A warm start may do as it is. */
	if (start)
		status = look(s, recovery, delta, trial, error);
	while (status == STATUS_OK && !trial->recovered && recovery_steps(recovery) < recovery_planned(recovery)) {
		status = recovery_advance(recovery, LOOK_EVERY, error);
		if (status == STATUS_OK)
			status = look(s, recovery, delta, trial, error);
	}
	if (status == STATUS_OK && trial->recovered)
		keep(s, delta, trial->budget);
	trial->steps += recovery_steps(recovery);
	recovery_destroy(&recovery);
	free(delta);
	return status;
}

static enum status try_budget(struct search *s, double budget, struct error *error)
{
	struct radius *r = s->radius;
	struct radius_trial *trial = &r->trials[r->trial_count];
	*trial = (struct radius_trial){.budget = budget};
	s->session->settings.budget = (struct amount){budget, false};
	enum status status = STATUS_OK;
	if (r->found) {
		float *start = mem_copy(r->delta, s->count * sizeof *start);
		double norm = norm_of(start, s->count);
		for (size_t i = 0; i < s->count && norm > budget; i++)
			start[i] = (float)((double)start[i] * budget / (norm + 1e-8));
		status = optimise(s, start, trial, error);
		free(start);
	}
	if (status == STATUS_OK && !trial->recovered)
		status = optimise(s, NULL, trial, error);
	if (status == STATUS_OK) {
		r->trial_count++;
		if (!trial->recovered)
			r->lower = budget;
	}
	return status;
}

/* The session's budget, in absolute terms. */
static enum status absolute_budget(const struct search *s, double *budget, struct error *error)
{
	struct recovery *recovery;
	enum status status = recovery_create(&recovery, s->session, s->clamped, NULL, error);
	if (status)
		return status;
	*budget = recovery_budget(recovery);
	recovery_destroy(&recovery);
	if (*budget <= 0)
		return error_set(
			error, STATUS_INVALID,
			"--budget is 0; the radius is searched between 0 and the budget, so give a larger one");
	return STATUS_OK;
}

enum status radius_find(struct radius *radius, struct session *session, struct scene *clamped,
			const struct radius_options *options, struct error *error)
{
	*radius = (struct radius){0};
	struct search s = {radius, session, clamped, options, 0};
	struct amount before = session->settings.budget;
	if (scene_reference(clamped)->present) {
		radius->found = true;
		return STATUS_OK;
	}
	double budget = 0;
	enum status status = absolute_budget(&s, &budget, error);
	while (status == STATUS_OK && radius->trial_count < options->most_trials) {
		status = try_budget(&s, budget, error);
		if (status)
			break;
		if (options->on_trial)
			options->on_trial(options->context, &radius->trials[radius->trial_count - 1]);
		if (!radius->found || radius->upper - radius->lower <= options->tolerance * radius->upper)
			break;
		budget = (radius->lower + radius->upper) / 2;
	}
	session->settings.budget = before;
	return status;
}

void radius_done(struct radius *radius)
{
	free(radius->delta);
	*radius = (struct radius){0};
}
