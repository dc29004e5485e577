#include "sessions/frozen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

struct frozen_edit {
	struct edit edit;
	struct tensor add; /* [R, d], zero where there is no row */
	bool used;
};

static void frozen_forward(struct edit *edit, struct recorder *rec, struct tensor x)
{
	op_add(rec, x, x, ((struct frozen_edit *)edit)->add, 1);
}

bool frozen_at_site(const struct session *session, int site)
{
	const struct delta_rows *rows = &session->frozen;
	for (int64_t i = 0; i < rows->count; i++)
		if (rows->layers[i] == session->sites[site].sae.layer)
			return true;
	return false;
}

/* The rows at a site as a table over the pass's positions; true if there are any. */
static bool fill_table(float *table, const struct session *session, int site, int64_t first, int64_t total)
{
	const struct delta_rows *rows = &session->frozen;
	int64_t d = session->model.arch.d;
	bool any = false;
	memset(table, 0, (size_t)((total - first) * d) * sizeof *table);
	for (int64_t i = 0; i < rows->count; i++) {
		if (rows->layers[i] != session->sites[site].sae.layer || rows->positions[i] < first)
			continue;
		memcpy(table + (rows->positions[i] - first) * d, rows->values + i * d, (size_t)d * sizeof *table);
		any = true;
	}
	return any;
}

enum status frozen_edits_create(struct frozen_edits *edits, const struct session *session, int64_t first, int64_t total,
				struct error *error)
{
	const struct delta_rows *rows = &session->frozen;
	*edits = (struct frozen_edits){.site_count = session->site_count};
	for (int64_t i = 0; i < rows->count; i++)
		if (rows->positions[i] >= total)
			return error_set(error, STATUS_INVALID,
					 "a frozen row of delta lies at position %lld, and there are %lld positions",
					 (long long)rows->positions[i], (long long)total);
	int64_t d = session->model.arch.d;
	float *table = mem_alloc((size_t)((total - first) * d), sizeof *table);
	edits->items = mem_alloc((size_t)session->site_count, sizeof *edits->items);
	edits->arena = arena_create(session->device, BUFFER_DEVICE, "the frozen rows of delta");
	for (int i = 0; i < session->site_count; i++) {
		struct frozen_edit *e = &edits->items[i];
		if (!fill_table(table, session, i, first, total))
			continue;
		e->used = true;
		e->edit = (struct edit){.point = session->sites[i].point, .forward = frozen_forward};
		arena_add(edits->arena, &e->add, DTYPE_F32, total - first, d);
	}
	enum status status = arena_allocate(edits->arena, error);
	for (int i = 0; i < session->site_count && status == STATUS_OK; i++)
		if (fill_table(table, session, i, first, total))
			status = tensor_write(edits->items[i].add, table, error);
	free(table);
	if (status)
		frozen_edits_done(edits);
	return status;
}

void frozen_edits_done(struct frozen_edits *edits)
{
	arena_destroy(&edits->arena);
	free(edits->items);
	*edits = (struct frozen_edits){0};
}

struct edit *frozen_edit_at(const struct frozen_edits *edits, int site)
{
	return site < edits->site_count && edits->items[site].used ? &edits->items[site].edit : NULL;
}

void delta_rows_done(struct delta_rows *rows)
{
	free(rows->layers);
	free(rows->positions);
	free(rows->values);
	*rows = (struct delta_rows){0};
}

void delta_rows_add(struct delta_rows *rows, int64_t count, int64_t d, const int *layers, const int64_t *positions,
		    const float *values)
{
	size_t before = (size_t)rows->count, n = (size_t)count, width = (size_t)d;
	rows->layers = mem_resize(rows->layers, before + n, sizeof *rows->layers);
	rows->positions = mem_resize(rows->positions, before + n, sizeof *rows->positions);
	rows->values = mem_resize(rows->values, (before + n) * width, sizeof *rows->values);
	if (n > 0) {
		memcpy(rows->layers + before, layers, n * sizeof *layers);
		memcpy(rows->positions + before, positions, n * sizeof *positions);
		memcpy(rows->values + before * width, values, n * width * sizeof *values);
	}
	rows->count += count;
}

enum status session_set_frozen(struct session *session, const struct delta_rows *rows, struct error *error)
{
	int64_t d = session->model.arch.d, count = rows ? rows->count : 0;
	for (int64_t i = 0; i < count; i++) {
		if (session_site_of_layer(session, rows->layers[i]) < 0)
			return error_set(error, STATUS_INVALID,
					 "a frozen row of delta lies at layer %d, where no SAE is hooked in",
					 rows->layers[i]);
		if (rows->positions[i] < 0 || rows->positions[i] >= session->model.arch.context)
			return error_set(
				error, STATUS_INVALID,
				"a frozen row of delta lies at position %lld; the model has positions 0 to %lld",
				(long long)rows->positions[i], (long long)session->model.arch.context - 1);
		for (int64_t j = 0; j < i; j++)
			if (rows->layers[j] == rows->layers[i] && rows->positions[j] == rows->positions[i])
				return error_set(error, STATUS_INVALID,
						 "two frozen rows of delta lie at layer %d, position %lld",
						 rows->layers[i], (long long)rows->positions[i]);
		for (int64_t k = 0; k < d; k++)
			if (!isfinite(rows->values[i * d + k]))
				return error_set(error, STATUS_INVALID,
						 "a frozen row of delta (layer %d, position %lld) is not finite",
						 rows->layers[i], (long long)rows->positions[i]);
	}
	struct delta_rows copy = {0};
	if (count > 0)
		delta_rows_add(&copy, count, d, rows->layers, rows->positions, rows->values);
	delta_rows_done(&session->frozen);
	session->frozen = copy;
	return STATUS_OK;
}
