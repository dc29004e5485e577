/* rebound devices: what Vulkan offers, and whether it computes rightly. */
#include <stdio.h>
#include <stdlib.h>

#include "sessions/selftest.h"
#include "tui/cli.h"

static enum status test_device(int index, struct self_test *test, struct error *error)
{
	char selector[16];
	struct device *device;
	snprintf(selector, sizeof selector, "%d", index);
	struct device_options options = {.selector = selector, .validation = getenv("REBOUND_VALIDATION") != NULL};
	enum status status = device_create(&device, &options, error);
	if (status)
		return status;
	status = self_test_run(test, device, error);
	device_destroy(&device);
	return status;
}

static cJSON *device_json(const struct device_info *d)
{
	cJSON *json = cJSON_CreateObject(), *limits = cJSON_CreateObject();
	cJSON_AddNumberToObject(json, "index", d->index);
	cJSON_AddStringToObject(json, "name", d->name);
	cJSON_AddStringToObject(json, "type", device_type_name(d->type));
	cJSON_AddStringToObject(json, "driver", d->driver);
	cJSON_AddStringToObject(json, "api", d->api);
	cJSON_AddNumberToObject(limits, "memory_bytes", (double)d->memory_bytes);
	cJSON_AddNumberToObject(limits, "max_binding_bytes", (double)d->max_binding_bytes);
	cJSON_AddNumberToObject(limits, "max_allocation_bytes", (double)d->max_allocation);
	cJSON_AddNumberToObject(limits, "subgroup_size", d->subgroup_size);
	cJSON_AddBoolToObject(limits, "host_import", d->host_import);
	cJSON_AddItemToObject(json, "limits", limits);
	return json;
}

enum status cli_devices(const struct cli *cli, struct error *error)
{
	struct device_info *devices;
	int count;
	enum status status = device_list(&devices, &count, error), worst = STATUS_OK;
	if (status)
		return status;
	cJSON *json = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(json, "devices");
	for (int i = 0; i < count; i++) {
		const struct device_info *d = &devices[i];
		struct self_test test = {0};
		struct error why = {0};
		cJSON *item = device_json(d), *result = cJSON_CreateObject();
		status = d->usable ? test_device(i, &test, &why)
				   : error_set(&why, STATUS_FAILED, "it has no compute queue or no Vulkan 1.1");
		bool ok = status == STATUS_OK && test.ok;
		if (status == STATUS_OK && !test.ok)
			error_set(&why, STATUS_FAILED, "the results deviate by %.2g of the largest value",
				  test.max_error);
		if (d->usable && !ok)
			worst = STATUS_FAILED;
		cJSON_AddBoolToObject(result, "ok", ok);
		cJSON_AddNumberToObject(result, "max_error", test.max_error);
		if (!ok)
			cJSON_AddStringToObject(result, "reason", why.text);
		cJSON_AddItemToObject(item, "self_test", result);
		cJSON_AddItemToArray(list, item);
		if (!cli->options.json) {
			printf("%d  %s  (%s)\n", d->index, d->name, device_type_name(d->type));
			printf("   driver      %s, Vulkan %s\n", d->driver, d->api);
			printf("   memory      %.1f GB, %.2f GB in one piece, %.0f MB a binding\n",
			       (double)d->memory_bytes / 1e9, (double)d->max_allocation / 1e9,
			       (double)d->max_binding_bytes / 1e6);
			printf("   subgroups   %u, host memory %s\n", d->subgroup_size,
			       d->host_import ? "imported in place" : "copied");
			if (ok)
				printf("   self-test   ok, largest deviation %.1e\n", test.max_error);
			else
				printf("   self-test   FAILED: %s\n", why.text);
		}
	}
	free(devices);
	if (worst)
		error_set(error, worst, "a device failed its self-test");
	if (cli->options.json) {
		status = cli_print_json(json, error);
		return status ? status : worst;
	}
	cJSON_Delete(json);
	return worst;
}
