#include "tests/golden_saes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "tests/scratch.h"

static cJSON *read_list(const char *name)
{
	char *path = scratch_golden(name);
	if (!path) {
		print_message("the golden SAEs are not there\n");
		skip();
	}
	cJSON *list;
	struct error error;
	if (json_read(&list, path, 1 << 20, &error))
		fail_msg("%s", error.text);
	free(path);
	return list;
}

int golden_saes_each(void (*check)(const char *name, const char *folder))
{
	cJSON *list = read_list("saes/index.json");
	int seen = 0;
	const cJSON *one;
	cJSON_ArrayForEach(one, list)
	{
		const char *name = json_member(one, "name")->valuestring;
		char *relative = mem_printf("saes/%s", name), *folder = scratch_golden(relative);
		check(name, folder);
		seen++;
		free(relative);
		free(folder);
	}
	cJSON_Delete(list);
	return seen;
}

int golden_saes_each_bad(const char *loader, void (*check)(const struct golden_bad *bad))
{
	cJSON *list = read_list("saes/bad/bad.json");
	int seen = 0;
	const cJSON *one;
	cJSON_ArrayForEach(one, list)
	{
		if (loader && strcmp(json_member(one, "loader")->valuestring, loader) != 0)
			continue;
		char *name = mem_printf("saes/bad/%s", json_member(one, "file")->valuestring);
		char *path = scratch_golden(name);
		check(&(struct golden_bad){name, path, json_member(one, "error")->valuestring});
		seen++;
		free(path);
		free(name);
	}
	cJSON_Delete(list);
	return seen;
}
