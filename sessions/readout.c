#include "sessions/readout.h"

#include <stdlib.h>

#include "compute/base/mem.h"

/* The tables on the device and room for what comes out; `unused` columns of a gradient that
 * nobody needs (0: it goes to the pass). */
static enum status upload(struct readout *r, struct device *device, int64_t sequences, int64_t unused,
			  struct error *error)
{
	int64_t n = r->plan.read_count, rows = r->plan.rows;
	r->arena = arena_create(device, BUFFER_DEVICE, "the objective");
	arena_add(r->arena, &r->reads, DTYPE_U32, n, 4);
	arena_add(r->arena, &r->coefficients, DTYPE_F32, 1, n);
	arena_add(r->arena, &r->terms, DTYPE_U32, r->plan.term_count, 8);
	arena_add(r->arena, &r->J, DTYPE_F32, 1, sequences);
	arena_add(r->arena, &r->values, DTYPE_F32, 1, n);
	arena_add(r->arena, &r->scratch, DTYPE_F32, rows, 2);
	if (unused > 0)
		arena_add(r->arena, &r->dlogits_unused, DTYPE_F32, rows, unused);
	enum status status = arena_allocate(r->arena, error);
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
	return upload(r, device, 1, dlogits ? 0 : full ? vocab : r->plan.id_count, error);
}

/* Adds a member's reads and terms to the plan of all. */
static void join_plan(struct objective_plan *plan, const struct objective_plan *member, uint32_t sequence)
{
	size_t reads = (size_t)plan->read_count, terms = (size_t)plan->term_count;
	size_t more_reads = (size_t)member->read_count, more_terms = (size_t)member->term_count;
	plan->reads = mem_resize(plan->reads, reads + more_reads, sizeof *plan->reads);
	plan->coefficients = mem_resize(plan->coefficients, reads + more_reads, sizeof *plan->coefficients);
	plan->op_terms = mem_resize(plan->op_terms, terms + more_terms, sizeof *plan->op_terms);
	for (size_t i = 0; i < more_reads; i++) {
		plan->reads[reads + i] = member->reads[i];
		plan->reads[reads + i].row += (uint32_t)plan->rows;
		plan->coefficients[reads + i] = member->coefficients[i];
	}
	for (size_t i = 0; i < more_terms; i++) {
		plan->op_terms[terms + i] = member->op_terms[i];
		plan->op_terms[terms + i].sequence = sequence;
		plan->op_terms[terms + i].first += (uint32_t)reads;
	}
	plan->read_count += member->read_count;
	plan->term_count += member->term_count;
	plan->rows += member->rows;
}

enum status readout_join(struct readout *joint, struct device *device, const struct readout *const *members,
			 int64_t count, int64_t *columns, struct error *error)
{
	*joint = (struct readout){.plan.full = members[0]->plan.full, .has_terms = true};
	*columns = 0;
	for (int64_t i = 0; i < count; i++) {
		join_plan(&joint->plan, &members[i]->plan, (uint32_t)i);
		if (members[i]->plan.id_count > *columns)
			*columns = members[i]->plan.id_count;
	}
	return upload(joint, device, count, 0, error);
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
