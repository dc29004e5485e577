#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/sae.h"

static enum status check_rules(const struct sae *sae, const struct clamp_rule *rules, int64_t count,
			       struct error *error)
{
	if (count < 1)
		return error_set(error, STATUS_INVALID, "a clamp needs at least one feature");
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

enum status clamp_create(struct clamp *clamp, const struct sae *sae, const struct clamp_rule *rules, int64_t count,
			 struct error *error)
{
	*clamp = (struct clamp){.sae = sae, .count = count};
	enum status status = check_rules(sae, rules, count, error);
	if (status)
		return status;
	clamp->features = mem_alloc((size_t)count, sizeof *clamp->features);
	for (int64_t i = 0; i < count; i++)
		clamp->features[i] = rules[i].feature;
	clamp->arena = arena_create(sae->device, BUFFER_DEVICE, "the clamp");
	arena_add(clamp->arena, &clamp->w_enc, DTYPE_F32, count, sae->d);
	arena_add(clamp->arena, &clamp->w_dec, DTYPE_F32, count, sae->d);
	arena_add(clamp->arena, &clamp->b_enc, DTYPE_F32, 1, count);
	if (tensor_exists(sae->threshold))
		arena_add(clamp->arena, &clamp->threshold, DTYPE_F32, 1, count);
	arena_add(clamp->arena, &clamp->index, DTYPE_U32, 1, count);
	arena_add(clamp->arena, &clamp->modes, DTYPE_U32, 1, count);
	arena_add(clamp->arena, &clamp->values, DTYPE_F32, 1, count);
	status = arena_allocate(clamp->arena, error);
	if (status == STATUS_OK)
		status = gather(clamp->w_enc, sae->w_enc, clamp->features, count, sae->d, error);
	if (status == STATUS_OK)
		status = gather(clamp->w_dec, sae->w_dec, clamp->features, count, sae->d, error);
	if (status == STATUS_OK)
		status = gather(clamp->b_enc, sae->b_enc, clamp->features, count, 1, error);
	if (status == STATUS_OK && tensor_exists(sae->threshold))
		status = gather(clamp->threshold, sae->threshold, clamp->features, count, 1, error);
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

void clamp_record_encode(const struct clamp *clamp, struct recorder *rec, struct tensor z, struct tensor h,
			 struct tensor prepared, struct tensor x)
{
	const struct sae *sae = clamp->sae;
	if (sae->subtract_b_dec) {
		op_add(rec, prepared, x, sae->b_dec, -1);
		x = prepared;
	}
	op_linear(rec, h, x, clamp->w_enc, OP_OUT_IN, &(struct op_linear){.bias = clamp->b_enc});
	op_sae_activate(rec, z, h, sae->act, clamp->threshold);
}

void clamp_record_encode_back(const struct clamp *clamp, struct recorder *rec, struct tensor dx, struct tensor dz,
			      struct tensor h, struct tensor dh)
{
	op_sae_activate_back(rec, dh, dz, h, clamp->sae->act, clamp->threshold);
	op_linear(rec, dx, dh, clamp->w_enc, OP_IN_OUT, &(struct op_linear){.residual = dx});
}

static void edit_forward(struct edit *base, struct recorder *rec, struct tensor x)
{
	struct clamp_edit *e = (struct clamp_edit *)base;
	const struct clamp *clamp = e->clamp;
	clamp_record_encode(clamp, rec, e->z, e->h, e->prepared, x);
	op_clamp(rec, e->move, e->z, clamp->modes, clamp->values, e->on);
	if (e->alpha != 1) {
		sae_record_encode(clamp->sae, rec, e->full_z, e->full_h, e->prepared, x);
		struct tensor recon = tensor_rows(e->recon, 0, x.rows);
		sae_record_decode(clamp->sae, rec, recon, e->full_z);
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
	op_clamp_back(rec, dz, dmove, e->z, clamp->modes, clamp->values, e->on);
	if (e->alpha != 1) {
		struct tensor full_dz = tensor_rows(e->full_dz, 0, dx.rows), recon = tensor_rows(e->recon, 0, dx.rows);
		struct tensor full_dh = tensor_rows(e->full_dh, 0, dx.rows);
		sae_record_decode_back(clamp->sae, rec, full_dz, dx);
		sae_record_encode_back(clamp->sae, rec, recon, full_dz, e->full_h, full_dh);
		op_blend(rec, dx, dx, recon, e->on, e->alpha);
	}
	clamp_record_encode_back(clamp, rec, dx, dz, e->h, tensor_rows(e->dh, 0, dx.rows));
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
	arena_add(e->arena, &e->prepared, DTYPE_F32, rows, sae->d);
	if (backward) {
		arena_add(e->arena, &e->dmove, DTYPE_F32, G, K);
		arena_add(e->arena, &e->dz, DTYPE_F32, G, K);
		arena_add(e->arena, &e->dh, DTYPE_F32, G, K);
	}
	if (alpha != 1) {
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
