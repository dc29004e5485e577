#include "sessions/record.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "sessions/record_events.h"

static void source_done(struct record_source *source)
{
	free(source->path);
	free(source->below);
	free(source->hook);
	record_files_done(&source->files);
}

static void state_done(struct record_state *state)
{
	for (int i = 0; i < state->top_count; i++)
		free(state->top[i].piece);
}

static void run_done(struct record_run *run)
{
	token_list_done(&run->ids);
	free(run->text);
	free(run->prompt);
	for (int64_t i = 0; i < run->clamp_count; i++)
		free(run->clamps[i].mode);
	free(run->clamps);
	free(run->clamp_positions);
	for (int i = 0; i < run->objective_count; i++)
		free(run->objectives[i]);
	settings_done(&run->settings);
	free(run->start);
	free(run->frozen_rows);
	free(run->frozen);
	state_done(&run->base);
	state_done(&run->clamped);
	state_done(&run->recovered);
	free(run->rows);
	free(run->history);
	free(run->delta_file);
	free(run->result_file);
	for (int i = 0; i < run->decomposition.count; i++)
		free(run->decomposition.components[i].name);
}

void record_done(struct record *record)
{
	free(record->path);
	free(record->version);
	free(record->created);
	free(record->folder);
	free(record->command);
	source_done(&record->model);
	for (int i = 0; i < record->sae_count; i++)
		source_done(&record->saes[i]);
	free(record->saes);
	source_done(&record->prompts);
	for (int i = 0; i < record->label_count; i++)
		source_done(&record->labels[i]);
	free(record->labels);
	free(record->device);
	free(record->driver);
	free(record->api);
	for (int i = 0; i < record->run_count; i++)
		run_done(&record->runs[i]);
	free(record->runs);
	for (int i = 0; i < record->note_count; i++)
		free(record->notes[i]);
	free(record->notes);
	*record = (struct record){0};
}

/* One line. The last one may be broken off; what it says is then left out. */
static enum status read_line(struct record *record, const char *line, size_t n, size_t number, bool whole,
			     struct error *error)
{
	char *what = mem_printf("'%s', line %zu", record->path, number);
	cJSON *json = NULL;
	enum status status = json_parse(&json, line, n, what, error);
	if (status && !whole && number > 1) {
		record->cut = true;
		status = STATUS_OK;
	} else if (status == STATUS_OK) {
		status = record_read_event(record, json, number == 1, what, error);
	}
	cJSON_Delete(json);
	free(what);
	return status;
}

enum status record_load(struct record *record, const char *path, struct error *error)
{
	*record = (struct record){.path = mem_strdup(path)};
	struct file_map map;
	enum status status = file_map_open(&map, path, error);
	if (status == STATUS_OK && map.size == 0)
		status = error_set(error, STATUS_INVALID, "'%s' is empty; expected a session of rebound", path);
	const char *text = (const char *)map.data;
	size_t number = 0;
	for (size_t at = 0; status == STATUS_OK && at < map.size;) {
		const char *end = memchr(text + at, '\n', map.size - at);
		size_t n = end ? (size_t)(end - (text + at)) : map.size - at;
		number++;
		if (n > 0 || number == 1)
			status = read_line(record, text + at, n, number, end != NULL, error);
		at += n + 1;
	}
	file_map_close(&map);
	if (status)
		record_done(record);
	return status;
}

const struct record_run *record_main_run(const struct record *record)
{
	for (int i = record->run_count; i-- > 0;)
		if (record->runs[i].outcome != RECORD_OPEN)
			return &record->runs[i];
	return record->run_count > 0 ? &record->runs[record->run_count - 1] : NULL;
}

const char *record_verdict(const struct record_run *run)
{
	if (run->base.known && !run->base.present)
		return "no behaviour in the base model";
	if (run->clamped.known && run->clamped.present)
		return "kept under the clamp";
	switch (run->outcome) {
	case RECORD_OPEN:
		return "ended early";
	case RECORD_INTERRUPTED:
		return "interrupted";
	case RECORD_FAILED:
		return "failed";
	default:
		return !run->recovered.known ? "not evaluated" : run->recovered.present ? "recovered" : "not recovered";
	}
}

char *record_method(const struct record_run *run)
{
	if (run->suffix.count == 0)
		return settings_summary(&run->settings);
	char *lr = settings_get(&run->settings, "lr"), *budget = settings_get(&run->settings, "budget");
	char *text = mem_printf("trained suffix of %lld tokens, lr %s budget %s steps %lld",
				(long long)run->suffix.count, lr, budget, (long long)run->settings.steps);
	free(lr);
	free(budget);
	return text;
}

char *record_objective(const struct record_run *run)
{
	struct strbuf b = {0};
	for (int i = 0; i < run->objective_count; i++)
		strbuf_printf(&b, "%s%s", i ? " + " : "", run->objectives[i]);
	return strbuf_take(&b);
}

char *record_prompt(const struct record_run *run)
{
	return mem_strdup(run->prompt ? run->prompt : run->text ? "text" : "tokens");
}

/* An array beside the journal, of exactly this shape. */
static enum status read_array(const struct record *record, const char *name, const char *sha256, int rank,
			      const int64_t *shape, float **out, struct error *error)
{
	size_t folder = (size_t)(path_base(record->path) - record->path);
	char *path = mem_printf("%.*s%s", (int)folder, record->path, name);
	char sum[65];
	size_t count;
	struct array_view view;
	*out = NULL;
	enum status status = STATUS_OK;
	if (*sha256) {
		status = file_sha256(sum, path, error);
		if (status == STATUS_OK && strcmp(sum, sha256) != 0)
			status = error_set(error, STATUS_INVALID,
					   "'%s' is not the array that '%s' was recorded with: their SHA-256 differ",
					   path, record->path);
	}
	if (status == STATUS_OK)
		status = npy_read_float(path, out, &count, &view, error);
	if (status == STATUS_OK &&
	    (view.rank != rank || memcmp(view.shape, shape, (size_t)rank * sizeof *shape) != 0)) {
		char found[96], expected[96];
		status = error_set(error, STATUS_INVALID, "'%s' has the shape %s; '%s' says %s", path,
				   array_view_shape_text(found, sizeof found, view.rank, view.shape), record->path,
				   array_view_shape_text(expected, sizeof expected, rank, shape));
		free(*out);
		*out = NULL;
	}
	free(path);
	return status;
}

enum status record_read_delta(const struct record *record, const struct record_run *run, float **out,
			      struct error *error)
{
	const int64_t shape[] = {run->steps, run->row_count, run->d};
	*out = NULL;
	if (!run->delta_file)
		return error_set(error, STATUS_INVALID, "the session '%s' has no array of its steps", record->path);
	return read_array(record, run->delta_file, run->delta_sha256, 3, shape, out, error);
}

enum status record_read_result(const struct record *record, const struct record_run *run, float **out,
			       struct error *error)
{
	const int64_t shape[] = {run->row_count, run->d};
	*out = NULL;
	if (!run->result_file)
		return error_set(error, STATUS_INVALID, "the session '%s' has no resulting delta: its recovery %s",
				 record->path, run->outcome == RECORD_OPEN ? "ended early" : "did not get that far");
	return read_array(record, run->result_file, run->result_sha256, 2, shape, out, error);
}

enum status record_read_start(const struct record *record, const struct record_run *run, float **out,
			      struct error *error)
{
	const int64_t shape[] = {run->row_count, run->d};
	*out = NULL;
	return run->start ? read_array(record, run->start, run->start_sha256, 2, shape, out, error) : STATUS_OK;
}

enum status record_read_frozen(const struct record *record, const struct record_run *run, int64_t d, float **out,
			       struct error *error)
{
	const int64_t shape[] = {run->frozen_count, d};
	*out = NULL;
	return run->frozen ? read_array(record, run->frozen, run->frozen_sha256, 2, shape, out, error) : STATUS_OK;
}

const struct record_run *record_earlier_stage(const struct record *record, const struct record_run *run)
{
	for (int i = 0; run->frozen && i < record->run_count; i++)
		if (&record->runs[i] != run && record->runs[i].result_file &&
		    strcmp(record->runs[i].result_sha256, run->frozen_sha256) == 0)
			return &record->runs[i];
	return NULL;
}
