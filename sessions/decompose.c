#include "sessions/decompose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/encode.h"
#include "sessions/hooked_sae.h"
#include "sessions/suffix.h"

static const char *const names[COMPONENT_COUNT] = {
	"full", "clamped_features", "non_clamped_features", "top_k_non_clamped", "sae_residual", "top_k_knockout"};

const char *component_name(enum component_kind kind)
{
	return names[kind];
}

/* The rows of delta at one layer. */
struct layer_rows {
	int site;
	int64_t first, count;
};

static int list_layers(const struct session *session, const struct recovery *recovery, struct layer_rows *layers)
{
	int n = 0;
	for (int64_t row = 0; row < recovery_rows(recovery); row++) {
		int site = session_site_of_layer(session, recovery_row_layer(recovery, row));
		if (n == 0 || layers[n - 1].site != site)
			layers[n++] = (struct layer_rows){site, row, 0};
		layers[n - 1].count++;
	}
	return n;
}

struct ranked {
	uint32_t feature;
	float change;
};

/* By |change|, largest first; the lower number of equals first (torch.topk's order where
 * it matters: only the set does). */
static int by_size(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	float p = fabsf(x->change), q = fabsf(y->change);
	if (p != q)
		return p > q ? -1 : 1;
	return (x->feature > y->feature) - (x->feature < y->feature);
}

/* Strongest features of a masked change [n, F], summed over its rows. */
static void add_top(struct component *c, int layer, const float *change, int64_t n, int64_t F)
{
	enum { MOST = 12 };
	struct ranked *all = mem_alloc((size_t)F, sizeof *all);
	for (int64_t f = 0; f < F; f++) {
		all[f].feature = (uint32_t)f;
		for (int64_t r = 0; r < n; r++)
			all[f].change += change[r * F + f];
	}
	qsort(all, (size_t)F, sizeof *all, by_size);
	for (int64_t i = 0; i < F && i < MOST && all[i].change != 0; i++) {
		c->top = mem_resize(c->top, (size_t)c->top_count + 1, sizeof *c->top);
		c->top[c->top_count++] = (struct component_feature){layer, all[i].feature, all[i].change};
	}
	free(all);
}

/* Splits a layer's change into the defended features, the others, and per row the k
 * strongest of the others. */
static void split(const struct site *site, const float *change, int64_t n, int64_t k, float *clamped, float *others,
		  float *top)
{
	int64_t F = site->sae.features;
	size_t bytes = (size_t)(n * F) * sizeof *change;
	memset(clamped, 0, bytes);
	memset(top, 0, bytes);
	memcpy(others, change, bytes);
	for (int64_t r = 0; r < n; r++)
		for (int64_t i = 0; i < site->rule_count; i++) {
			int64_t at = r * F + site->rules[i].feature;
			clamped[at] = change[at];
			others[at] = 0;
		}
	struct ranked *row = mem_alloc((size_t)F, sizeof *row);
	for (int64_t r = 0; r < n; r++) {
		for (int64_t f = 0; f < F; f++)
			row[f] = (struct ranked){(uint32_t)f, others[r * F + f]};
		qsort(row, (size_t)F, sizeof *row, by_size);
		for (int64_t i = 0; i < k && i < F; i++)
			top[r * F + row[i].feature] = row[i].change;
	}
	free(row);
}

static enum status split_layer(struct decomposition *out, struct session *session, struct recovery *recovery,
			       const struct scene *clamped, const struct layer_rows *layer, int index,
			       struct error *error)
{
	struct site *site = &session->sites[layer->site];
	const struct sae *sae;
	enum status status = session_sae(&sae, session, layer->site, error);
	if (status)
		return status;
	int64_t d = out->d, F = site->sae.features, n = layer->count, total = clamped->total;
	float *state = mem_alloc((size_t)(total * d), sizeof *state);
	float *rows = mem_alloc((size_t)(2 * n * d), sizeof *rows);
	float *z = mem_alloc((size_t)(2 * n * F), sizeof *z);
	float *parts = mem_alloc((size_t)(3 * n * F), sizeof *parts);
	float *decoded = mem_alloc((size_t)(3 * n * d), sizeof *decoded);
	float *change = out->delta_z[index] = mem_alloc((size_t)(n * F), sizeof *change);
	for (int pass = 0; pass < 2 && status == STATUS_OK; pass++) {
		const float *from = state;
		if (pass == 0 && out->clamped_run)
			from = scene_reference(clamped)->sites[layer->site].h;
		else
			status = recovery_state(recovery, layer->site, pass == 0 ? RECOVERY_BEFORE : RECOVERY_ADDED,
						state, error);
		for (int64_t r = 0; r < n; r++)
			memcpy(rows + (pass * n + r) * d, from + recovery_row_position(recovery, layer->first + r) * d,
			       (size_t)d * sizeof *rows);
	}
	if (status == STATUS_OK)
		status = encode_rows(sae, rows, 2 * n, z, NULL, error);
	if (status == STATUS_OK) {
		for (int64_t i = 0; i < n * F; i++)
			change[i] = z[n * F + i] - z[i];
		split(site, change, n, out->top_k, parts, parts + n * F, parts + 2 * n * F);
		status = decode_rows(sae, parts, 3 * n, decoded, error);
	}
	for (int64_t r = 0; r < 3 * n && status == STATUS_OK; r++) {
		double scale = sae_restored_scale(sae, rows + r % n * d);
		for (int64_t j = 0; j < d; j++)
			decoded[r * d + j] *= (float)scale;
	}
	if (status == STATUS_OK) {
		static const enum component_kind kinds[] = {COMPONENT_CLAMPED, COMPONENT_NON_CLAMPED, COMPONENT_TOP_K};
		for (int i = 0; i < 3; i++) {
			memcpy(out->components[kinds[i]].rows + layer->first * d, decoded + i * n * d,
			       (size_t)(n * d) * sizeof *decoded);
			add_top(&out->components[kinds[i]], site->sae.layer, parts + i * n * F, n, F);
		}
	}
	free(state);
	free(rows);
	free(z);
	free(parts);
	free(decoded);
	return status;
}

static void combine(struct decomposition *out, const float *delta)
{
	size_t n = (size_t)(out->rows * out->d);
	struct component *c = out->components;
	memcpy(c[COMPONENT_FULL].rows, delta, n * sizeof *delta);
	for (size_t i = 0; i < n; i++) {
		c[COMPONENT_RESIDUAL].rows[i] =
			delta[i] - (c[COMPONENT_CLAMPED].rows[i] + c[COMPONENT_NON_CLAMPED].rows[i]);
		c[COMPONENT_TOP_K_KNOCKOUT].rows[i] = delta[i] - c[COMPONENT_TOP_K].rows[i];
		double sum = (double)c[COMPONENT_CLAMPED].rows[i] + (double)c[COMPONENT_NON_CLAMPED].rows[i] +
			     (double)c[COMPONENT_RESIDUAL].rows[i];
		out->identity_error = fmax(out->identity_error, fabs(sum - (double)delta[i]));
	}
}

static void measure(struct component *c, const float *delta, size_t n)
{
	double dot = 0, norm = 0, whole = 0;
	for (size_t i = 0; i < n; i++) {
		dot += (double)c->rows[i] * (double)delta[i];
		norm += (double)c->rows[i] * (double)c->rows[i];
		whole += (double)delta[i] * (double)delta[i];
	}
	c->norm = sqrt(norm);
	c->cosine = norm > 0 && whole > 0 ? dot / sqrt(norm * whole) : 0;
}

static enum status replay_all(struct decomposition *out, struct recovery *recovery, const float *delta,
			      struct error *error)
{
	size_t n = (size_t)(out->rows * out->d);
	float *without = mem_alloc(n, sizeof *without);
	enum status status = STATUS_OK;
	for (int i = 0; i < COMPONENT_COUNT && status == STATUS_OK; i++) {
		struct component *c = &out->components[i];
		struct recovery_final final;
		measure(c, delta, n);
		status = recovery_evaluate(recovery, c->rows, &final, error);
		if (status)
			break;
		c->objective = final.objective;
		c->recovered = final.present;
		c->drift_l2 = final.drift_l2;
		c->drift_relative_l2 = final.drift_relative_l2;
		if (i == COMPONENT_FULL || i == COMPONENT_TOP_K_KNOCKOUT)
			continue;
		for (size_t j = 0; j < n; j++)
			without[j] = delta[j] - c->rows[j];
		status = recovery_evaluate(recovery, without, &final, error);
		c->has_knockout = status == STATUS_OK;
		c->knockout_objective = final.objective;
		c->knockout_recovered = final.present;
	}
	free(without);
	return status;
}

static enum status decompose_delta(struct decomposition *out, struct session *session, struct recovery *recovery,
				   struct scene *clamped, const float *delta, int64_t top_k, bool clamped_run,
				   struct error *error)
{
	*out = (struct decomposition){
		.rows = recovery_rows(recovery),
		.d = session->model.arch.d,
		.top_k = top_k,
		.clamped_run = clamped_run,
	};
	out->positions = mem_alloc((size_t)out->rows, sizeof *out->positions);
	for (int64_t row = 0; row < out->rows; row++)
		out->positions[row] = recovery_row_position(recovery, row);
	for (int i = 0; i < COMPONENT_COUNT; i++)
		out->components[i].rows = mem_alloc((size_t)(out->rows * out->d), sizeof(float));
	struct layer_rows layers[SESSION_MAX_SITES];
	out->layer_count = list_layers(session, recovery, layers);
	out->delta_z = mem_alloc((size_t)out->layer_count, sizeof *out->delta_z);
	struct recovery_final final;
	enum status status = recovery_evaluate(recovery, delta, &final, error);
	for (int i = 0; i < out->layer_count && status == STATUS_OK; i++)
		status = split_layer(out, session, recovery, clamped, &layers[i], i, error);
	if (status == STATUS_OK) {
		combine(out, delta);
		status = replay_all(out, recovery, delta, error);
	}
	if (status)
		decomposition_done(out);
	return status;
}

/* The change of the residual at a site, [d]. */
static enum status suffix_change(float *change, const struct session *session, struct recovery *recovery,
				 const struct scene *clamped, const float *delta, int site, struct error *error)
{
	int64_t d = session->model.arch.d, last = clamped->prompt - 1, before = last - session->suffix.count;
	float *state = mem_alloc((size_t)(clamped->total * d), sizeof *state);
	struct recovery_final final;
	enum status status = recovery_evaluate(recovery, delta, &final, error);
	if (status == STATUS_OK)
		status = recovery_state(recovery, site, RECOVERY_OUT, state, error);
	const float *reference = scene_reference(clamped)->sites[site].h;
	for (int64_t j = 0; j < d && status == STATUS_OK; j++)
		change[j] = state[last * d + j] - reference[before * d + j];
	free(state);
	return status;
}

/* The session has no suffix: a recovery at the prompt's last position that makes no steps. */
static enum status decompose_change(struct decomposition *out, struct session *session, const float *change, int layer,
				    int64_t top_k, struct error *error)
{
	struct recovery_settings kept = session->settings, *settings = &session->settings;
	struct scene clamped = {0};
	struct recovery *recovery = NULL;
	settings_init(settings);
	settings->project = PROJECT_NONE;
	settings->steps = 0;
	settings->answer = kept.answer;
	settings->delta_layers[settings->delta_layer_count++] = layer;
	enum status status = scene_run(&clamped, session, true, error);
	if (status == STATUS_OK)
		status = recovery_create(&recovery, session, &clamped, NULL, error);
	if (status == STATUS_OK)
		status = decompose_delta(out, session, recovery, &clamped, change, top_k, false, error);
	recovery_destroy(&recovery);
	scene_done(&clamped);
	settings_done(settings);
	*settings = kept;
	return status;
}

static enum status decompose_suffix(struct decomposition *out, struct session *session, struct recovery *recovery,
				    const struct scene *clamped, const float *delta, int64_t top_k, struct error *error)
{
	int site = 0;
	while (session->sites[site].rule_count == 0)
		site++;
	int layer = session->sites[site].sae.layer;
	float *change = mem_alloc((size_t)session->model.arch.d, sizeof *change);
	enum status status = suffix_change(change, session, recovery, clamped, delta, site, error);
	struct suffix suffix = session_take_suffix(session);
	if (status == STATUS_OK)
		status = decompose_change(out, session, change, layer, top_k, error);
	session_return_suffix(session, suffix);
	free(change);
	out->suffix = true;
	out->suffix_layer = layer;
	return status;
}

enum status decompose(struct decomposition *out, struct session *session, struct recovery *recovery,
		      struct scene *clamped, const float *delta, int64_t top_k, bool clamped_run, struct error *error)
{
	*out = (struct decomposition){0};
	return recovery_is_suffix(recovery)
		       ? decompose_suffix(out, session, recovery, clamped, delta, top_k, error)
		       : decompose_delta(out, session, recovery, clamped, delta, top_k, clamped_run, error);
}

void decomposition_done(struct decomposition *d)
{
	free(d->positions);
	for (int i = 0; i < COMPONENT_COUNT; i++) {
		free(d->components[i].rows);
		free(d->components[i].top);
	}
	for (int i = 0; i < d->layer_count; i++)
		free(d->delta_z[i]);
	free(d->delta_z);
	*d = (struct decomposition){0};
}
