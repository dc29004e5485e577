/* rebound attribute over a set of prompts: --method attribution|sparsity|difference|probe. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/base/mem.h"
#include "sessions/attribute.h"
#include "sessions/journal.h"
#include "sessions/labels.h"
#include "sessions/probe.h"
#include "sessions/select.h"
#include "tui/cli.h"

/* The prompts of two sets; borrowed from them. */
struct sets {
	const struct prompt **items[2];
	int64_t counts[2];
	struct prompt_set retained; /* --retain */
};

static void add(struct sets *sets, int set, const struct prompt *p)
{
	sets->items[set] = mem_resize(sets->items[set], (size_t)sets->counts[set] + 1, sizeof *sets->items[set]);
	sets->items[set][sets->counts[set]++] = p;
}

static void sets_done(struct sets *sets)
{
	free(sets->items[0]);
	free(sets->items[1]);
	prompt_set_done(&sets->retained);
}

/* Which set a prompt of the one file belongs to where no second was named: declined ones
 * against answered ones, the probe's class against the others; -1: neither. */
static int side(const struct prompt *p, enum select_method method, const char *class)
{
	if (method == SELECT_ATTRIBUTION)
		return 0;
	if (method == SELECT_PROBE)
		return p->profession ? strcmp(p->profession, class) != 0 : -1;
	return p->has_declined ? !p->declined : -1;
}

static enum status fill_sets(struct sets *sets, const struct opened *opened, const struct options *o,
			     enum select_method method, struct error *error)
{
	bool second = o->retain || o->retain_task;
	const char *class = method == SELECT_PROBE ? opened->session->objective.terms[0].probe_class : NULL;
	const struct prompt_set *other = &opened->prompts;
	if (o->retain) {
		enum status status = prompt_set_load(&sets->retained, o->retain, error);
		if (status)
			return status;
		other = &sets->retained;
	}
	for (int i = 0; i < opened->prompts.count; i++) {
		const struct prompt *p = &opened->prompts.items[i];
		int set = second ? 0 : side(p, method, class);
		if (set >= 0 && (!o->task || strcmp(p->task, o->task) == 0))
			add(sets, set, p);
	}
	for (int i = 0; i < other->count && second; i++)
		if (!o->retain_task || strcmp(other->items[i].task, o->retain_task) == 0)
			add(sets, 1, &other->items[i]);
	if (method != SELECT_ATTRIBUTION && (sets->counts[0] == 0 || sets->counts[1] == 0))
		return error_set(
			error, STATUS_INVALID,
			"--method %s compares two sets, and there are %lld and %lld prompts; name the second with "
			"--retain FILE or --retain-task TASK",
			select_method_name(method), (long long)sets->counts[0], (long long)sets->counts[1]);
	if (sets->counts[0] == 0)
		return error_set(error, STATUS_INVALID, "there are no prompts%s%s%s to read",
				 o->task ? " of the task '" : "", o->task ? o->task : "", o->task ? "'" : "");
	return STATUS_OK;
}

static void on_prompt(void *context, int64_t done, int64_t total, const struct prompt *prompt,
		      const struct error *problem)
{
	const struct options *o = context;
	if (o->quiet)
		return;
	if (problem)
		fprintf(stderr, "%sprompt '%s' is left out: %s\n", isatty(STDERR_FILENO) ? "\r" : "", prompt->id,
			problem->text);
	else if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%lld of %lld prompts%s", (long long)done, (long long)total,
			done == total ? "\n" : "");
}

static cJSON *item_json(const struct selected *s, const char *label, enum select_method method)
{
	cJSON *item = cJSON_CreateObject();
	cJSON_AddNumberToObject(item, "layer", s->layer);
	cJSON_AddNumberToObject(item, "feature", s->feature);
	cJSON_AddNumberToObject(item, method == SELECT_ATTRIBUTION ? "attribution" : "score", s->score);
	cJSON_AddNumberToObject(item, "activation", s->mean[0]);
	cJSON_AddNumberToObject(item, "frequency", s->frequency[0]);
	if (method != SELECT_ATTRIBUTION) {
		cJSON_AddNumberToObject(item, "retain_activation", s->mean[1]);
		cJSON_AddNumberToObject(item, "retain_frequency", s->frequency[1]);
	}
	journal_add_string(item, "label", label);
	return item;
}

static enum status show(const struct selection *s, const struct session *session, const struct options *o,
			enum select_method method, int64_t k, struct error *error)
{
	cJSON *json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "method", select_method_name(method));
	cJSON_AddNumberToObject(json, "prompts", (double)s->inputs[0]);
	cJSON_AddNumberToObject(json, "retain_prompts", (double)s->inputs[1]);
	cJSON_AddNumberToObject(json, "positions", (double)s->positions[0]);
	cJSON_AddNumberToObject(json, "retain_positions", (double)s->positions[1]);
	cJSON_AddNumberToObject(json, "skipped", (double)s->skipped);
	cJSON *list = cJSON_AddArrayToObject(json, "features");
	if (!o->json)
		printf("%s over %lld prompts (%lld positions)%s\n", select_method_name(method), (long long)s->inputs[0],
		       (long long)s->positions[0], method == SELECT_ATTRIBUTION ? "" : " against the second set");
	for (int64_t i = 0; i < s->count && i < k; i++) {
		const struct selected *f = &s->items[i];
		const char *label =
			labels_get(session->sites[session_site_of_layer(session, f->layer)].labels, f->feature);
		cJSON_AddItemToArray(list, item_json(f, label, method));
		if (o->json)
			continue;
		printf("%2d:%-7u score %+10.4f  activation %9.4f", f->layer, f->feature, f->score, f->mean[0]);
		if (method != SELECT_ATTRIBUTION)
			printf(" / %-9.4f", f->mean[1]);
		printf("  fires %.3f", f->frequency[0]);
		if (method != SELECT_ATTRIBUTION)
			printf(" / %.3f", f->frequency[1]);
		printf("  %s\n", label);
	}
	if (o->json)
		return cli_print_json(json, error);
	cJSON_Delete(json);
	return STATUS_OK;
}

static enum status options_of(struct select_options *s, const struct options *o, struct error *error)
{
	if (o->method && !select_method_parse(o->method, &s->method))
		return error_set(error, STATUS_INVALID,
				 "--method is '%s'; expected attribution, sparsity, difference or probe", o->method);
	s->all_positions = s->method == SELECT_SPARSITY || s->method == SELECT_PROBE;
	if (o->position && strcmp(o->position, "all") != 0 && strcmp(o->position, "last") != 0)
		return error_set(error, STATUS_INVALID, "--position is '%s'; over a set of prompts it is last or all",
				 o->position);
	if (o->position)
		s->all_positions = strcmp(o->position, "all") == 0;
	enum status status = options_double(o->retain_threshold, "retain-threshold", 0.01, &s->retain_threshold, error);
	if (status == STATUS_OK && !(s->retain_threshold >= 0 && s->retain_threshold <= 1))
		status = error_set(error, STATUS_INVALID, "--retain-threshold is %g; expected a number from 0 to 1",
				   s->retain_threshold);
	s->own_objectives = o->objectives.count == 0;
	s->chat = o->chat;
	s->no_bos = o->no_bos;
	s->special = o->special;
	s->on_prompt = on_prompt;
	s->context = (void *)o;
	return status;
}

enum status cli_select(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct select_options options = {.only_site = -1};
	struct opened opened;
	struct sets sets = {0};
	struct selection selection = {0};
	int64_t k;
	enum status status = options_of(&options, o, error);
	if (status == STATUS_OK)
		status = options_int(o->top, "top", 1, INT32_MAX, 20, &k, error);
	if (status == STATUS_OK && (o->text || o->tokens || o->prompt))
		status = error_set(error, STATUS_INVALID,
				   "--method reads a set of prompts; give --prompts and no input");
	if (status == STATUS_OK)
		status = cli_open(&opened, cli, NEED_SAES | NEED_PROMPTS, error);
	if (status)
		return status;
	struct session *session = opened.session;
	if (options.method == SELECT_PROBE) {
		if (!session->has_objective || !probe_objective(&session->objective))
			status = error_set(error, STATUS_INVALID,
					   "--method probe needs the probe: --objective probe_logit:CLASS@LAYER");
		else
			options.only_site = probe_site(session);
	}
	if (status == STATUS_OK && o->layer)
		status = cli_choose_site(session, o, &options.only_site, error);
	if (status == STATUS_OK)
		status = fill_sets(&sets, &opened, o, options.method, error);
	for (int i = 0; i < 2; i++) {
		options.sets[i] = sets.items[i];
		options.counts[i] = sets.counts[i];
	}
	if (status == STATUS_OK)
		status = select_features(&selection, session, &options, error);
	if (status == STATUS_OK || selection.items) {
		enum status shown = show(&selection, session, o, options.method, k, status ? NULL : error);
		status = status ? status : shown;
	}
	selection_done(&selection);
	sets_done(&sets);
	options_close(&opened);
	return status;
}

/* ---- --clamp-top K:MODE ---- */

enum status cli_clamp_top(struct session *session, const struct options *o, struct error *error)
{
	const char *colon = strchr(o->clamp_top, ':');
	char *number = mem_strndup(o->clamp_top, colon ? (size_t)(colon - o->clamp_top) : 0);
	struct layer_rule pattern = {0};
	int64_t k = 0, count = 0;
	int site = 0;
	bool good = text_int(number, &k) && k >= 1 && k <= 100000;
	free(number);
	if (!good)
		return error_set(error, STATUS_INVALID, "--clamp-top is '%s'; expected K:MODE, such as 8:set-active:-5",
				 o->clamp_top);
	if (session_has_clamps(session))
		return error_set(error, STATUS_INVALID, "--clamp and --clamp-top can't be given together");
	if (!session->has_objective || session->prompt.count == 0)
		return error_set(error, STATUS_INVALID,
				 "--clamp-top ranks features by an input's objective; give an input and --objective");
	enum status status = clamp_mode_parse(colon + 1, &pattern.rule.mode, &pattern.rule.value, error);
	struct scene base = {0};
	struct attribution *items = NULL;
	if (status == STATUS_OK)
		status = cli_choose_site(session, o, &site, error);
	if (status == STATUS_OK)
		status = scene_run(&base, session, false, error);
	if (status == STATUS_OK)
		status = attribute_rank(&items, &count, session, &base, site, error);
	scene_done(&base);
	struct layer_rule *rules = mem_alloc((size_t)k, sizeof *rules);
	int64_t n = 0;
	for (; status == STATUS_OK && n < k && n < count && items[n].attribution > 0; n++) {
		rules[n] = pattern;
		rules[n].layer = items[n].layer;
		rules[n].rule.feature = items[n].feature;
	}
	if (status == STATUS_OK && n == 0)
		status = error_set(error, STATUS_NOTHING, "no feature of layer %d has a positive attribution",
				   session->sites[site].sae.layer);
	if (status == STATUS_OK)
		status = session_set_clamps(session, rules, n, error);
	if (status == STATUS_OK && !o->quiet) {
		char *command = session_clamps_command(session);
		fprintf(stderr, "%s\n", command);
		free(command);
	}
	free(rules);
	free(items);
	return status;
}
