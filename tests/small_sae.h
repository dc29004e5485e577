/* Small SAEs written in the test: two inputs and three latents, with numbers to work on by
 * hand. What fails here fails the running test. */
#ifndef REBOUND_TESTS_SMALL_SAE_H
#define REBOUND_TESTS_SMALL_SAE_H

#include "models/sae_file.h"
#include "tests/st_writer.h"

extern const float small_W_enc[2 * 3], small_W_dec[3 * 2]; /* [d, F] and [F, d] */
extern const float small_b_enc[3], small_b_dec[2], small_threshold[3];

/* A tensor of float32: [rows, cols], or [rows] where the rank is 1. */
void small_sae_add(struct st_writer *w, const char *name, int rank, int64_t rows, int64_t cols, const float *numbers);
/* What is said of the arrays above, loaded with that cfg.json (SAELens). */
enum status small_sae_open(struct sae_spec *spec, const char *cfg, const struct sae_options *options,
			   struct error *error);
/* What the SAE makes of x = (1.25, 0.75); `name` is for the message. */
void small_sae_expect(const struct sae_spec *spec, const char *name, const double z[3], const double y[2]);

#endif
