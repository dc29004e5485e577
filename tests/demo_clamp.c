#include "tests/demo_clamp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "compute/base/json.h"

static void copy_text(char *to, size_t size, const cJSON *entry, const char *key)
{
	const cJSON *text = json_member(entry, key);
	assert_true(cJSON_IsString(text));
	snprintf(to, size, "%s", text->valuestring);
}

static struct demo_clamp read_entry(const cJSON *entry)
{
	struct demo_clamp clamp;
	char mode[32];
	copy_text(clamp.positions, sizeof clamp.positions, entry, "positions");
	copy_text(clamp.prompt, sizeof clamp.prompt, entry, "prompt");
	copy_text(mode, sizeof mode, entry, "mode");
	const cJSON *layer = json_member(entry, "layer"), *feature;
	assert_true(cJSON_IsNumber(layer));
	char *rule = clamp.rule;
	size_t n = (size_t)snprintf(rule, sizeof clamp.rule, "%d:", layer->valueint);
	cJSON_ArrayForEach(feature, json_member(entry, "features"))
	{
		n += (size_t)snprintf(rule + n, sizeof clamp.rule - n, "%d,", feature->valueint);
		assert_true(n < sizeof clamp.rule - sizeof mode);
	}
	snprintf(rule + n - 1, sizeof clamp.rule - n, "=%s", mode);
	return clamp;
}

struct demo_clamp demo_clamp_of(const char *task)
{
	struct error error = {0};
	cJSON *json = NULL;
	if (json_read(&json, "models/demo/demo.json", (size_t)1 << 20, &error))
		fail_msg("%s", error.text);
	const cJSON *entry;
	cJSON_ArrayForEach(entry, json_member(json, "tasks"))
	{
		const cJSON *name = json_member(entry, "task");
		if (cJSON_IsString(name) && strcmp(name->valuestring, task) == 0) {
			struct demo_clamp clamp = read_entry(entry);
			cJSON_Delete(json);
			return clamp;
		}
	}
	fail_msg("models/demo/demo.json has no task '%s'", task);
	return (struct demo_clamp){0};
}
