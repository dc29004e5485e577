#include "sessions/probes.h"

#include <math.h>
#include <stdlib.h>

#include "compute/base/mem.h"
#include "models/npy.h"

enum { MOST_EXACT = 512 };

/* All monitored activations of all clamped layers. */
static int64_t count_entries(const struct session *session)
{
	int64_t first, count, entries = 0;
	session_monitored(session, &first, &count);
	for (int i = 0; i < session->site_count; i++)
		entries += count * session->sites[i].rule_count;
	return entries;
}

static enum status read_file(struct probe_table *table, const char *path, struct error *error)
{
	struct array_view view;
	size_t count;
	enum status status = npy_read_float(path, &table->values, &count, &view, error);
	if (status)
		return status;
	if (view.rank != 3 || view.shape[0] < 1 || view.shape[1] < 1 || view.shape[2] != table->entries)
		return error_set(
			error, STATUS_INVALID,
			"--probes-file '%s' should hold steps x m x %lld numbers, one for each monitored activation of "
			"the clamped features",
			path, (long long)table->entries);
	table->steps = view.shape[0];
	table->count = view.shape[1];
	for (size_t i = 0; i < count; i++)
		if (!isfinite(table->values[i]))
			return error_set(error, STATUS_INVALID, "--probes-file '%s' holds a number that is not finite",
					 path);
	return STATUS_OK;
}

/* Standard normal numbers from a counter-free generator (Box and Muller, 1958). */
static double uniform(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

static void draw(struct probe_table *table, uint64_t seed)
{
	uint64_t state = seed ^ 0x9E3779B97F4A7C15u;
	size_t n = (size_t)(table->steps * table->count * table->entries);
	for (size_t i = 0; i < n; i += 2) {
		double radius = sqrt(-2 * log(uniform(&state))), angle = 6.283185307179586 * uniform(&state);
		table->values[i] = (float)(radius * cos(angle));
		if (i + 1 < n)
			table->values[i + 1] = (float)(radius * sin(angle));
	}
}

static void normalise(struct probe_table *table)
{
	for (int64_t row = 0; row < table->steps * table->count; row++) {
		float *r = table->values + row * table->entries;
		double sum = 0;
		for (int64_t i = 0; i < table->entries; i++)
			sum += (double)r[i] * (double)r[i];
		double scale = 1 / (sqrt(sum) + 1e-8);
		for (int64_t i = 0; i < table->entries; i++)
			r[i] = (float)((double)r[i] * scale);
	}
}

enum status probe_table_make(struct probe_table *table, const struct session *session,
			     const struct recovery_settings *settings, struct error *error)
{
	*table = (struct probe_table){.steps = 1, .entries = count_entries(session)};
	enum status status = STATUS_OK;
	if (table->entries == 0)
		return error_set(error, STATUS_INVALID, "--project jacobian needs clamped features to hold still");
	if (settings->probes_file) {
		status = read_file(table, settings->probes_file, error);
	} else if (settings->probes == PROBES_ALL) {
		if (table->entries > MOST_EXACT)
			return error_set(error, STATUS_INVALID,
					 "--probes all takes up to %d monitored activations; there are %lld (clamped "
					 "features times "
					 "monitored positions)",
					 MOST_EXACT, (long long)table->entries);
		table->count = table->entries;
		table->values = mem_alloc((size_t)(table->count * table->entries), sizeof *table->values);
		for (int64_t i = 0; i < table->count; i++)
			table->values[i * table->entries + i] = 1;
	} else {
		table->count = settings->probes;
		table->steps = settings->steps;
	}
	size_t numbers = 0, row = 0;
	if (status == STATUS_OK &&
	    (!size_mul((size_t)table->count, (size_t)table->entries, &row) ||
	     !size_mul(row, (size_t)table->steps, &numbers) || numbers > ((size_t)120 << 20) / 4))
		status = error_set(
			error, STATUS_INVALID,
			"%lld probes of %lld activations over %lld steps take more than 120 MB; use fewer --probes or "
			"--steps",
			(long long)table->count, (long long)table->entries, (long long)table->steps);
	if (status == STATUS_OK && !table->values && numbers > 0) {
		table->values = mem_alloc(numbers, sizeof *table->values);
		draw(table, session->seed);
	}
	if (status) {
		probe_table_done(table);
		return status;
	}
	if (table->values)
		normalise(table);
	return STATUS_OK;
}

void probe_table_done(struct probe_table *table)
{
	free(table->values);
	*table = (struct probe_table){0};
}
