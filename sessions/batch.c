#include "sessions/batch.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/recovery_internal.h"

/* Up to here every member's sums run in the kernels that its own would take (ops_recover.c). */
enum { MOST_ELEMENTS = 1 << 20 };

struct member {
	struct recovery *recovery;
	enum status status;
	struct error error;
};

struct batch {
	struct recovery joint; /* its history, logits and probe table are unused */
	struct member *members;
	int64_t count, made;
};

/* ---- who can go together ---- */

bool batch_takes(const struct recovery *r)
{
	return r->steps == 0 && r->settings.rows_alike && r->settings.project != PROJECT_JACOBIAN &&
	       cone_joins(&r->cone, &r->cone);
}

/* Settings that a recorded step contains; rates and budgets are each member's own. */
static bool same_settings(const struct recovery_settings *a, const struct recovery_settings *b)
{
	return a->project == b->project && a->project_what == b->project_what && a->order == b->order &&
	       a->steps == b->steps && a->ridge == b->ridge && a->lambda_act == b->lambda_act &&
	       a->lambda_decode == b->lambda_decode && a->lambda_delta == b->lambda_delta && a->act_loss == b->act_loss;
}

bool batch_takes_both(const struct recovery *a, const struct recovery *b)
{
	return same_settings(&a->settings, &b->settings) && cone_joins(&a->cone, &b->cone);
}

/* Of the largest flat tensor that a step sums over. */
static int64_t elements(const struct recovery *r)
{
	int64_t d = r->session->model.arch.d, sites = r->cone.site_count;
	int64_t cone = r->cone.rows * d * sites, delta = r->cone.delta_rows * d;
	for (int i = 0; i < r->cone.site_count; i++)
		if (r->cone.rows * r->cone.sites[i].K * sites > cone)
			cone = r->cone.rows * r->cone.sites[i].K * sites;
	return cone > delta ? cone : delta;
}

int64_t batch_fitting(struct recovery *const *recoveries, int64_t count)
{
	int64_t n = 0, sum = 0;
	if (!batch_takes(recoveries[0]))
		return 1;
	while (n < count && n < BATCH_MOST && batch_takes(recoveries[n]) &&
	       batch_takes_both(recoveries[0], recoveries[n])) {
		sum += elements(recoveries[n]);
		if (sum > MOST_ELEMENTS)
			break;
		n++;
	}
	return n > 0 ? n : 1;
}

/* ---- joining ---- */

static enum status write_rates(struct batch *batch, struct error *error)
{
	size_t n = (size_t)batch->count;
	float *rates = mem_alloc(n, sizeof *rates), *budgets = mem_alloc(n, sizeof *budgets);
	for (size_t i = 0; i < n; i++) {
		rates[i] = (float)-batch->members[i].recovery->lr;
		budgets[i] = (float)batch->members[i].recovery->budget;
	}
	enum status status = tensor_write(batch->joint.rate, rates, error);
	if (status == STATUS_OK)
		status = tensor_write(batch->joint.budget_tensor, budgets, error);
	free(rates);
	free(budgets);
	return status;
}

/* z_ref of the members. Without delta drift has to be exactly zero, so the reference comes from
 * the joined pass itself, unless it is the clamped run's (as in recovery.c). */
static enum status fill_reference(struct batch *batch, struct error *error)
{
	struct cone *joint = &batch->joint.cone;
	enum status status = STATUS_OK;
	if (!tensor_exists(joint->z))
		return STATUS_OK;
	struct recorder *rec = recorder_create(joint->session->device, "references");
	recorder_set_rows_alike(rec, joint->settings->rows_alike);
	recorder_begin(rec);
	if (batch->joint.settings.order == ORDER_CLAMP_DELTA) {
		record_fill(rec, joint->delta, 0);
		cone_record_forward(joint, rec);
		record_copy_tensor(rec, joint->z_ref, joint->z);
	} else {
		record_fill(rec, joint->z_ref, 0);
		for (int s = 0; s < joint->site_count; s++) {
			const struct cone_site *site = &joint->sites[s];
			uint64_t width = (uint64_t)site->K * sizeof(float), to = site->z.offset - joint->z.offset;
			for (int64_t i = 0; i < batch->count && site->has_clamp; i++) {
				const struct cone *m = &batch->members[i].recovery->cone;
				record_copy(rec, joint->z_ref, to + (uint64_t)joint->parts[i].row * width, m->z_ref,
					    m->sites[s].z.offset - m->z.offset, (uint64_t)m->rows * width);
			}
		}
	}
	status = recorder_run(rec, error);
	recorder_destroy(&rec);
	return status;
}

/* One of delta, m and v between the members and the joined tensor. */
struct exchange {
	struct tensor joint;
	size_t member; /* offset of the tensor in struct recovery */
};

static struct tensor member_tensor(struct recovery *r, size_t offset)
{
	return *(const struct tensor *)((const char *)r + offset);
}

/* Records copies of rows, site by site: in the joined tensor a site has the rows of all members. */
static void record_exchange(struct batch *batch, struct recorder *rec, struct exchange x, bool in)
{
	const struct cone *joint = &batch->joint.cone;
	uint64_t width = (uint64_t)joint->session->model.arch.d * sizeof(float);
	for (int64_t i = 0; i < batch->count; i++) {
		struct tensor own = member_tensor(batch->members[i].recovery, x.member);
		int64_t positions = batch->members[i].recovery->cone.position_count;
		if (batch->members[i].status)
			continue;
		for (int s = 0; s < joint->delta_site_count; s++) {
			uint64_t there = (uint64_t)(s * joint->position_count + joint->parts[i].position) * width;
			uint64_t here = (uint64_t)(s * positions) * width, bytes = (uint64_t)positions * width;
			if (in)
				record_copy(rec, x.joint, there, own, here, bytes);
			else
				record_copy(rec, own, here, x.joint, there, bytes);
		}
	}
}

static enum status exchange_all(struct batch *batch, bool in, struct error *error)
{
	const struct exchange all[] = {
		{batch->joint.cone.delta, offsetof(struct recovery, cone.delta)},
		{batch->joint.m, offsetof(struct recovery, m)},
		{batch->joint.v, offsetof(struct recovery, v)},
	};
	struct recorder *rec = recorder_create(batch->joint.session->device, "the rows of a batch");
	recorder_begin(rec);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		record_exchange(batch, rec, all[i], in);
	enum status status = recorder_run(rec, error);
	recorder_destroy(&rec);
	return status;
}

static enum status build(struct batch *batch, struct error *error)
{
	struct recovery *joint = &batch->joint, *first = batch->members[0].recovery;
	struct cone **cones = mem_alloc((size_t)batch->count, sizeof *cones);
	for (int64_t i = 0; i < batch->count; i++)
		cones[i] = &batch->members[i].recovery->cone;
	joint->session = first->session;
	joint->capacity = first->capacity;
	enum status status = settings_copy(&joint->settings, &first->settings);
	if (status == STATUS_OK)
		status = cone_join(&joint->cone, cones, batch->count, &joint->settings, error);
	free(cones);
	if (status)
		return status;
	joint->arena = arena_create(joint->session->device, BUFFER_DEVICE, "the optimiser of a batch");
	joint->host = arena_create(joint->session->device, BUFFER_HOST, "the metrics of a batch");
	recovery_declare(joint);
	uint32_t step = 0;
	status = arena_allocate(joint->arena, error);
	if (status == STATUS_OK)
		status = arena_allocate(joint->host, error);
	if (status == STATUS_OK)
		status = recovery_make_projectors(joint, error);
	if (status == STATUS_OK)
		status = recovery_record_step(joint, error);
	if (status == STATUS_OK)
		status = write_rates(batch, error);
	if (status == STATUS_OK)
		status = tensor_write(joint->step, &step, error);
	if (status == STATUS_OK)
		status = fill_reference(batch, error);
	return status ? status : exchange_all(batch, true, error);
}

enum status batch_create(struct batch **out, struct recovery *const *recoveries, int64_t count, struct error *error)
{
	*out = NULL;
	if (count < 2 || batch_fitting(recoveries, count) < count)
		fatal("a batch of %lld recoveries that do not fit together", (long long)count);
	struct batch *batch = mem_alloc(1, sizeof *batch);
	batch->count = count;
	batch->members = mem_alloc((size_t)count, sizeof *batch->members);
	for (int64_t i = 0; i < count; i++)
		batch->members[i].recovery = recoveries[i];
	enum status status = build(batch, error);
	if (status) {
		batch_destroy(&batch);
		return status;
	}
	*out = batch;
	return STATUS_OK;
}

void batch_destroy(struct batch **out)
{
	struct batch *batch = *out;
	if (!batch)
		return;
	struct recovery *joint = &batch->joint;
	recorder_destroy(&joint->step_recorder);
	if (joint->cone.session)
		cone_done(&joint->cone);
	arena_destroy(&joint->arena);
	arena_destroy(&joint->host);
	settings_done(&joint->settings);
	free(joint->projectors);
	free(batch->members);
	free(batch);
	*out = NULL;
}

/* ---- steps ---- */

/* The deltas before steps [first, end) into a member's trace; `joint` has those of all, [end - first]
 * times the joined rows. */
static enum status copy_trace(const struct batch *batch, int64_t member, const float *joint, int64_t first, int64_t end,
			      struct error *error)
{
	const struct cone *cone = &batch->joint.cone;
	struct recovery *r = batch->members[member].recovery;
	int64_t d = r->session->model.arch.d, positions = r->cone.position_count;
	size_t part = (size_t)(positions * d);
	float *own = mem_alloc((size_t)(end - first) * (size_t)(r->cone.delta_rows * d), sizeof *own), *to = own;
	for (int64_t step = 0; step < end - first; step++)
		for (int s = 0; s < cone->delta_site_count; s++, to += part) {
			int64_t row = step * cone->delta_rows + s * cone->position_count + cone->parts[member].position;
			memcpy(to, joint + row * d, part * sizeof *to);
		}
	enum status status = tensor_write(tensor_rows(r->trace, first, end - first), own, error);
	free(own);
	return status;
}

/* Gives the members what steps [first, batch->made) left. */
static enum status hand_out(struct batch *batch, int64_t first, struct error *error)
{
	struct recovery *joint = &batch->joint;
	const float *ring = (const float *)((const char *)buffer_mapped(joint->ring.buffer) + joint->ring.offset);
	struct tensor rows = tensor_rows(joint->trace, first, batch->made - first);
	uint32_t made = (uint32_t)batch->made;
	float *trace = mem_alloc((size_t)tensor_count(rows), sizeof *trace);
	enum status status = tensor_read(rows, trace, error);
	if (status == STATUS_OK)
		status = exchange_all(batch, false, error);
	for (int64_t i = 0; i < batch->count && status == STATUS_OK; i++) {
		struct member *m = &batch->members[i];
		if (m->status)
			continue;
		status = copy_trace(batch, i, trace, first, batch->made, error);
		if (status == STATUS_OK)
			status = tensor_write(m->recovery->step, &made, error);
		if (status == STATUS_OK)
			m->status = recovery_collect(m->recovery, ring + i * OP_METRIC_COUNT,
						     batch->count * OP_METRIC_COUNT, batch->made, &m->error);
	}
	free(trace);
	return status;
}

enum status batch_advance(struct batch *batch, int64_t count, struct error *error)
{
	int64_t first = batch->made, end = first + count;
	if (end > batch->joint.settings.steps)
		end = batch->joint.settings.steps;
	enum status status = recovery_submit_steps(&batch->joint, &batch->made, end, error);
	if ((status && status != STATUS_CANCELLED) || batch->made == first)
		return status;
	enum status handed = hand_out(batch, first, status ? NULL : error);
	return handed ? handed : status;
}

enum status batch_member_status(const struct batch *batch, int64_t member, struct error *error)
{
	const struct member *m = &batch->members[member];
	if (m->status && error)
		*error = m->error;
	return m->status;
}

struct recovery_cost batch_get_cost(const struct batch *batch)
{
	return recovery_get_cost(&batch->joint);
}
