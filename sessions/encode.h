/* An SAE on rows of numbers, apart from any model: whole calls that upload, run and read
 * back, some rows at a time. All block; the device's thread. x is [n, d], z [n, F], all in
 * float32 and owned by the caller. */
#ifndef REBOUND_ENCODE_H
#define REBOUND_ENCODE_H

#include "models/sae.h"

/* z and, if wanted, x_hat [n, d] of n rows of x. */
enum status WARN_UNUSED encode_rows(const struct sae *sae, const float *x, int64_t n, float *z, float *x_hat,
				    struct error *error);
/* y [n, d] = z W_dec: what parts of activations contribute, without b_dec and before the
 * scale that the SAE may restore (sae_restored_scale). */
enum status WARN_UNUSED decode_rows(const struct sae *sae, const float *z, int64_t n, float *y, struct error *error);
/* dx [n, d] from the gradient by z, or (dz NULL) from that by the reconstruction, dx_hat
 * [n, d]. */
enum status WARN_UNUSED encode_rows_back(const struct sae *sae, const float *x, int64_t n, const float *dz,
					 const float *dx_hat, float *dx, struct error *error);
/* What the clamp makes of x (METHOD 2), alpha of the SAE's error kept: out [n, d]. An
 * error for an SAE that can't be clamped. */
enum status WARN_UNUSED encode_clamped_rows(const struct sae *sae, const struct clamp_rule *rules, int64_t count,
					    double alpha, const float *x, int64_t n, float *out, struct error *error);

#endif
