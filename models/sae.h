/* A sparse autoencoder on the device: encode, decode, and clamps of a few features.
 *
 *   x' = x - b_dec (where the format subtracts it)
 *   h  = x' W_enc + b_enc,  z = act(h)          (T x F)
 *   x_hat = z W_dec + b_dec
 *
 * Both matrices are kept with one row of d numbers per feature, so that the K clamped
 * features are K rows, whatever F is (METHOD 2; DESIGN, "clamps cost K rows").
 */
#ifndef REBOUND_SAE_H
#define REBOUND_SAE_H

#include "compute/ops.h"
#include "models/arch.h"
#include "models/transformer.h"

/* What an SAE is made of, on the host; borrowed by sae_create. */
struct sae_arrays {
	int layer;
	enum hook hook;
	int64_t d, features;
	enum op_sae_act act;
	bool subtract_b_dec;
	const float *w_enc, *w_dec; /* [F, d] */
	const float *b_enc;	    /* [F] */
	const float *b_dec;	    /* [d] */
	const float *threshold;	    /* [F]; jumprelu only */
};

struct sae {
	struct device *device;
	int layer;
	enum hook hook;
	int64_t d, features;
	enum op_sae_act act;
	bool subtract_b_dec;
	struct tensor w_enc, w_dec, b_enc, b_dec, threshold;
	/* private */
	struct arena *arena;
};

enum status WARN_UNUSED sae_create(struct sae *sae, struct device *device, const struct sae_arrays *arrays,
				   struct error *error);
void sae_done(struct sae *sae);

/* Full encode of R rows; h and z [R, F], prepared [R, d] is scratch. */
void sae_record_encode(const struct sae *sae, struct recorder *rec, struct tensor z, struct tensor h,
		       struct tensor prepared, struct tensor x);
/* x_hat [R, d] from z [R, F]. */
void sae_record_decode(const struct sae *sae, struct recorder *rec, struct tensor x_hat, struct tensor z);
/* dx [G*R, d] from the gradient by z; dh [G*R, F] is scratch. */
void sae_record_encode_back(const struct sae *sae, struct recorder *rec, struct tensor dx, struct tensor dz,
			    struct tensor h, struct tensor dh);
/* dz [G*R, F] from the gradient by x_hat. */
void sae_record_decode_back(const struct sae *sae, struct recorder *rec, struct tensor dz, struct tensor dx_hat);

/* What holds the selected features S of one SAE, gathered: K rows of each matrix. */
struct clamp_rule {
	uint32_t feature;
	enum op_clamp_mode mode;
	float value; /* c or m; unused by ablate */
};
struct clamp {
	const struct sae *sae;
	int64_t count;			/* K >= 1 */
	uint32_t *features;		/* [K] on the host */
	struct tensor w_enc, w_dec;	/* [K, d] */
	struct tensor b_enc, threshold; /* [1, K] */
	struct tensor index, modes;	/* u32 [1, K] */
	struct tensor values;		/* [1, K] */
	/* private */
	struct arena *arena;
};
/* Features must be below F and distinct: an error names the one that isn't. */
enum status WARN_UNUSED clamp_create(struct clamp *clamp, const struct sae *sae, const struct clamp_rule *rules,
				     int64_t count, struct error *error);
void clamp_done(struct clamp *clamp);

/* z_S of R rows: h, z [R, K]; prepared [R, d] scratch. */
void clamp_record_encode(const struct clamp *clamp, struct recorder *rec, struct tensor z, struct tensor h,
			 struct tensor prepared, struct tensor x);
/* dx += the gradient through z_S; dh [G*R, K] scratch. */
void clamp_record_encode_back(const struct clamp *clamp, struct recorder *rec, struct tensor dx, struct tensor dz,
			      struct tensor h, struct tensor dh);

/* The clamp as an edit of the residual stream (METHOD 2). On the rows that are on,
 *   x <- alpha x + (1 - alpha) D(E(x)) + (clamp(z) - z)_S W_dec[S]
 * alpha 1 keeps the SAE's error (the paper), 0 drops it; only alpha != 1 needs all F
 * features. */
struct clamp_edit {
	struct edit edit; /* first: the pass sees this */
	const struct clamp *clamp;
	double alpha;
	struct tensor on; /* u32 [1, R], host-visible: which rows are clamped */
	struct tensor z;  /* [R, K] activations before the clamp, as computed last */
	/* private */
	struct tensor prepared, h, move, dmove, dz, dh;
	struct tensor full_h, full_z, recon, full_dz, full_dh;
	struct arena *arena, *inputs;
};
/* rows R and gradients G as in the pass. */
enum status WARN_UNUSED clamp_edit_create(struct clamp_edit *edit, const struct clamp *clamp, int point, double alpha,
					  int64_t rows, int64_t gradients, bool backward, struct error *error);
void clamp_edit_done(struct clamp_edit *edit);

#endif
