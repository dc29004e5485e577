/* rebound decompose, replay, list, export: what can be done with sessions on disk. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/decompose.h"
#include "sessions/export.h"
#include "sessions/journal.h"
#include "sessions/record_write.h"
#include "sessions/replay.h"
#include "tui/cli.h"

/* Text from a file, printable; a new string. */
static char *shown(const char *text)
{
	size_t n = strlen(text);
	char *out = mem_alloc(n + 1, 1);
	text_printable(out, n + 1, text, n);
	return out;
}

/* The one SESSION argument, read; `run` is the one that counts. */
static enum status load_argument(struct record *record, const struct record_run **run, const struct cli *cli,
				 struct error *error)
{
	const struct option_list *arguments = &cli->options.arguments;
	if (arguments->count != 1)
		return error_set(error, STATUS_INVALID,
				 "'rebound %s' takes one session, found %d; 'rebound list' shows them",
				 cli->options.command, arguments->count);
	char *path = record_find(arguments->items[0]);
	enum status status = record_load(record, path, error);
	free(path);
	if (status)
		return status;
	*run = record_main_run(record);
	if (!*run) {
		status = error_set(error, STATUS_NOTHING, "'%s' holds no recovery", record->path);
		record_done(record);
		return status;
	}
	if (record->cut && !cli->options.quiet)
		fprintf(stderr, "the session ended early: its last line is broken off\n");
	return STATUS_OK;
}

static bool report_progress(void *context, const char *what, uint64_t done, uint64_t total)
{
	(void)context;
	if (total > (uint64_t)64 << 20)
		fprintf(stderr, "\r%s: %3.0f%%%s", what, 100.0 * (double)done / (double)total,
			done == total ? "\n" : "");
	return true;
}

static enum status apply(struct session **session, const struct cli *cli, const struct record *record,
			 const struct record_run *run, struct error *error)
{
	const struct options *o = &cli->options;
	struct record_overrides overrides = {
		.model = o->model,
		.device = o->device,
		.saes = o->saes.items,
		.sae_count = o->saes.count,
		.validation = getenv("REBOUND_VALIDATION") != NULL,
	};
	if (!o->quiet)
		overrides.progress = (struct progress){report_progress, NULL};
	enum status status = record_apply(session, record, run, &overrides, error);
	if (status == STATUS_OK)
		(*session)->cancel = cli->cancel;
	return status;
}

/* ---------------------------------------------------------------- decompose */

static cJSON *decomposition_json(const struct decomposition *parts)
{
	cJSON *json = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(json, "components");
	for (int i = 0; i < COMPONENT_COUNT; i++) {
		const struct component *c = &parts->components[i];
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "component", component_name((enum component_kind)i));
		cJSON_AddNumberToObject(item, "norm", c->norm);
		cJSON_AddNumberToObject(item, "cosine_with_delta", c->cosine);
		cJSON_AddNumberToObject(item, "objective", c->objective);
		cJSON_AddBoolToObject(item, "recovered", c->recovered);
		cJSON_AddNumberToObject(item, "drift_l2", c->drift_l2);
		cJSON_AddNumberToObject(item, "drift_relative_l2", c->drift_relative_l2);
		if (c->has_knockout) {
			cJSON_AddNumberToObject(item, "knockout_objective", c->knockout_objective);
			cJSON_AddBoolToObject(item, "knockout_recovered", c->knockout_recovered);
		}
		cJSON_AddItemToArray(list, item);
	}
	cJSON_AddNumberToObject(json, "identity_error", parts->identity_error);
	cJSON_AddNumberToObject(json, "top_k", (double)parts->top_k);
	cJSON_AddStringToObject(json, "reference", parts->clamped_run ? "clamped-run" : "before-delta");
	if (parts->suffix)
		cJSON_AddNumberToObject(json, "suffix_layer", parts->suffix_layer);
	return json;
}

static bool plain_bars(const struct options *o)
{
	const char *variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
	for (size_t i = 0; i < ARRAY_LEN(variables) && !o->ascii; i++) {
		const char *value = getenv(variables[i]);
		if (value && *value)
			return !strstr(value, "UTF-8") && !strstr(value, "utf8") && !strstr(value, "utf-8");
	}
	return true;
}

/* "     ███|     " to the left or right of the middle; `value` of 1 fills a side. */
static void print_bar(double value, bool ascii)
{
	enum { SIDE = 10 };
	int length = (int)lround(fmin(fabs(value), 1) * SIDE);
	for (int i = -SIDE; i < SIDE; i++) {
		if (i == 0)
			fputs(ascii ? "|" : "│", stdout);
		bool full = value < 0 ? i >= -length && i < 0 : i >= 0 && i < length;
		fputs(full ? (ascii ? "#" : "█") : " ", stdout);
	}
}

static void print_decomposition(const struct decomposition *parts, const struct options *o)
{
	double full = parts->components[COMPONENT_FULL].norm;
	bool ascii = plain_bars(o);
	if (parts->suffix)
		printf("the change that the suffix makes at layer %d where the answer is read, replayed without a "
		       "suffix\n",
		       parts->suffix_layer);
	printf("%-21s %9s %7s  %-21s  %-22s %-22s %s\n", "component", "norm", "cosine", "norm x cosine, of full",
	       "alone", "all but it", "drift");
	for (int i = 0; i < COMPONENT_COUNT; i++) {
		const struct component *c = &parts->components[i];
		printf("%-21s %9.4f %+7.3f  ", component_name((enum component_kind)i), c->norm, c->cosine);
		print_bar(full > 0 ? c->norm * c->cosine / full : 0, ascii);
		printf("   %+9.4f %-12s ", c->objective, c->recovered ? "recovered" : "not");
		if (c->has_knockout)
			printf("%+9.4f %-12s ", c->knockout_objective, c->knockout_recovered ? "recovered" : "not");
		else
			printf("%9s %-12s ", "", "");
		printf("%.6f\n", c->drift_relative_l2);
	}
	printf("clamped + non-clamped + residual = full within %.2g; decoder directions are not orthogonal, so norms "
	       "are no shares\n",
	       parts->identity_error);
}

/* What was found goes into the journal too, so that exports have it; one that can't be
 * added to is no reason to fail. */
static void note_decomposition(const struct record *record, const struct record_run *run,
			       const struct decomposition *parts, bool quiet)
{
	struct journal *journal;
	struct error error;
	/* An event belongs to the run before it. */
	if (run != &record->runs[record->run_count - 1] || record->cut)
		return;
	enum status status = journal_append(&journal, record->path, &error);
	if (status == STATUS_OK)
		status = record_write_decomposition(journal, parts, run->result_step, &error);
	if (status == STATUS_OK)
		status = journal_close(&journal, &error);
	journal_abandon(&journal);
	if (status && !quiet)
		fprintf(stderr, "the decomposition is not in the session: %s\n", error.text);
}

static enum status run_decomposition(struct decomposition *parts, struct session *session, const struct record *record,
				     const struct record_run *run, int64_t top_k, bool clamped_run, struct error *error)
{
	struct scene clamped = {0};
	struct recovery *recovery = NULL;
	float *delta = NULL;
	enum status status = record_read_result(record, run, &delta, error);
	if (status == STATUS_OK)
		status = scene_run(&clamped, session, true, error);
	if (status == STATUS_OK)
		status = recovery_create(&recovery, session, &clamped, NULL, error);
	if (status == STATUS_OK && (recovery_rows(recovery) != run->row_count || session->model.arch.d != run->d))
		status = error_set(error, STATUS_INVALID,
				   "'%s' perturbs %lld rows of width %lld; its settings give %lld of %lld",
				   record->path, (long long)run->row_count, (long long)run->d,
				   (long long)recovery_rows(recovery), (long long)session->model.arch.d);
	if (status == STATUS_OK)
		status = decompose(parts, session, recovery, &clamped, delta, top_k, clamped_run, error);
	recovery_destroy(&recovery);
	scene_done(&clamped);
	free(delta);
	return status;
}

enum status cli_decompose(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct record record;
	const struct record_run *run;
	struct session *session = NULL;
	struct decomposition parts;
	int64_t top_k;
	enum status status = options_int(o->top, "top", 1, 1000000, 10, &top_k, error);
	bool clamped_run = o->reference && strcmp(o->reference, "clamped-run") == 0;
	if (status == STATUS_OK && o->reference && !clamped_run && strcmp(o->reference, "before-delta") != 0)
		status = error_set(error, STATUS_INVALID, "--reference is '%s'; expected before-delta or clamped-run",
				   o->reference);
	if (status == STATUS_OK)
		status = load_argument(&record, &run, cli, error);
	if (status)
		return status;
	status = apply(&session, cli, &record, run, error);
	if (status == STATUS_OK)
		status = run_decomposition(&parts, session, &record, run, top_k, clamped_run, error);
	if (status == STATUS_OK) {
		if (o->json)
			status = cli_print_json(decomposition_json(&parts), error);
		else
			print_decomposition(&parts, o);
		note_decomposition(&record, run, &parts, o->quiet);
		decomposition_done(&parts);
	}
	session_close(&session);
	record_done(&record);
	return status;
}

/* ---------------------------------------------------------------- replay */

static cJSON *replay_json(const struct replay_report *r, const struct record *record, const struct session *session)
{
	const struct device_info *device = device_get_info(session->device);
	cJSON *json = cJSON_CreateObject();
	cJSON_AddBoolToObject(json, "identical", r->differing == 0);
	cJSON_AddBoolToObject(json, "agrees", replay_agrees(r));
	cJSON_AddBoolToObject(json, "same_device", r->same_device);
	cJSON_AddNumberToObject(json, "steps", (double)r->steps);
	cJSON_AddNumberToObject(json, "compared", (double)r->compared);
	cJSON_AddNumberToObject(json, "differing", (double)r->differing);
	cJSON_AddNumberToObject(json, "outside_tolerance", (double)r->outside);
	journal_add_number(json, "largest_difference", r->largest);
	cJSON *tolerance = cJSON_AddObjectToObject(json, "tolerance");
	cJSON_AddNumberToObject(tolerance, "absolute", REPLAY_ABSOLUTE);
	cJSON_AddNumberToObject(tolerance, "relative", REPLAY_RELATIVE);
	if (r->differing > 0) {
		cJSON *first = cJSON_AddObjectToObject(json, "first_difference");
		cJSON_AddStringToObject(first, "where", r->first_where);
		journal_add_number(first, "recorded", r->first_recorded);
		journal_add_number(first, "now", r->first_now);
	}
	journal_add_string(json, "recorded_device", record->device);
	journal_add_string(json, "device", device->name);
	return json;
}

static void print_replay(const struct replay_report *r, const struct record *record, const struct session *session)
{
	const struct device_info *device = device_get_info(session->device);
	char *was = shown(record->device), *driver = shown(record->driver);
	printf("%lld steps run again, %lld numbers compared\n", (long long)r->steps, (long long)r->compared);
	if (!r->same_device)
		printf("recorded on %s (%s), run on %s (%s): bits may differ there\n", was, driver, device->name,
		       device->driver);
	if (r->differing == 0)
		printf("identical, to the bit\n");
	else
		printf("%lld numbers differ, by at most %.3g; %lld of them by more than %g + %g%%\n",
		       (long long)r->differing, r->largest, (long long)r->outside, REPLAY_ABSOLUTE,
		       100 * REPLAY_RELATIVE);
	if (r->differing > 0)
		printf("the first is %s: recorded %.9g, now %.9g\n", r->first_where, r->first_recorded, r->first_now);
	free(was);
	free(driver);
}

static enum status replay_one(const struct cli *cli, const struct record *record, const struct record_run *run,
			      const char *stage, cJSON *list, struct error *error)
{
	struct session *session = NULL;
	struct replay_report report;
	enum status status = apply(&session, cli, record, run, error);
	if (status == STATUS_OK)
		status = replay_run(&report, session, record, run, error);
	if (status == STATUS_OK && !cli->options.json) {
		if (stage)
			printf("%s\n", stage);
		print_replay(&report, record, session);
	} else if (status == STATUS_OK) {
		cJSON_AddItemToArray(list, replay_json(&report, record, session));
	}
	if (status == STATUS_OK && !replay_agrees(&report)) {
		bool same = report.same_device;
		status = error_set(error, STATUS_FAILED, "'%s' does not replay: %s was %.9g and is %.9g", record->path,
				   same ? report.first_where : report.worst_where,
				   same ? report.first_recorded : report.worst_recorded,
				   same ? report.first_now : report.worst_now);
	}
	session_close(&session);
	return status;
}

/* A recovery in two stages is run again in both; the document is then that of the second with
 * the first's as "first_stage". */
enum status cli_replay(const struct cli *cli, struct error *error)
{
	struct record record;
	const struct record_run *run;
	enum status status = load_argument(&record, &run, cli, error);
	if (status)
		return status;
	const struct record_run *first = record_earlier_stage(&record, run);
	cJSON *list = cJSON_CreateArray();
	if (first)
		status = replay_one(cli, &record, first, "stage 1", list, error);
	if (status == STATUS_OK || status == STATUS_FAILED) {
		enum status second =
			replay_one(cli, &record, run, first ? "stage 2" : NULL, list, status ? NULL : error);
		status = status ? status : second;
	}
	if (cli->options.json && cJSON_GetArraySize(list) == 1 + (first != NULL)) {
		cJSON *json = cJSON_DetachItemFromArray(list, first != NULL);
		if (first)
			cJSON_AddItemToObject(json, "first_stage", cJSON_DetachItemFromArray(list, 0));
		enum status printed = cli_print_json(json, status ? NULL : error);
		status = status ? status : printed;
	}
	cJSON_Delete(list);
	record_done(&record);
	return status;
}

/* ---------------------------------------------------------------- list */

/* The folder or session that was named, else the user's folder. NULL in *out: there is none
 * yet. */
static enum status list_place(char **out, const struct cli *cli, struct error *error)
{
	const struct option_list *arguments = &cli->options.arguments;
	*out = NULL;
	if (arguments->count > 1)
		return error_set(error, STATUS_INVALID, "'rebound %s' takes one folder or session, found %d",
				 cli->options.command, arguments->count);
	if (arguments->count == 1) {
		*out = record_find(arguments->items[0]);
		return STATUS_OK;
	}
	enum status status = journal_folder(out, error);
	if (status == STATUS_OK && !file_exists(*out)) {
		free(*out);
		*out = NULL;
	}
	return status;
}

static cJSON *entry_json(const struct record_entry *entry)
{
	cJSON *json = cJSON_CreateObject();
	journal_add_string(json, "path", entry->path);
	if (!entry->good) {
		journal_add_string(json, "problem", entry->error.text);
		return json;
	}
	const struct record_run *run = record_main_run(&entry->record);
	journal_add_string(json, "created", entry->record.created);
	cJSON_AddBoolToObject(json, "ended_early", entry->record.cut);
	cJSON_AddNumberToObject(json, "runs", entry->record.run_count);
	if (!run)
		return json;
	char *prompt = record_prompt(run), *objective = record_objective(run);
	journal_add_string(json, "prompt", prompt);
	journal_add_string(json, "objective", objective);
	cJSON_AddNumberToObject(json, "clamps", (double)run->clamp_count);
	cJSON_AddNumberToObject(json, "steps", (double)run->steps);
	cJSON_AddStringToObject(json, "outcome", record_outcome_name(run->outcome));
	cJSON_AddStringToObject(json, "verdict", record_verdict(run));
	free(prompt);
	free(objective);
	return json;
}

static void print_entry(const struct record_entry *entry)
{
	char *name = shown(path_base(entry->path));
	if (!entry->good) {
		printf("%-44s %s\n", name, entry->error.text);
	} else {
		const struct record_run *run = record_main_run(&entry->record);
		char *prompt = run ? record_prompt(run) : mem_strdup("-"), *safe = shown(prompt);
		char *created = shown(entry->record.created);
		printf("%-44s %-20s %-14s %4lld %5lld  %s%s\n", name, created, safe,
		       run ? (long long)run->clamp_count : 0, run ? (long long)run->steps : 0,
		       run ? record_verdict(run) : "no recovery", entry->record.cut ? " (ended early)" : "");
		free(prompt);
		free(safe);
		free(created);
	}
	free(name);
}

enum status cli_list(const struct cli *cli, struct error *error)
{
	char *place;
	struct record_list list = {0};
	enum status status = list_place(&place, cli, error);
	if (status == STATUS_OK && place)
		status = record_list_load(&list, place, error);
	if (status == STATUS_OK && cli->options.json) {
		cJSON *json = cJSON_CreateObject(), *items = cJSON_AddArrayToObject(json, "sessions");
		for (int i = 0; i < list.count; i++)
			cJSON_AddItemToArray(items, entry_json(&list.items[i]));
		status = cli_print_json(json, error);
	} else if (status == STATUS_OK && list.count == 0) {
		printf("there are no sessions yet; 'rebound recover' writes them\n");
	} else if (status == STATUS_OK) {
		printf("%-44s %-20s %-14s %4s %5s  %s\n", "session", "created", "prompt", "K", "steps", "verdict");
		for (int i = 0; i < list.count; i++)
			print_entry(&list.items[i]);
	}
	record_list_done(&list);
	free(place);
	return status;
}

/* ---------------------------------------------------------------- export */

enum status cli_export(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct record_list list = {0};
	enum export_format format = EXPORT_JSON;
	char *place = NULL;
	int good = 0;
	enum status status = STATUS_OK;
	if (o->arguments.count != 1)
		status = error_set(error, STATUS_INVALID, "'rebound export' takes one session or folder, found %d",
				   o->arguments.count);
	if (status == STATUS_OK && !o->format && !o->json)
		status = error_set(error, STATUS_INVALID,
				   "'rebound export' needs --format csv, json, latex, svg, pdf or md");
	if (status == STATUS_OK && o->format)
		status = export_format_parse(o->format, &format, error);
	if (status == STATUS_OK)
		status = list_place(&place, cli, error);
	if (status == STATUS_OK)
		status = record_list_load(&list, place, error);
	for (int i = 0; i < list.count; i++) {
		good += list.items[i].good;
		if (!list.items[i].good && !o->quiet)
			fprintf(stderr, "left out: %s\n", list.items[i].error.text);
	}
	if (status == STATUS_OK && good == 0)
		status = error_set(error, STATUS_NOTHING, "there is no session in '%s'", place);
	struct strbuf text = {0};
	if (status == STATUS_OK)
		status = export_bytes(&text, &list, format, o->redact, error);
	if (status == STATUS_OK && !o->out && format == EXPORT_PDF && isatty(STDOUT_FILENO))
		status = error_set(error, STATUS_INVALID, "a PDF is not for the terminal; give --out FILE.pdf");
	if (status == STATUS_OK && o->out)
		status = file_write(o->out, text.data, text.length, error);
	else if (status == STATUS_OK &&
		 (fwrite(text.data, 1, text.length, stdout) != text.length || fflush(stdout) != 0))
		status = error_set(error, STATUS_FAILED, "cannot write the export to stdout");
	strbuf_done(&text);
	record_list_done(&list);
	free(place);
	return status;
}
