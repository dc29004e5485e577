#include "sessions/compare_setup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/export.h"
#include "sessions/settings.h"

enum { CLAMPS_LISTED = 24 };

/* Takes both values; a difference only if they differ. */
static bool add(struct comparison *c, const char *name, char *a, char *b)
{
	bool differs = strcmp(a, b) != 0;
	if (differs) {
		c->differences = mem_resize(c->differences, (size_t)c->difference_count + 1, sizeof *c->differences);
		c->differences[c->difference_count++] =
			(struct compare_difference){.name = mem_strdup(name), .value = {a, b}};
	} else {
		free(a);
		free(b);
	}
	return differs;
}

static void caution(struct comparison *c, const char *text)
{
	c->cautions = mem_resize(c->cautions, (size_t)c->caution_count + 1, sizeof *c->cautions);
	c->cautions[c->caution_count++] = mem_strdup(text);
}

static char *text_of(const char *text)
{
	return mem_strdup(text ? text : "none");
}

/* ---- files: what they hold counts, not where they lie ---- */

static bool same_files(const struct record_files *a, const struct record_files *b)
{
	if (a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++)
		if (strcmp(a->items[i].name, b->items[i].name) != 0 ||
		    strcmp(a->items[i].sha256, b->items[i].sha256) != 0)
			return false;
	return true;
}

/* Two folders of one name are told apart by the sum of their largest file. */
static char *source_text(const struct record_source *source)
{
	const struct record_file *largest = NULL;
	for (int i = 0; i < source->files.count; i++)
		if (!largest || source->files.items[i].bytes > largest->bytes)
			largest = &source->files.items[i];
	return mem_printf("%s (%.8s)", source->path ? path_base(source->path) : "?",
			  largest ? largest->sha256 : "no files");
}

static bool add_model(struct comparison *c)
{
	const struct record_source *a = &c->record[0].model, *b = &c->record[1].model;
	if (same_files(&a->files, &b->files))
		return false;
	add(c, "model", source_text(a), source_text(b));
	return true;
}

static const struct record_source *sae_of(const struct record *record, int layer)
{
	for (int i = 0; i < record->sae_count; i++)
		if (record->saes[i].layer == layer)
			return &record->saes[i];
	return NULL;
}

static bool perturbs_or_clamps(const struct record_run *run, int layer)
{
	for (int64_t i = 0; i < run->clamp_count; i++)
		if (run->clamps[i].layer == layer)
			return true;
	for (int64_t i = 0; i < run->row_count; i++)
		if (run->rows[i].layer == layer)
			return true;
	return false;
}

/* Only SAEs that a run has to do with: loading others changes nothing. */
static bool add_saes(struct comparison *c)
{
	bool differs = false;
	for (int layer = 0; layer < ARCH_MAX_LAYERS; layer++) {
		char name[32];
		if (!perturbs_or_clamps(c->run[0], layer) && !perturbs_or_clamps(c->run[1], layer))
			continue;
		const struct record_source *a = sae_of(&c->record[0], layer), *b = sae_of(&c->record[1], layer);
		if (a && b ? same_files(&a->files, &b->files) : a == b)
			continue;
		snprintf(name, sizeof name, "SAE of layer %d", layer);
		add(c, name, a ? source_text(a) : mem_strdup("none"), b ? source_text(b) : mem_strdup("none"));
		differs = true;
	}
	return differs;
}

/* ---- clamps ---- */

static int by_clamp(const void *a, const void *b)
{
	const struct record_clamp *x = a, *y = b;
	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	int mode = strcmp(x->mode, y->mode);
	if (mode != 0)
		return mode;
	if (isnan(x->value) || isnan(y->value)) { /* a value that was not finite; behind the others */
		if (!isnan(x->value) || !isnan(y->value))
			return isnan(x->value) ? 1 : -1;
	} else if (x->value != y->value) {
		return x->value < y->value ? -1 : 1;
	}
	return (x->feature > y->feature) - (x->feature < y->feature);
}

static bool same_rule(const struct record_clamp *a, const struct record_clamp *b)
{
	return a->layer == b->layer && strcmp(a->mode, b->mode) == 0 && !(a->value != b->value);
}

static bool has_value(const struct record_clamp *clamp)
{
	return strcmp(clamp->mode, "ablate") != 0;
}

/* A run's clamps in an order that does not depend on theirs; a new array. */
static struct record_clamp *sorted_clamps(const struct record_run *run)
{
	size_t n = (size_t)run->clamp_count;
	struct record_clamp *sorted = mem_alloc(n, sizeof *sorted);
	if (n > 0) {
		memcpy(sorted, run->clamps, n * sizeof *sorted);
		qsort(sorted, n, sizeof *sorted, by_clamp);
	}
	return sorted;
}

/* Those of a that are not among b, both sorted; a new array. */
static struct record_clamp *without(const struct record_clamp *a, size_t n, const struct record_clamp *b, size_t m,
				    size_t *count)
{
	struct record_clamp *own = mem_alloc(n, sizeof *own);
	*count = 0;
	for (size_t i = 0, j = 0; i < n; i++) {
		while (j < m && by_clamp(&b[j], &a[i]) < 0)
			j++;
		if (j == m || by_clamp(&b[j], &a[i]) != 0)
			own[(*count)++] = a[i];
	}
	return own;
}

/* "3 features: 1:31,710=set-active:-5 2:8=ablate" of n, of which the `count` of `own` are
 * named: those that the other run lacks. */
static char *clamps_text(size_t n, const struct record_clamp *own, size_t count)
{
	struct strbuf b = {0};
	size_t listed = 0;
	strbuf_printf(&b, "%zu feature%s", n, n == 1 ? "" : "s");
	if (count > 0 && count < n)
		strbuf_add_string(&b, ", only here:");
	else if (count > 0)
		strbuf_add_string(&b, ":");
	for (; listed < count && listed < CLAMPS_LISTED; listed++) {
		const struct record_clamp *f = &own[listed];
		bool first = listed == 0 || !same_rule(f, f - 1);
		bool last = listed + 1 == count || listed + 1 == CLAMPS_LISTED || !same_rule(f, f + 1);
		if (first)
			strbuf_printf(&b, " %d:", f->layer);
		strbuf_printf(&b, "%s%u", first ? "" : ",", f->feature);
		if (last)
			strbuf_printf(&b, "=%s", f->mode);
		if (last && has_value(f))
			strbuf_printf(&b, ":%.9g", f->value);
	}
	if (listed < count)
		strbuf_printf(&b, " and %zu more", count - listed);
	return strbuf_take(&b);
}

static bool add_clamps(struct comparison *c)
{
	const struct record_run *a = c->run[0], *b = c->run[1];
	size_t n = (size_t)a->clamp_count, m = (size_t)b->clamp_count, only_a, only_b;
	struct record_clamp *all_a = sorted_clamps(a), *all_b = sorted_clamps(b);
	struct record_clamp *own_a = without(all_a, n, all_b, m, &only_a),
			    *own_b = without(all_b, m, all_a, n, &only_b);
	bool differs = n != m || only_a > 0 || only_b > 0;
	if (differs)
		add(c, "clamps", clamps_text(n, own_a, only_a), clamps_text(m, own_b, only_b));
	free(all_a);
	free(all_b);
	free(own_a);
	free(own_b);
	add(c, "clamp-positions", text_of(a->clamp_positions), text_of(b->clamp_positions));
	add(c, "error", mem_printf("%.9g", a->error_alpha), mem_printf("%.9g", b->error_alpha));
	return differs;
}

/* ---- the rest ---- */

int64_t comparison_prompt_length(const struct record_run *run)
{
	return (int64_t)run->ids.count - run->suffix.count;
}

static bool same_prompt(const struct record_run *a, const struct record_run *b)
{
	int64_t n = comparison_prompt_length(a);
	return n == comparison_prompt_length(b) &&
	       (n == 0 || memcmp(a->ids.ids, b->ids.ids, (size_t)n * sizeof *a->ids.ids) == 0);
}

static char *suffix_text(const struct record_run *run)
{
	if (run->suffix.count == 0)
		return mem_strdup("none");
	return mem_printf("%lld trained tokens, monitor weight %.9g", (long long)run->suffix.count,
			  run->suffix.monitor_weight);
}

/* By what tells them apart: the name, or with one name the text. */
static void add_prompt(struct comparison *c)
{
	char *names[2];
	c->same_prompt = same_prompt(c->run[0], c->run[1]);
	if (c->same_prompt)
		return;
	for (int i = 0; i < 2; i++)
		names[i] = record_prompt(c->run[i]);
	bool named = strcmp(names[0], names[1]) != 0;
	for (int i = 0; i < 2; i++) {
		const struct record_run *run = c->run[i];
		if (named)
			continue;
		free(names[i]);
		names[i] = run->text ? mem_strdup(run->text)
				     : mem_printf("%lld tokens", (long long)comparison_prompt_length(run));
	}
	if (!add(c, "prompt", names[0], names[1])) { /* one text, other tokens: a BOS, a chat form */
		int64_t n = comparison_prompt_length(c->run[0]), m = comparison_prompt_length(c->run[1]);
		add(c, "prompt", mem_printf("%lld tokens", (long long)n),
		    mem_printf("%lld tokens%s", (long long)m, n == m ? " of other ids" : ""));
	}
}

static char *rows_text(const struct record_run *run)
{
	struct strbuf b = {0};
	enum { LISTED = 12 };
	if (run->row_count == 0)
		strbuf_add_string(&b, "none");
	for (int64_t i = 0; i < run->row_count && i < LISTED; i++)
		if (run->rows[i].layer == LAYER_EMBEDDING)
			strbuf_printf(&b, "%sembedding @%lld", i ? ", " : "", (long long)run->rows[i].position);
		else
			strbuf_printf(&b, "%slayer %d @%lld", i ? ", " : "", run->rows[i].layer,
				      (long long)run->rows[i].position);
	if (run->row_count > LISTED)
		strbuf_printf(&b, " and %lld more", (long long)run->row_count - LISTED);
	return strbuf_take(&b);
}

/* An array that a run rests on: which one, not where. */
static char *array_text(const char *file, const char *sha256, const char *none)
{
	return file ? mem_printf("array %.8s", sha256) : mem_strdup(none);
}

static void add_settings(struct comparison *c)
{
	const struct record_run *a = c->run[0], *b = c->run[1];
	add(c, "suffix", suffix_text(a), suffix_text(b));
	for (const struct setting_name *s = setting_names; s->name; s++)
		add(c, s->name, settings_get(&a->settings, s->name), settings_get(&b->settings, s->name));
	if (a->settings.probes_file && b->settings.probes_file)
		add(c, "probes read", mem_printf("%.8s", a->probes_sha256), mem_printf("%.8s", b->probes_sha256));
	add(c, "starts from", array_text(a->start, a->start_sha256, "zero"),
	    array_text(b->start, b->start_sha256, "zero"));
	add(c, "frozen rows", array_text(a->frozen, a->frozen_sha256, "none"),
	    array_text(b->frozen, b->frozen_sha256, "none"));
	if (c->same_prompt)
		add(c, "perturbed rows", rows_text(a), rows_text(b));
}

void comparison_add_setup(struct comparison *c)
{
	const struct record *a = &c->record[0], *b = &c->record[1];
	bool model = add_model(c);
	bool saes = add_saes(c);
	add_prompt(c);
	bool objective = add(c, "objective", record_objective(c->run[0]), record_objective(c->run[1]));
	char *kinds[] = {export_redacted_objective(c->run[0]), export_redacted_objective(c->run[1])};
	bool other_kind = strcmp(kinds[0], kinds[1]) != 0;
	free(kinds[0]);
	free(kinds[1]);
	bool clamps = add_clamps(c);
	add_settings(c);
	add(c, "seed", mem_printf("%llu", (unsigned long long)a->seed),
	    mem_printf("%llu", (unsigned long long)b->seed));
	bool device = add(c, "device", text_of(a->device), text_of(b->device));
	device |= add(c, "driver", text_of(a->driver), text_of(b->driver));
	add(c, "version", text_of(a->version), text_of(b->version));
	c->alike = !model && !objective && c->same_prompt;
	if (model)
		caution(c, "the models differ: J, drift and norms are of other scales, and the perturbations live in "
			   "other spaces");
	if (!c->same_prompt)
		caution(c, "the prompts differ: J starts elsewhere, so compare what each gains; rows of the "
			   "perturbations are matched by layer and distance from the prompt's end");
	if (objective && (other_kind || c->same_prompt)) /* another prompt has other tokens in the same objective */
		caution(c, "the objectives differ: J means something else in each; compare the verdicts");
	if (clamps || saes)
		caution(c, "other features are clamped: drift is of those that each run clamps");
	if (device && !model)
		caution(c, "they ran on different devices or drivers: the last digits may differ for that alone");
}
