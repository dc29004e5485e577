#include "sessions/experiment_set.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/batch.h"

/* One prompt of a chunk. */
struct entry {
	const struct prompt *prompt;
	struct kept_input input;
	struct experiment x;
	bool skipped; /* not to be recovered */
	enum status status;
	struct error error;
};

struct chunk {
	struct session *session;
	const struct experiment_set_options *options;
	struct entry *entries;
	int64_t count;
};

bool experiment_valid_flip(const struct experiment *x)
{
	return x->base.present && !scene_reference(&x->clamped)->present;
}

/* ---- before the steps ---- */

static enum status set_objective(const struct chunk *chunk, const struct prompt *prompt, struct error *error)
{
	const struct experiment_set_options *o = chunk->options;
	if (o->objective_count > 0)
		return session_set_objective(chunk->session, o->objectives, o->objective_count, error);
	char *specs[8];
	int n = prompt_objectives(prompt, specs, 8);
	enum status status = n > 0 ? session_set_objective(chunk->session, (const char *const *)specs, 1, error)
				   : error_set(error, STATUS_INVALID,
					       "the prompt's task has no objective of its own; give --objective");
	for (int i = 0; i < n; i++)
		free(specs[i]);
	return status;
}

static enum status set_input(const struct chunk *chunk, const struct prompt *prompt, struct error *error)
{
	const struct experiment_set_options *o = chunk->options;
	enum status status = session_set_text(chunk->session, prompt->text, strlen(prompt->text),
					      o->chat || prompt->chat, o->no_bos, o->special, error);
	if (status)
		return status;
	chunk->session->prompt_id = mem_strdup(prompt->id);
	return set_objective(chunk, prompt, error);
}

static enum status prepare(const struct chunk *chunk, struct entry *e)
{
	struct session *session = chunk->session;
	e->status = set_input(chunk, e->prompt, &e->error);
	if (e->status == STATUS_OK)
		e->status = experiment_prepare(&e->x, session, &e->error);
	e->skipped = e->status == STATUS_OK && chunk->options->only_valid && !experiment_valid_flip(&e->x);
	session_keep_input(session, &e->input);
	/* Only what is this prompt's own fault lets the others go on. */
	return e->status == STATUS_INVALID ? STATUS_OK : e->status;
}

/* ---- the steps ---- */

static bool waits(const struct entry *e)
{
	return e->status == STATUS_OK && !e->skipped && recovery_steps(e->x.recovery) == 0;
}

/* Entries that can go with entry `first`, itself leading, up to what a batch holds. */
static int64_t gather(const struct chunk *chunk, int64_t first, struct entry **group)
{
	struct recovery **recoveries = mem_alloc((size_t)chunk->count, sizeof(struct recovery *));
	int64_t n = 0;
	for (int64_t i = first; i < chunk->count; i++) {
		struct entry *e = &chunk->entries[i];
		if (!waits(e))
			continue;
		if (n > 0 && !batch_takes_both(recoveries[0], e->x.recovery))
			continue;
		group[n] = e;
		recoveries[n++] = e->x.recovery;
	}
	n = batch_fitting(recoveries, n);
	free(recoveries);
	return n;
}

static enum status advance_one(struct entry *e)
{
	double start = experiment_seconds();
	e->status = recovery_advance(e->x.recovery, recovery_planned(e->x.recovery), &e->error);
	e->x.wall_s = experiment_seconds() - start;
	return e->status;
}

static enum status advance_group(struct entry **group, int64_t count, struct error *error)
{
	struct recovery **recoveries = mem_alloc((size_t)count, sizeof(struct recovery *));
	struct batch *batch = NULL;
	for (int64_t i = 0; i < count; i++)
		recoveries[i] = group[i]->x.recovery;
	enum status status = batch_create(&batch, recoveries, count, error);
	double start = experiment_seconds();
	if (status)
		status = error_prefix(error, status, "a batch of several prompts (a smaller --batch needs less)");
	else
		status = batch_advance(batch, recovery_planned(recoveries[0]), error);
	for (int64_t i = 0; i < count; i++) {
		group[i]->x.wall_s = (experiment_seconds() - start) / (double)count;
		group[i]->status = status ? status : batch_member_status(batch, i, &group[i]->error);
		if (status)
			group[i]->error = *error;
	}
	batch_destroy(&batch);
	free(recoveries);
	return status;
}

/* A recovery of no steps is done as it is. */
static enum status advance(const struct chunk *chunk, struct error *error)
{
	struct entry **group = mem_alloc((size_t)chunk->count, sizeof(struct entry *));
	enum status status = STATUS_OK;
	for (int64_t i = 0; i < chunk->count && status == STATUS_OK; i++) {
		if (!waits(&chunk->entries[i]) || recovery_planned(chunk->entries[i].x.recovery) == 0)
			continue;
		int64_t n = gather(chunk, i, group);
		if (n > 1) {
			status = advance_group(group, n, error);
		} else {
			status = advance_one(&chunk->entries[i]);
			*error = chunk->entries[i].error;
			if (status == STATUS_FAILED)
				status = STATUS_OK;
		}
	}
	free(group);
	return status;
}

/* ---- behind them ---- */

static enum status conclude(const struct chunk *chunk, struct entry *e, bool stopped, struct error *error)
{
	const struct experiment_set_options *o = chunk->options;
	session_restore_input(chunk->session, &e->input);
	if (stopped && e->status == STATUS_OK && !e->skipped)
		e->status = error_set(&e->error, STATUS_CANCELLED, "interrupted");
	if (e->status == STATUS_OK && !e->skipped)
		e->status = experiment_conclude(&e->x, &e->error);
	return o->on_result(o->context, e->prompt, &e->x, e->status, &e->error, error);
}

static enum status run_chunk(const struct chunk *chunk, struct error *error)
{
	enum status status = STATUS_OK, told = STATUS_OK;
	int64_t prepared = 0;
	while (prepared < chunk->count && status == STATUS_OK) {
		status = prepare(chunk, &chunk->entries[prepared]);
		if (status)
			*error = chunk->entries[prepared].error;
		prepared++;
	}
	if (status == STATUS_OK)
		status = advance(chunk, error);
	for (int64_t i = 0; i < prepared; i++) {
		struct entry *e = &chunk->entries[i];
		if (told == STATUS_OK)
			told = conclude(chunk, e, status != STATUS_OK, status ? NULL : error);
		else
			session_restore_input(chunk->session, &e->input);
		experiment_done(&e->x);
	}
	return status ? status : told;
}

enum status experiment_set_run(struct session *session, const struct experiment_set_options *o, struct error *error)
{
	enum status status = STATUS_OK;
	bool alike = session->settings.rows_alike;
	session->settings.rows_alike = true;
	for (int64_t first = 0; first < o->count && status == STATUS_OK; first += o->batch) {
		struct chunk chunk = {.session = session, .options = o, .count = o->count - first};
		if (chunk.count > o->batch)
			chunk.count = o->batch;
		chunk.entries = mem_alloc((size_t)chunk.count, sizeof *chunk.entries);
		for (int64_t i = 0; i < chunk.count; i++)
			chunk.entries[i].prompt = o->prompts[first + i];
		status = run_chunk(&chunk, error);
		free(chunk.entries);
	}
	session->settings.rows_alike = alike;
	return status;
}
