/* The objective on the device: the tables of op_objective for one pass's readouts. */
#ifndef REBOUND_READOUT_H
#define REBOUND_READOUT_H

#include "compute/ops.h"
#include "models/transformer.h"
#include "sessions/objective.h"

struct readout {
	struct objective_plan plan;
	struct tensor reads, coefficients, terms; /* tables */
	struct tensor J;			  /* [1, S] */
	struct tensor values, scratch, dlogits_unused;
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
/* Those of several passes as one: the rows of member i behind those of the members before it,
 * its J in column i. All are full or none is, and all have terms. The columns of rows that are
 * not full are those of plan.ids of the row's own member, at most *columns of them. */
enum status WARN_UNUSED readout_join(struct readout *joint, struct device *device, const struct readout *const *members,
				     int64_t count, int64_t *columns, struct error *error);
void readout_done(struct readout *readout);

/* J, values and pass.dlogits from pass.logits. */
void readout_record(struct readout *readout, struct recorder *rec, const struct pass *pass);

#endif
