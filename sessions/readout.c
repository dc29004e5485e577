#include "sessions/readout.h"

#include <stdlib.h>

#include "compute/base/mem.h"

enum status readout_create(struct readout *r, struct device *device, const struct objective *objective,
			   const struct answer_limits *limits, bool full, bool dlogits, int64_t vocab,
			   struct error *error)
{
	*r = (struct readout){0};
	enum status status = objective_plan(&r->plan, objective, limits, error);
	if (status)
		return status;
	if (r->plan.full)
		full = true;
	r->has_terms = r->plan.term_count > 0;
	if (!r->has_terms)
		return STATUS_OK;
	/* The plan's columns are token ids; among gathered columns they are positions in ids. */
	if (!full)
		for (int64_t i = 0; i < r->plan.read_count; i++)
			for (int64_t j = 0; j < r->plan.id_count; j++)
				if (r->plan.ids[j] == r->plan.reads[i].column) {
					r->plan.reads[i].column = (uint32_t)j;
					break;
				}
	int64_t n = r->plan.read_count, rows = r->plan.rows;
	r->arena = arena_create(device, BUFFER_DEVICE, "the objective");
	arena_add(r->arena, &r->reads, DTYPE_U32, n, 4);
	arena_add(r->arena, &r->coefficients, DTYPE_F32, 1, n);
	arena_add(r->arena, &r->terms, DTYPE_U32, r->plan.term_count, 8);
	arena_add(r->arena, &r->J, DTYPE_F32, 1, 1);
	arena_add(r->arena, &r->values, DTYPE_F32, 1, n);
	arena_add(r->arena, &r->scratch, DTYPE_F32, rows, 2);
	if (!dlogits)
		arena_add(r->arena, &r->dlogits_unused, DTYPE_F32, rows, full ? vocab : r->plan.id_count);
	status = arena_allocate(r->arena, error);
	if (status == STATUS_OK)
		status = tensor_write(r->reads, r->plan.reads, error);
	if (status == STATUS_OK)
		status = tensor_write(r->coefficients, r->plan.coefficients, error);
	if (status == STATUS_OK)
		status = tensor_write(r->terms, r->plan.op_terms, error);
	if (status)
		readout_done(r);
	return status;
}

void readout_done(struct readout *r)
{
	arena_destroy(&r->arena);
	objective_plan_done(&r->plan);
	*r = (struct readout){0};
}

void readout_record(struct readout *r, struct recorder *rec, const struct pass *pass)
{
	struct op_objective o = {
		.reads = r->reads, .coefficients = r->coefficients, .terms = r->terms, .normalised = r->plan.full};
	struct tensor dlogits = tensor_exists(r->dlogits_unused) ? r->dlogits_unused : pass->dlogits;
	op_objective(rec, r->J, dlogits, r->values, pass->logits, r->scratch, &o);
}
