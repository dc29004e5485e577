#include "tests/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "tests/scratch.h"

const char *const golden_names[] = {
	"models/gpt2",	     "models/gpt2-hub",	   "models/gpt2-bf16", "models/neox-parallel", "models/neox-sequential",
	"models/gemma2",     "models/gemma2-bf16", "models/gemma3",    "models/gemma3-linear", "models/gemma3-mm",
	"models/gemma3-mm5", "models/llama3",	   "models/llama",     "models/llama-bf16",    "models/qwen2",
	"models/qwen2-f16",  "models/qwen3",	   "models/phi3",      "models/phi3-longrope", "models/mistral",
};
const size_t golden_name_count = ARRAY_LEN(golden_names);

static int64_t *read_ids(const cJSON *list, int *n)
{
	*n = cJSON_GetArraySize(list);
	int64_t *ids = mem_alloc((size_t)*n, sizeof *ids);
	int i = 0;
	for (const cJSON *item = list ? list->child : NULL; item; item = item->next)
		ids[i++] = (int64_t)item->valuedouble;
	return ids;
}

static double number_or_nan(const cJSON *object, const char *key)
{
	const cJSON *value = json_member(object, key);
	return cJSON_IsNumber(value) ? value->valuedouble : NAN;
}

static void read_case(struct golden_case *c, const cJSON *json)
{
	const cJSON *gradient = json_member(json, "gradient"), *greedy = json_member(json, "greedy");
	const cJSON *objective = gradient ? gradient : json;
	c->name = mem_strdup(json_member(json, "name")->valuestring);
	c->ids = read_ids(json_member(json, "ids"), &c->T);
	c->greedy = read_ids(cJSON_IsObject(greedy) ? json_member(greedy, "new_ids") : greedy, &c->n_greedy);
	c->a = json_member(objective, "a") ? (int64_t)number_or_nan(objective, "a") : -1;
	c->b = json_member(objective, "b") ? (int64_t)number_or_nan(objective, "b") : -1;
	c->J = number_or_nan(objective, gradient ? "logit_difference" : "J");
	c->J2 = number_or_nan(json, "J2");
}

bool golden_open(struct golden_model *model, const char *name)
{
	*model = (struct golden_model){0};
	char *folder = scratch_golden(name);
	if (!folder)
		return false;
	model->folder = folder;
	char *path = path_join(folder, "golden/cases.json");
	cJSON *json;
	struct error error;
	if (json_read(&json, path, (size_t)16 << 20, &error))
		fatal("%s", error.text);
	free(path);
	const cJSON *cases = json_member(json, "cases");
	model->layers = (int)number_or_nan(json, "layers");
	model->d = (int)number_or_nan(json, json_member(json, "width") ? "width" : "d");
	model->vocab = (int64_t)number_or_nan(json, "vocab");
	model->cases = mem_alloc((size_t)cJSON_GetArraySize(cases), sizeof *model->cases);
	for (const cJSON *item = cases->child; item; item = item->next)
		read_case(&model->cases[model->n_cases++], item);
	cJSON_Delete(json);
	return true;
}

void golden_close(struct golden_model *model)
{
	for (size_t i = 0; i < model->n_cases; i++) {
		free((char *)(uintptr_t)model->cases[i].name);
		free(model->cases[i].ids);
		free(model->cases[i].greedy);
	}
	free(model->cases);
	free(model->folder);
	*model = (struct golden_model){0};
}

double *golden_array(const struct golden_model *model, const struct golden_case *c, const char *x, size_t count)
{
	char *path = mem_printf("%s/golden/%s.%s.npy", model->folder, c->name, x);
	double *data = NULL;
	size_t found;
	struct error error;
	if (file_exists(path)) {
		if (npy_read_double(path, &data, &found, NULL, &error))
			fatal("%s", error.text);
		if (found != count)
			fatal("'%s' has %zu numbers; expected %zu", path, found, count);
	}
	free(path);
	return data;
}

static double deviation;

double golden_deviation(void)
{
	double largest = deviation;
	deviation = 0;
	return largest;
}

bool golden_same(const double *x, const double *golden, size_t slabs, size_t n, double tolerance, const char *label)
{
	bool same = true;
	for (size_t s = 0; s < slabs; s++, x += n, golden += n) {
		double largest = 0, worst = 0;
		size_t worst_at = 0;
		bool finite = true;
		for (size_t i = 0; i < n; i++)
			largest = fmax(largest, fabs(golden[i]));
		for (size_t i = 0; i < n; i++) {
			double difference = fabs(x[i] - golden[i]);
			finite = finite && isfinite(x[i]) && isfinite(golden[i]);
			if (!(difference <= worst)) {
				worst = difference;
				worst_at = i;
			}
		}
		if (largest > 0)
			deviation = fmax(deviation, worst / largest);
		if (!finite || !(worst <= tolerance * largest)) {
			fprintf(stderr,
				"%s, slab %zu: element %zu is %.9g, golden %.9g; largest %.9g, tolerance %g%s\n", label,
				s, worst_at, x[worst_at], golden[worst_at], largest, tolerance,
				finite ? "" : "; some are not finite");
			same = false;
		}
	}
	return same;
}
