/* The operations on tensors that transformers, SAEs and recovery are written in.
 *
 * Each call records one or a few dispatches (see record.h); shapes are checked and a
 * mistake is fatal, a device limit is the recorder's error. Tensors are float32
 * unless said otherwise. Names: R rows (tokens) of a pass, d width, H query heads,
 * K key/value heads, hd head width, f MLP width, V vocabulary, F features, S the
 * number of independent sequences of a batch.
 *
 * Gradients. `dy` is the gradient of the objective by y. A backward pass may carry G
 * gradients at once (Jacobian probes): gradient tensors then have G*R rows, row
 * g*R + r belonging to forward row r; saved forward tensors keep R rows and are read
 * at row (i mod R). G follows from the shapes.
 *
 * Sums run in a fixed order in float32: the same device and driver repeat to the bit.
 */
#ifndef REBOUND_OPS_H
#define REBOUND_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/record.h"
#include "compute/tensor.h"

enum op_act {
	OP_ACT_NONE,
	OP_ACT_GELU, /* exact, with erf */
	OP_ACT_GELU_TANH,
	OP_ACT_SILU,
	OP_ACT_RELU,
};

enum op_norm {
	OP_NORM_NONE,
	OP_NORM_LAYER,	  /* (x - mean) / sqrt(var + eps) * w + b; b may be absent */
	OP_NORM_RMS,	  /* x / sqrt(mean x^2 + eps) * w */
	OP_NORM_RMS_PLUS, /* x / sqrt(mean x^2 + eps) * (1 + w) */
};

/* ---- products with a weight matrix (ops_linear.c) ---- */

enum op_layout {
	OP_OUT_IN, /* w[N, K]: y = x w^T  (Hugging Face Linear forward; GPT-2 backward) */
	OP_IN_OUT, /* w[K, N]: y = x w    (GPT-2's Conv1D forward; Linear backward) */
};

/* What is done besides the product; zeroed: nothing. In this order:
 *   x' = norm(x)                              if norm
 *   v  = x' W + bias                          (bias [1, N])
 *   pre = v                                   if pre exists ([R, N])
 *   v  = act(v)
 *   v *= back_act'(back_pre[row mod rows])    if back_pre exists ([R0, N])
 *   y  = v + residual[row]                    if residual exists ([R, N], may be y)
 * If k_cache and v_cache [S*context, W] exist, the columns are q | k | v: y has the first
 * N - 2W, and the others go where op_qkv (below) would put them, for heads that are
 * neither normalised nor rotated; `rows` is the row table. */
struct op_linear {
	enum op_norm norm;
	struct tensor norm_w, norm_b;
	double norm_eps;
	struct tensor bias;
	struct tensor pre;
	enum op_act act;
	enum op_act back_act;
	struct tensor back_pre;
	struct tensor residual;
	struct tensor k_cache, v_cache, rows;
	int64_t context;
};
/* y [R, N], x [R, K], w float32, bfloat16 or float16 of any size (split over the
 * device's binding limit). `extra` may be NULL. Any R, N, K >= 1. With recorder_rows_alike the
 * bits of a row don't depend on R, on CPU devices. */
void op_linear(struct recorder *rec, struct tensor y, struct tensor x, struct tensor w, enum op_layout layout,
	       const struct op_linear *extra);

/* y[r, j] = x[r, :] . w[ids[j], :] for n ids (u32 [1, n], or [R, n]: each row its own; each
 * < rows of w, checked by the host when they were made): only the logits that an objective
 * reads. */
void op_linear_gather(struct recorder *rec, struct tensor y, struct tensor x, struct tensor w, struct tensor ids);
/* dx[r, :] = sum_j dy[r, j] w[ids[j], :] */
void op_linear_gather_back(struct recorder *rec, struct tensor dx, struct tensor dy, struct tensor w,
			   struct tensor ids);

/* x[r, :] = wte[ids[r], :] * scale (+ wpe[positions[r], :] if wpe exists); ids u32
 * [1, R]; positions are column 1 of the row table below. */
void op_embed(struct recorder *rec, struct tensor x, struct tensor ids, struct tensor rows, struct tensor wte,
	      struct tensor wpe, double scale);

/* ---- norms, attention, gated MLPs (ops_norm.c, ops_attention.c) ---- */

/* y, x [R, d]; w, b [1, d]. Also for heads: x seen as [R*H, hd]. */
void op_norm(struct recorder *rec, struct tensor y, struct tensor x, enum op_norm kind, struct tensor w,
	     struct tensor b, double eps);
/* dx = back(dy) + residual (absent: none; may be dx). dx, dy [G*R, d], x [R, d]. */
void op_norm_back(struct recorder *rec, struct tensor dx, struct tensor dy, struct tensor x, enum op_norm kind,
		  struct tensor w, double eps, struct tensor residual);

/* The row table: u32 [R, 2], {sequence, position} of each row. Rows are ordered by
 * sequence, then position; the rows of one sequence have consecutive positions. The
 * cache of a layer, keys and values each [S*context, K*hd], holds position p of
 * sequence s in row s*context + p. A pass over late positions only reads what earlier
 * passes left there. */
enum op_qkv_order {
	OP_QKV_CONCAT,	/* q | k | v, each head-major (also what three products into one tensor give) */
	OP_QKV_BY_HEAD, /* (head, {q, k, v}, hd) (NeoX; H == K) */
};
struct op_attention {
	int heads, kv_heads, head_dim;
	enum op_qkv_order order;
	int64_t context; /* cache rows of a sequence */
	/* rotation of the first rope_dims of each head, in halves; 0: none */
	int rope_dims;
	struct tensor rope_inverse; /* [1, rope_dims/2] float32: inv_i */
	double rope_scale;	    /* multiplies cos and sin */
	/* per-head norm of q and k before the rotation */
	enum op_norm qk_norm;
	struct tensor q_norm_w, k_norm_w; /* [1, hd] */
	double qk_norm_eps;
	double score_scale;
	double softcap; /* 0: none */
	int window;	/* keys visible including the query's own; 0: all */
};
/* Splits qkv [R, (H+2K)*hd] (biases already added), normalises and rotates q and k,
 * writes q [R, H*hd] and the rows' keys and values into the cache. */
void op_qkv(struct recorder *rec, struct tensor q, struct tensor k_cache, struct tensor v_cache, struct tensor qkv,
	    struct tensor rows, const struct op_attention *a);
/* The reverse: dqkv [G*R, (H+2K)*hd] from dq [G*R, H*hd], dk, dv [G*R, K*hd] (by the
 * rotated keys in the cache). qkv as given to op_qkv. */
void op_qkv_back(struct recorder *rec, struct tensor dqkv, struct tensor dq, struct tensor dk, struct tensor dv,
		 struct tensor qkv, struct tensor rows, const struct op_attention *a);
/* out [R, H*hd] = softmax(mask(cap(q k^T scale))) v over the cached keys; lse [R, H]
 * is the log of the softmax's denominator (for the backward pass). Any number of keys (on llvmpipe
 * as many as its loops allow, 100,000 and more; else the recording fails);
 * nothing of size R*T*H is kept. */
void op_attention(struct recorder *rec, struct tensor out, struct tensor lse, struct tensor q, struct tensor k_cache,
		  struct tensor v_cache, struct tensor rows, const struct op_attention *a);
/* Gradients by q and by the keys and values of the rows of this pass (those of earlier
 * positions are constants). dout [G*R, H*hd]. */
void op_attention_back(struct recorder *rec, struct tensor dq, struct tensor dk, struct tensor dv, struct tensor dout,
		       struct tensor q, struct tensor k_cache, struct tensor v_cache, struct tensor out,
		       struct tensor lse, struct tensor rows, const struct op_attention *a);

/* a [R, f] = act(gate) * up, gate_up [R, 2f] = gate | up. */
void op_glu(struct recorder *rec, struct tensor a, struct tensor gate_up, enum op_act act);
void op_glu_back(struct recorder *rec, struct tensor dgate_up, struct tensor da, struct tensor gate_up,
		 enum op_act act);

/* y = cap tanh(x / cap), elementwise; dx = dy (1 - (y/cap)^2). y may be x. */
void op_softcap(struct recorder *rec, struct tensor y, struct tensor x, double cap);
void op_softcap_back(struct recorder *rec, struct tensor dx, struct tensor dy, struct tensor y, double cap);

/* y = a + scale * b, elementwise; b may have fewer rows (read at row mod rows of b). y
 * may be a or b (where b has as many rows). */
void op_add(struct recorder *rec, struct tensor y, struct tensor a, struct tensor b, double scale);
/* y[r, :] = on[r] ? alpha a[r, :] + (1 - alpha) b[r, :] : a[r, :]; y may be a. on u32
 * [1, R0] is read at row mod R0. (A clamp that drops or scales the SAE's error; b absent
 * counts as zero, which is the backward pass by a.) */
void op_blend(struct recorder *rec, struct tensor y, struct tensor a, struct tensor b, struct tensor on, double alpha);
/* y[i, :] = x[index[i], :] for the n rows in index (u32 [1, n]); and the reverse:
 * y[index[i], :] += x[i, :], indices distinct. With G gradients (y has G times the rows
 * that index addresses, x G*n rows) every replica is done; `stride` is the number of
 * rows of one replica of y (scatter) or x (gather). */
void op_gather_rows(struct recorder *rec, struct tensor y, struct tensor x, struct tensor index, int64_t stride);
void op_scatter_add_rows(struct recorder *rec, struct tensor y, struct tensor x, struct tensor index, int64_t stride);
/* y[s, :] = mean of the rows of x whose sequence is s and position >= first (probe
 * pooling); back: dx[r, :] = dy[s(r), :] / n_s for those rows, else 0. */
void op_pool(struct recorder *rec, struct tensor y, struct tensor x, struct tensor rows, int64_t first);
void op_pool_back(struct recorder *rec, struct tensor dx, struct tensor dy, struct tensor rows, int64_t first);

/* ---- sparse autoencoders (ops_sae.c) ---- */

enum op_sae_act {
	OP_SAE_RELU,
	OP_SAE_TANH_RELU, /* tanh(relu(h)) */
	OP_SAE_JUMPRELU,  /* relu(h) where h > threshold, strictly */
	OP_SAE_GATED,	  /* relu(h mag_scale + b_mag) where h + b_gate > 0 */
	OP_SAE_CHOSEN,	  /* the choice below; only op_sae_activate_back takes it */
};
/* What the activations of n features are made with; absent where the act needs none. */
struct op_sae {
	enum op_sae_act act;
	struct tensor threshold;		/* [1, n] */
	struct tensor b_gate, b_mag, mag_scale; /* [1, n] */
};
/* z [R, n] from pre-activations h [R, n]. */
void op_sae_activate(struct recorder *rec, struct tensor z, struct tensor h, const struct op_sae *sae);
/* dh [G*R, n] from dz; through active latents only, no gradient by the threshold or the
 * gate. For OP_SAE_CHOSEN h is what op_sae_chosen left: active is what is not 0. */
void op_sae_activate_back(struct recorder *rec, struct tensor dh, struct tensor dz, struct tensor h,
			  const struct op_sae *sae);

/* Latents that are on because of the others of their row. Among equals the lower index is
 * chosen first. */
enum op_sae_choice {
	OP_CHOICE_LARGEST,   /* the k largest; of those the positive ones are on */
	OP_CHOICE_MAGNITUDE, /* the k largest by magnitude, sign kept */
	OP_CHOICE_GROUPS,    /* of each of k groups of neighbours the largest, if it is positive */
};
/* Columns of cut for k. */
int64_t op_sae_cut_columns(enum op_sae_choice kind, int64_t k);
/* What the choice comes down to: cut, u32 [R, columns], from h [R, F]. 1 <= k; at most F
 * are chosen. R at most 65,535. */
void op_sae_select(struct recorder *rec, struct tensor cut, struct tensor h, enum op_sae_choice kind, int64_t k);
/* Rows first_row .. first_row + R - 1 of z, of n columns, from h [R, F] and cut: z = h where
 * it was chosen and is on, else 0; n = F, or the columns of index (u32 [1, n]) if that
 * exists. kept (as z) receives the same; it may be h if there is no index and first_row is 0. */
void op_sae_chosen(struct recorder *rec, struct tensor z, struct tensor kept, struct tensor h, struct tensor cut,
		   struct tensor index, int64_t first_row, enum op_sae_choice kind, int64_t k);

/* The normalisation of an SAE's input (the rule is stated in models/sae_file.h). */
enum op_sae_norm {
	OP_SAE_NORM_NONE,
	OP_SAE_NORM_CONSTANT, /* to length sqrt(d) */
	OP_SAE_NORM_LAYER,    /* (x - mean) / (sd + 1e-5), sd unbiased */
};
struct op_sae_prepare {
	enum op_sae_norm norm;
	bool center;	     /* the mean of a row is taken off, for good */
	struct tensor b_dec; /* [1, d], subtracted afterwards; or absent */
};
/* v [R, d] from x [R, d]; stats [R, 4] = {mean, factor, scale and offset that the norm of
 * the reconstruction would restore}. */
void op_sae_prepare(struct recorder *rec, struct tensor v, struct tensor stats, struct tensor x,
		    const struct op_sae_prepare *p);
/* How x, beside being encoded, acted through its statistics on what came out, `dout` being
 * the gradient by that: nowhere (no tensors); on moves that op_clamp scaled (out [R, K]), or
 * on the whole reconstruction (out [R, d] as it was before op_sae_rescale). */
struct op_sae_restored {
	struct tensor dout, out;
	bool whole;
};
/* dx [G*R, d] = (dx if `add`) + the gradient by x, from dv, the gradient by v. */
void op_sae_prepare_back(struct recorder *rec, struct tensor dx, struct tensor dv, struct tensor v, struct tensor stats,
			 const struct op_sae_prepare *p, const struct op_sae_restored *restored, bool add);
/* y [G*R, n] = w times the scale of row (r mod R), plus the offset if `offset`. y may be w. */
void op_sae_rescale(struct recorder *rec, struct tensor y, struct tensor w, struct tensor stats, bool offset);

enum op_clamp_mode {
	OP_CLAMP_SET,	       /* c */
	OP_CLAMP_SET_ACTIVE,   /* c if a > 0 else a */
	OP_CLAMP_SCALE,	       /* c a */
	OP_CLAMP_SCALE_ACTIVE, /* c a if a > 0 else a */
	OP_CLAMP_ABLATE,       /* 0 */
	OP_CLAMP_FLOOR,	       /* max(a, c) */
};
/* METHOD 2, for n selected features: move[r, i] = clamp_i(z[r, i]) - z[r, i] on rows
 * with on[r] != 0, else 0; times the scale of stats (op_sae_prepare) if they exist.
 * modes u32 [1, n], values [1, n], on u32 [1, R]. */
void op_clamp(struct recorder *rec, struct tensor move, struct tensor z, struct tensor modes, struct tensor values,
	      struct tensor on, struct tensor stats);
/* dz [G*R, n] = dmove * (d clamp / d a - 1) on those rows, times the scale. */
void op_clamp_back(struct recorder *rec, struct tensor dz, struct tensor dmove, struct tensor z, struct tensor modes,
		   struct tensor values, struct tensor on, struct tensor stats);
/* The same on a full feature tensor z [R, F], in place, for the features listed in
 * index (u32 [1, n]); z_full is changed on rows that are on. */
void op_clamp_full(struct recorder *rec, struct tensor z_full, struct tensor index, struct tensor modes,
		   struct tensor values, struct tensor on);

/* ---- recovery (ops_recover.c) ---- */

/* The objective J of each sequence is a weighted sum of terms over "reads", numbers
 * read from logits:
 *   LOGIT   logits[row, column]
 *   LOGPROB logits[row, column] - logsumexp(logits[row, :])
 *   SUM     sum of logits[row, :]
 * Where only LOGIT occurs, `logits` may hold just the gathered columns. */
enum op_read_kind { OP_READ_LOGIT, OP_READ_LOGPROB, OP_READ_SUM };
struct op_read {
	uint32_t kind, row, column, unused;
};
enum op_term_kind {
	OP_TERM_LINEAR,	       /* sum_i coefficient[i] read[i], i in the term's range */
	OP_TERM_CROSS_ENTROPY, /* read[first] - logsumexp of the range (choice_ce) */
	OP_TERM_MARGIN,	       /* read[first] - max of the rest of the range */
	OP_TERM_MEAN_MARGIN,   /* mean of group 0 - max over the other groups' means; a read's
				  `coefficient` is its group number */
	OP_TERM_SOFT_MARGIN,   /* -softplus(-that): log sigmoid of the margin */
};
struct op_term {
	uint32_t kind, sequence, first, count; /* reads [first, first + count) */
	float weight;
	uint32_t groups; /* MEAN_MARGIN, SOFT_MARGIN */
	uint32_t unused[2];
};
struct op_objective {
	struct tensor reads;	    /* u32 [n, 4]: struct op_read */
	struct tensor coefficients; /* [1, n] */
	struct tensor terms;	    /* u32 [m, 8]: struct op_term */
	bool normalised;	    /* LOGPROB or SUM occurs: logits are over the whole vocabulary */
};
/* J [1, S] and dlogits (shape of logits) = dJ/dlogits; values [1, n] receives the
 * reads. softcap: the logits were capped already by op_softcap (dlogits is by the
 * capped ones). `scratch` [Q, 2] for the rows' logsumexp and sum. */
void op_objective(struct recorder *rec, struct tensor J, struct tensor dlogits, struct tensor values,
		  struct tensor logits, struct tensor scratch, const struct op_objective *o);

/* Numbers of several hooked layers and sequences lie one behind the other in a flat
 * tensor [1, N]. A segment, u32 [count, 4] = {first, count, sequence, 0}, is the
 * contiguous part of one layer and sequence; what no segment covers is padding. The table
 * ascends, layer by layer and in each sequence by sequence: entry k is of sequence k mod S. A
 * segment may be empty. */

/* Drift of the defended features, all sequences apart. z, z_ref, change, dz are flat
 * [1, N] and share the segments.
 *   change = z - z_ref (0 in padding)
 *   loss[s], the drift penalty (METHOD 4 and 5), by kind:
 *     OP_DRIFT_L2           the norm of all of the sequence's changes together
 *     OP_DRIFT_RAW_MSE      sum over its segments of weight * sum change^2 / entries
 *     OP_DRIFT_RELATIVE_MSE ... of weight * (sum change^2 / entries) / (reference / entries + 1e-6)
 *     OP_DRIFT_RELATIVE_L2  ... of weight * sum change^2 / (reference + 1e-6)
 *   dz = scale * dloss/dz (0 where the norm is 0; 0 in padding).
 * A segment holds only the entries that delta can move; `entries` and `reference` are
 * the number and the sum of z_ref^2 of all monitored ones, `weight` is 1 / layers. */
enum op_drift_kind { OP_DRIFT_L2, OP_DRIFT_RAW_MSE, OP_DRIFT_RELATIVE_MSE, OP_DRIFT_RELATIVE_L2 };
struct op_drift {
	struct tensor segments;			  /* u32 [count, 4] */
	struct tensor entries, reference, weight; /* [1, count] */
	enum op_drift_kind kind;
	double scale;
};
void op_drift(struct recorder *rec, struct tensor loss, struct tensor dz, struct tensor change, struct tensor z,
	      struct tensor z_ref, const struct op_drift *d);
/* norm[s] = length of all of sequence s's segments of x together ([1, S]); dx = scale *
 * x / norm (0 at 0, 0 in padding): the decode penalty and the penalty on delta. dx may
 * be absent. */
void op_group_norm(struct recorder *rec, struct tensor norm, struct tensor dx, struct tensor x, struct tensor segments,
		   double scale);

/* The monitor of METHOD 11 against its initial value: ratio[s] = mean over sequence s's
 * segments of z of their largest entry, over initial[s] ([1, S] both); dz = scale *
 * dratio/dz, shared evenly among equals, 0 in padding. Where initial is not above 0 ratio
 * and gradient are 0. Every sequence has a segment, and none is empty. */
void op_monitor(struct recorder *rec, struct tensor ratio, struct tensor dz, struct tensor z, struct tensor segments,
		struct tensor initial, double scale);

/* P [n, d] = -(A^T A + ridge I)^-1 A^T for A^T given as rows [n, d] (the defended
 * encoder directions), by Cholesky; n <= 512. Then projecting g is
 * g + (g P^T) A^T: two op_linear. scratch [n, n]. A matrix that is not positive definite
 * in float32 gives NaN in P, which the caller checks. */
void op_projector(struct recorder *rec, struct tensor p, struct tensor a, struct tensor scratch, double ridge);

/* One optimiser step for each sequence (METHOD 4): Adam (b1 .9, b2 .999, eps 1e-8, bias
 * corrected) on the projected gradient g of the loss (to be minimised); then, if
 * `rescale`, onto the budget: delta *= budget / (norm + 1e-8) if norm > budget
 * (otherwise the caller projects delta and calls op_budget). delta, m, v, g are [P, d]
 * seen flat; `segments` (in elements) says whose they are. `step` u32 [1, 1] counts from
 * 0 and is incremented by op_metrics, which runs before this: the step that is being
 * made is number *step (1 for the first). rate, budget [1, S]. */
void op_adam(struct recorder *rec, struct tensor delta, struct tensor m, struct tensor v, struct tensor g,
	     struct tensor segments, struct tensor step, struct tensor rate, struct tensor budget, bool rescale);
void op_budget(struct recorder *rec, struct tensor delta, struct tensor segments, struct tensor budget);
/* delta -= rate * g, then the budget: a correction step (METHOD 5). rate [1, S]. */
void op_descend(struct recorder *rec, struct tensor delta, struct tensor g, struct tensor segments, struct tensor rate,
		struct tensor budget);

/* The gradients by one layer's defended activations that a Jacobian step's backward pass
 * starts from (METHOD 5): dz [G*R, K], G = 3 + m replicas: 0 zero (the behaviour's gradient
 * comes from the logits), 1 the penalty's gradient, 2 the normalised drift, 3.. the m
 * probes. Rows [first_row, last_row) are monitored. probes [steps, m*n], normalised, one
 * row serving all steps or one row a step; its entry for (row, k) of this layer is
 * entry + row*K + k. */
struct op_probes {
	int64_t first_row, last_row, entry, entries, count; /* count m, entries n */
	bool penalty, drift;
};
void op_probes(struct recorder *rec, struct tensor dz, struct tensor change, struct tensor penalty,
	       struct tensor drift_norm, struct tensor probes, struct tensor step, const struct op_probes *o);
/* g [layers*G, length]: each layer's replicas of the gradient by delta, as above; replicas
 * 2.. become an orthonormal basis (modified Gram-Schmidt). raw, projected, total [P, d] seen
 * flat ([layers*length]): the behaviour's gradient, that less its part in the span, and
 * with the penalty's gradient added. */
void op_jacobian_project(struct recorder *rec, struct tensor raw, struct tensor projected, struct tensor total,
			 struct tensor g, int64_t layers, int64_t replicas, bool penalty);

/* What a step leaves in the ring, per sequence (CLI.md, history). Written before the
 * update. */
enum op_metric {
	OP_METRIC_OBJECTIVE,
	OP_METRIC_LOSS,
	OP_METRIC_DRIFT,	/* ||change|| */
	OP_METRIC_DECODE_DRIFT, /* ||change W_dec|| */
	OP_METRIC_DELTA,	/* ||delta|| */
	OP_METRIC_GRADIENT,
	OP_METRIC_PROJECTED,
	OP_METRIC_COSINE,     /* of the raw and the projected gradient; 0 if either is 0 */
	OP_METRIC_PENALTY,    /* the drift penalty, unweighted */
	OP_METRIC_COUNT = 16, /* room for more */
};
struct op_metrics {
	struct tensor J;			 /* [1, S] */
	struct tensor g_raw, g_projected, delta; /* [P, d]; the gradients are of the loss to be minimised */
	struct tensor delta_segments;
	struct tensor change, change_segments;		/* flat, or absent (0 is reported) */
	struct tensor decoded, decoded_segments;	/* change W_dec, flat, or absent */
	struct tensor penalty;				/* [1, S] or absent */
	double lambda_act, lambda_decode, lambda_delta; /* loss = -J + these times penalty, decode drift, ||delta|| */
};
/* ring [steps, S*OP_METRIC_COUNT]: row (step mod steps) is written; trace [steps, P*d],
 * if it exists, receives delta in the same row; then step is incremented. */
void op_metrics(struct recorder *rec, struct tensor ring, struct tensor trace, struct tensor step,
		const struct op_metrics *m);

#endif
