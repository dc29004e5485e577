/* Opening the session that a record describes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/record.h"

/* The model's folder: the one asked for, the recorded one, or, if that is gone, the
 * built-in one; sums tell whether it is the same model. */
static enum status find_model(char **out, const struct record *record, const char *override, struct error *error)
{
	*out = NULL;
	if (override || file_is_folder(record->model.path))
		*out = mem_strdup(override ? override : record->model.path);
	else if (model_builtin_folder(out, NULL))
		*out = mem_strdup(record->model.path);
	enum status status = record_files_check(&record->model.files, *out, record->path, error);
	if (status && !override && !file_is_folder(record->model.path))
		status = error_set(error, STATUS_INVALID,
				   "the model's folder '%s' that '%s' was recorded with is not there; name its new "
				   "place with --model",
				   record->model.path, record->path);
	if (status) {
		free(*out);
		*out = NULL;
	}
	return status;
}

/* "LAYER:HOOK=PATH" of each recorded SAE, after a look at its files. */
static enum status find_saes(char **specs, const struct record *record, const char *model, struct error *error)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < record->sae_count && status == STATUS_OK; i++) {
		const struct record_source *sae = &record->saes[i];
		enum hook hook;
		if (!sae->hook || sae->layer < 0 || !hook_parse(sae->hook, &hook))
			return error_set(error, STATUS_INVALID, "'%s' does not say where its SAE '%s' belongs",
					 record->path, sae->path);
		char *path = sae->below ? path_join(model, sae->below) : mem_strdup(sae->path);
		if (!file_exists(path)) {
			free(path);
			path = mem_strdup(sae->path);
		}
		if (!file_exists(path))
			status = error_set(error, STATUS_INVALID,
					   "the SAE '%s' that '%s' was recorded with is not there; name its new place "
					   "with --sae",
					   path, record->path);
		else
			status = record_files_check(&sae->files, path, record->path, error);
		specs[i] = mem_printf("%d:%s=%s", sae->layer, sae->hook, path);
		free(path);
	}
	return status;
}

/* SAEs given by the user must be the recorded ones. */
static enum status check_given_saes(const struct session *session, const struct record *record, struct error *error)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < record->sae_count && status == STATUS_OK; i++) {
		const struct record_source *sae = &record->saes[i];
		int site = session_site_of_layer(session, sae->layer);
		if (site < 0 || !sae->hook || strcmp(hook_name(session->sites[site].sae.hook), sae->hook) != 0)
			status = error_set(error, STATUS_INVALID,
					   "'%s' was recorded with an SAE at layer %d %s, and none is given there",
					   record->path, sae->layer, sae->hook ? sae->hook : "");
		else
			status = record_files_check(&sae->files, session->sites[site].spec.path, record->path, error);
	}
	return status;
}

/* The recorded device, if it is here and no other was asked for. */
static char *choose_device(const struct record *record, const char *override)
{
	const char *variable = getenv("REBOUND_DEVICE");
	struct device_info *devices;
	int count;
	char *name = NULL;
	if (override)
		return mem_strdup(override);
	if ((variable && *variable) || device_list(&devices, &count, NULL))
		return NULL;
	for (int i = 0; i < count && !name; i++)
		if (devices[i].usable && strcmp(devices[i].name, record->device) == 0 &&
		    strcmp(devices[i].driver, record->driver) == 0)
			name = mem_printf("%d", devices[i].index);
	free(devices);
	return name;
}

static enum status open_session(struct session **out, const struct record *record,
				const struct record_overrides *overrides, struct error *error)
{
	char *model = NULL, *specs[SESSION_MAX_SITES] = {0};
	enum status status = find_model(&model, record, overrides->model, error);
	if (status == STATUS_OK && overrides->sae_count == 0)
		status = find_saes(specs, record, model, error);
	char *device = status ? NULL : choose_device(record, overrides->device);
	struct session_options options = {
		.model = model,
		.saes = overrides->sae_count > 0 ? overrides->saes : (const char *const *)specs,
		.sae_count = overrides->sae_count > 0 ? overrides->sae_count : record->sae_count,
		.no_saes = overrides->sae_count == 0 && record->sae_count == 0,
		.device = device,
		.validation = overrides->validation,
		.seed = record->seed,
		.progress = overrides->progress,
	};
	if (status == STATUS_OK)
		status = session_open(out, &options, error);
	if (status == STATUS_OK && overrides->sae_count > 0)
		status = check_given_saes(*out, record, error);
	for (int i = 0; i < record->sae_count; i++)
		free(specs[i]);
	free(model);
	free(device);
	return status;
}

static enum status set_clamps(struct session *session, const struct record_run *run, struct error *error)
{
	struct layer_rule *rules = mem_alloc((size_t)run->clamp_count, sizeof *rules);
	enum status status = STATUS_OK;
	for (int64_t i = 0; i < run->clamp_count && status == STATUS_OK; i++) {
		const struct record_clamp *clamp = &run->clamps[i];
		bool value = strcmp(clamp->mode, "ablate") != 0;
		char *text = value ? mem_printf("%s:%.9g", clamp->mode, clamp->value) : mem_strdup(clamp->mode);
		rules[i].layer = clamp->layer;
		rules[i].rule.feature = clamp->feature;
		status = clamp_mode_parse(text, &rules[i].rule.mode, &rules[i].rule.value, error);
		free(text);
	}
	if (status == STATUS_OK && run->clamp_count > 0)
		status = session_set_clamps(session, rules, run->clamp_count, error);
	free(rules);
	if (status == STATUS_OK)
		status = positions_parse(&session->clamp_positions, run->clamp_positions, "\"clamp_positions\"", error);
	session->error_alpha = run->error_alpha;
	return status;
}

static enum status set_up(struct session *session, const struct record_run *run, struct error *error)
{
	enum status status = session_set_tokens(session, run->ids.ids, run->ids.count, error);
	if (status == STATUS_OK) {
		session->suffix = run->suffix;
		session->prompt_text = run->text ? mem_strdup(run->text) : NULL;
		session->prompt_id = run->prompt ? mem_strdup(run->prompt) : NULL;
		session->chat = run->chat;
		status = set_clamps(session, run, error);
	}
	if (status == STATUS_OK)
		status = session_set_objective(session, (const char *const *)run->objectives, run->objective_count,
					       error);
	if (status == STATUS_OK)
		status = settings_copy(&session->settings, &run->settings);
	if (status == STATUS_OK && run->settings.probes_file && *run->probes_sha256) {
		char sum[65];
		status = file_sha256(sum, run->settings.probes_file, error);
		if (status == STATUS_OK && strcmp(sum, run->probes_sha256) != 0)
			status = error_set(error, STATUS_INVALID,
					   "the probes in '%s' are not those it was recorded with",
					   run->settings.probes_file);
	}
	return status;
}

static enum status set_frozen(struct session *session, const struct record *record, const struct record_run *run,
			      struct error *error)
{
	struct delta_rows rows = {0};
	float *values;
	int64_t d = session->model.arch.d;
	enum status status = record_read_frozen(record, run, d, &values, error);
	for (int64_t i = 0; values && i < run->frozen_count; i++)
		delta_rows_add(&rows, 1, d, &run->frozen_rows[i].layer, &run->frozen_rows[i].position, values + i * d);
	if (status == STATUS_OK)
		status = session_set_frozen(session, &rows, error);
	delta_rows_done(&rows);
	free(values);
	return status;
}

enum status record_apply(struct session **out, const struct record *record, const struct record_run *run,
			 const struct record_overrides *overrides, struct error *error)
{
	*out = NULL;
	enum status status = open_session(out, record, overrides, error);
	if (status == STATUS_OK) {
		status = set_up(*out, run, error);
		if (status == STATUS_OK)
			status = set_frozen(*out, record, run, error);
		if (status)
			error_prefix(error, status, "'%s'", record->path);
	}
	if (status)
		session_close(out);
	return status;
}
