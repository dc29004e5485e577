#include "sessions/record_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "sessions/experiment.h"

#ifndef REBOUND_VERSION
#define REBOUND_VERSION "unknown"
#endif

static cJSON *event(const char *name)
{
	cJSON *json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "event", name);
	return json;
}

static char *absolute(const char *path)
{
	char *real = realpath(path, NULL);
	char *copy = mem_strdup(real ? real : path);
	free(real);
	return copy;
}

/* A path with the sums of its files; takes the files. */
static cJSON *source_json(const char *path, const char *model_folder, struct record_files *files)
{
	cJSON *json = cJSON_CreateObject();
	char *place = absolute(path), *model = model_folder ? absolute(model_folder) : NULL;
	journal_add_string(json, "path", place);
	size_t n = model ? strlen(model) : 0;
	if (model && strncmp(place, model, n) == 0 && place[n] == '/')
		journal_add_string(json, "below_model", place + n + 1);
	cJSON *list = cJSON_AddArrayToObject(json, "files");
	for (int i = 0; i < files->count; i++) {
		cJSON *item = cJSON_CreateObject();
		journal_add_string(item, "name", files->items[i].name);
		journal_add_number(item, "bytes", (double)files->items[i].bytes);
		cJSON_AddStringToObject(item, "sha256", files->items[i].sha256);
		cJSON_AddItemToArray(list, item);
	}
	record_files_done(files);
	free(place);
	free(model);
	return json;
}

static enum status add_sources(cJSON *json, const struct session *session, struct error *error)
{
	const char *folder = session->model.folder;
	struct record_files files;
	enum status status = record_files_of_model(&files, folder, error);
	if (status)
		return status;
	cJSON *model = source_json(folder, NULL, &files);
	cJSON_AddItemToObject(json, "model", model);
	char *about = model_describe(&session->model);
	journal_add_string(model, "about", about);
	free(about);
	cJSON *saes = cJSON_AddArrayToObject(json, "saes"), *labels = cJSON_AddArrayToObject(json, "labels");
	for (int i = 0; i < session->site_count; i++) {
		const struct site *site = &session->sites[i];
		status = record_files_of_sae(&files, site->spec.path, error);
		if (status)
			return status;
		cJSON *sae = source_json(site->spec.path, folder, &files);
		cJSON_AddNumberToObject(sae, "layer", site->sae.layer);
		cJSON_AddStringToObject(sae, "hook", hook_name(site->sae.hook));
		cJSON_AddNumberToObject(sae, "features", (double)site->sae.features);
		cJSON_AddItemToArray(saes, sae);
		if (!site->labels_path)
			continue;
		status = record_files_of_file(&files, site->labels_path, error);
		if (status)
			return status;
		cJSON *label = source_json(site->labels_path, folder, &files);
		cJSON_AddNumberToObject(label, "layer", site->sae.layer);
		cJSON_AddItemToArray(labels, label);
	}
	if (!session->prompts_path)
		return STATUS_OK;
	status = record_files_of_file(&files, session->prompts_path, error);
	if (status == STATUS_OK)
		cJSON_AddItemToObject(json, "prompts", source_json(session->prompts_path, folder, &files));
	return status;
}

enum status record_write_session(struct journal *journal, const struct session *session, const char *command,
				 struct error *error)
{
	cJSON *json = event("session");
	cJSON_AddNumberToObject(json, "format", RECORD_FORMAT);
	cJSON_AddStringToObject(json, "program", "rebound");
	cJSON_AddStringToObject(json, "version", REBOUND_VERSION);
	char text[4096] = "";
	time_t now = time(NULL);
	struct tm utc;
	if (gmtime_r(&now, &utc))
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
	cJSON_AddStringToObject(json, "created", text);
	if (getcwd(text, sizeof text))
		journal_add_string(json, "folder", text);
	journal_add_string(json, "command", command);
	/* As a string: JSON's numbers end at 2^53. */
	char *seed = mem_printf("%llu", (unsigned long long)session->seed);
	cJSON_AddStringToObject(json, "seed", seed);
	free(seed);
	const struct device_info *info = device_get_info(session->device);
	cJSON *device = cJSON_AddObjectToObject(json, "device");
	journal_add_string(device, "name", info->name);
	journal_add_string(device, "driver", info->driver);
	journal_add_string(device, "api", info->api);
	cJSON_AddStringToObject(device, "type", device_type_name(info->type));
	enum status status = add_sources(json, session, error);
	if (status) {
		cJSON_Delete(json);
		return status;
	}
	status = journal_event(journal, json, error);
	return status ? status : journal_checkpoint(journal, error);
}

static void add_clamps(cJSON *json, const struct session *session)
{
	cJSON *list = cJSON_AddArrayToObject(json, "clamps");
	for (int s = 0; s < session->site_count; s++)
		for (int64_t i = 0; i < session->sites[s].rule_count; i++) {
			const struct clamp_rule *rule = &session->sites[s].rules[i];
			cJSON *item = cJSON_CreateObject();
			char *mode = clamp_mode_text(rule->mode, rule->value);
			mode[strcspn(mode, ":")] = '\0';
			cJSON_AddNumberToObject(item, "layer", session->sites[s].sae.layer);
			cJSON_AddNumberToObject(item, "feature", rule->feature);
			cJSON_AddStringToObject(item, "mode", mode);
			if (rule->mode != OP_CLAMP_ABLATE)
				journal_add_number(item, "value", (double)rule->value);
			cJSON_AddItemToArray(list, item);
			free(mode);
		}
	char *positions = positions_text(&session->clamp_positions);
	cJSON_AddStringToObject(json, "clamp_positions", positions);
	free(positions);
	journal_add_number(json, "error", session->error_alpha);
}

/* Writes an array beside the journal and notes its name and sum as KEY, KEY_sha256. */
static enum status add_array(cJSON *json, const char *key, const struct journal *journal, const char *kind,
			     const float *values, int rank, const int64_t *shape, struct error *error)
{
	char *path = journal_array_path(journal_path(journal), kind);
	char sum[65], name[96];
	enum status status = npy_write_float(path, values, rank, shape, error);
	if (status == STATUS_OK)
		status = file_sha256(sum, path, error);
	if (status == STATUS_OK) {
		journal_add_string(json, key, path_base(path));
		snprintf(name, sizeof name, "%s_sha256", key);
		cJSON_AddStringToObject(json, name, sum);
	}
	free(path);
	return status;
}

/* All of them by their options' names; a file of probes by its full path and its sum. */
static enum status add_settings(cJSON *json, const struct recovery_settings *settings, struct error *error)
{
	cJSON *object = cJSON_AddObjectToObject(json, "settings");
	for (const struct setting_name *s = setting_names; s->name; s++) {
		bool probes = strcmp(s->name, "probes-file") == 0 && settings->probes_file;
		char *value = probes ? absolute(settings->probes_file) : settings_get(settings, s->name);
		journal_add_string(object, s->name, value);
		free(value);
	}
	if (!settings->probes_file)
		return STATUS_OK;
	char sum[65];
	enum status status = file_sha256(sum, settings->probes_file, error);
	if (status == STATUS_OK)
		cJSON_AddStringToObject(json, "probes_sha256", sum);
	return status;
}

static void add_row(cJSON *list, int layer, int64_t position)
{
	cJSON *row = cJSON_CreateObject();
	cJSON_AddNumberToObject(row, "layer", layer);
	cJSON_AddNumberToObject(row, "position", (double)position);
	cJSON_AddItemToArray(list, row);
}

enum status record_write_setup(struct journal *journal, const struct session *session, const float *start, int64_t rows,
			       const char *start_kind, const char *frozen_kind, struct error *error)
{
	cJSON *json = event("setup");
	cJSON *ids = cJSON_AddArrayToObject(json, "ids");
	for (size_t i = 0; i < session->prompt.count; i++)
		cJSON_AddItemToArray(ids, cJSON_CreateNumber(session->prompt.ids[i]));
	journal_add_string(json, "text", session->prompt_text);
	journal_add_string(json, "prompt", session->prompt_id);
	cJSON_AddBoolToObject(json, "chat", session->chat);
	add_clamps(json, session);
	cJSON *objectives = cJSON_AddArrayToObject(json, "objectives");
	for (int i = 0; session->has_objective && i < session->objective.count; i++)
		cJSON_AddItemToArray(objectives, cJSON_CreateString(session->objective.specs[i]));
	if (session->suffix.count > 0) {
		cJSON *suffix = cJSON_AddObjectToObject(json, "suffix");
		cJSON_AddNumberToObject(suffix, "tokens", (double)session->suffix.count);
		journal_add_number(suffix, "monitor_weight", session->suffix.monitor_weight);
	}
	enum status status = add_settings(json, &session->settings, error);
	if (status == STATUS_OK && start) {
		int64_t shape[] = {rows, session->model.arch.d};
		status = add_array(json, "start", journal, start_kind, start, 2, shape, error);
	}
	const struct delta_rows *frozen = &session->frozen;
	if (status == STATUS_OK && frozen->count > 0) {
		int64_t shape[] = {frozen->count, session->model.arch.d};
		cJSON *list = cJSON_AddArrayToObject(json, "frozen_rows");
		for (int64_t i = 0; i < frozen->count; i++)
			add_row(list, frozen->layers[i], frozen->positions[i]);
		status = add_array(json, "frozen", journal, frozen_kind ? frozen_kind : "frozen", frozen->values, 2,
				   shape, error);
	}
	if (status) {
		cJSON_Delete(json);
		return status;
	}
	return journal_event(journal, json, error);
}

static void add_state(cJSON *json, const struct session *session, double J, bool present, const float *logits)
{
	journal_add_number(json, "objective", J);
	cJSON_AddBoolToObject(json, "present", present);
	if (!logits)
		return;
	struct top_logit top[RECORD_TOP];
	int n = top_logits(logits, session->model.arch.vocab, RECORD_TOP, top);
	cJSON *list = cJSON_AddArrayToObject(json, "top");
	for (int i = 0; i < n; i++) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "id", top[i].id);
		if (session->model.tokenizer) {
			struct strbuf piece = {0};
			tokenizer_token_bytes(session->model.tokenizer, top[i].id, &piece);
			journal_add_string(item, "piece", piece.data ? piece.data : "");
			strbuf_done(&piece);
		}
		journal_add_number(item, "logit", (double)top[i].logit);
		journal_add_number(item, "probability", (double)top[i].probability);
		cJSON_AddItemToArray(list, item);
	}
}

enum status record_write_state(struct journal *journal, const struct session *session, const struct scene *scene,
			       struct error *error)
{
	cJSON *json = event(scene->clamped ? "clamped" : "base");
	/* The clamped state is that without any delta, frozen rows included. */
	scene = scene_reference(scene);
	add_state(json, session, scene->J, scene->present, scene->logits);
	return journal_event(journal, json, error);
}

enum status record_write_recovery(struct journal *journal, const struct session *session,
				  const struct recovery *recovery, struct error *error)
{
	cJSON *json = event("recovery");
	cJSON *rows = cJSON_AddArrayToObject(json, "rows");
	for (int64_t i = 0; i < recovery_rows(recovery); i++)
		add_row(rows, recovery_row_layer(recovery, i), recovery_row_position(recovery, i));
	cJSON_AddNumberToObject(json, "d", (double)session->model.arch.d);
	cJSON_AddNumberToObject(json, "planned", (double)recovery_planned(recovery));
	journal_add_number(json, "budget", recovery_budget(recovery));
	journal_add_number(json, "reference_norm", recovery_reference_norm(recovery));
	return journal_event(journal, json, error);
}

static void add_fields(cJSON *json, const struct record_field *fields, const void *object)
{
	for (; fields->name; fields++)
		journal_add_number(json, fields->name, record_field_get(fields, object));
}

enum status record_write_steps(struct journal *journal, const struct recovery *recovery, int64_t first, int64_t end,
			       struct error *error)
{
	const struct recovery_metrics *history = recovery_history(recovery);
	enum status status = STATUS_OK;
	for (int64_t i = first; i < end && status == STATUS_OK; i++) {
		cJSON *json = event("step");
		cJSON_AddNumberToObject(json, "step", (double)i);
		add_fields(json, record_step_fields, &history[i]);
		if (recovery_is_suffix(recovery))
			journal_add_number(json, "monitor_relative", history[i].monitor_relative);
		status = journal_event(journal, json, error);
	}
	return status;
}

/* Every step's delta. */
static enum status add_trace(cJSON *json, const struct journal *journal, const struct session *session,
			     const struct record_end *end, struct error *error)
{
	int64_t shape[] = {recovery_steps(end->recovery), recovery_rows(end->recovery), session->model.arch.d};
	size_t one = (size_t)(shape[1] * shape[2]), count;
	if (!size_mul(one, (size_t)shape[0], &count))
		return error_set(error, STATUS_FAILED, "the steps of delta are too many to be written");
	float *trace = mem_alloc(count, sizeof *trace);
	enum status status = STATUS_OK;
	for (int64_t i = 0; i < shape[0] && status == STATUS_OK; i++)
		status = recovery_delta(end->recovery, i, trace + (size_t)i * one, error);
	char *kind = mem_printf("%sdelta", end->array_prefix);
	if (status == STATUS_OK)
		status = add_array(json, "delta", journal, kind, trace, 3, shape, error);
	free(kind);
	free(trace);
	return status;
}

static bool is_probe(const struct session *session)
{
	return session->has_objective && session->objective.terms[0].kind == OBJECTIVE_PROBE_LOGIT;
}

static enum status add_end(cJSON *json, const struct journal *journal, const struct session *session,
			   const struct record_end *end, struct error *error)
{
	cJSON_AddStringToObject(json, "outcome", record_outcome_name(end->outcome));
	cJSON_AddNumberToObject(json, "steps", (double)recovery_steps(end->recovery));
	journal_add_number(json, "wall_s", end->wall_s);
	if (end->final) {
		cJSON_AddNumberToObject(json, "result_step", (double)end->result_step);
		/* A probe's recovery computes no logits. */
		add_state(json, session, end->final->objective, end->final->present,
			  is_probe(session) ? NULL : end->final->logits);
		cJSON *final = cJSON_AddObjectToObject(json, "final");
		add_fields(final, record_final_fields, end->final);
		if (recovery_is_suffix(end->recovery))
			journal_add_number(final, "monitor_relative", end->final->monitor_relative);
	}
	enum status status = STATUS_OK;
	if (recovery_steps(end->recovery) > 0)
		status = add_trace(json, journal, session, end, error);
	float *current = NULL;
	const float *result = end->result;
	if (end->outcome != RECORD_COMPLETE) {
		result = current =
			mem_alloc((size_t)(recovery_rows(end->recovery) * session->model.arch.d), sizeof *current);
		/* A lost device gives nothing back. */
		if (recovery_delta(end->recovery, recovery_steps(end->recovery), current, NULL))
			result = NULL;
	}
	if (status == STATUS_OK && result) {
		int64_t shape[] = {recovery_rows(end->recovery), session->model.arch.d};
		char *kind = mem_printf("%sresult", end->array_prefix);
		status = add_array(json, "result", journal, kind, result, 2, shape, error);
		free(kind);
	}
	free(current);
	return status;
}

enum status record_write_end(struct journal *journal, const struct session *session, const struct record_end *end,
			     struct error *error)
{
	cJSON *json = event("end");
	struct error array_error = {0};
	enum status arrays = add_end(json, journal, session, end, &array_error);
	/* The numbers are kept even where an array can't be. */
	enum status status = journal_event(journal, json, error);
	if (status == STATUS_OK)
		status = journal_checkpoint(journal, error);
	if (status == STATUS_OK && arrays) {
		status = arrays;
		if (error)
			*error = array_error;
	}
	return status;
}

enum status record_write_decomposition(struct journal *journal, const struct decomposition *parts, int64_t step,
				       struct error *error)
{
	cJSON *json = event("decomposition");
	cJSON_AddNumberToObject(json, "step", (double)step);
	cJSON_AddNumberToObject(json, "top_k", (double)parts->top_k);
	cJSON_AddStringToObject(json, "reference", parts->clamped_run ? "clamped-run" : "before-delta");
	if (parts->suffix)
		cJSON_AddNumberToObject(json, "suffix_layer", parts->suffix_layer);
	journal_add_number(json, "identity_error", parts->identity_error);
	cJSON *list = cJSON_AddArrayToObject(json, "components");
	for (int i = 0; i < COMPONENT_COUNT; i++) {
		const struct component *c = &parts->components[i];
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "component", component_name((enum component_kind)i));
		journal_add_number(item, "norm", c->norm);
		journal_add_number(item, "cosine_with_delta", c->cosine);
		journal_add_number(item, "objective", c->objective);
		cJSON_AddBoolToObject(item, "recovered", c->recovered);
		journal_add_number(item, "drift_l2", c->drift_l2);
		journal_add_number(item, "drift_relative_l2", c->drift_relative_l2);
		if (c->has_knockout) {
			journal_add_number(item, "knockout_objective", c->knockout_objective);
			cJSON_AddBoolToObject(item, "knockout_recovered", c->knockout_recovered);
		}
		cJSON_AddItemToArray(list, item);
	}
	enum status status = journal_event(journal, json, error);
	return status ? status : journal_checkpoint(journal, error);
}

enum status record_write_generation(struct journal *journal, const struct session *session, const char *state,
				    const int32_t *ids, size_t count, struct error *error)
{
	cJSON *json = event("generation");
	cJSON_AddStringToObject(json, "state", state);
	cJSON *list = cJSON_AddArrayToObject(json, "ids");
	for (size_t i = 0; i < count; i++)
		cJSON_AddItemToArray(list, cJSON_CreateNumber(ids[i]));
	if (session->model.tokenizer) {
		struct strbuf text = {0};
		tokenizer_decode(session->model.tokenizer, ids, count, true, &text);
		journal_add_string(json, "text", text.data ? text.data : "");
		strbuf_done(&text);
	}
	return journal_event(journal, json, error);
}

enum status record_write_note(struct journal *journal, const char *text, struct error *error)
{
	cJSON *json = event("note");
	journal_add_string(json, "text", text);
	return journal_event(journal, json, error);
}

enum status experiment_write_run(struct experiment *x, struct journal *journal, const char *prefix, struct error *error)
{
	struct session *session = x->session;
	struct record_end end = {.recovery = x->recovery, .wall_s = x->wall_s, .array_prefix = prefix};
	char *frozen = mem_printf("%sfrozen", prefix);
	if (x->complete) {
		end.outcome = RECORD_COMPLETE;
		end.result = x->delta;
		end.result_step = x->result_step;
		end.final = &x->final;
	} else {
		end.outcome = session_check_cancel(session, NULL) ? RECORD_INTERRUPTED : RECORD_FAILED;
	}
	enum status status = record_write_setup(journal, session, NULL, 0, NULL, frozen, error);
	free(frozen);
	if (status == STATUS_OK)
		status = record_write_state(journal, session, &x->base, error);
	if (status == STATUS_OK)
		status = record_write_state(journal, session, &x->clamped, error);
	if (status == STATUS_OK)
		status = record_write_recovery(journal, session, x->recovery, error);
	if (status == STATUS_OK)
		status = record_write_steps(journal, x->recovery, 0, recovery_steps(x->recovery), error);
	if (status == STATUS_OK)
		status = record_write_end(journal, session, &end, error);
	return status;
}

enum status experiment_open_journal(struct journal **out, const struct session *session, const char *path,
				    const char *command, struct error *error)
{
	*out = NULL;
	enum status status = journal_check(path, error);
	if (status)
		return status;
	if (path) {
		status = journal_create(out, path, true, error);
	} else {
		char *project = settings_get(&session->settings, "project");
		char *tag = mem_printf("%s-%s",
				       session->prompt_id     ? session->prompt_id
				       : session->prompt_text ? "text"
							      : "tokens",
				       project);
		status = journal_create_default(out, tag, error);
		free(tag);
		free(project);
	}
	if (status == STATUS_OK)
		status = record_write_session(*out, session, command, error);
	if (status)
		journal_abandon(out);
	return status;
}

enum status experiment_write(struct experiment *x, const char *path, const char *command, struct error *error)
{
	if (!x->recovery)
		return error_set(error, STATUS_NOTHING, "no recovery was started, so there is no session to write");
	struct journal *journal;
	enum status status = experiment_open_journal(&journal, x->session, path, command, error);
	if (status)
		return status;
	char *place = mem_strdup(journal_path(journal));
	status = experiment_write_run(x, journal, "", error);
	if (status == STATUS_OK)
		status = journal_close(&journal, error);
	journal_abandon(&journal);
	if (status) {
		free(place);
		return status;
	}
	free(x->journal_path);
	x->journal_path = place;
	return STATUS_OK;
}
