/* A sparse autoencoder on the device: encode, decode, and clamps of a few features.
 *
 * The rule is that of models/sae_file.h; in short, on rows x [R, d]
 *
 *   v = norm(x) - b_dec,  h = v W_enc + b_enc,  z = act(h)      (R x F)
 *   w = z W_dec + b_dec,  x_hat = s w + o
 *
 * where s and o are a row's deviation and mean if the SAE restores them, 1 and 0 if not.
 * Both matrices are kept with one row of d numbers per feature, so that the K clamped
 * features are K rows, whatever F is (METHOD 2; DESIGN, "clamps cost K rows"). Only where
 * an activation depends on the others of its row (TopK and its kin) are all F pre-activations
 * made, a chunk of rows at a time, and the choice is made on the device.
 *
 * Transcoders are not run here: they have no residual to clamp.
 */
#ifndef REBOUND_SAE_H
#define REBOUND_SAE_H

#include "compute/ops.h"
#include "models/arch.h"
#include "models/sae_file.h"
#include "models/transformer.h"

struct sae {
	struct device *device;
	int layer;
	enum hook hook;
	int64_t d, features;
	struct op_sae act;	   /* with the tensors that it needs, [1, F] */
	enum op_sae_choice choice; /* the next two if act.act is OP_SAE_CHOSEN */
	int64_t k;		   /* latents of a row, resp. groups; 0: batch_k is meant */
	double batch_k;		   /* mean latents of a row, all encoded rows competing */
	struct op_sae_prepare prepare;
	bool norm_out;	/* s and o are restored */
	uint64_t bytes; /* of device memory that the tensors take */
	/* The tensors, those of act and prepare too: only once loaded. */
	struct tensor w_enc, w_dec, b_enc, b_dec;
	/* private */
	bool loaded;
	struct arena *arena;
};

/* An error says why this SAE can't be encoded and decoded here; any thread. */
enum status WARN_UNUSED sae_check(const struct sae_spec *spec, struct error *error);
/* The same for clamping its features: also BatchTopK can't be, its choice depends on what
 * else is in the batch. */
enum status WARN_UNUSED sae_check_clampable(const struct sae_spec *spec, struct error *error);
/* Device bytes that sae_load takes. */
uint64_t sae_estimate(const struct sae_spec *spec);
/* What the SAE is, from an opened spec that sae_check accepts: all but the tensors, which
 * nothing may be encoded without. Takes no memory. */
void sae_init(struct sae *sae, struct device *device, const struct sae_spec *spec, int layer, enum hook hook);
/* Puts the tensors on the device, from the spec of sae_init, loaded; its arrays are not needed
 * afterwards. Blocks on the copy; progress (may be NULL) in bytes of the arrays. Whether the
 * device has the memory is for the caller to check. On failure, or cancelled, the SAE is as
 * sae_init left it. */
enum status WARN_UNUSED sae_load(struct sae *sae, const struct sae_spec *spec, const struct progress *progress,
				 struct error *error);
bool sae_loaded(const struct sae *sae);
/* Frees the tensors; sae_load brings them back. Clamps made of it and submitted work must be
 * done with. */
void sae_unload(struct sae *sae);
/* sae_init and sae_load in one. A device with less memory than the estimate is an error with
 * both numbers. */
enum status WARN_UNUSED sae_create(struct sae *sae, struct device *device, const struct sae_spec *spec, int layer,
				   enum hook hook, struct error *error);
void sae_done(struct sae *sae);
/* s of a row x [d] on the host: what a feature's direction W_dec is scaled by there; 1 for an
 * SAE that restores no scale. */
double sae_restored_scale(const struct sae *sae, const float *x);

/* Device memory that encoding R rows takes and leaves for what follows on the same rows:
 * decoding, clamping, the backward pass. One for each place where rows are encoded. */
struct sae_scratch {
	int64_t rows, gradients;
	/* private; only those that the SAE needs exist */
	struct tensor v;     /* [R, d] what meets W_enc, unless that is x itself */
	struct tensor stats; /* [R, 4], see op_sae_prepare */
	struct tensor w;     /* [R, d] the reconstruction before its scale */
	struct tensor dv;    /* [G*R, d] */
	struct tensor cut;   /* of `chunk` rows */
	struct tensor full;  /* [chunk, F] */
	struct tensor part;  /* [chunk, d] */
	int64_t chunk;
};
enum sae_scratch_use {
	SAE_SCRATCH_ALL,      /* all F features are encoded, decoded and differentiated */
	SAE_SCRATCH_SELECTED, /* a clamp's */
};
/* Declares the tensors in the arena, which keeps their addresses: the struct must stay where
 * it is. G = gradients; 0: no backward pass. */
void sae_scratch_declare(struct sae_scratch *scratch, const struct sae *sae, struct arena *arena,
			 enum sae_scratch_use use, int64_t rows, int64_t gradients);

/* Full encode of R rows; h and z [R, F]; h is kept for the backward pass. */
void sae_record_encode(const struct sae *sae, struct recorder *rec, struct tensor z, struct tensor h,
		       const struct sae_scratch *scratch, struct tensor x);
/* x_hat [R, d] from z [R, F] of rows that were encoded. */
void sae_record_decode(const struct sae *sae, struct recorder *rec, struct tensor x_hat, struct tensor z,
		       const struct sae_scratch *scratch);
/* dx [G*R, d] from the gradient by z; dh [G*R, F] is scratch. */
void sae_record_encode_back(const struct sae *sae, struct recorder *rec, struct tensor dx, struct tensor dz,
			    struct tensor h, struct tensor dh, const struct sae_scratch *scratch);
/* dz [G*R, F] from the gradient by x_hat, statistics fixed. */
void sae_record_decode_back(const struct sae *sae, struct recorder *rec, struct tensor dz, struct tensor dx_hat,
			    const struct sae_scratch *scratch);
/* dx [G*R, d] from the gradient by x_hat = decode(encode(x)), exactly, after both were
 * recorded; dz and dh [G*R, F] are scratch. dx is not dx_hat. */
void sae_record_recon_back(const struct sae *sae, struct recorder *rec, struct tensor dx, struct tensor dx_hat,
			   struct tensor h, struct tensor dz, struct tensor dh, const struct sae_scratch *scratch);

/* What holds the selected features S of one SAE, gathered: K rows of each matrix. */
struct clamp_rule {
	uint32_t feature;
	enum op_clamp_mode mode;
	float value; /* c or m; unused by ablate */
};
struct clamp {
	const struct sae *sae;
	int64_t count;		    /* K >= 1 */
	uint32_t *features;	    /* [K] on the host */
	struct tensor w_enc, w_dec; /* [K, d] */
	struct tensor b_enc;	    /* [1, K], if the SAE has it */
	struct op_sae act;	    /* its tensors [1, K] */
	struct tensor index, modes; /* u32 [1, K] */
	struct tensor values;	    /* [1, K] */
	/* private */
	struct arena *arena;
};
/* Features must be below F and distinct: an error names the one that isn't. */
enum status WARN_UNUSED clamp_create(struct clamp *clamp, const struct sae *sae, const struct clamp_rule *rules,
				     int64_t count, struct error *error);
void clamp_done(struct clamp *clamp);

/* z_S of R rows: h, z [R, K]; h is kept for the backward pass. */
void clamp_record_encode(const struct clamp *clamp, struct recorder *rec, struct tensor z, struct tensor h,
			 const struct sae_scratch *scratch, struct tensor x);
/* dx += the gradient through z_S; dh [G*R, K] scratch. */
void clamp_record_encode_back(const struct clamp *clamp, struct recorder *rec, struct tensor dx, struct tensor dz,
			      struct tensor h, struct tensor dh, const struct sae_scratch *scratch);
/* The same where the activations move x by move W_dec (op_clamp), with dmove the gradient by
 * move: also what x does through the scale that move carries. */
void clamp_record_move_back(const struct clamp *clamp, struct recorder *rec, struct tensor dx, struct tensor dz,
			    struct tensor h, struct tensor dh, const struct sae_scratch *scratch, struct tensor dmove,
			    struct tensor move);

/* The clamp as an edit of the residual stream (METHOD 2). On the rows that are on,
 *   x <- alpha x + (1 - alpha) D(E(x)) + s (clamp(z) - z)_S W_dec[S]
 * alpha 1 keeps the SAE's error (the paper), 0 drops it; only alpha != 1 needs all F
 * features. */
struct clamp_edit {
	struct edit edit; /* first: the pass sees this */
	const struct clamp *clamp;
	double alpha;
	struct tensor on; /* u32 [1, R], host-visible: which rows are clamped */
	struct tensor z;  /* [R, K] activations before the clamp, as computed last */
	/* private */
	struct sae_scratch scratch, full_scratch;
	struct tensor h, move, dmove, dz, dh;
	struct tensor full_h, full_z, recon, full_dz, full_dh;
	struct arena *arena, *inputs;
};
/* rows R and gradients G as in the pass. */
enum status WARN_UNUSED clamp_edit_create(struct clamp_edit *edit, const struct clamp *clamp, int point, double alpha,
					  int64_t rows, int64_t gradients, bool backward, struct error *error);
void clamp_edit_done(struct clamp_edit *edit);

#endif
