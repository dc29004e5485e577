/* Commands that change the clamps, or rank the features to be clamped. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"
#include "sessions/hooked_sae.h"

/* ---- changing the rules ---- */

static struct clamp_state copy_rules(const struct desk *desk)
{
	const struct clamp_state *now = &desk->rules;
	return (struct clamp_state){mem_copy(now->rules, now->count * sizeof *now->rules), now->count};
}

static void add_rule(struct clamp_state *state, struct layer_rule rule)
{
	state->rules = mem_resize(state->rules, state->count + 1, sizeof *state->rules);
	state->rules[state->count++] = rule;
}

static int find_rule(const struct clamp_state *state, int layer, uint32_t feature)
{
	for (size_t i = 0; i < state->count; i++)
		if (state->rules[i].layer == layer && state->rules[i].rule.feature == feature)
			return (int)i;
	return -1;
}

static void remember(struct desk *desk, struct clamp_state state)
{
	if (desk->undo_count == (int)ARRAY_LEN(desk->undo)) {
		free(desk->undo[0].rules);
		memmove(desk->undo, desk->undo + 1, sizeof desk->undo - sizeof desk->undo[0]);
		desk->undo_count--;
	}
	desk->undo[desk->undo_count++] = state;
}

/* Runs under the rules as they are now, and says what they do. */
static enum status show_effect(struct desk *desk, struct error *error)
{
	desk_clamps_changed(desk);
	/* Not published before there is something to show: what is on the screen would vanish. */
	desk->job = JOB_CLAMP;
	snprintf(desk->job_text, sizeof desk->job_text, "running under the clamp");
	enum status status = session_set_clamps(desk->session, desk->rules.rules, (int64_t)desk->rules.count, error);
	if (status == STATUS_OK)
		status = desk_refresh(desk, error);
	if (status == STATUS_OK && desk->has_clamped && desk->clamped.has_objective)
		desk_log(desk, "logits", true, "clamped %+.3f, base %+.3f: %s", desk->clamped.J, desk->base.J,
			 !desk->base.present	 ? "the base lacks the behaviour"
			 : desk->clamped.present ? "the behaviour is still there"
						 : "valid flip");
	return status;
}

/* SAEs that the rules need, before anything is given up for them. */
static enum status load_for(struct desk *desk, const struct clamp_state *rules, struct error *error)
{
	enum status status = STATUS_OK;
	const struct sae *sae;
	for (size_t i = 0; i < rules->count && status == STATUS_OK; i++)
		status = session_sae(&sae, desk->session, session_site_of_layer(desk->session, rules->rules[i].layer),
				     error);
	return status;
}

/* Takes `next`: the rules from now on. Where it isn't possible nothing has changed. */
static enum status put_in_force(struct desk *desk, struct clamp_state next, struct error *error)
{
	enum status status = session_check_clamps(desk->session, next.rules, (int64_t)next.count, error);
	if (status == STATUS_OK)
		status = load_for(desk, &next, error);
	if (status) {
		free(next.rules);
		return status;
	}
	remember(desk, desk->rules);
	desk->rules = next;
	return show_effect(desk, error);
}

enum status desk_undo_clamps(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	if (desk->undo_count == 0) {
		desk_notice(desk, "nothing to undo");
		return STATUS_OK;
	}
	enum status status = load_for(desk, &desk->undo[desk->undo_count - 1], error);
	if (status)
		return status;
	free(desk->rules.rules);
	desk->rules = desk->undo[--desk->undo_count];
	return show_effect(desk, error);
}

/* ---- one feature ---- */

static enum status check_feature(const struct desk *desk, int64_t feature, struct error *error)
{
	if (desk->session->site_count == 0)
		return error_set(error, STATUS_INVALID,
				 "no SAE is attached, so there is nothing to clamp; start with --sae");
	int64_t F = desk->session->sites[desk->site].sae.features;
	if (feature < 0 || feature >= F)
		return error_set(error, STATUS_INVALID,
				 "feature %lld does not exist: the SAE at layer %d has 0 to %lld", (long long)feature,
				 desk->session->sites[desk->site].sae.layer, (long long)F - 1);
	return STATUS_OK;
}

static int shown_layer(const struct desk *desk)
{
	return desk->session->sites[desk->site].sae.layer;
}

enum status desk_toggle_clamp(struct desk *desk, const struct command *command, struct error *error)
{
	enum status status = check_feature(desk, command->number, error);
	if (status)
		return status;
	int layer = shown_layer(desk);
	uint32_t feature = (uint32_t)command->number;
	struct clamp_state next = copy_rules(desk);
	int at = find_rule(&next, layer, feature);
	if (at >= 0) {
		next.count--;
		memmove(next.rules + at, next.rules + at + 1, (next.count - (size_t)at) * sizeof *next.rules);
	} else {
		add_rule(&next, (struct layer_rule){layer, {feature, desk->mode, desk->mode_value}});
	}
	return put_in_force(desk, next, error);
}

enum status desk_set_clamp_value(struct desk *desk, const struct command *command, struct error *error)
{
	enum status status = check_feature(desk, command->number, error);
	if (status)
		return status;
	int at = find_rule(&desk->rules, shown_layer(desk), (uint32_t)command->number);
	if (!isfinite(command->value))
		return error_set(error, STATUS_INVALID, "a clamp's value has to be a finite number");
	if (at < 0)
		return error_set(error, STATUS_INVALID, "feature %lld is not clamped; space clamps it",
				 (long long)command->number);
	if (desk->rules.rules[at].rule.mode == OP_CLAMP_ABLATE)
		return error_set(error, STATUS_INVALID, "ablate takes no value; m chooses another mode");
	struct clamp_state next = copy_rules(desk);
	next.rules[at].rule.value = (float)command->value;
	return put_in_force(desk, next, error);
}

enum status desk_set_clamp_mode(struct desk *desk, const struct command *command, struct error *error)
{
	enum op_clamp_mode mode;
	float value;
	enum status status = clamp_mode_parse(command->text, &mode, &value, error);
	if (status)
		return status;
	desk->mode = mode;
	desk->mode_value = value;
	if (command->number < 0)
		return STATUS_OK;
	status = check_feature(desk, command->number, error);
	int at = status ? -1 : find_rule(&desk->rules, shown_layer(desk), (uint32_t)command->number);
	if (at < 0)
		return status;
	struct clamp_state next = copy_rules(desk);
	next.rules[at].rule.mode = mode;
	next.rules[at].rule.value = value;
	return put_in_force(desk, next, error);
}

/* ---- the ranking ---- */

static int by_feature(const void *a, const void *b)
{
	const struct attribution *x = a, *y = b;
	return (x->feature > y->feature) - (x->feature < y->feature);
}

enum status desk_attribute(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	if (desk->session->site_count == 0)
		return error_set(error, STATUS_INVALID,
				 "no SAE is attached, so there are no features to rank; start with --sae");
	if (!desk->session->has_objective)
		return error_set(error, STATUS_INVALID, "there is no objective to attribute; o chooses one");
	desk_leave_suffix(desk);
	desk_ask_for_sae(desk, desk->site);
	desk_begin_job(desk, JOB_ATTRIBUTE, "ranking features");
	struct attribution *items;
	int64_t count;
	enum status status = desk_refresh(desk, error);
	if (status == STATUS_OK)
		status = attribute_rank(&items, &count, desk->session, &desk->base, desk->site, error);
	if (status)
		return status;
	uint32_t best = items[0].feature;
	double most = items[0].attribution;
	qsort(items, (size_t)count, sizeof *items, by_feature);
	free(desk->ranking);
	desk->ranking = items;
	desk->ranking_count = count;
	desk->ranking_site = desk->site;
	desk->sort = SORT_ATTRIBUTION;
	/* At the readout position: where the attribution was taken. */
	desk->token = (int)desk->session->prompt.count - 1;
	desk->features_dirty = true;
	int layer = shown_layer(desk);
	char *verb = mem_printf("attribute --layer %d", layer);
	desk_log(desk, verb, false, "first: feature %u of layer %d, attribution %+.3f", best, layer, most);
	free(verb);
	return STATUS_OK;
}

static int by_attribution(const void *a, const void *b)
{
	const struct attribution *x = a, *y = b;
	if (x->attribution != y->attribution)
		return x->attribution > y->attribution ? -1 : 1;
	return by_feature(a, b);
}

enum status desk_clamp_top(struct desk *desk, const struct command *command, struct error *error)
{
	enum status status = STATUS_OK;
	if (command->number < 1)
		return error_set(error, STATUS_INVALID, "the number of features to clamp has to be 1 or more");
	if (!desk->ranking || desk->ranking_site != desk->site)
		status = desk_attribute(desk, command, error);
	if (status)
		return status;
	struct attribution *items = mem_copy(desk->ranking, (size_t)desk->ranking_count * sizeof *items);
	qsort(items, (size_t)desk->ranking_count, sizeof *items, by_attribution);
	int layer = shown_layer(desk);
	/* The top k take the place of what was clamped at this layer. */
	struct clamp_state next = {0};
	for (size_t i = 0; i < desk->rules.count; i++)
		if (desk->rules.rules[i].layer != layer)
			add_rule(&next, desk->rules.rules[i]);
	int64_t n = 0;
	for (; n < command->number && n < desk->ranking_count && items[n].attribution > 0; n++)
		add_rule(&next, (struct layer_rule){layer, {items[n].feature, desk->mode, desk->mode_value}});
	free(items);
	if (n < command->number)
		desk_notice(desk, "only %lld features have a positive attribution", (long long)n);
	return put_in_force(desk, next, error);
}

/* ---- all of them ---- */

enum status desk_clear_clamps(struct desk *desk, const struct command *command, struct error *error)
{
	(void)command;
	return put_in_force(desk, (struct clamp_state){0}, error);
}

enum status desk_clamp_positions(struct desk *desk, const struct command *command, struct error *error)
{
	struct positions parsed = {0};
	enum status status = positions_parse(&parsed, command->text, "clamp positions", error);
	if (status)
		return status;
	positions_done(&desk->session->clamp_positions);
	desk->session->clamp_positions = parsed;
	return show_effect(desk, error);
}

enum status desk_set_error(struct desk *desk, const struct command *command, struct error *error)
{
	enum status status = session_set_error_treatment(desk->session, command->text, error);
	return status ? status : show_effect(desk, error);
}

enum status desk_clamp_line(struct desk *desk, const struct command *command, struct error *error)
{
	/* "clamp LAYER:F,F=MODE" as on the command line; the screens know the rest themselves. */
	if (strncmp(command->text, "clamp ", 6) != 0)
		return error_set(error, STATUS_INVALID, "there is no command '%s'; ? lists them", command->text);
	struct layer_rule *rules = NULL;
	size_t count = 0, capacity = 0;
	enum status status = clamp_rules_parse(&rules, &count, &capacity, command->text + 6, error);
	if (status == STATUS_OK) {
		struct clamp_state next = copy_rules(desk);
		for (size_t i = 0; i < count; i++) {
			int at = find_rule(&next, rules[i].layer, rules[i].rule.feature);
			if (at >= 0)
				next.rules[at] = rules[i];
			else
				add_rule(&next, rules[i]);
		}
		status = put_in_force(desk, next, error);
	}
	free(rules);
	return status;
}
