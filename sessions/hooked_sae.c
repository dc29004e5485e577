#include "sessions/hooked_sae.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/sae_file.h"
#include "sessions/labels.h"

/* Splits "LAYER:HOOK=PATH"; *layer is -1 where there is no override. */
static enum status split_spec(const char *spec, int *layer, enum hook *hook, const char **path, struct error *error)
{
	*layer = -1;
	*path = spec;
	const char *equals = strchr(spec, '='), *colon = strchr(spec, ':');
	if (!equals || !colon || colon > equals)
		return STATUS_OK;
	char *number = mem_strndup(spec, (size_t)(colon - spec));
	char *name = mem_strndup(colon + 1, (size_t)(equals - colon - 1));
	int64_t value;
	enum status status = STATUS_OK;
	/* A path may hold both characters: only what looks like an override is one. */
	if (text_int(number, &value)) {
		if (value < 0 || value >= ARCH_MAX_LAYERS || !hook_parse(name, hook))
			status =
				error_set(error, STATUS_INVALID,
					  "--sae '%s': expected LAYER:HOOK=PATH with a hook of resid_pre, resid_mid or "
					  "resid_post",
					  spec);
		*layer = (int)value;
		*path = equals + 1;
	}
	free(number);
	free(name);
	return status;
}

/* Where the SAE goes: the override, or what the file says. */
static enum status place(const struct session *session, const struct sae_spec *spec, int *layer_in_out,
			 enum hook *hook_in_out, int *point, struct error *error)
{
	const struct arch *arch = &session->model.arch;
	int layer = *layer_in_out;
	enum hook hook = *hook_in_out;
	if (layer < 0) {
		if (spec->layer < 0 || !sae_site_hook(spec->site_in, &hook))
			return error_set(
				error, STATUS_INVALID,
				"'%s' does not say where on the residual stream it belongs (recorded: %s); give it as "
				"--sae LAYER:HOOK=%s",
				spec->path, spec->hook_name ? spec->hook_name : "nothing", spec->path);
		layer = (int)spec->layer;
	}
	if (!point_of_hook(arch, layer, hook, point))
		return error_set(
			error, STATUS_INVALID,
			"'%s' belongs at layer %d %s, which the model (%d layers%s) does not have; override with --sae "
			"LAYER:HOOK=%s",
			spec->path, layer, hook_name(hook), arch->layers,
			arch->parallel_residual ? ", no resid_mid" : "", spec->path);
	if (spec->d_in != arch->d)
		return error_set(
			error, STATUS_INVALID,
			"'%s' was made for a residual of width %lld (%s%s) and the model's is %d wide: it belongs to "
			"another model",
			spec->path, (long long)spec->d_in, spec->model_name ? "recorded model: " : "no model recorded",
			spec->model_name ? spec->model_name : "", arch->d);
	*layer_in_out = layer;
	*hook_in_out = hook;
	return STATUS_OK;
}

static enum status open_one(struct session *session, struct site *site, const char *text, struct error *error)
{
	int layer;
	enum hook hook = HOOK_RESID_POST;
	const char *path;
	*site = (struct site){0};
	enum status status = split_spec(text, &layer, &hook, &path, error);
	if (status)
		return status;
	struct sae_spec spec;
	status = sae_file_open(&spec, path, NULL, error);
	if (status)
		return status;
	status = sae_check_clampable(&spec, error);
	if (status == STATUS_OK)
		status = place(session, &spec, &layer, &hook, &site->point, error);
	if (status == STATUS_OK)
		status = sae_file_load(&spec, NULL, error);
	if (status == STATUS_OK)
		status = sae_create(&site->sae, session->device, &spec, layer, hook, error);
	if (status == STATUS_OK) {
		site->path = mem_strdup(path);
		site->neuronpedia_id = spec.neuronpedia_id ? mem_strdup(spec.neuronpedia_id) : NULL;
		site->training_rates = spec.training_rates;
		spec.training_rates = NULL;
		site->name = mem_printf("layer %d %s, %lld %s", layer, hook_name(hook), (long long)spec.F,
					sae_act_name(spec.act));
	}
	sae_spec_done(&spec);
	return status;
}

enum status hooked_saes_label(struct session *session, const char *const *paths, int count, struct error *error)
{
	enum status status = STATUS_OK;
	if (count > session->site_count)
		return error_set(error, STATUS_INVALID, "--labels was given %d times and there are %d SAEs", count,
				 session->site_count);
	for (int i = 0; i < count && status == STATUS_OK; i++) {
		struct site *site = &session->sites[i];
		labels_destroy(&site->labels);
		free(site->labels_path);
		site->labels_path = mem_strdup(paths[i]);
		status = labels_load(&site->labels, paths[i], error);
	}
	return status;
}

void hooked_sae_done(struct site *site)
{
	if (site->clamp_ready)
		clamp_done(&site->clamp);
	sae_done(&site->sae);
	labels_destroy(&site->labels);
	free(site->labels_path);
	free(site->neuronpedia_id);
	free(site->training_rates);
	free(site->rules);
	free(site->path);
	free(site->name);
	*site = (struct site){0};
}

static int compare_sites(const void *a, const void *b)
{
	return ((const struct site *)a)->point - ((const struct site *)b)->point;
}

enum status hooked_saes_open(struct session *session, const char *const *specs, int count, struct error *error)
{
	if (count > SESSION_MAX_SITES)
		return error_set(error, STATUS_INVALID, "at most %d SAEs can be loaded, %d were given",
				 SESSION_MAX_SITES, count);
	for (int i = 0; i < count; i++) {
		if (!progress_report(&session->progress, "loading SAEs", (uint64_t)i, (uint64_t)count))
			return error_set(error, STATUS_CANCELLED, "loading the SAEs was cancelled");
		enum status status = open_one(session, &session->sites[session->site_count], specs[i], error);
		if (status)
			return status;
		int layer = session->sites[session->site_count].sae.layer;
		int other = session_site_of_layer(session, layer);
		session->site_count++;
		if (other >= 0)
			return error_set(
				error, STATUS_INVALID,
				"two SAEs for layer %d were given, '%s' and '%s'; clamps name a layer, so there can be "
				"one",
				layer, session->sites[other].path, session->sites[session->site_count - 1].path);
	}
	qsort(session->sites, (size_t)session->site_count, sizeof *session->sites, compare_sites);
	return STATUS_OK;
}

enum status hooked_saes_open_builtin(struct session *session, struct error *error)
{
	char *paths[SESSION_MAX_SITES] = {0};
	int count = 0;
	for (int l = 0; l < session->model.arch.layers && count < SESSION_MAX_SITES; l++) {
		char *path = mem_printf("%s/sae/layer_%d", session->model.folder, l);
		if (file_is_folder(path))
			paths[count++] = path;
		else
			free(path);
	}
	enum status status = hooked_saes_open(session, (const char *const *)paths, count, error);
	for (int i = 0; i < count; i++)
		free(paths[i]);
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++) {
		char *path = path_join(session->sites[i].path, "labels.jsonl");
		if (file_exists(path)) {
			status = labels_load(&session->sites[i].labels, path, error);
			session->sites[i].labels_path = mem_strdup(path);
		}
		free(path);
	}
	return status;
}
