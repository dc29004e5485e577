#include "sessions/encode.h"

enum status encode_rows(const struct sae *sae, const float *x, int64_t n, float *z, float *x_hat, struct error *error)
{
	struct arena *arena = arena_create(sae->device, BUFFER_DEVICE, "the features of delta");
	struct tensor xt, prepared, h, zt, recon;
	arena_add(arena, &xt, DTYPE_F32, n, sae->d);
	arena_add(arena, &prepared, DTYPE_F32, n, sae->d);
	arena_add(arena, &h, DTYPE_F32, n, sae->features);
	arena_add(arena, &zt, DTYPE_F32, n, sae->features);
	arena_add(arena, &recon, DTYPE_F32, n, sae->d);
	enum status status = arena_allocate(arena, error);
	if (status == STATUS_OK)
		status = tensor_write(xt, x, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(sae->device, "encode");
		recorder_begin(rec);
		sae_record_encode(sae, rec, zt, h, prepared, xt);
		if (x_hat)
			sae_record_decode(sae, rec, recon, zt);
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(zt, z, error);
	if (status == STATUS_OK && x_hat)
		status = tensor_read(recon, x_hat, error);
	arena_destroy(&arena);
	return status;
}

enum status decode_rows(const struct sae *sae, const float *z, int64_t n, float *y, struct error *error)
{
	struct arena *arena = arena_create(sae->device, BUFFER_DEVICE, "the components");
	struct tensor zt, yt;
	arena_add(arena, &zt, DTYPE_F32, n, sae->features);
	arena_add(arena, &yt, DTYPE_F32, n, sae->d);
	enum status status = arena_allocate(arena, error);
	if (status == STATUS_OK)
		status = tensor_write(zt, z, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(sae->device, "decode");
		recorder_begin(rec);
		op_linear(rec, yt, zt, sae->w_dec, OP_IN_OUT, NULL);
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(yt, y, error);
	arena_destroy(&arena);
	return status;
}
