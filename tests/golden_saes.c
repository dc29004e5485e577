#include "tests/golden_saes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "tests/golden.h"
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

static struct sae_options options_of(const cJSON *about, const char *folder)
{
	struct sae_options options = {.saelens_reading = strcmp(folder, "golden_saelens") == 0};
	if (strcmp(folder, "golden_folded") == 0)
		options.activation_scale = json_member(about, "fold_scale")->valuedouble;
	return options;
}

/* The reading whose arrays are in that folder below the SAE's. */
static void check_reading(const char *name, const char *folder, const cJSON *about, const char *arrays,
			  void (*check)(const struct golden_sae *sae))
{
	char *path = path_join(folder, json_member(about, "path")->valuestring);
	char *inputs = path_join(folder, "golden"), *outputs = path_join(folder, arrays);
	struct sae_options options = options_of(about, arrays);
	struct sae_spec spec;
	struct error error;
	if (sae_file_open(&spec, path, &options, &error) || sae_file_load(&spec, NULL, &error))
		fail_msg("%s: %s", name, error.text);
	int64_t T = (int64_t)json_member(about, "rows")->valuedouble;
	double *x = golden_sae_array(inputs, "x.npy", (size_t)(T * spec.d_in));
	check(&(struct golden_sae){name, inputs, outputs, strcmp(arrays, "golden") != 0, about, &spec, T, x});
	free(x);
	sae_spec_done(&spec);
	free(path);
	free(inputs);
	free(outputs);
}

int golden_saes_each(void (*check)(const struct golden_sae *sae))
{
	cJSON *list = read_list("saes/index.json");
	int seen = 0;
	const cJSON *one, *other;
	cJSON_ArrayForEach(one, list)
	{
		const char *name = json_member(one, "name")->valuestring;
		char *relative = mem_printf("saes/%s", name), *folder = scratch_golden(relative);
		char *cases = path_join(folder, "golden/cases.json");
		cJSON *about;
		struct error error;
		if (json_read(&about, cases, 1 << 20, &error))
			fail_msg("%s", error.text);
		check_reading(name, folder, about, "golden", check);
		cJSON_ArrayForEach(other, json_member(about, "alternatives"))
			check_reading(name, folder, about, json_member(other, "folder")->valuestring, check);
		seen++;
		cJSON_Delete(about);
		free(cases);
		free(relative);
		free(folder);
	}
	cJSON_Delete(list);
	return seen;
}

double *golden_sae_array(const char *folder, const char *file, size_t count)
{
	char *path = path_join(folder, file);
	double *data;
	size_t n;
	struct error error;
	if (npy_read_double(path, &data, &n, NULL, &error))
		fail_msg("%s", error.text);
	if (n != count)
		fail_msg("%s holds %zu numbers, not %zu", path, n, count);
	free(path);
	return data;
}

void golden_sae_compare(const struct golden_sae *sae, const char *file, const double *got, size_t count)
{
	double *golden = golden_sae_array(sae->arrays, file, count);
	if (!golden_same(got, golden, 1, count, json_member(sae->about, "tolerance")->valuedouble, file))
		fail_msg("%s differs from %s/%s", sae->name, sae->arrays, file);
	free(golden);
}

void golden_sae_check_exact(const struct golden_sae *sae, const double *z)
{
	if (sae->other_reading) /* under another reading the row is no longer exact */
		return;
	const cJSON *row = json_member(sae->about, "exact_row"), *one;
	cJSON_ArrayForEach(one, json_member(sae->about, "exact_features"))
	{
		double at = z[row->valueint * sae->spec->F + one->valueint];
		if (at != 0)
			fail_msg("%s: latent %d is %g, it should sit on its threshold", sae->name, one->valueint, at);
	}
}

static enum op_clamp_mode clamp_mode(const char *name)
{
	static const char *const names[] = {"set", "set_active", "scale", "scale_active", "ablate", "floor"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], name) == 0)
			return (enum op_clamp_mode)i;
	fail_msg("unknown clamp mode %s", name);
	return OP_CLAMP_SET;
}

struct golden_clamp golden_clamp_of(const cJSON *json)
{
	return (struct golden_clamp){
		json_member(json, "file")->valuestring, clamp_mode(json_member(json, "mode")->valuestring),
		json_member(json, "value")->valuedouble, json_member(json, "error_scale")->valuedouble};
}

int64_t golden_sae_clamped(const struct golden_sae *sae, int64_t features[GOLDEN_CLAMPED_MAX])
{
	int64_t K = 0;
	const cJSON *one;
	cJSON_ArrayForEach(one, json_member(sae->about, "clamped_features"))
	{
		if (K == GOLDEN_CLAMPED_MAX)
			fail_msg("%s: more than %d clamped features", sae->name, GOLDEN_CLAMPED_MAX);
		features[K++] = (int64_t)one->valuedouble;
	}
	return K;
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
