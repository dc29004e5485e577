#include "tui/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

const struct cli_command cli_commands[] = {
	{"demo", cli_demo, "", "the whole loop on the built-in model, one prompt a task"},
	{"inspect", cli_inspect, "PATH", "what a model folder, SAE, prompt set or session is; needs no device"},
	{"tokens", cli_tokens, "[--text S] [--tokenizer DIR] [--batch FILE|-]", "token ids of a text"},
	{"logits", cli_logits, "[--positions last|all]", "next-token logits"},
	{"residual", cli_residual, "--layer L --hook HOOK", "the residual stream"},
	{"gradient", cli_gradient, "--layer L --hook HOOK --objective ...", "gradient of an objective by the residual"},
	{"features", cli_features, "--sae PATH [--position N|last|all] [--top K]", "SAE feature activations"},
	{"feature", cli_feature, "LAYER:F [--top K]", "one feature: tokens, neighbours, labels, best examples"},
	{"generate", cli_generate, "[--max-new N] [--clamp ...] [--delta FILE]", "text under clamp and perturbation"},
	{"attribute", cli_attribute, "[--method attribution|sparsity|difference|probe] [--prompts FILE] [--top K]",
	 "features ranked for clamping, by one input or by sets of prompts"},
	{"encode", cli_encode, "--sae PATH --input X.npy --out DIR", "an SAE alone, on given rows"},
	{"recover", cli_recover, "--clamp ... --objective ...", "one recovery"},
	{"radius", cli_radius, "--clamp ... --objective ... [--tolerance X] [--trials N]",
	 "the smallest budget that recovers"},
	{"decompose", cli_decompose, "SESSION [--top K] [--reference before-delta|clamped-run]",
	 "which part of a recorded delta carries the recovery"},
	{"replay", cli_replay, "SESSION", "run a session again and compare every number"},
	{"compare", cli_compare, "SESSION SESSION", "two sessions side by side, aligned by step"},
	{"list", cli_list, "[DIR]", "sessions on disk"},
	{"export", cli_export, "SESSION|DIR --format csv|json|latex|svg|pdf|md [--redact] [--out PATH]",
	 "sessions for other programs"},
	{"devices", cli_devices, "", "Vulkan devices and their self-tests"},
	{0},
};

const struct cli_command *cli_find(const char *name)
{
	for (const struct cli_command *c = cli_commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

/* The path of the first number that is not finite. */
static bool all_finite(const cJSON *json, const char **key)
{
	if (cJSON_IsNumber(json) && !isfinite(json->valuedouble)) {
		*key = json->string ? json->string : "a list's entry";
		return false;
	}
	for (const cJSON *child = json->child; child; child = child->next)
		if (!all_finite(child, key))
			return false;
	return true;
}

enum status cli_print_json(cJSON *json, struct error *error)
{
	const char *key = "";
	enum status status = STATUS_OK;
	if (!all_finite(json, &key)) {
		status = error_set(error, STATUS_FAILED, "the result '%s' is not a finite number", key);
	} else {
		char *text = cJSON_PrintUnformatted(json);
		if (!text || puts(text) == EOF || fflush(stdout) != 0)
			status = error_set(error, STATUS_FAILED, "cannot write the result to stdout");
		cJSON_free(text);
	}
	cJSON_Delete(json);
	return status;
}

char *cli_piece(const struct session *session, int32_t id)
{
	struct strbuf raw = {0};
	if (session->model.tokenizer)
		tokenizer_token_bytes(session->model.tokenizer, id, &raw);
	char *shown = mem_alloc(raw.length + 1, 1);
	text_printable(shown, raw.length + 1, raw.data ? raw.data : "", raw.length);
	strbuf_done(&raw);
	return shown;
}

cJSON *cli_top_json(const struct session *session, const float *logits, int k)
{
	struct top_logit *top = mem_alloc((size_t)k + 1, sizeof *top);
	int n = top_logits(logits, session->model.arch.vocab, k, top);
	cJSON *list = cJSON_CreateArray();
	for (int i = 0; i < n; i++) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "id", top[i].id);
		if (session->model.tokenizer) {
			char *piece = cli_piece(session, top[i].id);
			cJSON_AddStringToObject(item, "piece", piece);
			free(piece);
		}
		cJSON_AddNumberToObject(item, "logit", (double)top[i].logit);
		cJSON_AddNumberToObject(item, "probability", (double)top[i].probability);
		cJSON_AddItemToArray(list, item);
	}
	free(top);
	return list;
}

cJSON *cli_ids_json(const int32_t *ids, size_t count)
{
	cJSON *list = cJSON_CreateArray();
	for (size_t i = 0; i < count; i++)
		cJSON_AddItemToArray(list, cJSON_CreateNumber(ids[i]));
	return list;
}

cJSON *cli_floats_json(const float *values, size_t count)
{
	cJSON *list = cJSON_CreateArray();
	for (size_t i = 0; i < count; i++)
		cJSON_AddItemToArray(list, cJSON_CreateNumber((double)values[i]));
	return list;
}

enum status cli_open(struct opened *opened, const struct cli *cli, int needs, struct error *error)
{
	enum status status = options_open(opened, &cli->options, needs, error);
	if (status)
		return status;
	opened->session->cancel = cli->cancel;
	if (cli->options.clamp_top)
		status = cli_clamp_top(opened->session, &cli->options, error);
	if (status)
		options_close(opened);
	return status;
}
