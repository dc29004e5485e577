#include "sessions/encode.h"

#include <stdlib.h>

#include "compute/base/mem.h"

/* Rows that go at once: their activations are not to take much memory. Where all rows
 * compete (BatchTopK) they can't be split. */
static int64_t rows_together(const struct sae *sae, int64_t n)
{
	int64_t most = ((int64_t)64 << 20) / (sae->features * (int64_t)sizeof(float));
	bool compete = sae->act.act == OP_SAE_CHOSEN && sae->k == 0;
	if (most < 1)
		most = 1;
	return compete || most > n ? n : most;
}

static enum status encode_some(const struct sae *sae, const float *x, int64_t n, float *z, float *x_hat,
			       struct error *error)
{
	struct arena *arena = arena_create(sae->device, BUFFER_DEVICE, "the features of some rows");
	struct tensor xt, h, zt, recon;
	struct sae_scratch scratch;
	arena_add(arena, &xt, DTYPE_F32, n, sae->d);
	sae_scratch_declare(&scratch, sae, arena, SAE_SCRATCH_ALL, n, 0);
	arena_add(arena, &h, DTYPE_F32, n, sae->features);
	arena_add(arena, &zt, DTYPE_F32, n, sae->features);
	arena_add(arena, &recon, DTYPE_F32, n, sae->d);
	enum status status = arena_allocate(arena, error);
	if (status == STATUS_OK)
		status = tensor_write(xt, x, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(sae->device, "encode");
		recorder_begin(rec);
		sae_record_encode(sae, rec, zt, h, &scratch, xt);
		if (x_hat)
			sae_record_decode(sae, rec, recon, zt, &scratch);
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

enum status encode_rows(const struct sae *sae, const float *x, int64_t n, float *z, float *x_hat, struct error *error)
{
	enum status status = STATUS_OK;
	int64_t step = rows_together(sae, n);
	for (int64_t i = 0; i < n && status == STATUS_OK; i += step)
		status = encode_some(sae, x + i * sae->d, n - i < step ? n - i : step, z + i * sae->features,
				     x_hat ? x_hat + i * sae->d : NULL, error);
	return status;
}

static enum status decode_some(const struct sae *sae, const float *z, int64_t n, float *y, struct error *error)
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

enum status decode_rows(const struct sae *sae, const float *z, int64_t n, float *y, struct error *error)
{
	enum status status = STATUS_OK;
	int64_t step = rows_together(sae, n);
	for (int64_t i = 0; i < n && status == STATUS_OK; i += step)
		status = decode_some(sae, z + i * sae->features, n - i < step ? n - i : step, y + i * sae->d, error);
	return status;
}

static enum status back_some(const struct sae *sae, const float *x, int64_t n, const float *dz, const float *dx_hat,
			     float *dx, struct error *error)
{
	struct arena *arena = arena_create(sae->device, BUFFER_DEVICE, "the gradients of some rows");
	struct tensor xt, h, zt, recon, up, dzt, dh, dxt;
	struct sae_scratch scratch;
	arena_add(arena, &xt, DTYPE_F32, n, sae->d);
	sae_scratch_declare(&scratch, sae, arena, SAE_SCRATCH_ALL, n, 1);
	arena_add(arena, &h, DTYPE_F32, n, sae->features);
	arena_add(arena, &zt, DTYPE_F32, n, sae->features);
	arena_add(arena, &recon, DTYPE_F32, n, sae->d);
	arena_add(arena, &up, DTYPE_F32, n, sae->d);
	arena_add(arena, &dzt, DTYPE_F32, n, sae->features);
	arena_add(arena, &dh, DTYPE_F32, n, sae->features);
	arena_add(arena, &dxt, DTYPE_F32, n, sae->d);
	enum status status = arena_allocate(arena, error);
	if (status == STATUS_OK)
		status = tensor_write(xt, x, error);
	if (status == STATUS_OK)
		status = dz ? tensor_write(dzt, dz, error) : tensor_write(up, dx_hat, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(sae->device, "encode back");
		recorder_begin(rec);
		sae_record_encode(sae, rec, zt, h, &scratch, xt);
		if (dz) {
			sae_record_encode_back(sae, rec, dxt, dzt, h, dh, &scratch);
		} else {
			sae_record_decode(sae, rec, recon, zt, &scratch);
			sae_record_recon_back(sae, rec, dxt, up, h, dzt, dh, &scratch);
		}
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(dxt, dx, error);
	arena_destroy(&arena);
	return status;
}

enum status encode_rows_back(const struct sae *sae, const float *x, int64_t n, const float *dz, const float *dx_hat,
			     float *dx, struct error *error)
{
	enum status status = STATUS_OK;
	int64_t step = rows_together(sae, n);
	for (int64_t i = 0; i < n && status == STATUS_OK; i += step)
		status = back_some(sae, x + i * sae->d, n - i < step ? n - i : step, dz ? dz + i * sae->features : NULL,
				   dx_hat ? dx_hat + i * sae->d : NULL, dx + i * sae->d, error);
	return status;
}

static enum status clamp_some(const struct clamp *clamp, double alpha, const float *x, int64_t n, float *out,
			      struct error *error)
{
	struct clamp_edit edit;
	enum status status = clamp_edit_create(&edit, clamp, 0, alpha, n, 1, false, error);
	if (status)
		return status;
	struct tensor xt;
	struct arena *arena = arena_create(clamp->sae->device, BUFFER_DEVICE, "the clamped rows");
	uint32_t *on = mem_alloc((size_t)n, sizeof *on);
	for (int64_t i = 0; i < n; i++)
		on[i] = 1;
	arena_add(arena, &xt, DTYPE_F32, n, clamp->sae->d);
	status = arena_allocate(arena, error);
	if (status == STATUS_OK)
		status = tensor_write(xt, x, error);
	if (status == STATUS_OK)
		status = tensor_write(edit.on, on, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(clamp->sae->device, "clamp");
		recorder_begin(rec);
		edit.edit.forward(&edit.edit, rec, xt);
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(xt, out, error);
	free(on);
	arena_destroy(&arena);
	clamp_edit_done(&edit);
	return status;
}

enum status encode_clamped_rows(const struct sae *sae, const struct clamp_rule *rules, int64_t count, double alpha,
				const float *x, int64_t n, float *out, struct error *error)
{
	struct clamp clamp;
	enum status status = clamp_create(&clamp, sae, rules, count, error);
	if (status)
		return status;
	int64_t step = rows_together(sae, n);
	for (int64_t i = 0; i < n && status == STATUS_OK; i += step)
		status =
			clamp_some(&clamp, alpha, x + i * sae->d, n - i < step ? n - i : step, out + i * sae->d, error);
	clamp_done(&clamp);
	return status;
}
