/* How often an SAE's features fired on its training data: sparsity.safetensors, which SAELens
 * writes beside the weights. It holds one tensor, "sparsity" [F]: log10 of the share of the
 * tokens of the last sampling window on which the feature was not 0, plus 1e-10 (SAELens,
 * training/sae_trainer.py, _log_feature_sparsity). Any thread.
 */
#ifndef REBOUND_SAE_SPARSITY_H
#define REBOUND_SAE_SPARSITY_H

#include <stdint.h>

#include "compute/base/error.h"

/* Where a feature counts as dead: on fewer tokens than 1 in 100,000 (SAELens' -5). */
#define SAE_DEAD_RATE 1e-5

/* *rates [F], shares from 0 to 1 (0: never), or NULL if there is no such file beside
 * `weights_path`; a new array. A file that can't be this SAE's is STATUS_INVALID. Blocks on
 * the disk. */
enum status WARN_UNUSED sae_sparsity_read(float **rates, const char *weights_path, int64_t F, struct error *error);

struct sae_training {
	int64_t never, dead; /* features that never fired; that are dead, these included */
	double median;	     /* rate */
};
struct sae_training sae_training_of(const float *rates, int64_t F);

#endif
