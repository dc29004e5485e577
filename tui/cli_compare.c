/* rebound compare A B: two sessions side by side. Needs no device. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/compare.h"
#include "sessions/journal.h"
#include "tui/cli.h"

enum { ROWS_SHOWN = 20, NAME_COLS = 20, FINAL_COLS = 36, VALUE_COLS = 44 };

/* ---- JSON ---- */

static cJSON *state_json(const struct record_state *state)
{
	if (!state->known)
		return cJSON_CreateNull();
	cJSON *json = cJSON_CreateObject();
	journal_add_number(json, "objective", state->objective);
	cJSON_AddBoolToObject(json, "present", state->present);
	return json;
}

static cJSON *side_json(const struct comparison *c, int side)
{
	const struct record_run *run = c->run[side];
	cJSON *json = cJSON_CreateObject();
	char *prompt = record_prompt(run), *objective = record_objective(run);
	journal_add_string(json, "path", c->record[side].path);
	journal_add_string(json, "created", c->record[side].created);
	journal_add_string(json, "prompt", prompt);
	journal_add_string(json, "objective", objective);
	cJSON_AddNumberToObject(json, "clamps", (double)run->clamp_count);
	cJSON_AddNumberToObject(json, "steps", (double)run->steps);
	cJSON_AddStringToObject(json, "outcome", record_outcome_name(run->outcome));
	cJSON_AddStringToObject(json, "verdict", record_verdict(run));
	cJSON_AddNumberToObject(json, "result_step", (double)run->result_step);
	cJSON_AddItemToObject(json, "base", state_json(&run->base));
	cJSON_AddItemToObject(json, "clamped", state_json(&run->clamped));
	cJSON_AddItemToObject(json, "recovered", state_json(&run->recovered));
	free(prompt);
	free(objective);
	return json;
}

static void add_parting(cJSON *json, const char *name, const struct compare_parting *p)
{
	if (p->step < 0) {
		cJSON_AddNullToObject(json, name);
		return;
	}
	cJSON *item = cJSON_AddObjectToObject(json, name);
	cJSON_AddNumberToObject(item, "step", (double)p->step);
	cJSON_AddStringToObject(item, "field", p->field);
	journal_add_number(item, "a", p->value[0]);
	journal_add_number(item, "b", p->value[1]);
}

static cJSON *step_json(const struct recovery_metrics *metrics)
{
	if (!metrics)
		return cJSON_CreateNull();
	cJSON *json = cJSON_CreateObject();
	for (const struct record_field *f = record_step_fields; f->name; f++)
		journal_add_number(json, f->name, record_field_get(f, metrics));
	return json;
}

static void add_steps(cJSON *json, const struct comparison *c)
{
	cJSON *list = cJSON_AddArrayToObject(json, "steps");
	for (int64_t i = 0; i < c->steps; i++) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "step", (double)i);
		cJSON_AddItemToObject(item, "a", step_json(comparison_step(c, 0, i)));
		cJSON_AddItemToObject(item, "b", step_json(comparison_step(c, 1, i)));
		if (c->cosines)
			journal_add_number(item, "delta_cosine", c->cosines[i]);
		cJSON_AddItemToArray(list, item);
	}
}

static void add_final(cJSON *json, const struct comparison *c)
{
	cJSON *list = cJSON_AddArrayToObject(json, "final");
	for (const struct record_field *f = record_final_fields; f->name; f++) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddStringToObject(item, "name", f->name);
		for (int side = 0; side < 2; side++) {
			const struct record_run *run = c->run[side];
			journal_add_number(item, side ? "b" : "a",
					   run->recovered.known ? record_field_get(f, &run->final) : NAN);
		}
		cJSON_AddItemToArray(list, item);
	}
}

static void add_delta(cJSON *json, const struct comparison *c)
{
	cJSON *delta = c->has_angle ? cJSON_AddObjectToObject(json, "delta") : cJSON_AddNullToObject(json, "delta");
	if (!c->has_angle) {
		journal_add_string(json, "delta_unknown", c->angle_reason);
		return;
	}
	cJSON_AddNumberToObject(delta, "cosine", c->cosine);
	cJSON_AddNumberToObject(delta, "distance", c->distance);
	cJSON_AddNumberToObject(delta, "norm_a", c->norm[0]);
	cJSON_AddNumberToObject(delta, "norm_b", c->norm[1]);
	cJSON_AddNumberToObject(delta, "rows_in_common", (double)c->rows);
}

static cJSON *comparison_json(const struct comparison *c)
{
	cJSON *json = cJSON_CreateObject(), *sides = cJSON_AddArrayToObject(json, "sessions");
	for (int side = 0; side < 2; side++)
		cJSON_AddItemToArray(sides, side_json(c, side));
	cJSON *differences = cJSON_AddArrayToObject(json, "differences");
	for (int i = 0; i < c->difference_count; i++) {
		cJSON *item = cJSON_CreateObject();
		journal_add_string(item, "name", c->differences[i].name);
		journal_add_string(item, "a", c->differences[i].value[0]);
		journal_add_string(item, "b", c->differences[i].value[1]);
		cJSON_AddItemToArray(differences, item);
	}
	cJSON *cautions = cJSON_AddArrayToObject(json, "not_comparable");
	for (int i = 0; i < c->caution_count; i++)
		cJSON_AddItemToArray(cautions, cJSON_CreateString(c->cautions[i]));
	cJSON_AddBoolToObject(json, "same_prompt", c->same_prompt);
	add_parting(json, "parts_at", &c->parting);
	add_parting(json, "parts_clearly_at", &c->clear_parting);
	add_steps(json, c);
	add_final(json, c);
	add_delta(json, c);
	return json;
}

/* ---- text ---- */

/* A column of `columns`, cut or padded; text from a file. */
static void print_cell(const char *text, int columns)
{
	char shown[512];
	text_printable(shown, sizeof shown, text, strlen(text));
	int width = 0;
	size_t at = 0, n = strlen(shown);
	while (at < n && width < columns) { /* a character a column: what is wider only misaligns */
		uint32_t code;
		size_t length = utf8_decode(shown + at, n - at, &code);
		at += length ? length : 1;
		width++;
	}
	bool cut = at < n;
	printf("%.*s%s%*s", (int)at, shown, cut ? "..." : "", columns - width + (cut ? 0 : 3), "");
}

static void print_end(const char *text)
{
	char *shown = mem_strdup(text);
	text_printable(shown, strlen(text) + 1, text, strlen(text));
	puts(shown);
	free(shown);
}

static void print_row(const char *name, const char *a, const char *b)
{
	print_cell(name, NAME_COLS);
	print_cell(a, VALUE_COLS);
	print_end(b);
}

/* What does not fit beside the other goes below it. */
static void print_difference(const struct compare_difference *d)
{
	if (strlen(d->value[0]) <= VALUE_COLS) {
		print_row(d->name, d->value[0], d->value[1]);
		return;
	}
	print_cell(d->name, NAME_COLS);
	fputs("A: ", stdout);
	print_end(d->value[0]);
	print_cell("", NAME_COLS);
	fputs("B: ", stdout);
	print_end(d->value[1]);
}

static void print_number(const char *name, double a, double b, bool known_a, bool known_b)
{
	char text[2][32];
	const double values[] = {a, b};
	const bool known[] = {known_a, known_b};
	for (int i = 0; i < 2; i++)
		snprintf(text[i], sizeof text[i], known[i] && !isnan(values[i]) ? "%.6g" : "-", values[i]);
	print_cell(name, FINAL_COLS);
	printf("%-14s %s\n", text[0], text[1]);
}

static void print_sides(const struct comparison *c)
{
	char *names[2], *prompts[2], *objectives[2];
	for (int i = 0; i < 2; i++) {
		names[i] = comparison_name(c, i);
		prompts[i] = record_prompt(c->run[i]);
		objectives[i] = record_objective(c->run[i]);
	}
	print_row("", "A", "B");
	print_row("session", names[0], names[1]);
	print_row("prompt", prompts[0], prompts[1]);
	print_row("objective", objectives[0], objectives[1]);
	print_row("verdict", record_verdict(c->run[0]), record_verdict(c->run[1]));
	for (int i = 0; i < 2; i++) {
		free(names[i]);
		free(prompts[i]);
		free(objectives[i]);
	}
	printf("\n%s\n", c->difference_count ? "what differs" : "nothing differs in how they were made");
	for (int i = 0; i < c->difference_count; i++)
		print_difference(&c->differences[i]);
	for (int i = 0; i < c->caution_count; i++)
		printf("%snote: %s\n", i == 0 ? "\n" : "", c->cautions[i]);
}

static void print_metric(const struct recovery_metrics *m, double value)
{
	if (m && !isnan(value))
		printf(" %10.4g", value);
	else
		printf(" %10s", "-");
}

/* Some rows, evenly spread, with the first, the last and those where they part. */
static bool row_shown(const struct comparison *c, int64_t i, bool all)
{
	int64_t every = (c->steps + ROWS_SHOWN - 1) / ROWS_SHOWN;
	return all || i % every == 0 || i == c->steps - 1 || i == c->parting.step || i == c->clear_parting.step;
}

static void print_steps(const struct comparison *c, bool all)
{
	if (c->steps == 0) {
		printf("\nneither has made a step\n");
		return;
	}
	printf("\n%5s %10s %10s %10s %10s %10s %10s%s\n", "step", "J A", "J B", "norm A", "norm B", "drift A",
	       "drift B", c->cosines ? "     cosine" : "");
	for (int64_t i = 0; i < c->steps; i++) {
		const struct recovery_metrics *m[] = {comparison_step(c, 0, i), comparison_step(c, 1, i)};
		if (!row_shown(c, i, all))
			continue;
		printf("%5lld", (long long)i);
		for (int side = 0; side < 2; side++)
			print_metric(m[side], m[side] ? m[side]->objective : 0);
		for (int side = 0; side < 2; side++)
			print_metric(m[side], m[side] ? m[side]->delta_norm : 0);
		for (int side = 0; side < 2; side++)
			print_metric(m[side], m[side] ? m[side]->drift_l2 : 0);
		if (c->cosines && !isnan(c->cosines[i]))
			printf(" %+10.4f", c->cosines[i]);
		else if (c->cosines)
			printf(" %10s", "-");
		printf("%s\n", i == c->clear_parting.step ? "  < they part clearly"
			       : i == c->parting.step	  ? "  < they part"
							  : "");
	}
}

static void print_partings(const struct comparison *c)
{
	const struct compare_parting *p = &c->parting, *clear = &c->clear_parting;
	if (!c->alike)
		return;
	if (p->step < 0) {
		bool both = c->run[0]->steps > 0 && c->run[1]->steps > 0;
		printf("\n%s\n", both ? "every number of the steps that both made is the same, to the bit"
				      : "no step was made in both");
		return;
	}
	printf("\nthey part at step %lld: %s is %.9g and %.9g", (long long)p->step, p->field, p->value[0], p->value[1]);
	if (clear->step > p->step)
		printf("; clearly at step %lld: %s is %.6g and %.6g", (long long)clear->step, clear->field,
		       clear->value[0], clear->value[1]);
	else if (clear->step < 0)
		printf("; never by more than another device may");
	puts("");
}

static void print_comparison(const struct comparison *c, bool all)
{
	print_sides(c);
	print_partings(c);
	print_steps(c, all);
	puts("");
	print_cell("at the end", FINAL_COLS);
	printf("%-14s %s\n", "A", "B");
	const struct record_run *a = c->run[0], *b = c->run[1];
	print_number("base J", a->base.objective, b->base.objective, a->base.known, b->base.known);
	print_number("clamped J", a->clamped.objective, b->clamped.objective, a->clamped.known, b->clamped.known);
	print_number("result of step", (double)a->result_step, (double)b->result_step, a->recovered.known,
		     b->recovered.known);
	for (const struct record_field *f = record_final_fields; f->name; f++)
		print_number(f->name, record_field_get(f, &a->final), record_field_get(f, &b->final),
			     a->recovered.known, b->recovered.known);
	if (c->has_angle)
		printf("\nthe perturbations: norms %.4g and %.4g, cosine %+.4f, distance %.4g, over %lld row%s in "
		       "common\n",
		       c->norm[0], c->norm[1], c->cosine, c->distance, (long long)c->rows, c->rows == 1 ? "" : "s");
	else
		printf("\nthe angle between the perturbations is not known: %s\n", c->angle_reason);
}

enum status cli_compare(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct comparison *made;
	if (o->arguments.count != 2)
		return error_set(error, STATUS_INVALID,
				 "'rebound compare' takes two sessions, found %d; 'rebound list' "
				 "shows them",
				 o->arguments.count);
	char *paths[] = {record_find(o->arguments.items[0]), record_find(o->arguments.items[1])};
	enum status status = comparison_open(&made, paths[0], paths[1], error);
	free(paths[0]);
	free(paths[1]);
	if (status)
		return status;
	const struct comparison *c = made;
	for (int i = 0; i < 2 && !o->quiet; i++)
		if (c->record[i].cut)
			fprintf(stderr, "session %s ended early: its last line is broken off\n", i ? "B" : "A");
	if (o->json)
		status = cli_print_json(comparison_json(c), error);
	else
		print_comparison(c, o->verbose);
	comparison_release(&c);
	return status;
}
