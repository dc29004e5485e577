/* Forks: a new run from an iteration of the one before, whose curves stay to be compared. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"

/* Runs whose curves are kept: more than these would not be told apart. */
enum { MOST_EARLIER = 4 };

void desk_history(struct snapshot_history *h, const struct recovery *recovery)
{
	size_t n = (size_t)recovery_steps(recovery);
	const struct recovery_metrics *m = recovery_history(recovery);
	h->steps = (int)n;
	h->planned = (int)recovery_planned(recovery);
	float **const curves[] = {&h->objective,  &h->loss,   &h->drift,    &h->drift_relative, &h->decode_drift,
				  &h->delta_norm, &h->cosine, &h->gradient, &h->projected,	&h->monitor};
	for (size_t c = 0; c < ARRAY_LEN(curves); c++)
		*curves[c] = mem_alloc(n, sizeof **curves[c]);
	for (size_t i = 0; i < n; i++) {
		h->objective[i] = (float)m[i].objective;
		h->loss[i] = (float)m[i].loss;
		h->drift[i] = (float)m[i].drift_l2;
		h->drift_relative[i] = (float)m[i].drift_relative_l2;
		h->decode_drift[i] = (float)m[i].decode_drift_l2;
		h->delta_norm[i] = (float)m[i].delta_norm;
		h->cosine[i] = (float)m[i].projection_cosine;
		h->gradient[i] = (float)m[i].grad_norm;
		h->projected[i] = (float)m[i].projected_grad_norm;
		h->monitor[i] = (float)m[i].monitor_relative;
	}
}

void desk_earlier_forget(struct desk *desk)
{
	for (int i = 0; i < desk->earlier_count; i++)
		snapshot_history_done(&desk->earlier[i].history);
	free(desk->earlier);
	desk->earlier = NULL;
	desk->earlier_count = desk->run_begin = 0;
}

/* The current run's curves, behind those that it was forked from. */
static struct snapshot_run *with_current(const struct desk *desk, int *count)
{
	struct snapshot_run *runs = mem_alloc((size_t)desk->earlier_count + 1, sizeof *runs);
	int first = desk->earlier_count == MOST_EARLIER;
	*count = 0;
	for (int i = first; i < desk->earlier_count; i++) {
		runs[*count].begin = desk->earlier[i].begin;
		snapshot_history_copy(&runs[(*count)++].history, &desk->earlier[i].history);
	}
	runs[*count].begin = desk->run_begin;
	desk_history(&runs[(*count)++].history, desk->run.recovery);
	return runs;
}

static void start_done(struct desk_start *start)
{
	free(start->layers);
	free(start->positions);
	free(start->delta);
}

static void start_of(struct desk_start *start, const struct desk *desk)
{
	const struct recovery *recovery = desk->run.recovery;
	size_t rows = (size_t)recovery_rows(recovery), d = (size_t)desk->session->model.arch.d;
	*start = (struct desk_start){
		.rows = (int64_t)rows,
		.layers = mem_alloc(rows, sizeof *start->layers),
		.positions = mem_alloc(rows, sizeof *start->positions),
		.delta = mem_copy(desk->run.delta, rows * d * sizeof *start->delta),
	};
	for (int64_t r = 0; r < start->rows; r++) {
		start->layers[r] = recovery_row_layer(recovery, r);
		start->positions[r] = recovery_row_position(recovery, r);
	}
}

enum status desk_fork(struct desk *desk, struct error *error)
{
	struct desk_run *run = &desk->run;
	if (!run->recovery || !run->evaluated)
		return error_set(error, STATUS_INVALID, "there is no iteration to fork from: run a recovery first (r)");
	int count, from = (int)run->shown, begin = desk->run_begin + from;
	struct snapshot_run *earlier = with_current(desk, &count);
	struct desk_start start;
	start_of(&start, desk);
	enum status status = desk_run_again(desk, &start, error); /* which forgets the earlier ones */
	start_done(&start);
	desk->earlier = earlier;
	desk->earlier_count = count;
	desk->run_begin = begin;
	if (status == STATUS_OK)
		desk_notice(desk, "a new run from iteration %d, with the settings as they are now", from);
	else
		desk_earlier_forget(desk);
	return status;
}
