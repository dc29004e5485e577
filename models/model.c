#include "models/model.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"

#ifndef REBOUND_DATA_DIR
#define REBOUND_DATA_DIR "/usr/local/share/rebound"
#endif

static enum status check_memory(const struct model *model, struct error *error)
{
	const struct device_info *info = device_get_info(model->device);
	bool imports = info->host_import && (info->type == DEVICE_TYPE_CPU || info->type == DEVICE_TYPE_INTEGRATED);
	uint64_t needed = weights_estimate(&model->arch, &model->map, imports);
	char *what = mem_printf("'%s'", model->folder);
	enum status status = device_check_memory(
		model->device, needed, what,
		"a device with more memory (see 'rebound devices') or a smaller model would do", error);
	free(what);
	return status;
}

static bool has_tokenizer(const char *folder)
{
	static const char *const names[] = {"tokenizer.json", "vocab.json", "encoder.json", "tokenizer.model",
					    "original/tokenizer.model"};
	bool found = false;
	for (size_t i = 0; i < ARRAY_LEN(names) && !found; i++) {
		char *path = path_join(folder, names[i]);
		found = file_exists(path);
		free(path);
	}
	return found;
}

static void add_stop(struct model *model, const cJSON *id)
{
	if (cJSON_IsNumber(id) && id->valuedouble >= 0 && id->valuedouble < (double)model->arch.vocab &&
	    model->stop_count < (int)ARRAY_LEN(model->stops))
		model->stops[model->stop_count++] = (int32_t)id->valuedouble;
}

/* generation_config.json names the ids that end a turn, where config.json has only one. */
static enum status read_stops(struct model *model, struct error *error)
{
	char *path = path_join(model->folder, "generation_config.json");
	enum status status = STATUS_OK;
	if (file_exists(path)) {
		cJSON *json;
		status = json_read(&json, path, (size_t)1 << 20, error);
		const cJSON *eos = status == STATUS_OK ? json_member(json, "eos_token_id") : NULL;
		if (cJSON_IsArray(eos)) {
			const cJSON *id;
			cJSON_ArrayForEach(id, eos) add_stop(model, id);
		} else {
			add_stop(model, eos);
		}
		cJSON_Delete(json);
	}
	free(path);
	return status;
}

enum status model_open(struct model *model, const char *folder, struct device *device, const struct progress *progress,
		       struct error *error)
{
	*model = (struct model){.device = device, .folder = mem_strdup(folder)};
	enum status status = arch_read(&model->arch, folder, error);
	if (status) {
		free(model->folder);
		*model = (struct model){0};
		return status;
	}
	status = weight_files_open(&model->files, folder, error);
	if (status == STATUS_OK)
		status = weight_map_build(&model->map, &model->arch, model->files, true, error);
	if (status == STATUS_OK)
		status = read_stops(model, error);
	if (status == STATUS_OK && has_tokenizer(folder))
		status = tokenizer_load(&model->tokenizer, folder, error);
	if (status == STATUS_OK)
		status = check_memory(model, error);
	if (status == STATUS_OK)
		status =
			weights_load(&model->weights, device, &model->arch, model->files, &model->map, progress, error);
	if (status)
		model_close(model);
	return status;
}

void model_close(struct model *model)
{
	if (!model->folder)
		return;
	weights_done(&model->weights);
	tokenizer_destroy(&model->tokenizer);
	weight_map_done(&model->map);
	weight_files_close(&model->files);
	arch_done(&model->arch);
	free(model->folder);
	*model = (struct model){0};
}

char *model_describe(const struct model *model)
{
	double n = (double)model->map.parameters;
	const char *unit = n >= 1e9 ? "B" : n >= 1e6 ? "M" : "k";
	double scaled = n >= 1e9 ? n / 1e9 : n >= 1e6 ? n / 1e6 : n / 1e3;
	return mem_printf("%s %dx%d, %.3g %s parameters", arch_family_name(model->arch.family), model->arch.layers,
			  model->arch.d, scaled, unit);
}

void model_tune_cpu_device(const char *folder)
{
	enum { SMALL = 16 << 20 };
	char *builtin = NULL;
	if (!folder && model_builtin_folder(&builtin, NULL) == STATUS_OK)
		folder = builtin;
	if (folder) {
		/* A sharded model is no small one. */
		char *path = path_join(folder, "model.safetensors");
		struct stat info;
		if (stat(path, &info) == 0 && info.st_size < SMALL)
			setenv("LP_NUM_THREADS", "0", 0);
		free(path);
	}
	free(builtin);
}

enum status model_builtin_folder(char **out, struct error *error)
{
	*out = NULL;
	const char *variable = getenv("REBOUND_DATA");
	if (variable && *variable) {
		char *config = path_join(variable, "config.json");
		bool found = file_exists(config);
		free(config);
		if (!found)
			return error_set(error, STATUS_INVALID,
					 "REBOUND_DATA is '%s', which holds no config.json; it should be the folder of "
					 "the built-in model",
					 variable);
		*out = mem_strdup(variable);
		return STATUS_OK;
	}
	char program[4096];
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
	char *candidates[3] = {0};
	int count = 0;
	if (n > 0) {
		program[n] = '\0';
		char *folder = dirname(program);
		candidates[count++] = path_join(folder, "models/demo");
		candidates[count++] = path_join(folder, "../share/rebound/demo");
	}
	candidates[count++] = path_join(REBOUND_DATA_DIR, "demo");
	for (int i = 0; i < count && !*out; i++) {
		char *config = path_join(candidates[i], "config.json");
		if (file_exists(config))
			*out = mem_strdup(candidates[i]);
		free(config);
	}
	enum status status = STATUS_OK;
	if (!*out)
		status = error_set(error, STATUS_INVALID,
				   "the built-in model was not found in '%s' or '%s'; set REBOUND_DATA to its folder",
				   candidates[0], candidates[count - 1]);
	for (int i = 0; i < count; i++)
		free(candidates[i]);
	return status;
}
