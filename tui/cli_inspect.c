/* rebound inspect: what a path is, without a device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "models/chat.h"
#include "models/inspect_model.h"
#include "models/sae.h"
#include "models/sae_file.h"
#include "models/sae_sparsity.h"
#include "sessions/record.h"
#include "tui/cli.h"
#include "tui/format.h"

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && strcmp(s + n - m, end) == 0;
}

static bool has_file(const char *folder, const char *name)
{
	char *path = path_join(folder, name);
	bool found = file_exists(path);
	free(path);
	return found;
}

/* A table of a quarter of a million tokens takes longer to read than all the rest. */
static bool has_large_tokenizer(const char *folder)
{
	enum { LARGE = 4 << 20 };
	char *path = path_join(folder, "tokenizer.json");
	struct stat facts;
	bool large = stat(path, &facts) == 0 && facts.st_size > LARGE;
	free(path);
	return large;
}

/* Adds what tokenizer and chat form are; what is wrong with them is a fact too. A large
 * tokenizer is read through only with --verbose. */
static void add_tokenizer(cJSON *json, const char *folder, bool verbose, bool print)
{
	struct tokenizer *tokenizer = NULL;
	struct chat *chat = NULL;
	struct error error;
	struct strbuf line = {0};
	bool whole = verbose || !has_large_tokenizer(folder);
	enum status status =
		whole ? tokenizer_load(&tokenizer, folder, &error) : tokenizer_inspect(folder, &line, &error);
	const char *text = status ? error.text : whole ? tokenizer_describe(tokenizer) : line.data;
	cJSON_AddStringToObject(json, "tokenizer", text);
	if (print)
		printf("tokenizer     %s\n", text);
	if (status == STATUS_OK) {
		status = chat_load(&chat, folder, tokenizer, &error);
		const char *form = status == STATUS_NOTHING ? "none" : status ? error.text : chat_name(chat);
		cJSON_AddStringToObject(json, "chat", form);
		if (print)
			printf("chat form     %s\n", form);
	}
	strbuf_done(&line);
	chat_destroy(&chat);
	tokenizer_destroy(&tokenizer);
}

static enum status inspect_model_folder(const struct cli *cli, const char *path, struct error *error)
{
	struct model_facts facts;
	enum status status = inspect_model(&facts, path, error);
	if (status)
		return status;
	bool print = !cli->options.json;
	cJSON *json = model_facts_json(&facts);
	cJSON_AddStringToObject(json, "kind", "model");
	if (print) {
		struct strbuf text = {0};
		model_facts_text(&facts, &text);
		fputs(text.data ? text.data : "", stdout);
		strbuf_done(&text);
	}
	add_tokenizer(json, path, cli->options.verbose, print);
	model_facts_done(&facts);
	if (!print)
		return cli_print_json(json, error);
	cJSON_Delete(json);
	return STATUS_OK;
}

/* What it takes on the device once it is loaded; 0: it can't be. */
static uint64_t device_bytes(const struct sae_spec *spec)
{
	struct error error;
	return sae_check(spec, &error) ? 0 : sae_estimate(spec);
}

static cJSON *sae_json(const struct sae_spec *spec)
{
	cJSON *json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "kind", "sae");
	cJSON_AddStringToObject(json, "path", spec->path);
	cJSON_AddStringToObject(json, "format", sae_format_name(spec->format));
	cJSON_AddStringToObject(json, "activation", sae_act_name(spec->act));
	cJSON_AddStringToObject(json, "normalisation", sae_norm_name(spec->norm));
	cJSON_AddStringToObject(json, "site", sae_site_name(spec->site_in));
	if (spec->transcoder)
		cJSON_AddStringToObject(json, "site_out", sae_site_name(spec->site_out));
	const struct {
		const char *name;
		double value;
	} numbers[] = {
		{"layer", (double)spec->layer},
		{"d_in", (double)spec->d_in},
		{"d_out", (double)spec->d_out},
		{"features", (double)spec->F},
		{"k", (double)spec->k},
		{"stored_bytes", (double)spec->stored_bytes},
		{"memory_bytes", (double)sae_file_load_bytes(spec)},
		{"device_bytes", (double)device_bytes(spec)},
	};
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		cJSON_AddNumberToObject(json, numbers[i].name, numbers[i].value);
	cJSON_AddStringToObject(json, "dtype", st_dtype_name(spec->stored_dtype));
	cJSON_AddBoolToObject(json, "subtracts_b_dec", spec->subtract_b_dec);
	cJSON_AddBoolToObject(json, "transcoder", spec->transcoder);
	if (spec->training_rates) {
		struct sae_training t = sae_training_of(spec->training_rates, spec->F);
		cJSON *training = cJSON_AddObjectToObject(json, "training");
		cJSON_AddNumberToObject(training, "dead", (double)t.dead);
		cJSON_AddNumberToObject(training, "dead_share", (double)t.dead / (double)spec->F);
		cJSON_AddNumberToObject(training, "never", (double)t.never);
		cJSON_AddNumberToObject(training, "median_rate", t.median);
	}
	const struct {
		const char *name, *text;
	} strings[] = {
		{"hook_name", spec->hook_name},
		{"model_name", spec->model_name},
		{"neuronpedia_id", spec->neuronpedia_id},
		{"notes", spec->notes && spec->notes[0] ? spec->notes : NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(strings); i++)
		if (strings[i].text)
			cJSON_AddStringToObject(json, strings[i].name, strings[i].text);
	return json;
}

/* Values from a stranger's file, made printable. */
static void print_line(const char *name, const char *value)
{
	char shown[300];
	text_printable(shown, sizeof shown, value, strlen(value));
	printf("%-13s %s\n", name, shown);
}

static void print_sae(const struct sae_spec *spec)
{
	char bytes[TEXT_BYTES_SIZE];
	print_line("sae", spec->path);
	print_line("format", sae_format_name(spec->format));
	printf("%-13s %lld features, %lld -> %lld, %s, stored as %s (%.1f MB)\n", "encoder", (long long)spec->F,
	       (long long)spec->d_in, (long long)spec->d_out, sae_act_name(spec->act),
	       st_dtype_name(spec->stored_dtype), (double)spec->stored_bytes * 1e-6);
	if (device_bytes(spec) > 0)
		printf("%-13s %s on the device when it is loaded\n", "memory", text_bytes(bytes, device_bytes(spec)));
	if (spec->k > 0)
		printf("%-13s %lld\n", "k", (long long)spec->k);
	if (spec->layer >= 0)
		printf("%-13s layer %lld, %s\n", "hook", (long long)spec->layer, sae_site_name(spec->site_in));
	else
		printf("%-13s not recorded; give it as --sae LAYER:HOOK=PATH\n", "hook");
	if (spec->transcoder)
		printf("%-13s writes %s: a transcoder, so nothing of the residual can be clamped with it\n",
		       "transcoder", sae_site_name(spec->site_out));
	printf("%-13s %s%s\n", "input", sae_norm_name(spec->norm),
	       spec->subtract_b_dec ? ", b_dec is subtracted" : ", b_dec is not subtracted");
	if (spec->training_rates) {
		struct sae_training t = sae_training_of(spec->training_rates, spec->F);
		char rate[FORMAT_SIZE];
		printf("%-13s %lld features are dead on its training data (%.1f %%; fewer than 1 in 100,000 tokens), "
		       "%lld of them never fired; the median fires on %s tokens\n",
		       "training", (long long)t.dead, 100 * (double)t.dead / (double)spec->F, (long long)t.never,
		       format_rate(rate, t.median));
	}
	if (spec->model_name)
		print_line("model", spec->model_name);
	if (spec->neuronpedia_id)
		print_line("neuronpedia", spec->neuronpedia_id);
	if (spec->notes && spec->notes[0])
		print_line("notes", spec->notes);
}

static enum status inspect_saes(const struct cli *cli, const char *path, struct error *error)
{
	struct sae_list list;
	enum status status = sae_file_list(&list, path, error);
	if (status)
		return status;
	cJSON *all = cJSON_CreateArray();
	for (size_t i = 0; i < list.count && status == STATUS_OK; i++) {
		struct sae_spec spec;
		status = sae_file_open(&spec, list.paths[i], NULL, error);
		if (status)
			break;
		cJSON_AddItemToArray(all, sae_json(&spec));
		if (!cli->options.json) {
			if (i > 0)
				putchar('\n');
			print_sae(&spec);
		}
		sae_spec_done(&spec);
	}
	sae_list_done(&list);
	if (status || !cli->options.json) {
		cJSON_Delete(all);
		return status;
	}
	if (cJSON_GetArraySize(all) == 1) {
		cJSON *one = cJSON_DetachItemFromArray(all, 0);
		cJSON_Delete(all);
		return cli_print_json(one, error);
	}
	cJSON *json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "kind", "saes");
	cJSON_AddItemToObject(json, "saes", all);
	return cli_print_json(json, error);
}

static enum status inspect_prompts(const struct cli *cli, const char *path, struct error *error)
{
	struct prompt_set set;
	enum status status = prompt_set_load(&set, path, error);
	if (status)
		return status;
	cJSON *json = cJSON_CreateObject(), *tasks = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "kind", "prompts");
	cJSON_AddNumberToObject(json, "prompts", set.count);
	for (int i = 0; i < set.count; i++) {
		const char *task = set.items[i].task[0] ? set.items[i].task : "(none)";
		cJSON *count = cJSON_GetObjectItemCaseSensitive(tasks, task);
		if (count)
			cJSON_SetNumberValue(count, count->valuedouble + 1);
		else
			cJSON_AddNumberToObject(tasks, task, 1);
	}
	if (!cli->options.json) {
		printf("prompts       %d\n", set.count);
		for (const cJSON *task = tasks->child; task; task = task->next) {
			char shown[64];
			text_printable(shown, sizeof shown, task->string, strlen(task->string));
			printf("  %-11s %.0f\n", shown, task->valuedouble);
		}
	}
	cJSON_AddItemToObject(json, "tasks", tasks);
	prompt_set_done(&set);
	if (cli->options.json)
		return cli_print_json(json, error);
	cJSON_Delete(json);
	return STATUS_OK;
}

/* A journal's first line says what it is. */
static bool is_journal(const char *path)
{
	char head[64] = {0};
	FILE *file = ends_with(path, ".jsonl") ? fopen(path, "r") : NULL;
	bool found = file && fgets(head, sizeof head, file) && strstr(head, "\"event\"");
	if (file)
		fclose(file);
	return found;
}

static enum status inspect_session(const struct cli *cli, const char *path, struct error *error)
{
	struct record record;
	enum status status = record_load(&record, path, error);
	if (status)
		return status;
	const struct record_run *run = record_main_run(&record);
	cJSON *json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "kind", "session");
	char *objective = run ? record_objective(run) : mem_strdup(""),
	     *prompt = run ? record_prompt(run) : mem_strdup("");
	const struct {
		const char *name, *value;
	} facts[] = {
		{"version", record.version},
		{"created", record.created},
		{"command", record.command},
		{"device", record.device},
		{"driver", record.driver},
		{"prompt", prompt},
		{"objective", objective},
		{"verdict", run ? record_verdict(run) : "no run"},
		{"outcome", run ? record_outcome_name(run->outcome) : "no run"},
	};
	for (size_t i = 0; i < ARRAY_LEN(facts); i++) {
		const char *value = facts[i].value ? facts[i].value : "";
		cJSON_AddStringToObject(json, facts[i].name, value);
		if (!cli->options.json)
			print_line(facts[i].name, value);
	}
	free(objective);
	free(prompt);
	record_done(&record);
	if (cli->options.json)
		return cli_print_json(json, error);
	cJSON_Delete(json);
	return STATUS_OK;
}

enum status cli_inspect(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	if (o->arguments.count != 1)
		return error_set(error, STATUS_INVALID,
				 "inspect needs one path: a model folder, an SAE, a prompt set or a session");
	const char *path = o->arguments.items[0];
	if (!file_exists(path))
		return error_set(error, STATUS_INVALID, "'%s' does not exist", path);
	if (file_is_folder(path) && has_file(path, "config.json") &&
	    (has_file(path, "model.safetensors") || has_file(path, "model.safetensors.index.json")))
		return inspect_model_folder(cli, path, error);
	if (is_journal(path))
		return inspect_session(cli, path, error);
	if (!file_is_folder(path) && (ends_with(path, ".jsonl") || ends_with(path, ".csv") || ends_with(path, ".txt") ||
				      ends_with(path, "prompts.json")))
		return inspect_prompts(cli, path, error);
	return inspect_saes(cli, path, error);
}
