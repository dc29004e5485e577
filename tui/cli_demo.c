/* rebound demo: the whole loop on the built-in model without a screen. For one prompt of
 * each task: base, clamped by the features that its report recommends, recovered, and
 * which part of the perturbation carries it. Everything is a real run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "sessions/decompose.h"
#include "sessions/experiment.h"
#include "tui/cli.h"

/* A task of models/demo/demo.json, which the model's report writes. */
struct demo_task {
	const char *task, *prompt, *mode, *positions, *objective; /* objective: the name of one that fits the prompt */
	const cJSON *features;					  /* numbers, at `layer` */
	int64_t layer;
};

static enum status read_task(const cJSON *json, struct demo_task *t, struct error *error)
{
	*t = (struct demo_task){.layer = -1};
	enum status status = json_get_string(json, "task", &t->task, "demo.json", error);
	if (status == STATUS_OK)
		status = json_get_string(json, "prompt", &t->prompt, "demo.json", error);
	if (status == STATUS_OK)
		status = json_get_string(json, "mode", &t->mode, "demo.json", error);
	if (status == STATUS_OK)
		status = json_get_string(json, "positions", &t->positions, "demo.json", error);
	if (status == STATUS_OK)
		status = json_get_string(json, "objective", &t->objective, "demo.json", error);
	if (status == STATUS_OK)
		status = json_get_int(json, "layer", 0, ARCH_MAX_LAYERS - 1, &t->layer, "demo.json", error);
	t->features = json_member(json, "features");
	if (status == STATUS_OK && (!t->task || !t->prompt || !t->mode || t->layer < 0 || !cJSON_IsArray(t->features)))
		status = error_set(error, STATUS_INVALID,
				   "demo.json: a task lacks task, prompt, mode, layer or features");
	return status;
}

/* The prompt's objective of the task's name, else its first; a probe is read at the clamped layer, as in the report. */
static enum status set_objective(struct session *session, const struct prompt *p, const struct demo_task *t,
				 struct error *error)
{
	char *specs[8];
	int n = prompt_objectives(p, specs, 8);
	const char *chosen = n > 0 ? specs[0] : NULL;
	size_t length = t->objective ? strlen(t->objective) : 0;
	for (int i = 0; i < n && length > 0; i++)
		if (strncmp(specs[i], t->objective, length) == 0 && specs[i][length] == ':')
			chosen = specs[i];
	bool probe = chosen && strncmp(chosen, "probe_logit:", strlen("probe_logit:")) == 0;
	char *spec = probe ? mem_printf("%s@%d", chosen, (int)t->layer) : chosen ? mem_strdup(chosen) : NULL;
	enum status status = session_set_objective(session, (const char *const *)&spec, spec != NULL, error);
	free(spec);
	for (int i = 0; i < n; i++)
		free(specs[i]);
	return status;
}

/* The task as the session's input, clamps and objective. */
static enum status set_up(struct session *session, const struct prompt_set *prompts, const struct demo_task *t,
			  struct error *error)
{
	const struct prompt *p = prompt_set_find(prompts, t->prompt);
	if (!p)
		return error_set(error, STATUS_INVALID,
				 "demo.json names the prompt '%s', which is not in the prompt set", t->prompt);
	enum status status = session_set_text(session, p->text, strlen(p->text), p->chat, false, false, error);
	if (status)
		return status;
	session->prompt_id = mem_strdup(p->id);
	struct layer_rule rule = {.layer = (int)t->layer}, *rules = NULL;
	size_t count = 0, capacity = 0;
	status = clamp_mode_parse(t->mode, &rule.rule.mode, &rule.rule.value, error);
	for (const cJSON *f = t->features->child; f && status == STATUS_OK; f = f->next) {
		if (!cJSON_IsNumber(f) || f->valuedouble < 0 || f->valuedouble > UINT32_MAX) {
			status = error_set(error, STATUS_INVALID, "demo.json: a feature of '%s' is not a number",
					   t->task);
			break;
		}
		rule.rule.feature = (uint32_t)f->valuedouble;
		mem_reserve((void **)&rules, &capacity, count + 1, sizeof *rules);
		rules[count++] = rule;
	}
	if (status == STATUS_OK)
		status = session_set_clamps(session, rules, (int64_t)count, error);
	free(rules);
	if (status == STATUS_OK)
		status = set_objective(session, p, t, error);
	positions_done(&session->clamp_positions);
	if (status == STATUS_OK)
		status = positions_parse(&session->clamp_positions, t->positions ? t->positions : "all",
					 "demo.json, positions", error);
	return status;
}

static cJSON *side_json(double objective, bool present)
{
	cJSON *json = cJSON_CreateObject();
	cJSON_AddNumberToObject(json, "objective", objective);
	cJSON_AddBoolToObject(json, "present", present);
	return json;
}

static cJSON *task_json(const struct demo_task *t, const struct experiment *x, const struct decomposition *parts,
			const struct sae_fit *fit)
{
	cJSON *json = cJSON_CreateObject(), *components = cJSON_CreateArray();
	cJSON_AddStringToObject(json, "task", t->task);
	cJSON_AddStringToObject(json, "prompt", t->prompt);
	cJSON_AddStringToObject(json, "objective", x->session->objective.text);
	cJSON_AddNumberToObject(json, "layer", (double)t->layer);
	cJSON_AddNumberToObject(json, "clamped_features", cJSON_GetArraySize(t->features));
	cJSON_AddStringToObject(json, "mode", t->mode);
	cJSON_AddItemToObject(json, "sae_fit", cli_fit_json(fit));
	cJSON_AddItemToObject(json, "base", side_json(x->base.J, x->base.present));
	cJSON_AddItemToObject(json, "clamped", side_json(x->clamped.J, x->clamped.present));
	cJSON_AddItemToObject(json, "recovered", side_json(x->final.objective, x->final.present));
	cJSON_AddBoolToObject(json, "valid_flip", x->base.present && !x->clamped.present);
	cJSON_AddNumberToObject(json, "drift_relative_l2", x->final.drift_relative_l2);
	cJSON_AddNumberToObject(json, "delta_norm", x->final.delta_norm);
	cJSON_AddNumberToObject(json, "steps", (double)recovery_steps(x->recovery));
	cJSON_AddNumberToObject(json, "steps_per_s",
				x->wall_s > 0 ? (double)recovery_steps(x->recovery) / x->wall_s : 0);
	for (int i = 0; i < COMPONENT_COUNT; i++) {
		const struct component *c = &parts->components[i];
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "component", component_name((enum component_kind)i));
		cJSON_AddNumberToObject(item, "norm", c->norm);
		cJSON_AddNumberToObject(item, "objective", c->objective);
		cJSON_AddBoolToObject(item, "replay_recovered", c->recovered);
		if (c->has_knockout)
			cJSON_AddBoolToObject(item, "knockout_recovered", c->knockout_recovered);
		cJSON_AddItemToArray(components, item);
	}
	cJSON_AddItemToObject(json, "components", components);
	return json;
}

static const char *mark(bool there)
{
	return there ? "yes" : "no";
}

static void print_task(const struct demo_task *t, const struct experiment *x, const struct decomposition *parts,
		       const struct sae_fit *fit)
{
	printf("\n%s, prompt %s: %d features of layer %lld held at %s\n", t->task, t->prompt,
	       cJSON_GetArraySize(t->features), (long long)t->layer, t->mode);
	printf("  its SAE here: ");
	cli_fit_print(fit);
	printf("  objective %s\n", x->session->objective.text);
	printf("  %-12s %10s  %s\n", "state", "J", "behaviour");
	printf("  %-12s %+10.3f  %s\n", "base", x->base.J, mark(x->base.present));
	printf("  %-12s %+10.3f  %s\n", "clamped", x->clamped.J, mark(x->clamped.present));
	printf("  %-12s %+10.3f  %s\n", "recovered", x->final.objective, mark(x->final.present));
	printf("  %s; |delta| %.2f of %g, relative drift of the clamped features %.4f, %.0f steps a second\n",
	       !x->base.present	    ? "the base model lacks the behaviour: nothing to suppress"
	       : x->clamped.present ? "the clamp does not remove it: nothing to recover"
	       : x->final.present   ? "valid flip, recovered"
				    : "valid flip, not recovered",
	       x->final.delta_norm, recovery_budget(x->recovery), x->final.drift_relative_l2,
	       x->wall_s > 0 ? (double)recovery_steps(x->recovery) / x->wall_s : 0);
	printf("  %-22s %8s %8s  %-18s %s\n", "part of delta", "norm", "cosine", "alone recovers", "without it");
	for (int i = 0; i < COMPONENT_COUNT; i++) {
		const struct component *c = &parts->components[i];
		printf("  %-22s %8.2f %+8.2f  %-3s (%+8.3f)", component_name((enum component_kind)i), c->norm,
		       c->cosine, mark(c->recovered), c->objective);
		if (c->has_knockout)
			printf("     %-3s (%+8.3f)", mark(c->knockout_recovered), c->knockout_objective);
		putchar('\n');
	}
}

static enum status run_task(const struct cli *cli, struct opened *opened, const cJSON *entry, cJSON *list,
			    struct error *error)
{
	struct demo_task task;
	struct experiment x = {0};
	struct decomposition parts;
	struct sae_fit fit;
	enum status status = read_task(entry, &task, error);
	if (status == STATUS_OK)
		status = set_up(opened->session, &opened->prompts, &task, error);
	if (status)
		return status;
	status = experiment_run(&x, opened->session, error);
	if (status == STATUS_OK)
		status = decompose(&parts, opened->session, x.recovery, &x.clamped, x.delta, 20, false, error);
	if (status == STATUS_OK) {
		/* decompose() replayed other perturbations; the result's own numbers again. */
		status = recovery_evaluate(x.recovery, x.delta, &x.final, error);
		int site = session_site_of_layer(opened->session, (int)task.layer);
		if (status == STATUS_OK)
			status = sae_fit_measure(&fit, &x.base, site, error);
		if (status == STATUS_OK)
			status = sae_fit_measure_loss(&fit, &x.base, site, error);
		if (status == STATUS_OK) {
			cJSON_AddItemToArray(list, task_json(&task, &x, &parts, &fit));
			if (!cli->options.json)
				print_task(&task, &x, &parts, &fit);
		}
		decomposition_done(&parts);
	}
	experiment_done(&x);
	return status;
}

enum status cli_demo(const struct cli *cli, struct error *error)
{
	if (cli->options.model)
		return error_set(error, STATUS_INVALID,
				 "demo shows the built-in model; for another one see recover, decompose and generate");
	struct opened opened;
	enum status status = cli_open(&opened, cli, NEED_SAES, error);
	if (status)
		return status;
	char *path = path_join(opened.session->model.folder, "demo.json");
	char *prompts = path_join(opened.session->model.folder, "prompts.jsonl");
	cJSON *demo = NULL, *json = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(json, "tasks");
	status = json_read(&demo, path, (size_t)1 << 20, error);
	if (status == STATUS_OK && opened.prompts.count == 0)
		status = prompt_set_load(&opened.prompts, prompts, error);
	if (status == STATUS_OK && !cli->options.json) {
		char *model = model_describe(&opened.session->model);
		printf("the built-in model (%s) on %s\n", model, device_get_info(opened.session->device)->name);
		free(model);
	}
	const cJSON *tasks = status == STATUS_OK ? json_member(demo, "tasks") : NULL;
	for (const cJSON *entry = tasks ? tasks->child : NULL; entry && status == STATUS_OK; entry = entry->next)
		if (!cJSON_IsFalse(json_member(entry, "default")))
			status = run_task(cli, &opened, entry, list, error);
	if (status == STATUS_OK && cJSON_GetArraySize(list) == 0)
		status = error_set(error, STATUS_INVALID, "'%s' lists no task", path);
	if (status == STATUS_OK && cli->options.json)
		status = cli_print_json(json, error);
	else
		cJSON_Delete(json);
	if (status == STATUS_OK && !cli->options.json)
		printf("\nA white-box diagnostic on tasks made for it: a recovery path exists for this clamp, "
		       "dictionary and\n"
		       "model. See 'rebound recover' for one's own.\n");
	cJSON_Delete(demo);
	free(path);
	free(prompts);
	options_close(&opened);
	return status;
}
