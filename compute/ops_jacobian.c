/* Jacobian projection: what the backward pass starts from, and what is made of it. */
#include "compute/base/error.h"
#include "compute/ops.h"
#include "compute/ops_internal.h"
#include "shaders/push_jacobian.h"

void op_probes(struct recorder *rec, struct tensor dz, struct tensor change, struct tensor penalty,
	       struct tensor drift_norm, struct tensor probes, struct tensor step, const struct op_probes *o)
{
	int64_t R = change.rows, K = change.cols;
	ops_check("op_probes", "dz", dz, (3 + o->count) * R, K, DTYPE_F32);
	ops_check_optional("op_probes", "penalty", penalty, R, K, DTYPE_F32);
	ops_check("op_probes", "drift_norm", drift_norm, 1, 1, DTYPE_F32);
	ops_check_optional("op_probes", "probes", probes, probes.rows, o->count * o->entries, DTYPE_F32);
	ops_check("op_probes", "step", step, 1, 1, DTYPE_U32);
	if (o->count > 0 && !tensor_exists(probes))
		fatal("op_probes: %lld probes without a table", (long long)o->count);
	struct push_probes push = {
		.rows = (uint32_t)R,
		.features = (uint32_t)K,
		.replicas = (uint32_t)(3 + o->count),
		.first_row = (uint32_t)o->first_row,
		.last_row = (uint32_t)o->last_row,
		.entry = (uint32_t)o->entry,
		.entries = (uint32_t)o->entries,
		.probes = (uint32_t)o->count,
		.probe_steps = (uint32_t)(tensor_exists(probes) ? probes.rows : 1),
		.has_penalty = o->penalty,
		.has_drift = o->drift,
	};
	struct dispatch d = {
		.kernel = "probes",
		.bindings = {ops_write(dz), ops_read(change), ops_read(penalty), ops_read(drift_norm), ops_read(probes),
			     ops_read(step)},
		.binding_count = 6,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_grid(&d, (uint64_t)ops_div_up((3 + o->count) * R * K, 64));
	record_dispatch(rec, &d);
}

/* Loop turns in which replica q of jacobian_project joins the basis: two loops over all
 * numbers for each vector before it, five of its own; a sum of a workgroup takes eight. */
static int64_t replica_turns(int64_t q, int64_t pass)
{
	return (2 * (q - 2) + 5) * pass + (q - 2) * 9 + 25;
}

/* Whether the build for CPU devices, which takes four numbers as one texel, can do it. */
static bool fits_texels(struct recorder *rec, const struct dispatch *d, int64_t numbers)
{
	const struct device_info *info = device_get_info(recorder_device(rec));
	bool fits = ops_narrow(rec) && numbers % 4 == 0;
	for (int i = 0; i < d->binding_count; i++) {
		struct tensor t = d->bindings[i].tensor;
		fits = fits && ops_starts_at_texel(info, t) && tensor_count(t) / 4 <= info->max_texel_elements;
	}
	return fits;
}

void op_jacobian_project(struct recorder *rec, struct tensor raw, struct tensor projected, struct tensor total,
			 struct tensor g, int64_t layers, int64_t replicas, bool penalty)
{
	ops_check("op_jacobian_project", "g", g, layers * replicas, g.cols, DTYPE_F32);
	if ((int64_t)tensor_count(raw) != layers * g.cols || (int64_t)tensor_count(projected) != layers * g.cols ||
	    (int64_t)tensor_count(total) != layers * g.cols)
		fatal("op_jacobian_project: the outputs do not have %lld numbers", (long long)(layers * g.cols));
	struct push_jacobian_project push = {
		.layers = (uint32_t)layers,
		.replicas = (uint32_t)replicas,
		.numbers = (uint32_t)g.cols,
		.has_penalty = penalty,
	};
	struct dispatch d = {
		.kernel = "jacobian_project",
		.bindings = {ops_read_write(g), ops_write(raw), ops_read_write(projected), ops_write(total)},
		.binding_count = 4,
		.push = &push,
		.push_bytes = sizeof push,
		.groups = {1},
	};
	int64_t lanes = 64;
	if (fits_texels(rec, &d, g.cols)) {
		d.kernel = "jacobian_project_narrow";
		for (int i = 0; i < d.binding_count; i++)
			d.bindings[i].form = BINDING_IMAGE_RGBA32F;
		push.numbers /= 4;
		lanes = 8;
	}
	int64_t pass = ops_div_up(layers * push.numbers, 8 * lanes); /* turns of one loop over all entries */
	int64_t turns = 2 * pass;
	push.first = 2;
	for (push.end = 2; push.end < push.replicas; push.end++) {
		int64_t more = replica_turns(push.end, pass);
		if (turns + more > OPS_MAX_TURNS && push.end > push.first) {
			record_dispatch(rec, &d);
			push.first = push.end;
			turns = pass;
		}
		turns += more;
		ops_check_turns(rec, "op_jacobian_project", turns);
	}
	record_dispatch(rec, &d);
}
