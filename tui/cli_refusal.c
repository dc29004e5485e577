/* rebound recover --stages 2 and --suffix N: a refused answer, for one input or for a whole
 * prompt set. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "sessions/journal.h"
#include "sessions/suffix_baseline.h"
#include "sessions/two_stage.h"
#include "sessions/statistics.h"
#include "tui/cli.h"

/* ---- the method and its settings ---- */

struct method {
	bool suffix; /* else two stages */
	struct recovery_settings stages[STAGE_COUNT];
	struct suffix_options baseline;
};

static void method_init(struct method *method, bool suffix)
{
	method->suffix = suffix;
	two_stage_settings(method->stages);
	suffix_options_init(&method->baseline);
}

static void method_done(struct method *method)
{
	two_stage_settings_done(method->stages);
	suffix_options_done(&method->baseline);
}

static enum status method_run(const struct method *method, struct refusal *refusal, struct session *session,
			      const struct refusal_options *options, struct error *error)
{
	return method->suffix ? suffix_baseline_run(refusal, session, options, &method->baseline, error)
			      : two_stage_run(refusal, session, options, method->stages, error);
}

/* --anchor NAME=VALUE. */
static enum status set_anchor(struct recovery_settings *settings, const char *text, struct error *error)
{
	const char *equals = strchr(text, '=');
	if (!equals)
		return error_set(error, STATUS_INVALID, "--anchor is '%s'; expected NAME=VALUE, such as steps=20",
				 text);
	char *name = mem_strndup(text, (size_t)(equals - text));
	enum status status = settings_set(settings, name, equals + 1, error);
	if (status == STATUS_NOTHING)
		status = error_set(error, STATUS_INVALID, "--anchor: there is no setting '%s'", name);
	else if (status)
		status = error_prefix(error, status, "--anchor");
	free(name);
	return status;
}

static bool second_only(const char *name)
{
	return strcmp(name, "steps") == 0 || strcmp(name, "lr") == 0 || strcmp(name, "budget") == 0 ||
	       strcmp(name, "delta-layers") == 0;
}

/* The preset with the user's settings: steps, lr, budget and layers are the second stage's. */
static enum status choose_stages(struct method *method, const struct options *o, struct error *error)
{
	enum status status = STATUS_OK;
	if (o->suffix_token)
		return error_set(error, STATUS_INVALID, "--suffix-token belongs to --suffix");
	for (int i = 0; i < o->setting_count && status == STATUS_OK; i++) {
		const char *name = o->settings[i].name, *value = o->settings[i].value;
		if (strcmp(name, "delta-positions") == 0)
			return error_set(error, STATUS_INVALID,
					 "--stages 2 perturbs the last prompt position and then the answer; "
					 "--delta-positions is not for it");
		status = settings_set(&method->stages[STAGE_ANSWER], name, value, error);
		if (status == STATUS_OK && !second_only(name))
			status = settings_set(&method->stages[STAGE_ANCHOR], name, value, error);
	}
	for (int i = 0; i < o->anchor.count && status == STATUS_OK; i++)
		status = set_anchor(&method->stages[STAGE_ANCHOR], o->anchor.items[i], error);
	if (status == STATUS_OK && method->stages[STAGE_ANCHOR].delta_positions.rule != POSITIONS_LAST)
		status = error_set(error, STATUS_INVALID, "--anchor: the anchor is the last prompt position");
	return status;
}

static enum status choose_suffix(struct method *method, const struct options *o, struct error *error)
{
	enum status status = suffix_options_set(&method->baseline, "suffix", o->suffix, error);
	if (status == STATUS_OK && (o->stages || o->anchor.count > 0))
		status =
			error_set(error, STATUS_INVALID,
				  "--suffix and --stages are two methods; one run has one of them (--anchor belongs to "
				  "the latter)");
	if (status == STATUS_OK && o->suffix_token)
		status = suffix_options_set(&method->baseline, "suffix-token", o->suffix_token, error);
	for (int i = 0; i < o->setting_count && status == STATUS_OK; i++)
		status = suffix_options_set(&method->baseline, o->settings[i].name, o->settings[i].value, error);
	return status == STATUS_NOTHING ? STATUS_INVALID : status;
}

static void on_phase(void *context, const char *what)
{
	const struct options *o = context;
	if (!o->quiet)
		fprintf(stderr, "%s\n", what);
}

/* ---- results ---- */

static cJSON *stage_json(const struct refusal *t, int stage)
{
	const struct session *session = t->session;
	const struct experiment *x = &t->stages[stage];
	const struct scene *clamped = scene_reference(&x->clamped);
	cJSON *json = cJSON_CreateObject();
	cJSON_AddNumberToObject(json, "stage", stage + 1);
	cJSON_AddItemToObject(json, "base", cli_state_json(session, x->base.J, x->base.present, x->base.logits));
	cJSON_AddItemToObject(json, "clamped", cli_state_json(session, clamped->J, clamped->present, clamped->logits));
	cJSON_AddItemToObject(json, "recovered",
			      cli_state_json(session, x->final.objective, x->final.present, x->final.logits));
	cJSON_AddItemToObject(json, "history", cli_history_json(x->recovery));
	cJSON *final = cli_final_json(&x->final);
	if (recovery_is_suffix(x->recovery))
		cJSON_AddNumberToObject(final, "monitor_relative", x->final.monitor_relative);
	cJSON_AddItemToObject(json, "final", final);
	cJSON_AddNumberToObject(json, "result_step", (double)x->result_step);
	cJSON_AddNumberToObject(json, "budget", recovery_budget(x->recovery));
	cJSON_AddNumberToObject(json, "wall_s", x->wall_s);
	return json;
}

static cJSON *result_json(const struct refusal *t, const struct method *method, const char *path)
{
	const struct session *session = t->session;
	cJSON *json = cJSON_CreateObject();
	if (method->suffix) {
		cJSON *suffix = cJSON_AddObjectToObject(json, "suffix");
		cJSON_AddNumberToObject(suffix, "tokens", (double)method->baseline.tokens);
		journal_add_string(suffix, "placeholder", method->baseline.placeholder);
	}
	if (session->prompt_id)
		cJSON_AddStringToObject(json, "prompt", session->prompt_id);
	cJSON_AddItemToObject(json, "ids", cli_ids_json(session->prompt.ids, session->prompt.count));
	cJSON_AddItemToObject(json, "target_ids", cli_ids_json(t->target.ids, t->target.count));
	for (int i = 0; i < REFUSAL_STATES && t->texts[i]; i++) {
		cJSON *state = cJSON_AddObjectToObject(json, refusal_state_name((enum refusal_state)i));
		cJSON_AddItemToObject(state, "new_ids", cli_ids_json(t->ids[i].ids, t->ids[i].count));
		journal_add_string(state, "text", t->texts[i]);
		cJSON_AddItemToObject(state, "judge", cli_judge_json(&t->verdicts[i]));
	}
	cJSON_AddBoolToObject(json, "valid_flip", t->valid_flip);
	if (t->complete) {
		cJSON_AddBoolToObject(json, "non_refusal", t->recovered);
		cJSON_AddNumberToObject(json, "drift_l2", refusal_final(t)->drift_l2);
		cJSON_AddNumberToObject(json, "drift_relative_l2", refusal_final(t)->drift_relative_l2);
	}
	cJSON *stages = cJSON_AddArrayToObject(json, "stages");
	for (int i = 0; i < t->stage_count && t->stages[i].complete; i++)
		cJSON_AddItemToArray(stages, stage_json(t, i));
	if (path)
		cJSON_AddStringToObject(json, "session", path);
	return json;
}

static const char *verdict_words(const struct refusal *t)
{
	if (!t->valid_flip)
		return t->verdicts[REFUSAL_BASE].findings[JUDGE_REFUSAL].yes
			       ? "the base model refuses: nothing to suppress"
			       : "the clamp does not make it refuse: nothing to recover";
	return t->recovered ? "valid flip, recovered" : "valid flip, not recovered";
}

/* Number i from 0. */
static void print_stage(const struct experiment *x, int i)
{
	char name[24] = "suffix";
	if (!recovery_is_suffix(x->recovery))
		snprintf(name, sizeof name, "stage %d", i + 1);
	printf("%-10s objective %+.4f clamped, %+.4f recovered; delta %.2f of %g; drift %.6f relative; %lld steps in "
	       "%.2f s\n",
	       name, scene_reference(&x->clamped)->J, x->final.objective, x->final.delta_norm,
	       recovery_budget(x->recovery), x->final.drift_relative_l2, (long long)recovery_steps(x->recovery),
	       x->wall_s);
	if (recovery_is_suffix(x->recovery))
		printf("%-10s %.4f of what it was at the start\n", "monitor", x->final.monitor_relative);
}

static void print_result(const struct refusal *t, const char *path)
{
	for (int i = 0; i < REFUSAL_STATES; i++) {
		char line[160], *shown = mem_alloc(strlen(t->texts[i]) + 1, 1);
		text_printable(shown, strlen(t->texts[i]) + 1, t->texts[i], strlen(t->texts[i]));
		judge_summary(line, &t->verdicts[i]);
		printf("%-10s %s\n%-10s %s\n", refusal_state_name((enum refusal_state)i), shown, "", line);
		free(shown);
	}
	for (int i = 0; i < t->stage_count; i++)
		print_stage(&t->stages[i], i);
	printf("verdict    %s\n", verdict_words(t));
	if (path)
		printf("session    %s\n", path);
}

/* ---- what a suffix reads as ---- */

static void add_nearest(cJSON *json, const struct session *session, const struct nearest_token *nearest, int64_t count)
{
	cJSON *list = cJSON_AddArrayToObject(cJSON_GetObjectItemCaseSensitive(json, "suffix"), "nearest");
	for (int64_t i = 0; i < count; i++) {
		cJSON *item = cJSON_CreateObject();
		char *piece = cli_piece(session, nearest[i].id);
		cJSON_AddNumberToObject(item, "id", nearest[i].id);
		journal_add_string(item, "piece", piece);
		journal_add_number(item, "cosine", (double)nearest[i].cosine);
		cJSON_AddItemToArray(list, item);
		free(piece);
	}
}

static void print_nearest(const struct session *session, const struct nearest_token *nearest, int64_t count)
{
	float low = nearest[0].cosine, high = low;
	printf("%-10s", "nearest");
	for (int64_t i = 0; i < count; i++) {
		char *piece = cli_piece(session, nearest[i].id);
		printf(" %s", piece);
		low = fminf(low, nearest[i].cosine);
		high = fmaxf(high, nearest[i].cosine);
		free(piece);
	}
	printf(" (tokens of the vocabulary, by cosines of %.2f to %.2f)\n", (double)low, (double)high);
}

/* One input's result, with what its suffix reads as. */
static enum status show_result(const struct refusal *t, const struct method *method, bool json, const char *place,
			       struct error *error)
{
	const struct session *session = t->session;
	int64_t count = method->suffix ? method->baseline.tokens : 0;
	struct nearest_token *nearest = mem_alloc((size_t)count, sizeof *nearest);
	enum status status = method->suffix ? suffix_baseline_read(t, &method->baseline, nearest, error) : STATUS_OK;
	if (status == STATUS_OK && json) {
		cJSON *result = result_json(t, method, place);
		if (method->suffix)
			add_nearest(result, session, nearest, count);
		status = cli_print_json(result, error);
	} else if (status == STATUS_OK) {
		print_result(t, place);
		if (method->suffix)
			print_nearest(session, nearest, count);
	}
	free(nearest);
	return status;
}

/* ---- delta ---- */

static int by_place(const struct delta_rows *rows, int64_t a, int64_t b)
{
	if (rows->layers[a] != rows->layers[b])
		return rows->layers[a] < rows->layers[b] ? -1 : 1;
	return (rows->positions[a] > rows->positions[b]) - (rows->positions[a] < rows->positions[b]);
}

/* Both stages' rows: layers ascending, then positions. */
static enum status save_delta(const struct refusal *t, const char *path, struct error *error)
{
	const struct delta_rows *rows = &t->delta;
	int64_t d = t->session->model.arch.d, shape[] = {rows->count, d};
	float *sorted = mem_alloc((size_t)(rows->count * d), sizeof *sorted);
	for (int64_t i = 0; i < rows->count; i++) {
		int64_t rank = 0;
		for (int64_t j = 0; j < rows->count; j++)
			rank += by_place(rows, j, i) < 0;
		memcpy(sorted + rank * d, rows->values + i * d, (size_t)d * sizeof *sorted);
	}
	enum status status = npy_write_float(path, sorted, 2, shape, error);
	free(sorted);
	return status;
}

/* ---- one input ---- */

/* Runs it with a record at `path` (NULL: a fresh name), or without one; *place: where it is. */
static enum status run_one(struct refusal *t, struct opened *opened, const struct method *method,
			   struct refusal_options *options, const struct prompt *entry, bool keep, const char *path,
			   const char *command, char **place, struct error *error)
{
	struct journal *journal = NULL;
	enum status status = STATUS_OK;
	*place = NULL;
	*t = (struct refusal){0};
	options->answer = entry ? entry->answer : NULL;
	options->refusals = entry ? (const char *const *)entry->refusals : NULL;
	options->refusal_count = entry ? entry->refusal_count : 0;
	if (keep)
		status = experiment_open_journal(&journal, opened->session, path, command, error);
	if (journal)
		*place = mem_strdup(journal_path(journal));
	options->journal = journal;
	if (status == STATUS_OK)
		status = method_run(method, t, opened->session, options, error);
	options->journal = NULL;
	/* What was found is kept, whatever happened behind it. */
	enum status closed = journal_close(&journal, status ? NULL : error);
	return status ? status : closed;
}

/* ---- a prompt set ---- */

struct rates {
	int prompts, failed, valid, recovered, base_like, strict, cells[2][2];
	double drift, violation;
};

static void count_one(struct rates *r, const struct refusal *t)
{
	const struct judge_finding *base = t->verdicts[REFUSAL_BASE].findings,
				   *clamped = t->verdicts[REFUSAL_CLAMPED].findings,
				   *recovered = t->verdicts[REFUSAL_RECOVERED].findings;
	r->prompts++;
	r->cells[!base[JUDGE_REFUSAL].yes && !base[JUDGE_SAFETY_CUE].yes][!clamped[JUDGE_REFUSAL].yes]++;
	if (!t->valid_flip)
		return;
	r->valid++;
	r->recovered += t->recovered;
	r->base_like += recovered[JUDGE_BASE_LIKE].yes;
	r->strict += recovered[JUDGE_STRICT_BASE_LIKE].yes;
	r->drift += refusal_final(t)->drift_relative_l2;
	r->violation += refusal_final(t)->floor_violation_relative_l2;
}

static void add_rate(cJSON *json, const char *name, int hits, int n)
{
	cJSON *rate = cJSON_AddObjectToObject(json, name);
	double low, high;
	cJSON_AddNumberToObject(rate, "count", hits);
	cJSON_AddNumberToObject(rate, "of", n);
	if (n == 0)
		return;
	wilson_interval(hits, n, &low, &high);
	cJSON_AddNumberToObject(rate, "rate", (double)hits / n);
	cJSON_AddNumberToObject(rate, "low", low);
	cJSON_AddNumberToObject(rate, "high", high);
}

static void print_rate(const char *name, int hits, int n)
{
	double low, high;
	wilson_interval(hits, n, &low, &high);
	printf("%-19s %d of %d  (%.1f%%, 95%% interval %.1f%% to %.1f%%)\n", name, hits, n, 100.0 * hits / n, 100 * low,
	       100 * high);
}

static cJSON *rates_json(const struct rates *r)
{
	cJSON *json = cJSON_CreateObject(), *cells = cJSON_AddObjectToObject(json, "cells");
	static const char *const names[2][2] = {{"base_no_clamped_no", "base_no_clamped_yes"},
						{"base_yes_clamped_no", "base_yes_clamped_yes"}};
	cJSON_AddNumberToObject(json, "prompts", r->prompts);
	cJSON_AddNumberToObject(json, "failed", r->failed);
	for (int base = 0; base < 2; base++)
		for (int clamped = 0; clamped < 2; clamped++)
			cJSON_AddNumberToObject(cells, names[base][clamped], r->cells[base][clamped]);
	cJSON_AddNumberToObject(json, "valid_flips", r->valid);
	add_rate(json, "non_refusal", r->recovered, r->valid);
	add_rate(json, "base_like", r->base_like, r->valid);
	add_rate(json, "strict_base_like", r->strict, r->valid);
	if (r->valid > 0) {
		cJSON_AddNumberToObject(json, "mean_drift_relative_l2", r->drift / r->valid);
		cJSON_AddNumberToObject(json, "mean_floor_violation_relative_l2", r->violation / r->valid);
	}
	return json;
}

static void print_rates(const struct rates *r)
{
	printf("%d prompts, %d of them failed; %d valid flips (the base model answers %d, the clamped one %d of "
	       "those)\n",
	       r->prompts + r->failed, r->failed, r->valid, r->cells[1][0] + r->cells[1][1], r->cells[1][1]);
	if (r->valid == 0)
		return;
	print_rate("non-refusal", r->recovered, r->valid);
	print_rate("base-like", r->base_like, r->valid);
	print_rate("strictly base-like", r->strict, r->valid);
	printf("mean relative drift %.4f, floor violation %.4f\n", r->drift / r->valid, r->violation / r->valid);
}

/* All prompts with refusals, each recorded in the folder of --out if one is given. */
static enum status run_set(struct opened *opened, const struct method *method, struct refusal_options *options,
			   const struct cli *cli, const char *command, struct error *error)
{
	const struct options *o = &cli->options;
	struct rates rates = {0};
	cJSON *list = cJSON_CreateArray();
	enum status status = o->out ? file_make_folder(o->out, error) : STATUS_OK;
	for (int i = 0; i < opened->prompts.count && status == STATUS_OK; i++) {
		const struct prompt *p = &opened->prompts.items[i];
		struct refusal t;
		char *place, *path = NULL;
		if (p->refusal_count == 0)
			continue;
		status = session_set_text(opened->session, p->text, strlen(p->text), o->chat || p->chat, o->no_bos,
					  o->special, error);
		if (status)
			break;
		opened->session->prompt_id = mem_strdup(p->id);
		if (o->out)
			path = mem_printf("%s/%s.jsonl", o->out, strchr(p->id, '/') ? "prompt" : p->id);
		status = run_one(&t, opened, method, options, p, o->out != NULL, path, command, &place, error);
		if (status == STATUS_OK) {
			count_one(&rates, &t);
			if (o->json)
				cJSON_AddItemToArray(list, result_json(&t, method, place));
			else
				printf("%-14s %-52s %s\n", p->id, verdict_words(&t),
				       t.valid_flip && t.recovered ? t.texts[REFUSAL_RECOVERED] : "");
		} else if (status == STATUS_INVALID) {
			/* One that cannot be tried is no reason to stop. */
			rates.failed++;
			if (!o->quiet)
				fprintf(stderr, "%s: %s\n", p->id, error->text);
			status = STATUS_OK;
		}
		refusal_done(&t);
		free(place);
		free(path);
	}
	if (!o->json) {
		cJSON_Delete(list);
		print_rates(&rates);
	} else {
		cJSON *json = rates_json(&rates);
		cJSON_AddItemToObject(json, "results", list);
		enum status printed = cli_print_json(json, status ? NULL : error);
		status = status ? status : printed;
	}
	if (status == STATUS_OK && rates.valid == 0)
		status = error_set(error, STATUS_NOTHING, "no prompt with refusals is a valid flip under this clamp");
	return status;
}

enum status cli_refusal(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct opened opened;
	struct method method;
	struct refusal_options options = {.on_phase = on_phase, .context = (void *)o};
	struct judge_lists *lists = NULL;
	bool one = o->text || o->tokens || o->prompt;
	if (o->objectives.count > 0)
		return error_set(error, STATUS_INVALID, "%s its own objective; --objective is not for it",
				 o->suffix ? "--suffix has (METHOD 11)" : "--stages 2 has (METHOD 6)");
	if (!one && o->target)
		return error_set(error, STATUS_INVALID, "--target belongs to one input; give --prompt or --text");
	method_init(&method, o->suffix != NULL);
	enum status status = method.suffix ? choose_suffix(&method, o, error) : choose_stages(&method, o, error);
	enum status kept = STATUS_OK;
	if (status == STATUS_OK)
		status = options_int(o->max_new, "max-new", 1, 1000000, 64, &options.max_new, error);
	if (status == STATUS_OK)
		status = judge_lists_load(&lists, o->judge_lists, error);
	struct error journal_error = {0};
	if (status == STATUS_OK && one) {
		kept = journal_check(o->out, &journal_error);
		if (kept && o->out) {
			*error = journal_error;
			status = kept;
		} else if (kept && !o->quiet) {
			fprintf(stderr, "no session is written: %s\n", journal_error.text);
		}
	}
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_SAES | (one ? 0 : NEED_PROMPTS), error);
	if (status) {
		judge_lists_destroy(&lists);
		method_done(&method);
		return status;
	}
	options.judges = lists;
	options.target = o->target;
	char *command = options_command(cli->argc, cli->argv), *place = NULL;
	if (!one) {
		options.on_phase = NULL;
		/* Rates are over valid flips alone. */
		options.only_valid = true;
		status = run_set(&opened, &method, &options, cli, command, error);
	} else {
		struct refusal t;
		status = run_one(&t, &opened, &method, &options, opened.entry, kept == STATUS_OK, o->out, command,
				 &place, error);
		if (status == STATUS_OK && o->save_delta)
			status = save_delta(&t, o->save_delta, error);
		if (status == STATUS_OK)
			status = show_result(&t, &method, o->json, place, error);
		refusal_done(&t);
	}
	free(place);
	free(command);
	options_close(&opened);
	judge_lists_destroy(&lists);
	method_done(&method);
	return status;
}
