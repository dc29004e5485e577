/* SAEs of random weights, of every activation and normalisation. The numbers come from one
 * fixed seed, in the order of the calls. */
#ifndef REBOUND_TESTS_RANDOM_SAE_H
#define REBOUND_TESTS_RANDOM_SAE_H

#include "models/sae_file.h"

double random_sae_uniform(double low, double high);
/* New arrays: n numbers, and rows [n, d] of the size of residuals: off centre, lengths over
 * a decade, each number a float. */
float *random_sae_floats(size_t n, double low, double high);
double *random_sae_rows(int64_t n, int64_t d);

/* A loaded spec, for sae_spec_done. `k` is of the activations that have one. */
void random_sae_make(struct sae_spec *s, enum sae_act act, enum sae_norm norm, bool center, int64_t d, int64_t F,
		     int64_t k);
/* What it is, for messages; valid until the next call. */
const char *random_sae_name(const struct sae_spec *s);

#endif
