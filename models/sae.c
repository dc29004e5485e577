#include "models/sae.h"

#include "compute/base/mem.h"

static enum status write_if(struct tensor t, const float *data, struct error *error)
{
	return data ? tensor_write(t, data, error) : STATUS_OK;
}

enum status sae_create(struct sae *sae, struct device *device, const struct sae_arrays *a, struct error *error)
{
	*sae = (struct sae){
		.device = device,
		.layer = a->layer,
		.hook = a->hook,
		.d = a->d,
		.features = a->features,
		.act = a->act,
		.subtract_b_dec = a->subtract_b_dec,
		.arena = arena_create(device, BUFFER_DEVICE, "the SAE"),
	};
	arena_add(sae->arena, &sae->w_enc, DTYPE_F32, a->features, a->d);
	arena_add(sae->arena, &sae->w_dec, DTYPE_F32, a->features, a->d);
	arena_add(sae->arena, &sae->b_enc, DTYPE_F32, 1, a->features);
	arena_add(sae->arena, &sae->b_dec, DTYPE_F32, 1, a->d);
	if (a->threshold)
		arena_add(sae->arena, &sae->threshold, DTYPE_F32, 1, a->features);
	enum status status = arena_allocate(sae->arena, error);
	if (status == STATUS_OK)
		status = tensor_write(sae->w_enc, a->w_enc, error);
	if (status == STATUS_OK)
		status = tensor_write(sae->w_dec, a->w_dec, error);
	if (status == STATUS_OK)
		status = tensor_write(sae->b_enc, a->b_enc, error);
	if (status == STATUS_OK)
		status = tensor_write(sae->b_dec, a->b_dec, error);
	if (status == STATUS_OK)
		status = write_if(sae->threshold, a->threshold, error);
	if (status)
		sae_done(sae);
	return status;
}

void sae_done(struct sae *sae)
{
	arena_destroy(&sae->arena);
	*sae = (struct sae){0};
}

/* The encoder's input: x, or x - b_dec in `prepared`. Subtracting, rather than folding
 * b_dec into b_enc, keeps an input equal to b_dec exactly at zero. */
static struct tensor encoder_input(const struct sae *sae, struct recorder *rec, struct tensor prepared, struct tensor x)
{
	if (!sae->subtract_b_dec)
		return x;
	op_add(rec, prepared, x, sae->b_dec, -1);
	return prepared;
}

void sae_record_encode(const struct sae *sae, struct recorder *rec, struct tensor z, struct tensor h,
		       struct tensor prepared, struct tensor x)
{
	x = encoder_input(sae, rec, prepared, x);
	op_linear(rec, h, x, sae->w_enc, OP_OUT_IN, &(struct op_linear){.bias = sae->b_enc});
	op_sae_activate(rec, z, h, sae->act, sae->threshold);
}

void sae_record_decode(const struct sae *sae, struct recorder *rec, struct tensor x_hat, struct tensor z)
{
	op_linear(rec, x_hat, z, sae->w_dec, OP_IN_OUT, &(struct op_linear){.bias = sae->b_dec});
}

void sae_record_encode_back(const struct sae *sae, struct recorder *rec, struct tensor dx, struct tensor dz,
			    struct tensor h, struct tensor dh)
{
	op_sae_activate_back(rec, dh, dz, h, sae->act, sae->threshold);
	op_linear(rec, dx, dh, sae->w_enc, OP_IN_OUT, NULL);
}

void sae_record_decode_back(const struct sae *sae, struct recorder *rec, struct tensor dz, struct tensor dx_hat)
{
	op_linear(rec, dz, dx_hat, sae->w_dec, OP_OUT_IN, NULL);
}
