/* Forward and backward passes of a decoder, recorded.
 *
 * A pass covers R rows: some positions of one or more sequences, from a point of the
 * residual stream upward. Everything before (earlier positions, lower layers) is read
 * from the key/value cache and from the residual that it starts with, so a pass costs
 * only what can have changed (the light cone). It is recorded once and submitted as
 * often as wanted; what varies (token ids, row table, start residual) lives in
 * device memory.
 *
 * Points of the residual stream are numbered: 2l is the input of block l (resid_pre of
 * l, resid_post of l - 1), 2l + 1 lies between its attention and its MLP (resid_mid),
 * 2L is the last residual. At any point edits can read or change the residual; in the
 * backward pass they see the gradient at the same point, in reverse order.
 */
#ifndef REBOUND_TRANSFORMER_H
#define REBOUND_TRANSFORMER_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/ops.h"
#include "compute/record.h"
#include "models/arch.h"
#include "models/weights.h"

/* The point of a hook; *point is untouched and false returned where the model lacks it
 * (resid_mid with parallel residual, a layer that is not there). */
bool point_of_hook(const struct arch *arch, int layer, enum hook hook, int *point);

/* Keys and values of S sequences of up to `context` positions, for every layer. */
struct kv_cache {
	int64_t sequences, context;
	struct tensor *k, *v; /* [layers] of [S*context, K*hd] */
	/* private */
	struct arena *arena;
};
enum status WARN_UNUSED kv_cache_create(struct kv_cache *cache, struct device *device, const struct arch *arch,
					int64_t sequences, int64_t context, struct error *error);
uint64_t kv_cache_estimate(const struct arch *arch, int64_t sequences, int64_t context);
void kv_cache_done(struct kv_cache *cache);
/* Records a copy of everything; both have the same shape. */
void kv_cache_record_copy(struct kv_cache *to, const struct kv_cache *from, const struct arch *arch,
			  struct recorder *rec);

/* Something done to the residual at a point. `forward` may change x [R, d] in place;
 * `backward` turns the gradient by its output, dx [G*R, d], into that by its input, in
 * place. Either may be NULL. */
struct edit {
	int point;
	void (*forward)(struct edit *edit, struct recorder *rec, struct tensor x);
	void (*backward)(struct edit *edit, struct recorder *rec, struct tensor dx);
};

enum logits_kind {
	LOGITS_NONE, /* the pass ends at its last point */
	LOGITS_SOME, /* columns listed in `ids` */
	LOGITS_ALL,  /* the whole vocabulary */
};

struct pass_config {
	const struct arch *arch;
	const struct weights *weights;
	struct kv_cache *cache;
	int64_t rows;	 /* R */
	int first_point; /* 0 with `embed`: starts from token ids; otherwise from `start` */
	bool embed;
	int last_point; /* 2L for the whole model; LOGITS_NONE if less */
	bool backward;
	int64_t gradients; /* G; 0 means 1 */
	enum logits_kind logits;
	int64_t readouts;	   /* Q rows whose logits are wanted; 0: all R in order */
	int64_t ids;		   /* LOGITS_SOME: number of columns */
	bool ids_by_row;	   /* each readout row has its own */
	bool long_rope;		   /* longrope: the sequence exceeds the original context */
	struct edit *const *edits; /* in the order they act; borrowed */
	int edit_count;
};

struct pass {
	struct pass_config config;
	/* inputs, to be written before a submission (host-visible) */
	struct tensor ids;	 /* u32 [1, R] token ids (embed) */
	struct tensor rows;	 /* u32 [R, 2] {sequence, position} */
	struct tensor readout;	 /* u32 [1, Q] rows (if 0 < readouts < R) */
	struct tensor logit_ids; /* u32 [1, n], or [Q, n] with ids_by_row (LOGITS_SOME) */
	struct tensor start;	 /* [R, d] residual at first_point (not embed); device memory */
	/* results */
	struct tensor *points; /* [2L + 1] of [R, d]: the residual after the edits; only those from
				  first_point to last_point exist, and only with `backward` do they
				  all stay valid to the end of the pass */
	struct tensor final;   /* [Q, d] after the final norm */
	struct tensor logits;  /* [Q, n] or [Q, V], after the final softcap */
	struct tensor dlogits; /* the same; to be filled before the backward pass */
	/* gradient by the residual at first_point, before its edits ([G*R, d]) */
	struct tensor dstart;
	/* private */
	struct layer_state *layers;
	struct arena *arena, *inputs;
	struct tensor gathered, dfinal, dgathered, dx_all, dn_all;
	struct tensor dx, dn; /* of the gradients that take part in what is being recorded */
	int64_t active;	      /* how many those are */
	bool softcap;
};

/* Device bytes that a pass of this shape takes. */
uint64_t pass_estimate(const struct pass_config *config);
/* STATUS_FAILED with needed and available bytes if the pass, with a cache of `sequences` times
 * `context` positions besides (0: the cache is there), does not fit the device. For use
 * before either is created; config.cache may be NULL. */
enum status WARN_UNUSED pass_check_memory(const struct device *device, const struct pass_config *config,
					  int64_t sequences, int64_t context, struct error *error);
/* The config's pointers must outlive the pass. */
enum status WARN_UNUSED pass_create(struct pass *pass, struct device *device, const struct pass_config *config,
				    struct error *error);
void pass_done(struct pass *pass);

/* Row tables for one sequence at consecutive positions; blocks until the device is idle. */
enum status WARN_UNUSED pass_set_rows(struct pass *pass, int64_t sequence, int64_t first_position, struct error *error);

/* Records the forward pass: from ids or start to logits. */
void pass_record_forward(struct pass *pass, struct recorder *rec);
/* The logits alone, of the rows that pass.readout names now, from the last residual that a
 * forward pass left. */
void pass_record_readout(struct pass *pass, struct recorder *rec);
/* The same up to `last` (at most last_point), without logits. */
void pass_record_forward_to(struct pass *pass, struct recorder *rec, int last);
/* Records the backward pass: from dlogits, or with LOGITS_NONE from `dlast` [G*R, d], the
 * gradient by the residual at last_point, down to first_point. With G > 1 dlogits is the
 * first gradient's; the others start from zero and are what edits add. */
void pass_record_backward(struct pass *pass, struct recorder *rec, struct tensor dlast);
/* The backward pass from point `last` with a zero gradient there: only what edits add
 * comes down. `gradients` (at most G) replicas take part. */
void pass_record_backward_from(struct pass *pass, struct recorder *rec, int last, int64_t gradients);

#endif
