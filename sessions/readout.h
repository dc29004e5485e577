/* The objective on the device: the tables of op_objective for one pass's readouts. */
#ifndef REBOUND_READOUT_H
#define REBOUND_READOUT_H

#include "compute/ops.h"
#include "models/transformer.h"
#include "sessions/objective.h"

struct readout {
	struct objective_plan plan;
	struct tensor reads, coefficients, terms; /* tables */
	struct tensor J, values, scratch, dlogits_unused;
	bool has_terms;
	/* private */
	struct arena *arena;
};

/* `full`: the pass computes all V columns even where the objective needs few, so reads
 * address token ids; otherwise columns of plan.ids. With `dlogits` false the gradient is
 * not needed and goes to a scratch tensor of the logits' shape. No objective: only
 * has_terms = false. */
enum status WARN_UNUSED readout_create(struct readout *readout, struct device *device,
				       const struct objective *objective, const struct answer_limits *limits, bool full,
				       bool dlogits, int64_t vocab, struct error *error);
void readout_done(struct readout *readout);

/* J, values and pass.dlogits from pass.logits. */
void readout_record(struct readout *readout, struct recorder *rec, const struct pass *pass);

#endif
