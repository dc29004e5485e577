/* A decoder-only transformer described by data.
 *
 * Every supported family is a value of `struct arch` plus a table that names its
 * weights (see weight_map.h); transformer.c reads only this. A family adds rows and,
 * where it brings something truly new, one field here and one case in a kernel.
 *
 * Notation: T tokens, d residual width, H query heads, K key/value heads, hd head
 * width, f MLP width, V vocabulary. All norms, rotations and scores are computed
 * in float32.
 */
#ifndef REBOUND_ARCH_H
#define REBOUND_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"

enum arch_family {
	ARCH_GPT2,
	ARCH_NEOX,
	ARCH_GEMMA2,
	ARCH_GEMMA3,
	ARCH_LLAMA,
	ARCH_MISTRAL,
	ARCH_QWEN2,
	ARCH_QWEN3,
	ARCH_PHI3,
};

enum arch_norm {
	ARCH_NORM_LAYER,    /* (x - mean) / sqrt(var + eps) * w + b, population variance */
	ARCH_NORM_RMS,	    /* x / sqrt(mean(x^2) + eps) * w */
	ARCH_NORM_RMS_PLUS, /* x / sqrt(mean(x^2) + eps) * (1 + w)   (Gemma) */
};

enum arch_act {
	ARCH_ACT_GELU,	    /* exact: x Phi(x) */
	ARCH_ACT_GELU_TANH, /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
	ARCH_ACT_SILU,	    /* x sigmoid(x) */
	ARCH_ACT_RELU,
};

enum { ARCH_MAX_LAYERS = 256, ARCH_MAX_STOPS = 8 };

/* Largest sizes accepted from a config: far above any model of these families and
 * small enough that products of any three fit 63 bits. */
enum {
	ARCH_MAX_WIDTH = 1 << 17, /* d, H hd, K hd */
	ARCH_MAX_F = 1 << 19,
	ARCH_MAX_HEADS = 1 << 10,
	ARCH_MAX_HEAD_DIM = 1 << 12,
	ARCH_MAX_VOCAB = 1 << 23,
	ARCH_MAX_CONTEXT = 1 << 27, /* learned positions: bounded by the file as well */
};

/* A rotary embedding, applied to the first `dims` numbers of each head in halves
 * (pair i with i + dims/2): angle = position * inverse[i]. Two lists where the
 * choice depends on the length of the sequence (longrope): `inverse_long` is used
 * for all positions once the sequence has more than `original_context` tokens. */
struct arch_rope {
	int dims;	      /* even; 0: no rotation */
	double *inverse;      /* dims/2, owned by the arch */
	double *inverse_long; /* dims/2 or NULL */
	int64_t original_context;
	double scale; /* multiplies cos and sin; 1 in most families */
};

struct arch_layer {
	int window;	    /* sliding window in keys including the query itself; 0: full attention */
	int rope;	    /* index into arch.ropes; -1: none */
	double score_scale; /* multiplies q.k */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): grouped by meaning, and there is one of it */
struct arch {
	enum arch_family family;
	int layers, d, heads, kv_heads, head_dim, f;
	int64_t vocab;
	int64_t context;	/* positions the model was made for; learned positions: the hard limit */
	bool learned_positions; /* x = wte[t] * embed_scale + wpe[p] */
	double embed_scale;	/* 1, or sqrt(d) for Gemma */

	enum arch_norm norm;
	double norm_eps;
	bool parallel_residual; /* NeoX: x + attn(ln1 x) + mlp(ln2 x); no resid_mid */
	bool post_norms;	/* Gemma 2/3: the outputs of attention and MLP are normalised before being added */
	bool qk_norm; /* per-head norm of q and k before the rotation (weights [hd]), same kind and eps as `norm` */

	enum arch_act act;
	bool gated; /* down(act(x gate) * (x up)); otherwise down(act(x up)) */

	double score_softcap; /* c: score = c tanh(score / c); 0: none */
	double logit_softcap; /* the same on logits; 0: none */

	bool q_bias, o_bias; /* q_bias: on q, k and v alike */
	bool mlp_bias;

	bool tied; /* logits = norm(x) wte^T; settled by weight_map_build, which sees the file */

	struct arch_rope ropes[2];
	int n_ropes;
	struct arch_layer layer[ARCH_MAX_LAYERS];

	int64_t bos, eos;	      /* from config.json or the class default; -1: none (or outside the vocabulary) */
	int64_t stop[ARCH_MAX_STOPS]; /* all end-of-text ids of config.json; eos is the first */
	int n_stops;
};

/* Hook points on the residual stream (METHOD 1). resid_mid does not exist with
 * parallel residual. resid_post of block l equals resid_pre of block l + 1. */
enum hook {
	HOOK_RESID_PRE,
	HOOK_RESID_MID,
	HOOK_RESID_POST,
	HOOK_COUNT,
};
/* "resid_pre" and so on; static. */
const char *hook_name(enum hook hook);
/* Accepts "resid_pre" and TransformerLens' "hook_resid_pre". False if unknown. */
bool hook_parse(const char *name, enum hook *out);

/* "gpt2" and so on, as in config.json's model_type; static. */
const char *arch_family_name(enum arch_family family);

/* Reads config.json of a Hugging Face model folder (FORMATS 2, 8.1). Anything in it
 * that would change the numbers and is not implemented is an error that names the
 * key. Sizes are bounded (see above). On failure *arch needs no arch_done. */
enum status WARN_UNUSED arch_read(struct arch *arch, const char *folder, struct error *error);
/* The same from the text of a config.json; `what` names it in errors. */
enum status WARN_UNUSED arch_parse(struct arch *arch, const char *text, size_t n, const char *what,
				   struct error *error);
void arch_done(struct arch *arch);

/* True unless the hook is resid_mid of a model with parallel residual. */
bool arch_has_hook(const struct arch *arch, enum hook hook);

/* Where a weight of a block or of the whole model stands in the file. */
enum weight_role {
	/* whole model */
	WEIGHT_WTE,
	WEIGHT_WPE,
	WEIGHT_FINAL_NORM,
	WEIGHT_FINAL_NORM_BIAS,
	WEIGHT_UNEMBED,
	/* a block */
	WEIGHT_NORM1,
	WEIGHT_NORM1_BIAS,
	WEIGHT_Q, /* or fused q|k|v, see `qkv` below */
	WEIGHT_Q_BIAS,
	WEIGHT_K,
	WEIGHT_K_BIAS,
	WEIGHT_V,
	WEIGHT_V_BIAS,
	WEIGHT_Q_NORM,
	WEIGHT_K_NORM,
	WEIGHT_O,
	WEIGHT_O_BIAS,
	WEIGHT_POST_NORM1, /* Gemma: on the output of attention */
	WEIGHT_NORM2,
	WEIGHT_NORM2_BIAS,
	WEIGHT_GATE, /* or fused gate|up */
	WEIGHT_GATE_BIAS,
	WEIGHT_UP,
	WEIGHT_UP_BIAS,
	WEIGHT_DOWN,
	WEIGHT_DOWN_BIAS,
	WEIGHT_POST_NORM2, /* Gemma: on the output of the MLP */
	WEIGHT_COUNT,
};

/* How the file's matrices are laid out; fused ones are used as they are. */
struct arch_layout {
	bool in_out; /* GPT-2's Conv1D: W[in, out], y = x W; otherwise W[out, in], y = x W^T */
	enum {
		QKV_SEPARATE,
		QKV_FUSED,	   /* outputs q | k | v, each head-major (GPT-2, Phi-3): in WEIGHT_Q */
		QKV_FUSED_BY_HEAD, /* outputs (head, {q,k,v}, hd) (NeoX): in WEIGHT_Q */
	} qkv;
	bool gate_up_fused; /* outputs gate | up, in WEIGHT_GATE (Phi-3) */
};

/* One weight of the model, found in its file and checked against the config. */
struct weight_place {
	int file;	    /* index of the shard, -1: the model has no such weight */
	size_t offset;	    /* of the first byte in that file */
	int64_t rows, cols; /* [rows, cols]; vectors are [1, n] */
	int dtype;	    /* enum dtype of compute/tensor.h: f32, bf16 or f16 */
};

#endif
