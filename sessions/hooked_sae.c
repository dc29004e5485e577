#include "sessions/hooked_sae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"
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
	status = sae_file_open(&site->spec, path, NULL, error);
	if (status)
		return status;
	status = sae_check_clampable(&site->spec, error);
	if (status == STATUS_OK)
		status = place(session, &site->spec, &layer, &hook, &site->point, error);
	if (status == STATUS_OK)
		sae_init(&site->sae, session->device, &site->spec, layer, hook);
	else
		sae_spec_done(&site->spec);
	return status;
}

/* ---- the tensors ---- */

/* Reading the file and copying it to the device, one after the other. */
struct loading {
	struct session *session;
	char what[48];
	uint64_t before, total;
};

static bool report(void *context, const char *what, uint64_t done, uint64_t total)
{
	struct loading *loading = context;
	struct session *session = loading->session;
	(void)what;
	(void)total;
	done += loading->before;
	/* The end is told below: it comes also where loading fails. */
	if (done >= loading->total)
		done = loading->total - 1;
	return progress_report(&session->progress, loading->what, done, loading->total) &&
	       !(session->cancel && atomic_load(session->cancel));
}

static enum status load(struct session *session, struct site *site, struct error *error)
{
	uint64_t bytes = sae_file_load_bytes(&site->spec);
	struct loading loading = {.session = session, .total = 2 * bytes};
	const struct progress progress = {report, &loading};
	snprintf(loading.what, sizeof loading.what, "loading the SAE of layer %d", site->sae.layer);
	enum status status = sae_file_load(&site->spec, &progress, error);
	loading.before = bytes;
	if (status == STATUS_OK)
		status = sae_load(&site->sae, &site->spec, &progress, error);
	sae_file_unload(&site->spec);
	(void)progress_report(&session->progress, loading.what, loading.total, loading.total);
	if (status == STATUS_CANCELLED)
		error_set(error, status, "%s was stopped", loading.what);
	return status;
}

/* What loading takes at its height: a device that shares the host's memory holds the numbers
 * twice until they are copied. */
static uint64_t bytes_to_load(const struct site *site)
{
	bool shared = device_get_info(site->sae.device)->type == DEVICE_TYPE_CPU;
	return site->sae.bytes + (shared ? sae_file_load_bytes(&site->spec) : 0);
}

static enum status check_room(const struct session *session, const struct site *site, struct error *error)
{
	char what[128], remedy[160], freed[TEXT_BYTES_SIZE];
	struct sae_memory memory = session_sae_memory(session);
	uint64_t needed = bytes_to_load(site), left = device_memory_left(session->device);
	snprintf(what, sizeof what, "loading the SAE of layer %d (%lld features of width %lld)", site->sae.layer,
		 (long long)site->sae.features, (long long)site->sae.d);
	text_bytes(freed, memory.unused_bytes);
	if (memory.unused == 0)
		snprintf(remedy, sizeof remedy,
			 "no other SAE could make room: release the clamps of one and drop it, or take a narrower one");
	else
		snprintf(remedy, sizeof remedy, "dropping %s not in use (D in the workbench) frees %s%s",
			 memory.unused == 1 ? "the SAE that is" : "the SAEs that are", freed,
			 left + memory.unused_bytes >= needed ? "" : ", which is not enough: take a narrower SAE");
	return device_check_memory(session->device, needed, what, remedy, error);
}

enum status session_sae(const struct sae **out, struct session *session, int index, struct error *error)
{
	struct site *site = &session->sites[index];
	*out = &site->sae;
	if (sae_loaded(&site->sae))
		return STATUS_OK;
	enum status status = session_check_cancel(session, error);
	if (status == STATUS_OK)
		status = check_room(session, site, error);
	return status ? status : load(session, site, error);
}

bool site_unused(const struct site *site)
{
	return sae_loaded(&site->sae) && site->spec.path && site->rule_count == 0 && !site->shown;
}

struct sae_memory session_sae_memory(const struct session *session)
{
	struct sae_memory memory = {0};
	for (int i = 0; i < session->site_count; i++) {
		const struct site *site = &session->sites[i];
		if (!sae_loaded(&site->sae))
			continue;
		memory.loaded++;
		memory.bytes += site->sae.bytes;
		if (!site_unused(site))
			continue;
		memory.unused++;
		memory.unused_bytes += site->sae.bytes;
	}
	return memory;
}

void session_drop_unused_saes(struct session *session)
{
	for (int i = 0; i < session->site_count; i++)
		if (site_unused(&session->sites[i]))
			sae_unload(&session->sites[i].sae);
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
	sae_spec_done(&site->spec);
	labels_destroy(&site->labels);
	free(site->labels_path);
	free(site->rules);
	*site = (struct site){0};
}

static int compare_sites(const void *a, const void *b)
{
	return ((const struct site *)a)->point - ((const struct site *)b)->point;
}

enum status hooked_saes_open(struct session *session, const char *const *specs, int count, struct error *error)
{
	if (count > SESSION_MAX_SITES)
		return error_set(error, STATUS_INVALID, "at most %d SAEs can be attached, %d were given",
				 SESSION_MAX_SITES, count);
	for (int i = 0; i < count; i++) {
		if (!progress_report(&session->progress, "opening SAEs", (uint64_t)i, (uint64_t)count))
			return error_set(error, STATUS_CANCELLED, "opening the SAEs was cancelled");
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
				layer, session->sites[other].spec.path,
				session->sites[session->site_count - 1].spec.path);
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
		char *path = path_join(session->sites[i].spec.path, "labels.jsonl");
		if (file_exists(path)) {
			status = labels_load(&session->sites[i].labels, path, error);
			session->sites[i].labels_path = mem_strdup(path);
		}
		free(path);
	}
	return status;
}
