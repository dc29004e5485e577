/* What the built-in model's report recommends (demo.json beside the model, written by its report.py): the prompt
 * to open on, and the layer and mode of a task's clamps. Nothing for
 * a model or prompts that were named by the user. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "sessions/desk.h"

/* NULL: there is none. Owned: cJSON_Delete. */
static cJSON *read_tasks(const struct desk *desk)
{
	if (desk->options.model || desk->options.prompts)
		return NULL;
	char *path = path_join(desk->session->model.folder, "demo.json");
	cJSON *json = NULL;
	if (file_exists(path) && json_read(&json, path, (size_t)1 << 20, NULL) != STATUS_OK)
		json = NULL;
	free(path);
	return json;
}

/* The task's default entry; of any task if `task` is NULL. NULL: none. */
static const cJSON *find_entry(const cJSON *json, const char *task)
{
	const cJSON *entry;
	cJSON_ArrayForEach(entry, json_member(json, "tasks"))
	{
		const cJSON *name = json_member(entry, "task");
		if (cJSON_IsString(name) && !cJSON_IsFalse(json_member(entry, "default")) &&
		    (!task || strcmp(name->valuestring, task) == 0))
			return entry;
	}
	return NULL;
}

int desk_opening_prompt(const struct desk *desk)
{
	cJSON *json = read_tasks(desk);
	const cJSON *id = json_member(find_entry(json, NULL), "prompt");
	int opening = 0;
	for (int i = 0; cJSON_IsString(id) && i < desk->prompts.count; i++)
		if (strcmp(desk->prompts.items[i].id, id->valuestring) == 0)
			opening = i;
	cJSON_Delete(json);
	return opening;
}

void desk_recommend(struct desk *desk, const char *task)
{
	cJSON *json = read_tasks(desk);
	const cJSON *entry = find_entry(json, task), *mode = json_member(entry, "mode");
	const cJSON *layer = json_member(entry, "layer");
	if (cJSON_IsString(mode))
		(void)!clamp_mode_parse(mode->valuestring, &desk->mode, &desk->mode_value, NULL);
	int site = cJSON_IsNumber(layer) ? session_site_of_layer(desk->session, (int)layer->valuedouble) : -1;
	if (site >= 0)
		desk->site = site;
	cJSON_Delete(json);
}
