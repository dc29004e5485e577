#include "sessions/replay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

static void compare(struct replay_report *report, const char *where, const char *name, double recorded, double now)
{
	report->compared++;
	if (recorded == now || (isnan(recorded) && isnan(now)))
		return;
	double difference = fabs(now - recorded);
	/* A NaN is kept: it is larger than anything. */
	if (!(difference <= report->largest))
		report->largest = difference;
	if (report->differing++ == 0) {
		snprintf(report->first_where, sizeof report->first_where, "%s%s", where, name);
		report->first_recorded = recorded;
		report->first_now = now;
	}
	if (difference <= REPLAY_ABSOLUTE + REPLAY_RELATIVE * fabs(recorded))
		return;
	if (report->outside++ == 0) {
		snprintf(report->worst_where, sizeof report->worst_where, "%s%s", where, name);
		report->worst_recorded = recorded;
		report->worst_now = now;
	}
}

static void compare_state(struct replay_report *report, const char *where, const struct record_state *recorded,
			  double J, bool present, const float *logits, int64_t vocab)
{
	if (!recorded->known)
		return;
	compare(report, where, "objective", recorded->objective, J);
	compare(report, where, "present", recorded->present, present);
	if (!logits || recorded->top_count == 0)
		return;
	struct top_logit top[RECORD_TOP];
	int n = top_logits(logits, vocab, RECORD_TOP, top);
	for (int i = 0; i < n && i < recorded->top_count; i++) {
		char name[32];
		/* Elsewhere two close ones may have changed places. */
		snprintf(name, sizeof name, "top token %d", i + 1);
		if (report->same_device)
			compare(report, where, name, recorded->top[i].id, top[i].id);
		snprintf(name, sizeof name, "top logit %d", i + 1);
		compare(report, where, name, recorded->top[i].logit, (double)top[i].logit);
	}
}

static void compare_fields(struct replay_report *report, const char *where, const struct record_field *fields,
			   const void *recorded, const void *now)
{
	for (; fields->name; fields++)
		compare(report, where, fields->name, record_field_get(fields, recorded), record_field_get(fields, now));
}

static void compare_rows(struct replay_report *report, const char *where, const float *recorded, const float *now,
			 int64_t rows, int64_t d)
{
	for (int64_t i = 0; i < rows * d; i++) {
		char name[64] = "";
		if (recorded[i] != now[i])
			snprintf(name, sizeof name, "row %lld, column %lld", (long long)(i / d), (long long)(i % d));
		compare(report, where, name, (double)recorded[i], (double)now[i]);
	}
}

/* The same rows of delta? Without them nothing else can be compared. */
static enum status check_rows(const struct recovery *recovery, const struct session *session,
			      const struct record *record, const struct record_run *run, struct error *error)
{
	bool same = recovery_rows(recovery) == run->row_count && session->model.arch.d == run->d;
	for (int64_t i = 0; same && i < run->row_count; i++)
		same = recovery_row_layer(recovery, i) == run->rows[i].layer &&
		       recovery_row_position(recovery, i) == run->rows[i].position;
	if (!same)
		return error_set(error, STATUS_FAILED,
				 "'%s' perturbs other rows (%lld of width %lld) than its settings give (%lld of %lld)",
				 record->path, (long long)run->row_count, (long long)run->d,
				 (long long)recovery_rows(recovery), (long long)session->model.arch.d);
	return STATUS_OK;
}

static enum status compare_steps(struct replay_report *report, struct recovery *recovery, const struct record *record,
				 const struct record_run *run, struct error *error)
{
	const struct recovery_metrics *history = recovery_history(recovery);
	char where[48];
	compare(report, "", "the number of steps", (double)run->steps, (double)recovery_steps(recovery));
	for (int64_t i = 0; i < run->steps && i < recovery_steps(recovery); i++) {
		snprintf(where, sizeof where, "step %lld, ", (long long)i);
		compare_fields(report, where, record_step_fields, &run->history[i], &history[i]);
		if (run->suffix.count > 0)
			compare(report, where, "monitor_relative", run->history[i].monitor_relative,
				history[i].monitor_relative);
	}
	if (!run->delta_file || recovery_steps(recovery) < run->steps)
		return STATUS_OK;
	float *trace, *now = mem_alloc((size_t)(run->row_count * run->d), sizeof *now);
	enum status status = record_read_delta(record, run, &trace, error);
	for (int64_t i = 0; i < run->steps && status == STATUS_OK; i++) {
		status = recovery_delta(recovery, i, now, error);
		snprintf(where, sizeof where, "delta before step %lld, ", (long long)i);
		if (status == STATUS_OK)
			compare_rows(report, where, trace + i * run->row_count * run->d, now, run->row_count, run->d);
	}
	free(trace);
	free(now);
	return status;
}

static enum status compare_result(struct replay_report *report, struct recovery *recovery, struct session *session,
				  const struct record *record, const struct record_run *run, struct error *error)
{
	float *recorded = NULL, *now = mem_alloc((size_t)(run->row_count * run->d), sizeof *now);
	int64_t step = recovery_steps(recovery);
	struct recovery_final final;
	enum status status = STATUS_OK;
	if (run->outcome == RECORD_COMPLETE)
		status = recovery_result(recovery, now, &step, error);
	else
		status = recovery_delta(recovery, step, now, error);
	if (status == STATUS_OK && run->result_file)
		status = record_read_result(record, run, &recorded, error);
	if (status == STATUS_OK && recorded)
		compare_rows(report, "the result, ", recorded, now, run->row_count, run->d);
	if (status == STATUS_OK && run->recovered.known) {
		compare(report, "", "the result's step", (double)run->result_step, (double)step);
		status = recovery_evaluate(recovery, now, &final, error);
		if (status == STATUS_OK) {
			compare_fields(report, "final ", record_final_fields, &run->final, &final);
			if (run->suffix.count > 0)
				compare(report, "final ", "monitor_relative", run->final.monitor_relative,
					final.monitor_relative);
			compare_state(report, "recovered ", &run->recovered, final.objective, final.present,
				      final.logits, session->model.arch.vocab);
		}
	}
	free(recorded);
	free(now);
	return status;
}

enum status replay_run(struct replay_report *report, struct session *session, const struct record *record,
		       const struct record_run *run, struct error *error)
{
	const struct device_info *device = device_get_info(session->device);
	*report = (struct replay_report){
		.same_device = strcmp(device->name, record->device) == 0 &&
			       strcmp(device->driver, record->driver) == 0 && strcmp(device->api, record->api) == 0,
	};
	struct scene base = {0}, clamped = {0};
	struct recovery *recovery = NULL;
	float *start = NULL;
	int64_t vocab = session->model.arch.vocab;
	enum status status = STATUS_OK;
	if (!run->has_recovery)
		status = error_set(error, STATUS_NOTHING, "'%s' ended before its recovery began: nothing to replay",
				   record->path);
	if (status == STATUS_OK)
		status = scene_run(&base, session, false, error);
	if (status == STATUS_OK) {
		compare_state(report, "base ", &run->base, base.J, base.present, base.logits, vocab);
		status = scene_run(&clamped, session, true, error);
	}
	if (status == STATUS_OK) {
		const struct scene *reference = scene_reference(&clamped);
		compare_state(report, "clamped ", &run->clamped, reference->J, reference->present, reference->logits,
			      vocab);
		status = record_read_start(record, run, &start, error);
	}
	if (status == STATUS_OK)
		status = recovery_create(&recovery, session, &clamped, start, error);
	if (status == STATUS_OK)
		status = check_rows(recovery, session, record, run, error);
	if (status == STATUS_OK) {
		compare(report, "", "budget", run->budget, recovery_budget(recovery));
		compare(report, "", "reference_norm", run->reference_norm, recovery_reference_norm(recovery));
		status = recovery_advance(recovery, run->steps, error);
		/* What failed then is expected to fail again. */
		if (status == STATUS_FAILED && run->outcome == RECORD_FAILED)
			status = STATUS_OK;
	}
	if (status == STATUS_OK)
		status = compare_steps(report, recovery, record, run, error);
	if (status == STATUS_OK && run->outcome != RECORD_OPEN)
		status = compare_result(report, recovery, session, record, run, error);
	if (recovery)
		report->steps = recovery_steps(recovery);
	recovery_destroy(&recovery);
	scene_done(&base);
	scene_done(&clamped);
	free(start);
	return status;
}

bool replay_agrees(const struct replay_report *report)
{
	return report->same_device ? report->differing == 0 : report->outside == 0;
}
