/* How well an SAE fits the residual of the prompt at hand: what shows a wrong hook point, a
 * misread threshold or a scale that is missing at once (DESIGN, "Exactness").
 *
 * Position 0 holds the attention sink in most models, one huge outlier that would hide
 * everything else in the variance: a prompt of more than one token is measured without it.
 * All block; the session's thread.
 */
#ifndef REBOUND_SAE_FIT_H
#define REBOUND_SAE_FIT_H

#include "sessions/scene.h"

/* Mean cross-entropy, in nats, of the prompt's own next tokens. */
struct splice_loss {
	int64_t tokens;		       /* predicted; 0: not measured */
	double clean, spliced, zeroed; /* the residual as it is, reconstructed, zero */
};

/* A fraction of variance unexplained beyond which the fit is called poor. */
#define SAE_FIT_POOR 0.5

struct sae_fit {
	/* |x - x_hat|^2 over |x - mean|^2; explained variance is 1 - fvu. */
	double fvu;
	double l0;     /* active features of a position, mean */
	double cosine; /* of x and x_hat, mean */
	double dead;   /* share of the features that no position activates */
	double scale;  /* length of x_hat along x, in lengths of x: far from 1 it was read at another scale */
	int64_t rows;  /* positions measured */
	struct splice_loss loss;
};

/* Everything but the loss, of a scene's residual at the site. */
enum status WARN_UNUSED sae_fit_measure(struct sae_fit *fit, struct scene *scene, int site, struct error *error);

/* fit->loss of a base scene, as SAELens defines it (sae_lens/evals.py,
 * get_downstream_reconstruction_metrics): the residual at the SAE's hook is replaced by its
 * reconstruction, resp. by zeros, and the rest of the model runs. Position 0, left out of
 * the other figures, is treated as SAELens treats a token of exclude_special_tokens: not
 * reconstructed (but zeroed), and what is predicted there does not count. Three passes over
 * the blocks above the hook. A clamped scene, a prompt of fewer than three tokens, or a device
 * without the memory for the passes leaves tokens = 0. Asks the session's cancel flag. */
enum status WARN_UNUSED sae_fit_measure_loss(struct sae_fit *fit, struct scene *scene, int site, struct error *error);

/* Loss recovered, (zeroed - spliced) / (zeroed - clean): 1 is as good as the residual itself,
 * 0 as bad as zeros. False where it was not measured, or where zeros do no harm to speak of,
 * so that there is nothing to recover. */
bool splice_loss_recovered(const struct splice_loss *loss, double *share);

/* Writes into `out` (cut to `size`, "" if there is nothing to say) what a poor fit looks like
 * and which misreading it resembles; F features. False if the fit gives no cause, or has too
 * few rows to judge by. */
bool sae_fit_warning(char *out, size_t size, const struct sae_fit *fit, int64_t F);

#endif
