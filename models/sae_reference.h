/* What an SAE computes, in plain double-precision C: the measure for the kernels and
 * for the start-up self-test. Slow and simple on purpose.
 *
 * The spec must be loaded (sae_file.h states the rule). Rows are independent but for
 * SAE_BATCHTOPK, where the T rows of one call compete. Matrices are row-major. Pure
 * functions: any thread.
 */
#ifndef REBOUND_SAE_REFERENCE_H
#define REBOUND_SAE_REFERENCE_H

#include "compute/ops.h"
#include "models/sae_file.h"

/* z [T, F] from x [T, d_in]. `pre` (may be NULL) [T, F]: what z equals where it is not
 * 0 (h, or m if gated, or tanh(max(h, 0))). */
void sae_reference_encode(const struct sae_spec *spec, int64_t T, const double *x, double *z, double *pre);

/* y [T, d_out] from z; x [T, d_in] serves the output's normalisation and the skip. */
void sae_reference_decode(const struct sae_spec *spec, int64_t T, const double *x, const double *z, double *y);

/* dx [T, d_in] = d <dz, z(x)> / dx, through active latents only; no gradient by
 * thresholds or through a choice. */
void sae_reference_encode_back(const struct sae_spec *spec, int64_t T, const double *x, const double *dz, double *dx);

/* dx [T, d_in] = d <dy, decode(encode(x), x)> / dx, statistics and skip included. */
void sae_reference_recon_back(const struct sae_spec *spec, int64_t T, const double *x, const double *dy, double *dx);

/* The clamped value of an activation (METHOD 2). */
double sae_reference_clamp_value(enum op_clamp_mode mode, double value, double z);

/* out [T, d_out] = D(clamp z) + alpha (h - D(z)): alpha 1 keeps the SAE's error, 0
 * drops it. h [T, d_out] is what is clamped: x itself, for a transcoder its module's
 * output. All K features have one mode and value. */
void sae_reference_clamp(const struct sae_spec *spec, int64_t T, const double *x, const double *h,
			 const int64_t *features, int64_t K, enum op_clamp_mode mode, double value, double alpha,
			 double *out);

#endif
