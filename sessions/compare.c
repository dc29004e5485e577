#include "sessions/compare.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/compare_setup.h"
#include "sessions/replay.h"

struct comparison_holders {
	atomic_int count;
};

/* Numbers of a delta's trace that are read for the angle at each step. */
static const int64_t most_trace = (int64_t)64 << 20;

/* ---- where they part ---- */

static void part(struct compare_parting *parting, int64_t step, const char *field, double a, double b)
{
	if (parting->step < 0)
		*parting = (struct compare_parting){step, field, {a, b}};
}

static void find_partings(struct comparison *c)
{
	for (int64_t i = 0; c->alike && i < c->run[0]->steps && i < c->run[1]->steps && c->clear_parting.step < 0; i++)
		for (const struct record_field *f = record_step_fields; f->name; f++) {
			double a = record_field_get(f, &c->run[0]->history[i]);
			double b = record_field_get(f, &c->run[1]->history[i]);
			if (a == b || (isnan(a) && isnan(b)))
				continue;
			part(&c->parting, i, f->name, a, b);
			if (!(fabs(a - b) <= REPLAY_ABSOLUTE + REPLAY_RELATIVE * fabs(a)))
				part(&c->clear_parting, i, f->name, a, b);
		}
}

/* ---- the angle ---- */

struct place {
	int layer;
	int64_t position, row;
};

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return (x->position > y->position) - (x->position < y->position);
}

/* The rows of a run in order of their places, with positions from the prompt's start or,
 * negative, from its end. */
static struct place *places_of(const struct record_run *run, bool from_end)
{
	struct place *places = mem_alloc((size_t)run->row_count, sizeof *places);
	for (int64_t i = 0; i < run->row_count; i++)
		places[i] = (struct place){run->rows[i].layer,
					   run->rows[i].position - (from_end ? comparison_prompt_length(run) : 0), i};
	qsort(places, (size_t)run->row_count, sizeof *places, by_place);
	return places;
}

/* For each row of side 0 the row of side 1 at the same place, or -1; a new array. */
static int64_t *match_rows(const struct comparison *c, int64_t *matched)
{
	const struct record_run *a = c->run[0], *b = c->run[1];
	struct place *at_a = places_of(a, !c->same_prompt), *at_b = places_of(b, !c->same_prompt);
	int64_t *to = mem_alloc((size_t)a->row_count, sizeof *to), j = 0;
	*matched = 0;
	for (int64_t i = 0; i < a->row_count; i++) {
		while (j < b->row_count && by_place(&at_b[j], &at_a[i]) < 0)
			j++;
		bool found = j < b->row_count && by_place(&at_b[j], &at_a[i]) == 0;
		to[at_a[i].row] = found ? at_b[j].row : -1;
		*matched += found;
	}
	free(at_a);
	free(at_b);
	return to;
}

static double dot(const float *a, const float *b, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += (double)a[i] * (double)b[i];
	return sum;
}

struct angle {
	double dot, size[2]; /* size: squared norms */
	double apart;	     /* squared norm of the difference */
};

static double squared_distance(const float *a, const float *b, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
	return sum;
}

/* Of two perturbations, [rows, d] each. A row that the other lacks counts as zeros there. Row by
 * row, so that equal perturbations are at a distance of 0 and a cosine of 1, not nearly. */
static struct angle angle_of(const struct comparison *c, const int64_t *to, const float *a, const float *b)
{
	int64_t d = c->run[0]->d, rows[2] = {c->run[0]->row_count, c->run[1]->row_count};
	bool *met = mem_alloc((size_t)rows[1], sizeof *met);
	struct angle angle = {0};
	for (int64_t i = 0; i < rows[0]; i++) {
		const float *row = a + i * d;
		double size = dot(row, row, d);
		angle.size[0] += size;
		if (to[i] < 0) {
			angle.apart += size;
			continue;
		}
		met[to[i]] = true;
		angle.dot += dot(row, b + to[i] * d, d);
		angle.apart += squared_distance(row, b + to[i] * d, d);
	}
	for (int64_t i = 0; i < rows[1]; i++) {
		double size = dot(b + i * d, b + i * d, d);
		angle.size[1] += size;
		if (!met[i])
			angle.apart += size;
	}
	free(met);
	return angle;
}

static double cosine_of(const struct angle *angle)
{
	double size = sqrt(angle->size[0] * angle->size[1]);
	return size > 0 ? fmax(-1, fmin(1, angle->dot / size)) : NAN;
}

/* Before each step; left out where the traces are not there or too long. */
static void find_cosines(struct comparison *c, const int64_t *to)
{
	const struct record_run *a = c->run[0], *b = c->run[1];
	int64_t steps = a->steps < b->steps ? a->steps : b->steps;
	int64_t size[2] = {a->row_count * a->d, b->row_count * b->d};
	float *trace[2] = {NULL, NULL};
	struct error ignored;
	if (!a->delta_file || !b->delta_file || steps == 0 || a->steps > most_trace / size[0] ||
	    b->steps > most_trace / size[1])
		return;
	if (record_read_delta(&c->record[0], a, &trace[0], &ignored) == STATUS_OK &&
	    record_read_delta(&c->record[1], b, &trace[1], &ignored) == STATUS_OK) {
		c->cosines = mem_alloc((size_t)c->steps, sizeof *c->cosines);
		for (int64_t i = 0; i < c->steps; i++) {
			c->cosines[i] = NAN;
			if (i >= steps)
				continue;
			struct angle angle = angle_of(c, to, trace[0] + i * size[0], trace[1] + i * size[1]);
			c->cosines[i] = cosine_of(&angle);
		}
	}
	free(trace[0]);
	free(trace[1]);
}

/* Why the results can't be compared; NULL if they can. A new string. */
static char *no_results(const struct comparison *c)
{
	for (int i = 0; i < 2; i++)
		if (!c->run[i]->has_recovery || !c->run[i]->result_file || c->run[i]->row_count == 0)
			return mem_printf("'%s' has no result yet", path_base(c->record[i].path));
	if (c->run[0]->d != c->run[1]->d)
		return mem_printf("the perturbations are %lld and %lld wide", (long long)c->run[0]->d,
				  (long long)c->run[1]->d);
	return NULL;
}

static void find_angle(struct comparison *c)
{
	float *result[2] = {NULL, NULL};
	struct error error;
	c->angle_reason = no_results(c);
	if (c->angle_reason)
		return;
	int64_t *to = match_rows(c, &c->rows);
	for (int i = 0; i < 2 && !c->angle_reason; i++)
		if (record_read_result(&c->record[i], c->run[i], &result[i], &error))
			c->angle_reason = mem_strdup(error.text);
	if (!c->angle_reason) {
		struct angle angle = angle_of(c, to, result[0], result[1]);
		for (int i = 0; i < 2; i++)
			c->norm[i] = sqrt(angle.size[i]);
		c->cosine = cosine_of(&angle);
		c->distance = sqrt(angle.apart);
		c->has_angle = c->rows > 0 && isfinite(c->cosine) && isfinite(c->distance);
		if (c->rows == 0)
			c->angle_reason = mem_strdup("they perturb other layers or positions");
		else if (!c->has_angle)
			c->angle_reason = mem_strdup("a perturbation is zero or not finite");
		if (c->has_angle)
			find_cosines(c, to);
	}
	free(to);
	free(result[0]);
	free(result[1]);
}

/* ---- */

static void destroy(struct comparison *c)
{
	for (int i = 0; i < c->difference_count; i++) {
		free(c->differences[i].name);
		free(c->differences[i].value[0]);
		free(c->differences[i].value[1]);
	}
	for (int i = 0; i < c->caution_count; i++)
		free(c->cautions[i]);
	free(c->differences);
	free(c->cautions);
	free(c->angle_reason);
	free(c->cosines);
	for (int i = 0; i < 2; i++)
		record_done(&c->record[i]);
	free(c->holders);
	free(c);
}

enum status comparison_open(struct comparison **out, const char *path_a, const char *path_b, struct error *error)
{
	const char *const paths[2] = {path_a, path_b};
	struct comparison *c = mem_alloc(1, sizeof *c);
	*out = NULL;
	c->holders = mem_alloc(1, sizeof *c->holders);
	atomic_init(&c->holders->count, 1);
	enum status status = STATUS_OK;
	for (int i = 0; i < 2 && status == STATUS_OK; i++) {
		status = record_load(&c->record[i], paths[i], error);
		if (status) {
			c->record[i] = (struct record){0};
			break;
		}
		c->run[i] = record_main_run(&c->record[i]);
		if (!c->run[i])
			status = error_set(error, STATUS_NOTHING, "'%s' holds no recovery", c->record[i].path);
	}
	if (status) {
		destroy(c);
		return status;
	}
	c->steps = c->run[0]->steps > c->run[1]->steps ? c->run[0]->steps : c->run[1]->steps;
	c->parting.step = c->clear_parting.step = -1;
	comparison_add_setup(c);
	find_partings(c);
	find_angle(c);
	*out = c;
	return STATUS_OK;
}

const struct comparison *comparison_hold(const struct comparison *c)
{
	if (c)
		atomic_fetch_add(&c->holders->count, 1);
	return c;
}

void comparison_release(const struct comparison **pointer)
{
	const struct comparison *c = *pointer;
	*pointer = NULL;
	if (c && atomic_fetch_sub(&c->holders->count, 1) == 1)
		destroy((struct comparison *)(uintptr_t)c);
}

const struct recovery_metrics *comparison_step(const struct comparison *c, int side, int64_t step)
{
	return step >= 0 && step < c->run[side]->steps ? &c->run[side]->history[step] : NULL;
}

char *comparison_name(const struct comparison *c, int side)
{
	const char *base = path_base(c->record[side].path);
	size_t n = strlen(base);
	return mem_strndup(base, n > 6 && strcmp(base + n - 6, ".jsonl") == 0 ? n - 6 : n);
}
