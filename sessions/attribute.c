#include "sessions/attribute.h"

#include <stdlib.h>

#include "compute/base/mem.h"
#include "sessions/cone.h"
#include "sessions/hooked_sae.h"
#include "sessions/probe.h"

static int compare(const void *a, const void *b)
{
	const struct attribution *x = a, *y = b;
	if (x->attribution != y->attribution)
		return x->attribution > y->attribution ? -1 : 1;
	return (x->feature > y->feature) - (x->feature < y->feature);
}

/* dJ/dh rows of the cone's delta, and W_dec times them: [rows, F] into `dz`. */
static enum status run_cone(struct cone *cone, const struct sae *sae, float *dz, struct error *error)
{
	struct device *device = cone->session->device;
	struct arena *arena = arena_create(device, BUFFER_DEVICE, "the attribution");
	struct tensor by_feature;
	arena_add(arena, &by_feature, DTYPE_F32, cone->delta_rows, sae->features);
	enum status status = arena_allocate(arena, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(device, "attribution");
		recorder_begin(rec);
		record_fill(rec, cone->delta, 0);
		cone_record_forward(cone, rec);
		cone_record_backward(cone, rec);
		op_linear(rec, by_feature, cone->g, sae->w_dec, OP_OUT_IN, NULL);
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(by_feature, dz, error);
	arena_destroy(&arena);
	return status;
}

static enum status rank_rows(struct attribution *items, struct scene *base, int site, const struct cone *cone,
			     const float *dz, struct error *error)
{
	const struct sae *sae = &base->session->sites[site].sae;
	int64_t F = sae->features;
	float *z = mem_alloc((size_t)F, sizeof *z);
	enum status status = STATUS_OK;
	for (int64_t f = 0; f < F; f++)
		items[f] = (struct attribution){.layer = sae->layer, .feature = (uint32_t)f};
	for (int64_t p = 0; p < cone->position_count && status == STATUS_OK; p++) {
		status = scene_features(base, site, cone->positions[p], z, error);
		double scale = sae_restored_scale(sae, base->sites[site].h + cone->positions[p] * sae->d);
		for (int64_t f = 0; f < F && status == STATUS_OK; f++) {
			double gradient = scale * (double)dz[p * F + f], activation = (double)z[f];
			items[f].attribution += activation * gradient;
			items[f].activation += activation / (double)cone->position_count;
			items[f].gradient += gradient;
		}
	}
	free(z);
	return status;
}

enum status attribute_rank(struct attribution **out, int64_t *count, struct session *session, struct scene *base,
			   int site, struct error *error)
{
	*out = NULL;
	*count = 0;
	const struct sae *sae;
	enum status status = session_sae(&sae, session, site, error);
	if (status)
		return status;
	struct recovery_settings settings;
	settings_init(&settings);
	settings.answer = session->settings.answer;
	settings.delta_layers[0] = sae->layer;
	settings.delta_layer_count = 1;
	if (session->has_objective && probe_objective(&session->objective))
		settings.delta_positions.rule = POSITIONS_PROMPT;
	struct cone cone;
	status = cone_create(&cone, session, base, &settings, true, 1, error);
	if (status) {
		settings_done(&settings);
		return status;
	}
	float *dz = mem_alloc((size_t)(cone.delta_rows * sae->features), sizeof *dz);
	struct attribution *items = mem_alloc((size_t)sae->features, sizeof *items);
	status = run_cone(&cone, sae, dz, error);
	if (status == STATUS_OK)
		status = rank_rows(items, base, site, &cone, dz, error);
	free(dz);
	cone_done(&cone);
	settings_done(&settings);
	if (status) {
		free(items);
		return status;
	}
	qsort(items, (size_t)sae->features, sizeof *items, compare);
	*out = items;
	*count = sae->features;
	return STATUS_OK;
}
