#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/sae.h"

static enum status check_rules(const struct sae *sae, const struct clamp_rule *rules, int64_t count,
			       struct error *error)
{
	if (count < 1)
		return error_set(error, STATUS_INVALID, "a clamp needs at least one feature");
	if (sae->act.act == OP_SAE_CHOSEN && sae->k == 0)
		return error_set(error, STATUS_INVALID,
				 "features of a BatchTopK SAE without a threshold can't be clamped: which of them are "
				 "active depends on all tokens of a batch");
	unsigned char *seen = mem_alloc((size_t)sae->features, 1);
	enum status status = STATUS_OK;
	for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
		if (rules[i].feature >= sae->features)
			status = error_set(error, STATUS_INVALID,
					   "feature %u does not exist: the SAE at layer %d has features 0 to %lld",
					   rules[i].feature, sae->layer, (long long)sae->features - 1);
		else if (seen[rules[i].feature]++)
			status = error_set(error, STATUS_INVALID, "feature %u of layer %d is clamped twice",
					   rules[i].feature, sae->layer);
	}
	free(seen);
	return status;
}

/* Reads the selected rows of a matrix (or entries of a vector, d = 1) of the SAE. */
static enum status gather(struct tensor to, struct tensor from, const uint32_t *features, int64_t count, int64_t d,
			  struct error *error)
{
	float *rows = mem_alloc((size_t)(count * d), sizeof *rows);
	enum status status = STATUS_OK;
	for (int64_t i = 0; i < count && status == STATUS_OK; i++)
		status = buffer_read(from.buffer, from.offset + features[i] * (uint64_t)d * sizeof *rows, rows + i * d,
				     (uint64_t)d * sizeof *rows, error);
	if (status == STATUS_OK)
		status = tensor_write(to, rows, error);
	free(rows);
	return status;
}

static enum status write_rules(struct clamp *clamp, const struct clamp_rule *rules, struct error *error)
{
	size_t n = (size_t)clamp->count;
	uint32_t *modes = mem_alloc(n, sizeof *modes);
	float *values = mem_alloc(n, sizeof *values);
	for (size_t i = 0; i < n; i++) {
		modes[i] = rules[i].mode;
		values[i] = rules[i].value;
	}
	enum status status = tensor_write(clamp->modes, modes, error);
	if (status == STATUS_OK)
		status = tensor_write(clamp->values, values, error);
	if (status == STATUS_OK)
		status = tensor_write(clamp->index, clamp->features, error);
	free(modes);
	free(values);
	return status;
}

/* A tensor of the SAE, by feature, and its K selected rows (or entries) in the clamp. */
struct selected {
	struct tensor *to;
	struct tensor from;
	int64_t width; /* numbers of a feature */
};
enum { SELECTED = 7 };

static int list_selected(struct selected all[SELECTED], struct clamp *clamp)
{
	const struct sae *sae = clamp->sae;
	const struct selected candidates[SELECTED] = {
		{&clamp->w_enc, sae->w_enc, sae->d},
		{&clamp->w_dec, sae->w_dec, sae->d},
		{&clamp->b_enc, sae->b_enc, 1},
		{&clamp->act.threshold, sae->act.threshold, 1},
		{&clamp->act.b_gate, sae->act.b_gate, 1},
		{&clamp->act.b_mag, sae->act.b_mag, 1},
		{&clamp->act.mag_scale, sae->act.mag_scale, 1},
	};
	int n = 0;
	for (int i = 0; i < SELECTED; i++)
		if (tensor_exists(candidates[i].from))
			all[n++] = candidates[i];
	return n;
}

enum status clamp_create(struct clamp *clamp, const struct sae *sae, const struct clamp_rule *rules, int64_t count,
			 struct error *error)
{
	if (!sae_loaded(sae))
		fatal("the SAE of layer %d is clamped before it is loaded", sae->layer);
	*clamp = (struct clamp){.sae = sae, .count = count, .act = {.act = sae->act.act}};
	enum status status = check_rules(sae, rules, count, error);
	if (status)
		return status;
	clamp->features = mem_alloc((size_t)count, sizeof *clamp->features);
	for (int64_t i = 0; i < count; i++)
		clamp->features[i] = rules[i].feature;
	struct selected selected[SELECTED];
	int n = list_selected(selected, clamp);
	clamp->arena = arena_create(sae->device, BUFFER_DEVICE, "the clamp");
	for (int i = 0; i < n; i++) {
		bool vector = i >= 2; /* the matrices lead */
		arena_add(clamp->arena, selected[i].to, DTYPE_F32, vector ? 1 : count,
			  vector ? count : selected[i].width);
	}
	arena_add(clamp->arena, &clamp->index, DTYPE_U32, 1, count);
	arena_add(clamp->arena, &clamp->modes, DTYPE_U32, 1, count);
	arena_add(clamp->arena, &clamp->values, DTYPE_F32, 1, count);
	status = arena_allocate(clamp->arena, error);
	for (int i = 0; i < n && status == STATUS_OK; i++)
		status = gather(*selected[i].to, selected[i].from, clamp->features, count, selected[i].width, error);
	if (status == STATUS_OK)
		status = write_rules(clamp, rules, error);
	if (status)
		clamp_done(clamp);
	return status;
}

void clamp_done(struct clamp *clamp)
{
	arena_destroy(&clamp->arena);
	free(clamp->features);
	*clamp = (struct clamp){0};
}

/* The statistics that scale the moves, if the SAE restores its input's scale. */
static struct tensor scales(const struct clamp_edit *e)
{
	return e->clamp->sae->norm_out ? e->scratch.stats : (struct tensor){0};
}

static void edit_forward(struct edit *base, struct recorder *rec, struct tensor x)
{
	struct clamp_edit *e = (struct clamp_edit *)base;
	const struct clamp *clamp = e->clamp;
	clamp_record_encode(clamp, rec, e->z, e->h, &e->scratch, x);
	op_clamp(rec, e->move, e->z, clamp->modes, clamp->values, e->on, scales(e));
	if (e->alpha != 1) {
		sae_record_encode(clamp->sae, rec, e->full_z, e->full_h, &e->full_scratch, x);
		struct tensor recon = tensor_rows(e->recon, 0, x.rows);
		sae_record_decode(clamp->sae, rec, recon, e->full_z, &e->full_scratch);
		op_blend(rec, x, x, recon, e->on, e->alpha);
	}
	op_linear(rec, x, e->move, clamp->w_dec, OP_IN_OUT, &(struct op_linear){.residual = x});
}

/* As many rows as the gradient that comes in has: not all planned gradients take part in
 * every backward pass. */
static void edit_backward(struct edit *base, struct recorder *rec, struct tensor dx)
{
	struct clamp_edit *e = (struct clamp_edit *)base;
	const struct clamp *clamp = e->clamp;
	struct tensor dmove = tensor_rows(e->dmove, 0, dx.rows), dz = tensor_rows(e->dz, 0, dx.rows);
	op_linear(rec, dmove, dx, clamp->w_dec, OP_OUT_IN, NULL);
	op_clamp_back(rec, dz, dmove, e->z, clamp->modes, clamp->values, e->on, scales(e));
	if (e->alpha != 1) {
		struct tensor full_dz = tensor_rows(e->full_dz, 0, dx.rows), recon = tensor_rows(e->recon, 0, dx.rows);
		struct tensor full_dh = tensor_rows(e->full_dh, 0, dx.rows);
		sae_record_recon_back(clamp->sae, rec, recon, dx, e->full_h, full_dz, full_dh, &e->full_scratch);
		op_blend(rec, dx, dx, recon, e->on, e->alpha);
	}
	clamp_record_move_back(clamp, rec, dx, dz, e->h, tensor_rows(e->dh, 0, dx.rows), &e->scratch, dmove, e->move);
}

enum status clamp_edit_create(struct clamp_edit *e, const struct clamp *clamp, int point, double alpha, int64_t rows,
			      int64_t gradients, bool backward, struct error *error)
{
	const struct sae *sae = clamp->sae;
	*e = (struct clamp_edit){
		.edit = {.point = point, .forward = edit_forward, .backward = backward ? edit_backward : NULL},
		.clamp = clamp,
		.alpha = alpha,
		.arena = arena_create(sae->device, BUFFER_DEVICE, "the clamp's activations"),
		.inputs = arena_create(sae->device, BUFFER_HOST, "the clamp's rows"),
	};
	int64_t K = clamp->count, G = gradients * rows;
	arena_add(e->inputs, &e->on, DTYPE_U32, 1, rows);
	arena_add(e->arena, &e->z, DTYPE_F32, rows, K);
	arena_add(e->arena, &e->h, DTYPE_F32, rows, K);
	arena_add(e->arena, &e->move, DTYPE_F32, rows, K);
	sae_scratch_declare(&e->scratch, sae, e->arena, SAE_SCRATCH_SELECTED, rows, backward ? gradients : 0);
	if (backward) {
		arena_add(e->arena, &e->dmove, DTYPE_F32, G, K);
		arena_add(e->arena, &e->dz, DTYPE_F32, G, K);
		arena_add(e->arena, &e->dh, DTYPE_F32, G, K);
	}
	if (alpha != 1) {
		sae_scratch_declare(&e->full_scratch, sae, e->arena, SAE_SCRATCH_ALL, rows, backward ? gradients : 0);
		arena_add(e->arena, &e->full_z, DTYPE_F32, rows, sae->features);
		arena_add(e->arena, &e->full_h, DTYPE_F32, rows, sae->features);
		arena_add(e->arena, &e->recon, DTYPE_F32, G, sae->d);
		if (backward) {
			arena_add(e->arena, &e->full_dz, DTYPE_F32, G, sae->features);
			arena_add(e->arena, &e->full_dh, DTYPE_F32, G, sae->features);
		}
	}
	enum status status = arena_allocate(e->arena, error);
	if (status == STATUS_OK)
		status = arena_allocate(e->inputs, error);
	if (status)
		clamp_edit_done(e);
	return status;
}

void clamp_edit_done(struct clamp_edit *e)
{
	arena_destroy(&e->arena);
	arena_destroy(&e->inputs);
	*e = (struct clamp_edit){0};
}
