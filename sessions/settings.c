#include "sessions/settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"

static const char *const project_names[] = {"none", "encoder", "jacobian", NULL};
static const char *const what_names[] = {"gradient", "delta", "both", NULL};
static const char *const order_names[] = {"clamp-delta", "delta-clamp", NULL};
static const char *const loss_names[] = {"l2", "raw_mse", "relative_mse", "relative_l2", NULL};
static const char *const checkpoint_names[] = {"final", "drift_constrained", "penalty_score", NULL};
static const char *const rule_names[] = {"all", "prompt", "generated", "last", "answer", NULL};

const struct setting_name setting_names[] = {
	{"project", "none|encoder|jacobian", "what the update may not move (METHOD 4)"},
	{"project-what", "gradient|delta|both", "what is projected"},
	{"order", "clamp-delta|delta-clamp", "which acts first at a hook"},
	{"steps", "whole number from 1", "optimiser steps"},
	{"lr", "number above 0, or N%", "Adam's rate; with % of the norm of h_def at the perturbed positions"},
	{"budget", "number from 0, or N%", "largest norm of delta, all rows together"},
	{"ridge", "number above 0", "added to the Gram matrix of the projection"},
	{"lambda-act", "number from 0", "weight of the drift of the clamped features"},
	{"lambda-decode", "number from 0", "weight of that drift seen through the decoder"},
	{"lambda-delta", "number from 0", "weight of the norm of delta"},
	{"act-loss", "l2|raw_mse|relative_mse|relative_l2", "how drift is measured in the loss"},
	{"delta-layers", "layers, or nothing", "layers that are perturbed; nothing: the clamp's"},
	{"delta-positions", "last|answer|all|prompt|N,N", "positions that are perturbed"},
	{"answer-token-limit", "whole number from 0", "tokens of the answer that count; 0: all"},
	{"answer-prefix-token-limit", "whole number from 0", "first answer tokens that are weighted"},
	{"answer-prefix-token-weight", "number above 0", "their weight"},
	{"probes", "whole number from 0, or all", "random probes of the Jacobian a step; all: every activation"},
	{"drift-probe", "yes|no", "the current drift as a probe"},
	{"corrections", "whole number from 0", "correction steps after each step"},
	{"correction-lr", "number above 0", "their rate"},
	{"checkpoint", "final|drift_constrained|penalty_score", "which state is the result"},
	{"drift-threshold", "number from 0", "largest relative drift of a checkpoint"},
	{"probes-file", "a .npy file", "given probes, steps x m x n"},
	{"rows-alike", "yes|no", "sums of a row as among many rows: the numbers of a prompt set"},
	{0},
};

void settings_init(struct recovery_settings *s)
{
	*s = (struct recovery_settings){
		.project = PROJECT_ENCODER,
		.project_what = PROJECT_GRADIENT,
		.steps = 100,
		.lr = {0.1, false},
		.budget = {20, false},
		.ridge = 1e-4,
		.act_loss = OP_DRIFT_L2,
		.answer = {0, 0, 1},
		.delta_positions = {.rule = POSITIONS_LAST},
		.probes = 8,
		.correction_lr = 0.05,
		.drift_threshold = 0.25,
	};
}

void settings_done(struct recovery_settings *s)
{
	positions_done(&s->delta_positions);
	free(s->probes_file);
	s->probes_file = NULL;
}

enum status settings_copy(struct recovery_settings *to, const struct recovery_settings *from)
{
	settings_done(to);
	*to = *from;
	const struct positions *p = &from->delta_positions;
	to->delta_positions.list = p->list ? mem_copy(p->list, (size_t)p->count * sizeof *p->list) : NULL;
	to->probes_file = from->probes_file ? mem_strdup(from->probes_file) : NULL;
	return STATUS_OK;
}

static enum status bad(const char *name, const char *value, struct error *error)
{
	for (const struct setting_name *s = setting_names; s->name; s++)
		if (strcmp(s->name, name) == 0)
			return error_set(error, STATUS_INVALID, "--%s is '%s'; expected %s", name, value, s->allowed);
	return error_set(error, STATUS_INVALID, "--%s is '%s', which it can't be", name, value);
}

static bool parse_choice(const char *const *names, const char *value, int *out)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], value) == 0) {
			*out = i;
			return true;
		}
	return false;
}

static bool parse_count(const char *value, int64_t least, int64_t *out)
{
	int64_t n;
	if (!text_int(value, &n) || n < least || n > 1000000)
		return false;
	*out = n;
	return true;
}

static bool parse_number(const char *value, bool zero, double *out)
{
	double x;
	if (!text_double(value, &x) || x < 0 || (!zero && x == 0) || x > 1e12)
		return false;
	*out = x;
	return true;
}

static bool parse_amount(const char *value, bool zero, struct amount *out)
{
	size_t n = strlen(value);
	bool percent = n > 0 && value[n - 1] == '%';
	char *number = mem_strndup(value, percent ? n - 1 : n);
	double x;
	bool good = parse_number(number, zero, &x);
	free(number);
	if (good)
		*out = (struct amount){x, percent};
	return good;
}

static bool parse_layers(struct recovery_settings *s, const char *value)
{
	int64_t layers[64];
	int count = 0;
	while (*value) {
		size_t n = strcspn(value, ",");
		char *part = mem_strndup(value, n);
		bool good = count < 64 && text_int(part, &layers[count]) && layers[count] >= 0;
		free(part);
		for (int i = 0; good && i < count; i++)
			good = layers[i] != layers[count];
		if (!good || (value[n] == ',' && value[n + 1] == '\0'))
			return false;
		count++;
		value += n + (value[n] == ',');
	}
	memcpy(s->delta_layers, layers, (size_t)count * sizeof *layers);
	s->delta_layer_count = count;
	return true;
}

static bool set_choice(struct recovery_settings *s, const char *name, const char *value, bool *known)
{
	int choice = 0;
	bool good;
	*known = true;
	if (strcmp(name, "project") == 0) {
		if ((good = parse_choice(project_names, value, &choice)))
			s->project = (enum project_mode)choice;
	} else if (strcmp(name, "project-what") == 0) {
		if ((good = parse_choice(what_names, value, &choice)))
			s->project_what = (enum project_what)choice;
	} else if (strcmp(name, "order") == 0) {
		if ((good = parse_choice(order_names, value, &choice)))
			s->order = (enum clamp_order)choice;
	} else if (strcmp(name, "act-loss") == 0) {
		if ((good = parse_choice(loss_names, value, &choice)))
			s->act_loss = (enum op_drift_kind)choice;
	} else if (strcmp(name, "checkpoint") == 0) {
		if ((good = parse_choice(checkpoint_names, value, &choice)))
			s->checkpoint = (enum checkpoint_rule)choice;
	} else {
		*known = good = false;
	}
	return good;
}

static bool set_number(struct recovery_settings *s, const char *name, const char *value, bool *known)
{
	const struct {
		const char *name;
		int64_t least;
		int64_t *out;
	} counts[] = {
		{"steps", 1, &s->steps},
		{"answer-token-limit", 0, &s->answer.tokens},
		{"answer-prefix-token-limit", 0, &s->answer.prefix_tokens},
		{"corrections", 0, &s->corrections},
	};
	const struct {
		const char *name;
		bool zero;
		double *out;
	} numbers[] = {
		{"ridge", false, &s->ridge},
		{"lambda-act", true, &s->lambda_act},
		{"lambda-decode", true, &s->lambda_decode},
		{"lambda-delta", true, &s->lambda_delta},
		{"answer-prefix-token-weight", false, &s->answer.prefix_weight},
		{"correction-lr", false, &s->correction_lr},
		{"drift-threshold", true, &s->drift_threshold},
	};
	*known = true;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		if (strcmp(counts[i].name, name) == 0)
			return parse_count(value, counts[i].least, counts[i].out);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (strcmp(numbers[i].name, name) == 0)
			return parse_number(value, numbers[i].zero, numbers[i].out);
	if (strcmp(name, "probes") == 0) {
		s->probes = strcmp(value, "all") == 0 ? PROBES_ALL : s->probes;
		return strcmp(value, "all") == 0 || parse_count(value, 0, &s->probes);
	}
	if (strcmp(name, "lr") == 0)
		return parse_amount(value, false, &s->lr);
	if (strcmp(name, "budget") == 0)
		return parse_amount(value, true, &s->budget);
	*known = false;
	return false;
}

bool setting_is_flag(const char *name)
{
	for (const struct setting_name *s = setting_names; s->name; s++)
		if (strcmp(s->name, name) == 0)
			return strcmp(s->allowed, "yes|no") == 0;
	return false;
}

enum status settings_set(struct recovery_settings *s, const char *name, const char *value, struct error *error)
{
	bool known;
	if (set_choice(s, name, value, &known) || (!known && set_number(s, name, value, &known)))
		return STATUS_OK;
	if (known)
		return bad(name, value, error);
	if (strcmp(name, "delta-layers") == 0)
		return parse_layers(s, value) ? STATUS_OK : bad(name, value, error);
	if (strcmp(name, "delta-positions") == 0)
		return positions_parse(&s->delta_positions, value, "--delta-positions", error);
	if (setting_is_flag(name)) {
		if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
			return bad(name, value, error);
		*(strcmp(name, "drift-probe") == 0 ? &s->drift_probe : &s->rows_alike) = value[0] == 'y';
		return STATUS_OK;
	}
	if (strcmp(name, "probes-file") == 0) {
		free(s->probes_file);
		s->probes_file = mem_strdup(value);
		return STATUS_OK;
	}
	return error_set(error, STATUS_NOTHING, "there is no setting called '%s'", name);
}

/* As short as it can be read back the same. */
static char *number_text(double value, const char *unit)
{
	char text[40];
	snprintf(text, sizeof text, "%.9g", value);
	if (strtod(text, NULL) != value)
		snprintf(text, sizeof text, "%.17g", value);
	return mem_printf("%s%s", text, unit);
}

static char *amount_text(struct amount a)
{
	return number_text(a.value, a.percent ? "%" : "");
}

char *settings_get(const struct recovery_settings *s, const char *name)
{
	const struct {
		const char *name;
		const char *text;
	} choices[] = {
		{"project", project_names[s->project]},
		{"project-what", what_names[s->project_what]},
		{"order", order_names[s->order]},
		{"act-loss", loss_names[s->act_loss]},
		{"checkpoint", checkpoint_names[s->checkpoint]},
		{"drift-probe", s->drift_probe ? "yes" : "no"},
		{"probes-file", s->probes_file ? s->probes_file : ""},
		{"rows-alike", s->rows_alike ? "yes" : "no"},
	};
	const struct {
		const char *name;
		double value;
	} numbers[] = {
		{"steps", (double)s->steps},
		{"ridge", s->ridge},
		{"lambda-act", s->lambda_act},
		{"lambda-decode", s->lambda_decode},
		{"lambda-delta", s->lambda_delta},
		{"answer-token-limit", (double)s->answer.tokens},
		{"answer-prefix-token-limit", (double)s->answer.prefix_tokens},
		{"answer-prefix-token-weight", s->answer.prefix_weight},
		{"corrections", (double)s->corrections},
		{"correction-lr", s->correction_lr},
		{"drift-threshold", s->drift_threshold},
	};
	for (size_t i = 0; i < ARRAY_LEN(choices); i++)
		if (strcmp(choices[i].name, name) == 0)
			return mem_strdup(choices[i].text);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (strcmp(numbers[i].name, name) == 0)
			return number_text(numbers[i].value, "");
	if (strcmp(name, "probes") == 0)
		return s->probes == PROBES_ALL ? mem_strdup("all") : mem_printf("%lld", (long long)s->probes);
	if (strcmp(name, "lr") == 0)
		return amount_text(s->lr);
	if (strcmp(name, "budget") == 0)
		return amount_text(s->budget);
	if (strcmp(name, "delta-positions") == 0)
		return positions_text(&s->delta_positions);
	struct strbuf b = {0};
	if (strcmp(name, "delta-layers") == 0)
		for (int i = 0; i < s->delta_layer_count; i++)
			strbuf_printf(&b, "%s%lld", i ? "," : "", (long long)s->delta_layers[i]);
	return strbuf_take(&b);
}

char *settings_command(const struct recovery_settings *s)
{
	struct recovery_settings standard;
	settings_init(&standard);
	struct strbuf b = {0};
	for (const struct setting_name *n = setting_names; n->name; n++) {
		char *value = settings_get(s, n->name), *usual = settings_get(&standard, n->name);
		if (strcmp(value, usual) != 0) {
			strbuf_add_string(&b, b.length ? " " : "");
			if (setting_is_flag(n->name))
				strbuf_printf(&b, "--%s", n->name);
			else
				strbuf_printf(&b, "--%s %s", n->name, value);
		}
		free(value);
		free(usual);
	}
	settings_done(&standard);
	return strbuf_take(&b);
}

char *settings_summary(const struct recovery_settings *s)
{
	char *lr = amount_text(s->lr), *budget = amount_text(s->budget), *at = positions_text(&s->delta_positions);
	char *text = mem_printf("%s%s%s lr %s budget %s steps %lld, delta at %s%s", project_names[s->project],
				s->project_what == PROJECT_GRADIENT ? "" : " ",
				s->project_what == PROJECT_GRADIENT ? "" : what_names[s->project_what], lr, budget,
				(long long)s->steps, at, s->order == ORDER_DELTA_CLAMP ? ", then the clamp again" : "");
	free(lr);
	free(budget);
	free(at);
	return text;
}

static int compare_int64(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

enum status positions_parse(struct positions *positions, const char *text, const char *option, struct error *error)
{
	int rule;
	if (parse_choice(rule_names, text, &rule)) {
		positions_done(positions);
		positions->rule = (enum position_rule)rule;
		return STATUS_OK;
	}
	struct positions list = {.rule = POSITIONS_LIST};
	size_t capacity = 0;
	bool good = *text != '\0';
	for (const char *at = text; good && *at;) {
		size_t n = strcspn(at, ",");
		char *part = mem_strndup(at, n);
		int64_t position;
		good = text_int(part, &position) && position >= 0 && position < INT32_MAX &&
		       !(at[n] == ',' && at[n + 1] == '\0');
		free(part);
		mem_reserve((void **)&list.list, &capacity, (size_t)list.count + 1, sizeof *list.list);
		if (good)
			list.list[list.count++] = position;
		at += n + (at[n] == ',');
	}
	if (good) {
		qsort(list.list, (size_t)list.count, sizeof *list.list, compare_int64);
		for (int64_t i = 1; i < list.count; i++)
			good = good && list.list[i] != list.list[i - 1];
	}
	if (!good) {
		positions_done(&list);
		return error_set(
			error, STATUS_INVALID,
			"%s is '%s'; expected all, prompt, generated, last, answer, or distinct positions such as "
			"3,8,13",
			option, text);
	}
	positions_done(positions);
	*positions = list;
	return STATUS_OK;
}

void positions_done(struct positions *positions)
{
	free(positions->list);
	*positions = (struct positions){0};
}

char *positions_text(const struct positions *positions)
{
	if (positions->rule != POSITIONS_LIST)
		return mem_strdup(rule_names[positions->rule]);
	struct strbuf b = {0};
	for (int64_t i = 0; i < positions->count; i++)
		strbuf_printf(&b, "%s%lld", i ? "," : "", (long long)positions->list[i]);
	return strbuf_take(&b);
}

enum status positions_resolve(const struct positions *positions, int64_t prompt, int64_t total, bool *on,
			      struct error *error)
{
	for (int64_t p = 0; p < total; p++) {
		switch (positions->rule) {
		case POSITIONS_ALL:
			on[p] = true;
			break;
		case POSITIONS_PROMPT:
			on[p] = p < prompt;
			break;
		case POSITIONS_GENERATED:
		case POSITIONS_ANSWER:
			on[p] = p >= prompt;
			break;
		case POSITIONS_LAST:
			on[p] = p == prompt - 1;
			break;
		default:
			on[p] = false;
		}
	}
	for (int64_t i = 0; positions->rule == POSITIONS_LIST && i < positions->count; i++) {
		if (positions->list[i] >= total)
			return error_set(error, STATUS_INVALID,
					 "position %lld is outside the input, which has positions 0 to %lld",
					 (long long)positions->list[i], (long long)total - 1);
		on[positions->list[i]] = true;
	}
	return STATUS_OK;
}
