#include "sessions/record_events.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* Where an event is read into. */
struct reader {
	struct record *record;
	struct record_run *run; /* the last run; NULL before the first */
	const cJSON *json;
	const char *what;
	struct error *error;
};

static enum status missing(const struct reader *r, const char *key)
{
	return error_set(r->error, STATUS_INVALID, "%s has no \"%s\"", r->what, key);
}

/* A new string in *out, which must be NULL or free()able; NULL if the key is absent. */
static enum status get_string(const struct reader *r, const cJSON *json, const char *key, char **out)
{
	const char *value = NULL;
	enum status status = json_get_string(json, key, &value, r->what, r->error);
	if (status == STATUS_OK && value) {
		free(*out);
		*out = mem_strdup(value);
	}
	return status;
}

static enum status need_string(const struct reader *r, const cJSON *json, const char *key, char **out)
{
	enum status status = get_string(r, json, key, out);
	return status ? status : *out ? STATUS_OK : missing(r, key);
}

/* null is NaN; absent is an error. */
static enum status need_number(const struct reader *r, const cJSON *json, const char *key, double *out)
{
	*out = NAN;
	if (!json_has(json, key))
		return missing(r, key);
	return json_get_double(json, key, out, r->what, r->error);
}

static enum status need_int(const struct reader *r, const cJSON *json, const char *key, int64_t least, int64_t most,
			    int64_t *out)
{
	if (!json_member(json, key))
		return missing(r, key);
	return json_get_int(json, key, least, most, out, r->what, r->error);
}

/* The array `key` of an object in *out; NULL where it is absent, unless it is needed. */
static enum status get_list(const struct reader *r, const cJSON *json, const char *key, bool needed, const cJSON **out)
{
	*out = json_member(json, key);
	if (!*out)
		return needed ? missing(r, key) : STATUS_OK;
	if (!cJSON_IsArray(*out))
		return error_set(r->error, STATUS_INVALID, "%s: \"%s\" is not a list", r->what, key);
	for (const cJSON *item = (*out)->child; item; item = item->next)
		if (strcmp(key, "ids") != 0 && strcmp(key, "objectives") != 0 && !cJSON_IsObject(item))
			return error_set(r->error, STATUS_INVALID, "%s: \"%s\" is not a list of objects", r->what, key);
	return STATUS_OK;
}

static size_t list_size(const cJSON *list)
{
	size_t n = 0;
	for (const cJSON *item = list ? list->child : NULL; item; item = item->next)
		n++;
	return n;
}

static enum status read_sha256(const struct reader *r, const cJSON *json, const char *key, char out[65])
{
	const char *text = NULL;
	enum status status = json_get_string(json, key, &text, r->what, r->error);
	if (status || !text)
		return status;
	if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
		return error_set(r->error, STATUS_INVALID, "%s: \"%s\" is not a SHA-256", r->what, key);
	memcpy(out, text, 65);
	return STATUS_OK;
}

static enum status read_source(const struct reader *r, const cJSON *json, struct record_source *source)
{
	int64_t layer = -1;
	const cJSON *files;
	enum status status = need_string(r, json, "path", &source->path);
	if (status == STATUS_OK)
		status = get_string(r, json, "below_model", &source->below);
	if (status == STATUS_OK)
		status = get_string(r, json, "hook", &source->hook);
	if (status == STATUS_OK)
		status = json_get_int(json, "layer", 0, ARCH_MAX_LAYERS - 1, &layer, r->what, r->error);
	if (status == STATUS_OK)
		status = get_list(r, json, "files", true, &files);
	source->layer = (int)layer;
	if (status)
		return status;
	source->files.items = mem_alloc(list_size(files), sizeof *source->files.items);
	for (const cJSON *item = files->child; item && status == STATUS_OK; item = item->next) {
		struct record_file *file = &source->files.items[source->files.count++];
		status = need_string(r, item, "name", &file->name);
		if (status == STATUS_OK)
			status = need_int(r, item, "bytes", 0, INT64_MAX, &file->bytes);
		if (status == STATUS_OK)
			status = read_sha256(r, item, "sha256", file->sha256);
	}
	return status;
}

static enum status read_sources(const struct reader *r, const char *key, struct record_source **out, int *count)
{
	const cJSON *list;
	enum status status = get_list(r, r->json, key, false, &list);
	if (status || !list)
		return status;
	if (list_size(list) > SESSION_MAX_SITES)
		return error_set(r->error, STATUS_INVALID, "%s: \"%s\" has more than %d entries", r->what, key,
				 SESSION_MAX_SITES);
	*out = mem_alloc(list_size(list), sizeof **out);
	for (const cJSON *item = list->child; item && status == STATUS_OK; item = item->next)
		status = read_source(r, item, &(*out)[(*count)++]);
	return status;
}

static enum status read_device(const struct reader *r)
{
	const cJSON *device = json_member(r->json, "device");
	if (!device)
		return missing(r, "device");
	enum status status = need_string(r, device, "name", &r->record->device);
	if (status == STATUS_OK)
		status = need_string(r, device, "driver", &r->record->driver);
	if (status == STATUS_OK)
		status = need_string(r, device, "api", &r->record->api);
	return status;
}

static enum status read_seed(const struct reader *r)
{
	char *text = NULL;
	enum status status = get_string(r, r->json, "seed", &text);
	if (status == STATUS_OK && text) {
		if (strlen(text) == 0 || strlen(text) > 19 || strspn(text, "0123456789") != strlen(text))
			status = error_set(r->error, STATUS_INVALID, "%s: \"seed\" is not a number", r->what);
		else
			r->record->seed = strtoull(text, NULL, 10);
	}
	free(text);
	return status;
}

static enum status read_session(const struct reader *r)
{
	struct record *record = r->record;
	int64_t format = 0;
	if (record->version)
		return error_set(r->error, STATUS_INVALID, "%s begins the session a second time", r->what);
	enum status status = need_int(r, r->json, "format", 1, INT64_MAX, &format);
	if (status == STATUS_OK && format != RECORD_FORMAT)
		status = error_set(r->error, STATUS_INVALID,
				   "%s has the format %lld and this version reads format %d: it was written by a "
				   "newer rebound",
				   r->what, (long long)format, RECORD_FORMAT);
	if (status == STATUS_OK)
		status = need_string(r, r->json, "version", &record->version);
	if (status == STATUS_OK)
		status = need_string(r, r->json, "created", &record->created);
	if (status == STATUS_OK)
		status = get_string(r, r->json, "folder", &record->folder);
	if (status == STATUS_OK)
		status = get_string(r, r->json, "command", &record->command);
	if (status == STATUS_OK)
		status = read_seed(r);
	if (status == STATUS_OK)
		status = read_device(r);
	const cJSON *model = json_member(r->json, "model"), *prompts = json_member(r->json, "prompts");
	if (status == STATUS_OK)
		status = model ? read_source(r, model, &record->model) : missing(r, "model");
	if (status == STATUS_OK)
		status = read_sources(r, "saes", &record->saes, &record->sae_count);
	if (status == STATUS_OK)
		status = read_sources(r, "labels", &record->labels, &record->label_count);
	if (status == STATUS_OK && prompts) {
		record->has_prompts = true;
		status = read_source(r, prompts, &record->prompts);
	}
	return status;
}

static enum status read_ids(const struct reader *r, struct token_list *ids)
{
	const cJSON *list;
	enum status status = get_list(r, r->json, "ids", true, &list);
	if (status)
		return status;
	for (const cJSON *item = list->child; item; item = item->next) {
		double id = item->valuedouble;
		if (!cJSON_IsNumber(item) || !(id >= 0 && id <= INT32_MAX) || id != floor(id))
			return error_set(r->error, STATUS_INVALID, "%s: \"ids\" holds something that is no token id",
					 r->what);
		token_list_add(ids, (int32_t)id);
	}
	return STATUS_OK;
}

static enum status read_clamps(const struct reader *r, struct record_run *run)
{
	const cJSON *list;
	enum status status = get_list(r, r->json, "clamps", true, &list);
	if (status)
		return status;
	run->clamps = mem_alloc(list_size(list), sizeof *run->clamps);
	for (const cJSON *item = list->child; item && status == STATUS_OK; item = item->next) {
		struct record_clamp *clamp = &run->clamps[run->clamp_count++];
		int64_t layer, feature;
		status = need_int(r, item, "layer", 0, ARCH_MAX_LAYERS - 1, &layer);
		if (status == STATUS_OK)
			status = need_int(r, item, "feature", 0, UINT32_MAX, &feature);
		if (status == STATUS_OK)
			status = need_string(r, item, "mode", &clamp->mode);
		if (status == STATUS_OK)
			status = json_get_double(item, "value", &clamp->value, r->what, r->error);
		if (status == STATUS_OK) {
			clamp->layer = (int)layer;
			clamp->feature = (uint32_t)feature;
		}
	}
	return status;
}

static enum status read_objectives(const struct reader *r, struct record_run *run)
{
	const cJSON *list;
	enum status status = get_list(r, r->json, "objectives", true, &list);
	if (status)
		return status;
	for (const cJSON *item = list->child; item; item = item->next) {
		if (!cJSON_IsString(item) || run->objective_count == OBJECTIVE_MAX_TERMS)
			return error_set(r->error, STATUS_INVALID,
					 "%s: \"objectives\" is not a list of at most %d texts", r->what,
					 OBJECTIVE_MAX_TERMS);
		run->objectives[run->objective_count++] = mem_strdup(item->valuestring);
	}
	return STATUS_OK;
}

static enum status read_settings(const struct reader *r, struct record_run *run)
{
	const cJSON *settings = json_member(r->json, "settings");
	if (!settings || !cJSON_IsObject(settings))
		return missing(r, "settings");
	for (const cJSON *item = settings->child; item; item = item->next) {
		if (!cJSON_IsString(item))
			return error_set(r->error, STATUS_INVALID, "%s: the setting \"%s\" is no text", r->what,
					 item->string);
		/* No file is written as "". */
		if (strcmp(item->string, "probes-file") == 0 && !*item->valuestring)
			continue;
		enum status status = settings_set(&run->settings, item->string, item->valuestring, r->error);
		if (status)
			return error_prefix(r->error, STATUS_INVALID, "%s", r->what);
	}
	return STATUS_OK;
}

/* A file beside the journal: no path leads out of its folder. */
static enum status read_array_name(const struct reader *r, const char *key, char **out)
{
	enum status status = get_string(r, r->json, key, out);
	if (status == STATUS_OK && *out && (strchr(*out, '/') || (*out)[0] == '.' || !**out))
		status = error_set(r->error, STATUS_INVALID, "%s: \"%s\" is not the name of a file beside the session",
				   r->what, key);
	return status;
}

/* Rows of delta in *rows, at `lowest` or a higher layer; both may be set already after a
 * failure. */
static enum status read_rows(const struct reader *r, const cJSON *list, int lowest, struct record_row **rows,
			     int64_t *count)
{
	enum status status = STATUS_OK;
	*rows = mem_alloc(list_size(list), sizeof **rows);
	for (const cJSON *item = list->child; item && status == STATUS_OK; item = item->next) {
		struct record_row *row = &(*rows)[(*count)++];
		int64_t layer = 0;
		status = need_int(r, item, "layer", lowest, ARCH_MAX_LAYERS - 1, &layer);
		if (status == STATUS_OK)
			status = need_int(r, item, "position", 0, INT32_MAX, &row->position);
		row->layer = (int)layer;
	}
	return status;
}

static enum status read_frozen(const struct reader *r, struct record_run *run)
{
	const cJSON *list;
	enum status status = get_list(r, r->json, "frozen_rows", false, &list);
	if (status || !list)
		return status;
	status = read_rows(r, list, 0, &run->frozen_rows, &run->frozen_count);
	if (status == STATUS_OK)
		status = read_array_name(r, "frozen", &run->frozen);
	if (status == STATUS_OK && !run->frozen)
		status = missing(r, "frozen");
	if (status == STATUS_OK)
		status = read_sha256(r, r->json, "frozen_sha256", run->frozen_sha256);
	return status;
}

static enum status read_suffix(const struct reader *r, struct record_run *run)
{
	const cJSON *suffix = json_member(r->json, "suffix");
	if (!suffix)
		return STATUS_OK;
	enum status status = need_int(r, suffix, "tokens", 1, (int64_t)run->ids.count - 1, &run->suffix.count);
	return status ? status : need_number(r, suffix, "monitor_weight", &run->suffix.monitor_weight);
}

static enum status read_setup(const struct reader *r)
{
	struct record *record = r->record;
	record->runs = mem_resize(record->runs, (size_t)record->run_count + 1, sizeof *record->runs);
	struct record_run *run = &record->runs[record->run_count++];
	*run = (struct record_run){.error_alpha = 1};
	settings_init(&run->settings);
	enum status status = read_ids(r, &run->ids);
	if (status == STATUS_OK)
		status = get_string(r, r->json, "text", &run->text);
	if (status == STATUS_OK)
		status = get_string(r, r->json, "prompt", &run->prompt);
	if (status == STATUS_OK)
		status = json_get_bool(r->json, "chat", &run->chat, r->what, r->error);
	if (status == STATUS_OK)
		status = read_clamps(r, run);
	if (status == STATUS_OK)
		status = need_string(r, r->json, "clamp_positions", &run->clamp_positions);
	if (status == STATUS_OK)
		status = json_get_double(r->json, "error", &run->error_alpha, r->what, r->error);
	if (status == STATUS_OK)
		status = read_objectives(r, run);
	if (status == STATUS_OK)
		status = read_settings(r, run);
	if (status == STATUS_OK)
		status = read_suffix(r, run);
	if (status == STATUS_OK)
		status = read_sha256(r, r->json, "probes_sha256", run->probes_sha256);
	if (status == STATUS_OK)
		status = read_array_name(r, "start", &run->start);
	if (status == STATUS_OK)
		status = read_sha256(r, r->json, "start_sha256", run->start_sha256);
	if (status == STATUS_OK)
		status = read_frozen(r, run);
	return status;
}

static enum status read_state(const struct reader *r, struct record_state *state)
{
	const cJSON *list;
	if (state->known)
		return error_set(r->error, STATUS_INVALID, "%s says a state of the run a second time", r->what);
	state->known = true;
	enum status status = need_number(r, r->json, "objective", &state->objective);
	if (status == STATUS_OK)
		status = json_get_bool(r->json, "present", &state->present, r->what, r->error);
	if (status == STATUS_OK)
		status = get_list(r, r->json, "top", false, &list);
	if (status || !list)
		return status;
	for (const cJSON *item = list->child; item && status == STATUS_OK; item = item->next) {
		if (state->top_count == RECORD_TOP)
			break;
		struct record_top *top = &state->top[state->top_count++];
		int64_t id = 0;
		status = need_int(r, item, "id", 0, INT32_MAX, &id);
		if (status == STATUS_OK)
			status = get_string(r, item, "piece", &top->piece);
		if (status == STATUS_OK)
			status = need_number(r, item, "logit", &top->logit);
		if (status == STATUS_OK)
			status = need_number(r, item, "probability", &top->probability);
		top->id = (int32_t)id;
	}
	return status;
}

static enum status read_base(const struct reader *r)
{
	return read_state(r, &r->run->base);
}

static enum status read_clamped(const struct reader *r)
{
	return read_state(r, &r->run->clamped);
}

static enum status read_recovery(const struct reader *r)
{
	struct record_run *run = r->run;
	const cJSON *list;
	if (run->has_recovery)
		return error_set(r->error, STATUS_INVALID, "%s begins the run's recovery a second time", r->what);
	run->has_recovery = true;
	enum status status = get_list(r, r->json, "rows", true, &list);
	if (status)
		return status;
	status = read_rows(r, list, run->suffix.count > 0 ? LAYER_EMBEDDING : 0, &run->rows, &run->row_count);
	if (status == STATUS_OK)
		status = need_int(r, r->json, "d", 1, 1 << 24, &run->d);
	if (status == STATUS_OK)
		status = need_number(r, r->json, "budget", &run->budget);
	if (status == STATUS_OK)
		status = need_number(r, r->json, "reference_norm", &run->reference_norm);
	return status;
}

static enum status read_fields(const struct reader *r, const cJSON *json, const struct record_field *fields,
			       void *object)
{
	enum status status = STATUS_OK;
	for (; fields->name && status == STATUS_OK; fields++) {
		double value;
		status = need_number(r, json, fields->name, &value);
		memcpy((char *)object + fields->offset, &value, sizeof value);
	}
	return status;
}

static enum status read_step(const struct reader *r)
{
	struct record_run *run = r->run;
	int64_t step;
	enum status status = need_int(r, r->json, "step", 0, INT32_MAX, &step);
	if (status)
		return status;
	if (step != run->steps || !run->has_recovery || run->outcome != RECORD_OPEN)
		return error_set(r->error, STATUS_INVALID, "%s is step %lld where step %lld was expected", r->what,
				 (long long)step, (long long)run->steps);
	/* Doubled at powers of two. */
	if ((step & (step - 1)) == 0)
		run->history = mem_resize(run->history, (size_t)step * 2 + 1, sizeof *run->history);
	struct recovery_metrics *metrics = &run->history[run->steps++];
	*metrics = (struct recovery_metrics){0};
	status = read_fields(r, r->json, record_step_fields, metrics);
	if (status == STATUS_OK && run->suffix.count > 0)
		status = need_number(r, r->json, "monitor_relative", &metrics->monitor_relative);
	return status;
}

static enum status read_end(const struct reader *r)
{
	struct record_run *run = r->run;
	char *outcome = NULL;
	int64_t steps = 0;
	/* A run ends once; what is said later is passed over. */
	if (run->outcome != RECORD_OPEN)
		return STATUS_OK;
	if (!run->has_recovery)
		return error_set(r->error, STATUS_INVALID, "%s ends a run that is not under way", r->what);
	enum status status = need_string(r, r->json, "outcome", &outcome);
	for (int i = RECORD_COMPLETE; i <= RECORD_FAILED && status == STATUS_OK; i++)
		if (strcmp(outcome, record_outcome_name((enum record_outcome)i)) == 0)
			run->outcome = (enum record_outcome)i;
	if (status == STATUS_OK && run->outcome == RECORD_OPEN)
		status = error_set(r->error, STATUS_INVALID, "%s: the outcome '%s' is unknown", r->what, outcome);
	free(outcome);
	if (status == STATUS_OK)
		status = need_int(r, r->json, "steps", 0, INT32_MAX, &steps);
	if (status == STATUS_OK && steps != run->steps)
		status = error_set(r->error, STATUS_INVALID, "%s speaks of %lld steps and %lld are recorded", r->what,
				   (long long)steps, (long long)run->steps);
	if (status == STATUS_OK)
		status = need_number(r, r->json, "wall_s", &run->wall_s);
	const cJSON *final = json_member(r->json, "final");
	if (status == STATUS_OK && cJSON_IsObject(final)) {
		status = read_state(r, &run->recovered);
		if (status == STATUS_OK)
			status = need_int(r, r->json, "result_step", 0, run->steps, &run->result_step);
		if (status == STATUS_OK)
			status = read_fields(r, final, record_final_fields, &run->final);
		if (status == STATUS_OK && run->suffix.count > 0)
			status = need_number(r, final, "monitor_relative", &run->final.monitor_relative);
		run->final.present = run->recovered.present;
	}
	if (status == STATUS_OK)
		status = read_array_name(r, "delta", &run->delta_file);
	if (status == STATUS_OK)
		status = read_sha256(r, r->json, "delta_sha256", run->delta_sha256);
	if (status == STATUS_OK)
		status = read_array_name(r, "result", &run->result_file);
	if (status == STATUS_OK)
		status = read_sha256(r, r->json, "result_sha256", run->result_sha256);
	return status;
}

static enum status read_component(const struct reader *r, const cJSON *item, struct record_component *c)
{
	const struct {
		const char *name;
		double *out;
	} numbers[] = {
		{"norm", &c->norm},
		{"cosine_with_delta", &c->cosine},
		{"objective", &c->objective},
		{"drift_l2", &c->drift_l2},
		{"drift_relative_l2", &c->drift_relative_l2},
	};
	enum status status = need_string(r, item, "component", &c->name);
	for (size_t i = 0; i < ARRAY_LEN(numbers) && status == STATUS_OK; i++)
		status = need_number(r, item, numbers[i].name, numbers[i].out);
	if (status == STATUS_OK)
		status = json_get_bool(item, "recovered", &c->recovered, r->what, r->error);
	c->has_knockout = json_has(item, "knockout_objective");
	if (status == STATUS_OK && c->has_knockout)
		status = need_number(r, item, "knockout_objective", &c->knockout_objective);
	if (status == STATUS_OK)
		status = json_get_bool(item, "knockout_recovered", &c->knockout_recovered, r->what, r->error);
	return status;
}

static enum status read_decomposition(const struct reader *r)
{
	struct record_decomposition *parts = &r->run->decomposition;
	for (int i = 0; i < parts->count; i++)
		free(parts->components[i].name);
	*parts = (struct record_decomposition){.known = true};
	const cJSON *list;
	const char *reference = "";
	enum status status = need_int(r, r->json, "step", 0, INT32_MAX, &parts->step);
	if (status == STATUS_OK)
		status = need_int(r, r->json, "top_k", 0, INT32_MAX, &parts->top_k);
	if (status == STATUS_OK)
		status = json_get_string(r->json, "reference", &reference, r->what, r->error);
	parts->clamped_run = strcmp(reference, "clamped-run") == 0;
	if (status == STATUS_OK)
		status = need_number(r, r->json, "identity_error", &parts->identity_error);
	if (status == STATUS_OK)
		status = get_list(r, r->json, "components", true, &list);
	if (status)
		return status;
	for (const cJSON *item = list->child; item && status == STATUS_OK; item = item->next) {
		if (parts->count == RECORD_COMPONENTS)
			return error_set(r->error, STATUS_INVALID, "%s has more than %d components", r->what,
					 RECORD_COMPONENTS);
		status = read_component(r, item, &parts->components[parts->count++]);
	}
	return status;
}

static enum status read_note(const struct reader *r)
{
	struct record *record = r->record;
	char *text = NULL;
	enum status status = need_string(r, r->json, "text", &text);
	if (status)
		return status;
	record->notes = mem_resize(record->notes, (size_t)record->note_count + 1, sizeof *record->notes);
	record->notes[record->note_count++] = text;
	return STATUS_OK;
}

static const struct {
	const char *name;
	bool in_run; /* comes only behind a setup */
	enum status (*read)(const struct reader *r);
} events[] = {
	{"session", false, read_session},  {"setup", false, read_setup},
	{"base", true, read_base},	   {"clamped", true, read_clamped},
	{"recovery", true, read_recovery}, {"step", true, read_step},
	{"end", true, read_end},	   {"decomposition", true, read_decomposition},
	{"note", false, read_note},
};

enum status record_read_event(struct record *record, const cJSON *json, bool first, const char *what,
			      struct error *error)
{
	struct reader r = {record, record->run_count > 0 ? &record->runs[record->run_count - 1] : NULL, json, what,
			   error};
	const char *name = NULL;
	enum status status = STATUS_OK;
	if (cJSON_IsObject(json))
		status = json_get_string(json, "event", &name, what, error);
	if (status)
		return status;
	if (!name || (first && strcmp(name, "session") != 0))
		return error_set(error, STATUS_INVALID, "%s is not an event of a session of rebound", what);
	for (size_t i = 0; i < ARRAY_LEN(events); i++) {
		if (strcmp(events[i].name, name) != 0)
			continue;
		if (events[i].in_run && !r.run)
			return error_set(error, STATUS_INVALID, "%s: \"%s\" comes before any \"setup\"", what, name);
		return events[i].read(&r);
	}
	return STATUS_OK;
}
