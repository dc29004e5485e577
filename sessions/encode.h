/* Encoding and decoding rows that lie on the host. Blocking. */
#ifndef REBOUND_ENCODE_H
#define REBOUND_ENCODE_H

#include "models/sae.h"

/* z [n, F] of x [n, d], and (x_hat not NULL) the reconstruction [n, d]. */
enum status WARN_UNUSED encode_rows(const struct sae *sae, const float *x, int64_t n, float *z, float *x_hat,
				    struct error *error);
/* y [n, d] = z [n, F] W_dec, without the bias. */
enum status WARN_UNUSED decode_rows(const struct sae *sae, const float *z, int64_t n, float *y, struct error *error);

#endif
