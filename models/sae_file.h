/* Sparse autoencoders (SAEs) and transcoders from files, in one canonical form.
 *
 * Whatever the format (FORMATS 3), reading ends in a `struct sae_spec` whose rule is
 * always the same; x is one row of d_in numbers:
 *
 *   c = x - mean(x) if center_input, else x
 *   u = c                                            SAE_NORM_NONE
 *     = c sqrt(d_in) / |c|                           SAE_NORM_CONSTANT
 *     = (c - mu) / (sd + 1e-5), sd unbiased          SAE_NORM_LAYER
 *   v = u - b_dec if subtract_b_dec, else u
 *   h = v W_enc^T + b_enc                            (b_enc is absent if gated)
 *   z = act(h), see enum sae_act
 *   w = z W_dec + b_dec
 *   y = w                                            if not norm_out
 *     = w |c| / sqrt(d_in)   or   w sd + mu          if norm_out
 *   y += x W_skip                                    if W_skip
 *
 * Scales of data sets, decoder norms and fine-tuning factors are folded into the
 * arrays in double precision and rounded once. b_dec is never folded into b_enc: a
 * latent exactly on its threshold must stay off.
 */
#ifndef REBOUND_SAE_FILE_H
#define REBOUND_SAE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/base/progress.h"
#include "models/arch.h"
#include "models/half.h"

enum sae_format {
	SAE_SAELENS,		 /* cfg.json, sae_weights.safetensors */
	SAE_GEMMA_SCOPE,	 /* params.npz */
	SAE_GEMMA_SCOPE_2,	 /* params.safetensors, config.json */
	SAE_SPARSIFY,		 /* cfg.json, sae.safetensors */
	SAE_DICTIONARY_LEARNING, /* config.json, ae.pt */
	SAE_LLAMA_SCOPE,	 /* hyperparams.json, checkpoints/final.safetensors */
	SAE_OPENMOSS,		 /* config.json, sae_weights.safetensors (also Llama Scope R1) */
	SAE_OPENAI,		 /* <layer>.pt */
	SAE_QWEN_SCOPE,		 /* layer<n>.sae.pt */
	SAE_FORMAT_COUNT,
};

enum sae_act {
	SAE_RELU,      /* z = max(h, 0) */
	SAE_TANH_RELU, /* z = tanh(max(h, 0)) */
	SAE_JUMPRELU,  /* z = h if h > threshold and h > 0, else 0 */
	SAE_TOPK,      /* of the k largest h (the lower index first among equals) the positive ones */
	SAE_ABSTOPK,   /* the k largest |h|, sign kept; ties as above */
	SAE_GROUPMAX,  /* k groups of F/k neighbours: the largest of each (the first of equals) if positive */
	SAE_GATED,     /* z = max(m, 0) if h + b_gate > 0, else 0; m = h mag_scale + b_mag */
	SAE_BATCHTOPK, /* over N rows the int(batch_k N) largest positive h; ties: the lower (row, index) */
	SAE_ACT_COUNT,
};

enum sae_norm {
	SAE_NORM_NONE,
	SAE_NORM_CONSTANT,
	SAE_NORM_LAYER,
};

/* Where in block `layer` an activation is. */
enum sae_site {
	SAE_SITE_UNKNOWN,
	SAE_SITE_RESID_PRE,
	SAE_SITE_RESID_MID,
	SAE_SITE_RESID_POST,
	SAE_SITE_ATTN_Z,	  /* heads side by side, before the output projection */
	SAE_SITE_ATTN_OUT,	  /* what attention adds to the residual */
	SAE_SITE_MLP_IN,	  /* the norm in front of the MLP, with its weight (and bias) */
	SAE_SITE_MLP_IN_UNSCALED, /* the same without them: TransformerLens' ln2.hook_normalized */
	SAE_SITE_MLP_HIDDEN,	  /* after the activation function */
	SAE_SITE_MLP_OUT,	  /* what the MLP adds to the residual */
	SAE_SITE_EMBED,		  /* embeddings, before any scale */
	SAE_SITE_COUNT,
};

enum sae_center {
	SAE_CENTER_AUTO, /* as the configuration or the release says */
	SAE_CENTER_YES,
	SAE_CENTER_NO,
};

/* Choices that no file makes; all zero is the default. */
struct sae_options {
	/* The factor s of expected_average_only_in, published outside the SAE: folded as
	 * W_enc s, W_dec / s, b_dec / s. 0: none. */
	double activation_scale;
	/* Read as SAELens does where it differs from the format's own library: features
	 * of another scale (Llama Scope, dictionary_learning's AutoEncoder), a gate
	 * without decoder norms (Llama Scope R1). */
	bool saelens_reading;
	enum sae_center center;
};

struct sae_spec {
	char *path;	    /* as given */
	char *weights_path; /* the file with the tensors */
	char *config_path;  /* NULL if there is none */
	enum sae_format format;
	struct sae_options options;

	int64_t d_in, d_out, F;
	int64_t layer; /* -1: unknown */
	enum sae_site site_in, site_out;
	bool transcoder; /* reconstructs something other than its input */

	/* As recorded; NULL if not. From a stranger: show through text_printable. */
	char *hook_name, *hook_name_out, *model_name, *neuronpedia_id, *architecture;
	int64_t context_size; /* 0: unknown */
	bool prepend_bos;
	char *notes; /* sentences for the user, each ended by a newline; "" if none */

	enum sae_act act;
	int64_t k;	/* TOPK, ABSTOPK: latents a row; GROUPMAX: groups; else 0 */
	double batch_k; /* BATCHTOPK: mean latents a row, may be fractional */
	enum sae_norm norm;
	bool norm_out;
	bool subtract_b_dec;
	bool center_input;
	bool has_skip;

	/* [F] share of the tokens of its training data on which a feature is on (sae_sparsity.h);
	 * NULL where no file says. Owned; there once opened. */
	float *training_rates;

	enum st_dtype stored_dtype; /* of the encoder matrix */
	size_t stored_bytes;	    /* of all tensors in the file */

	/* NULL until sae_file_load. Owned. All finite. */
	float *W_enc;	  /* [F, d_in]: a row per latent */
	float *W_dec;	  /* [F, d_out] */
	float *b_enc;	  /* [F]; NULL if gated */
	float *b_dec;	  /* [d_out] */
	float *threshold; /* [F], JUMPRELU only */
	float *b_gate;	  /* [F], gated only; and the next two */
	float *b_mag;	  /* [F] */
	float *mag_scale; /* [F], exp(r_mag) */
	float *W_skip;	  /* [d_in, d_out] if has_skip */
	size_t loaded_bytes;
};

/* Reads configuration and shapes of the SAE in a folder or file (NULL options: the
 * default) and checks them against each other; cheap whatever the size. What is wrong
 * is said in one sentence that names the file. */
enum status WARN_UNUSED sae_file_open(struct sae_spec *spec, const char *path, const struct sae_options *options,
				      struct error *error);
/* Bytes that sae_file_load will allocate for the arrays. */
size_t sae_file_load_bytes(const struct sae_spec *spec);
/* Reads the numbers of an opened SAE. Blocks on the disk; any one thread. Progress (may be
 * NULL) is in bytes of sae_file_load_bytes. On failure, or cancelled, the spec stays opened
 * and empty. */
enum status WARN_UNUSED sae_file_load(struct sae_spec *spec, const struct progress *progress, struct error *error);
/* Frees the arrays, keeps the description. */
void sae_file_unload(struct sae_spec *spec);
void sae_spec_done(struct sae_spec *spec);

/* The SAEs at a path: itself, if it is one; of a folder, those inside, at most four
 * levels down, in the order of their numbers ("layers.2" before "layers.10"). Found by
 * the names of files alone. An error if there is none. */
struct sae_list {
	char **paths;
	size_t count;
};
enum status WARN_UNUSED sae_file_list(struct sae_list *list, const char *path, struct error *error);
void sae_list_done(struct sae_list *list);

/* For showing; static. */
const char *sae_format_name(enum sae_format format);
const char *sae_act_name(enum sae_act act);
const char *sae_norm_name(enum sae_norm norm);
const char *sae_site_name(enum sae_site site);
/* The residual hook of a site; false if it is not on the residual stream. */
bool sae_site_hook(enum sae_site site, enum hook *out);
enum sae_site sae_site_of_hook(enum hook hook);
/* Understands TransformerLens' ("blocks.4.hook_resid_pre"), Hugging Face's
 * ("model.layers.4.mlp", "layers.4", "model.layers.7.output") and dictionary_learning's
 * ("resid_post_layer_3") names. False if the site is not recognised; *layer is -1 if
 * the name has no number. */
bool sae_site_parse(const char *name, enum sae_site *site, int64_t *layer);

#endif
