/* rebound recover over a prompt set: the same recovery for each prompt, a batch at a time, and the
 * rates over valid flips (METHOD 3, 8). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/batch.h"
#include "sessions/experiment_set.h"
#include "sessions/statistics.h"
#include "tui/cli.h"

/* Counts over all prompts, and numbers of the valid flips. */
struct tally {
	const struct options *options;
	const char *command;
	cJSON *results;					  /* with --json */
	int64_t prompts, failed, valid, recovered, quiet; /* quiet: recovered with nothing reactivated */
	int64_t cells[2][2];				  /* [base has it][clamped has it] */
	double *drift, *relative, *reactivated, *norm;	  /* [valid] */
};

static const char *verdict(const struct experiment *x)
{
	return !x->base.present	    ? "nothing to suppress"
	       : x->clamped.present ? "not suppressed"
	       : x->final.present   ? "recovered"
				    : "not recovered";
}

static void count_one(struct tally *t, const struct experiment *x)
{
	int64_t n = t->valid;
	t->prompts++;
	t->cells[x->base.present][x->clamped.present]++;
	if (!experiment_valid_flip(x))
		return;
	t->drift[n] = x->final.drift_l2;
	t->relative[n] = x->final.drift_relative_l2;
	t->reactivated[n] = x->final.reactivated_fraction;
	t->norm[n] = x->final.delta_norm;
	t->valid++;
	t->recovered += x->final.present;
	t->quiet += x->final.present && x->final.reactivated_fraction == 0;
}

/* The record of a prompt in the folder of --out. */
static enum status write_record(const struct tally *t, const struct prompt *prompt, struct experiment *x,
				struct error *error)
{
	if (!t->options->out || !x->recovery)
		return STATUS_OK;
	char *name = mem_strdup(prompt->id);
	for (char *c = name; *c; c++)
		if (*c == '/')
			*c = '_';
	char *path = mem_printf("%s/%s.jsonl", t->options->out, name);
	enum status status = experiment_write(x, path, t->command, error);
	free(name);
	free(path);
	return status;
}

static enum status on_result(void *context, const struct prompt *prompt, struct experiment *x, enum status outcome,
			     const struct error *problem, struct error *error)
{
	struct tally *t = context;
	const struct options *o = t->options;
	/* An interrupted or diverged run is written down too, with its finished steps. */
	enum status status = write_record(t, prompt, x, error);
	if (outcome) {
		t->failed += outcome != STATUS_CANCELLED;
		if (!o->quiet && outcome != STATUS_CANCELLED)
			fprintf(stderr, "%s: %s\n", prompt->id, problem->text);
		return status;
	}
	count_one(t, x);
	if (o->json)
		cJSON_AddItemToArray(t->results, cli_recovery_json(x));
	else
		printf("%-14s %+9.4f %+9.4f %+9.4f  drift %.6f  %s\n", prompt->id, x->base.J, x->clamped.J,
		       x->final.objective, x->final.drift_relative_l2, verdict(x));
	return status;
}

static void add_rate(cJSON *json, const char *name, int64_t hits, int64_t n)
{
	cJSON *rate = cJSON_AddObjectToObject(json, name);
	double low, high;
	cJSON_AddNumberToObject(rate, "count", (double)hits);
	cJSON_AddNumberToObject(rate, "of", (double)n);
	if (n == 0)
		return;
	wilson_interval(hits, n, &low, &high);
	cJSON_AddNumberToObject(rate, "rate", (double)hits / (double)n);
	cJSON_AddNumberToObject(rate, "low", low);
	cJSON_AddNumberToObject(rate, "high", high);
}

static void add_mean(cJSON *json, const char *name, const double *values, int64_t n)
{
	double low, high;
	if (n == 0)
		return;
	cJSON *mean = cJSON_AddObjectToObject(json, name);
	bootstrap_interval(values, n, &low, &high);
	cJSON_AddNumberToObject(mean, "mean", mean_of(values, n));
	cJSON_AddNumberToObject(mean, "low", low);
	cJSON_AddNumberToObject(mean, "high", high);
}

static cJSON *tally_json(struct tally *t, double wall_s)
{
	static const char *const names[2][2] = {{"base_no_clamped_no", "base_no_clamped_yes"},
						{"base_yes_clamped_no", "base_yes_clamped_yes"}};
	cJSON *json = cJSON_CreateObject();
	cJSON_AddNumberToObject(json, "prompts", (double)t->prompts);
	cJSON_AddNumberToObject(json, "failed", (double)t->failed);
	cJSON *cells = cJSON_AddObjectToObject(json, "cells");
	for (int base = 0; base < 2; base++)
		for (int clamped = 0; clamped < 2; clamped++)
			cJSON_AddNumberToObject(cells, names[base][clamped], (double)t->cells[base][clamped]);
	cJSON_AddNumberToObject(json, "valid_flips", (double)t->valid);
	add_rate(json, "recovered", t->recovered, t->valid);
	add_rate(json, "zero_reactivation", t->quiet, t->recovered);
	add_mean(json, "drift_l2", t->drift, t->valid);
	add_mean(json, "drift_relative_l2", t->relative, t->valid);
	add_mean(json, "reactivated_fraction", t->reactivated, t->valid);
	add_mean(json, "delta_norm", t->norm, t->valid);
	cJSON_AddNumberToObject(json, "wall_s", wall_s);
	cJSON_AddNumberToObject(json, "prompts_per_s", wall_s > 0 ? (double)t->prompts / wall_s : 0);
	cJSON_AddItemToObject(json, "results", t->results);
	t->results = NULL;
	return json;
}

static void print_rate(const char *name, int64_t hits, int64_t n)
{
	double low, high;
	if (n == 0)
		return;
	wilson_interval(hits, n, &low, &high);
	printf("%-18s %lld of %lld  (%.1f%%, 95%% interval %.1f%% to %.1f%%)\n", name, (long long)hits, (long long)n,
	       100 * (double)hits / (double)n, 100 * low, 100 * high);
}

static void print_mean(const char *name, const double *values, int64_t n)
{
	double low, high;
	if (n == 0)
		return;
	bootstrap_interval(values, n, &low, &high);
	printf("%-18s %.6f  (95%% interval %.6f to %.6f)\n", name, mean_of(values, n), low, high);
}

static void print_tally(const struct tally *t, double wall_s)
{
	printf("%lld prompts, %lld more failed; the base model has the behaviour in %lld, the clamped one still in "
	       "%lld of "
	       "those: %lld valid flips\n",
	       (long long)t->prompts, (long long)t->failed, (long long)(t->cells[1][0] + t->cells[1][1]),
	       (long long)t->cells[1][1], (long long)t->valid);
	print_rate("recovered", t->recovered, t->valid);
	print_rate("none reactivated", t->quiet, t->recovered);
	print_mean("drift", t->drift, t->valid);
	print_mean("relative drift", t->relative, t->valid);
	print_mean("reactivated", t->reactivated, t->valid);
	print_mean("norm of delta", t->norm, t->valid);
	printf("%.2f s, %.1f prompts a second\n", wall_s, wall_s > 0 ? (double)t->prompts / wall_s : 0);
}

static int64_t choose_prompts(const struct prompt **chosen, const struct opened *opened, const char *task)
{
	int64_t n = 0;
	for (int i = 0; i < opened->prompts.count; i++)
		if (!task || strcmp(opened->prompts.items[i].task, task) == 0)
			chosen[n++] = &opened->prompts.items[i];
	return n;
}

static enum status run(struct tally *t, const struct opened *opened, int64_t batch, double *wall_s, struct error *error)
{
	const struct options *o = t->options;
	const struct prompt **chosen = mem_alloc((size_t)opened->prompts.count, sizeof *chosen);
	struct experiment_set_options options = {
		.prompts = chosen,
		.count = choose_prompts(chosen, opened, o->task),
		.batch = batch,
		.objectives = o->objectives.items,
		.objective_count = o->objectives.count,
		.chat = o->chat,
		.no_bos = o->no_bos,
		.special = o->special,
		.on_result = on_result,
		.context = t,
	};
	size_t n = (size_t)options.count;
	t->drift = mem_alloc(n, sizeof *t->drift);
	t->relative = mem_alloc(n, sizeof *t->relative);
	t->reactivated = mem_alloc(n, sizeof *t->reactivated);
	t->norm = mem_alloc(n, sizeof *t->norm);
	enum status status = STATUS_OK;
	if (n == 0)
		status = error_set(error, STATUS_INVALID, "there are no prompts%s%s%s in '%s'",
				   o->task ? " of the task '" : "", o->task ? o->task : "", o->task ? "'" : "",
				   opened->prompts.path);
	double start = experiment_seconds();
	if (status == STATUS_OK)
		status = experiment_set_run(opened->session, &options, error);
	*wall_s = experiment_seconds() - start;
	free(chosen);
	return status;
}

static enum status check_options(const struct options *o, struct error *error)
{
	if (o->save_delta || o->save_state)
		return error_set(error, STATUS_INVALID,
				 "--%s belongs to one input; over a prompt set --out DIR keeps every prompt's record",
				 o->save_delta ? "save-delta" : "save-state");
	if (o->clamp_top)
		return error_set(error, STATUS_INVALID,
				 "--clamp-top ranks features on one input; over a prompt set name them with --clamp "
				 "('rebound attribute' ranks over a set)");
	if (o->clamps.count == 0)
		return error_set(error, STATUS_INVALID, "there is nothing to recover from: no --clamp is given");
	return o->out ? file_make_folder(o->out, error) : STATUS_OK;
}

enum status cli_recover_set(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct opened opened;
	int64_t batch;
	enum status status = options_int(o->batch, "batch", 1, BATCH_MOST, BATCH_DEFAULT, &batch, error);
	if (status == STATUS_OK)
		status = check_options(o, error);
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_SAES | NEED_PROMPTS, error);
	if (status)
		return status;
	free(opened.session->prompts_path);
	opened.session->prompts_path = opened.prompts.path ? mem_strdup(opened.prompts.path) : NULL;
	char *command = options_command(cli->argc, cli->argv);
	struct tally t = {.options = o, .command = command, .results = cJSON_CreateArray()};
	double wall_s;
	status = run(&t, &opened, batch, &wall_s, error);
	/* What was finished is shown, whatever ended the work. */
	if (t.prompts + t.failed > 0 && o->json) {
		enum status printed = cli_print_json(tally_json(&t, wall_s), status ? NULL : error);
		status = status ? status : printed;
	} else if (t.prompts + t.failed > 0) {
		print_tally(&t, wall_s);
	}
	if (status == STATUS_OK && t.valid == 0)
		status = error_set(error, STATUS_NOTHING, "no prompt is a valid flip under this clamp");
	cJSON_Delete(t.results);
	free(t.drift);
	free(t.relative);
	free(t.reactivated);
	free(t.norm);
	free(command);
	options_close(&opened);
	return status;
}
