#include "compute/ops.h"
#include "compute/ops_internal.h"
#include "shaders/push_recover.h"

enum {
	SPREAD_CHUNK = 2048, /* CHUNK of objective_spread.comp */
	GRAM_LANES = 32,     /* WG of gram.comp */
	SOLVE_LANES = 8,     /* WG of projector_solve.comp */
	PROJECTOR_MOST = 512,
	NARROW_MOST = 1 << 20, /* elements: more need wide workgroups, see shaders/README.md */
};

_Static_assert(OP_READ_LOGIT == 0 && OP_READ_LOGPROB == 1 && OP_READ_SUM == 2, "objective.comp");
_Static_assert(OP_TERM_LINEAR == 0 && OP_TERM_CROSS_ENTROPY == 1 && OP_TERM_MARGIN == 2 && OP_TERM_MEAN_MARGIN == 3 &&
		       OP_TERM_SOFT_MARGIN == 4,
	       "objective.comp");
_Static_assert(sizeof(struct op_read) == 16 && sizeof(struct op_term) == 32, "objective.comp");
_Static_assert(OP_DRIFT_L2 == 0 && OP_DRIFT_RAW_MSE == 1 && OP_DRIFT_RELATIVE_MSE == 2 && OP_DRIFT_RELATIVE_L2 == 3,
	       "drift.comp");
_Static_assert(OP_METRIC_OBJECTIVE == 0 && OP_METRIC_LOSS == 1 && OP_METRIC_DRIFT == 2 && OP_METRIC_DECODE_DRIFT == 3 &&
		       OP_METRIC_DELTA == 4 && OP_METRIC_GRADIENT == 5 && OP_METRIC_PROJECTED == 6 &&
		       OP_METRIC_COSINE == 7 && OP_METRIC_PENALTY == 8 && OP_METRIC_COUNT == 16,
	       "metrics.comp");

static struct binding texels(struct tensor t)
{
	return (struct binding){t, BINDING_READ, BINDING_TEXEL_R32F};
}

/* ---- the objective ---- */

static void record_stats(struct recorder *rec, struct tensor stats, struct tensor logits,
			 const struct push_objective *push)
{
	struct dispatch d = {
		.kernel = "objective_stats",
		.bindings = {ops_write(stats), texels(logits)},
		.binding_count = 2,
		.push = push,
		.push_bytes = sizeof *push,
	};
	ops_use_narrow(rec, &d, "objective_stats_narrow", 0);
	ops_grid(&d, push->rows);
	record_dispatch(rec, &d);
}

static void record_spread(struct recorder *rec, struct tensor dlogits, struct tensor logits, struct tensor reads,
			  struct tensor stats, struct tensor dreads, const struct push_objective *push)
{
	struct dispatch d = {
		.kernel = "objective_spread",
		.bindings = {ops_read_write(dlogits), texels(logits), ops_read(reads), ops_read(stats),
			     ops_read(dreads)},
		.binding_count = 5,
		.push = push,
		.push_bytes = sizeof *push,
	};
	ops_grid(&d, (uint64_t)push->rows * (uint64_t)ops_div_up(push->cols, SPREAD_CHUNK));
	record_dispatch(rec, &d);
}

void op_objective(struct recorder *rec, struct tensor J, struct tensor dlogits, struct tensor values,
		  struct tensor logits, struct tensor scratch, const struct op_objective *o)
{
	ops_check("op_objective", "logits", logits, logits.rows, logits.cols, DTYPE_F32);
	ops_check("op_objective", "dlogits", dlogits, logits.rows, logits.cols, DTYPE_F32);
	ops_check("op_objective", "reads", o->reads, o->reads.rows, 4, DTYPE_U32);
	ops_check("op_objective", "coefficients", o->coefficients, 1, o->reads.rows, DTYPE_F32);
	ops_check("op_objective", "terms", o->terms, o->terms.rows, 8, DTYPE_U32);
	ops_check("op_objective", "values", values, 1, o->reads.rows, DTYPE_F32);
	ops_check("op_objective", "J", J, 1, J.cols, DTYPE_F32);
	struct push_objective push = {
		.rows = (uint32_t)logits.rows,
		.cols = (uint32_t)logits.cols,
		.reads = (uint32_t)o->reads.rows,
		.terms = (uint32_t)o->terms.rows,
		.sequences = (uint32_t)J.cols,
	};
	if (o->normalised) {
		ops_check("op_objective", "scratch", scratch, logits.rows, 2, DTYPE_F32);
		record_stats(rec, scratch, logits, &push);
	} else {
		scratch = (struct tensor){0};
	}
	struct tensor dreads = recorder_scratch(rec, 1, o->reads.rows);
	struct tensor term_stats = recorder_scratch(rec, o->terms.rows, 4);
	struct tensor none = {0};
	struct dispatch d = {
		.kernel = "objective",
		.constants = {o->normalised},
		.constant_count = 1,
		.bindings = {ops_write(J), ops_read_write(o->normalised ? none : dlogits), ops_read_write(values),
			     ops_read(logits), ops_read(o->reads), ops_read(o->coefficients), ops_read(o->terms),
			     ops_read(scratch), ops_read_write(dreads), ops_read_write(term_stats)},
		.binding_count = 10,
		.push = &push,
		.push_bytes = sizeof push,
		.groups = {1},
	};
	record_dispatch(rec, &d);
	if (o->normalised)
		record_spread(rec, dlogits, logits, o->reads, scratch, dreads, &push);
}

/* ---- drift and norms ---- */

static struct push_segments segments_push(const char *op, struct tensor segments, struct tensor flat, int64_t sequences,
					  double scale)
{
	ops_check(op, "segments", segments, segments.rows, 4, DTYPE_U32);
	return (struct push_segments){
		.segments = (uint32_t)segments.rows,
		.elements = (uint32_t)tensor_count(flat),
		.sequences = (uint32_t)sequences,
		.scale = (float)scale,
	};
}

void op_drift(struct recorder *rec, struct tensor loss, struct tensor dz, struct tensor change, struct tensor z,
	      struct tensor z_ref, const struct op_drift *d)
{
	ops_check("op_drift", "loss", loss, 1, loss.cols, DTYPE_F32);
	ops_check("op_drift", "z", z, 1, z.cols, DTYPE_F32);
	ops_check("op_drift", "z_ref", z_ref, 1, z.cols, DTYPE_F32);
	ops_check("op_drift", "change", change, 1, z.cols, DTYPE_F32);
	ops_check("op_drift", "dz", dz, 1, z.cols, DTYPE_F32);
	struct push_segments push = segments_push("op_drift", d->segments, z, loss.cols, d->scale);
	if (d->kind != OP_DRIFT_L2) {
		ops_check("op_drift", "entries", d->entries, 1, d->segments.rows, DTYPE_F32);
		ops_check("op_drift", "reference", d->reference, 1, d->segments.rows, DTYPE_F32);
		ops_check("op_drift", "weight", d->weight, 1, d->segments.rows, DTYPE_F32);
	}
	struct dispatch dispatch = {
		.kernel = "drift",
		.constants = {d->kind},
		.constant_count = 1,
		.bindings = {ops_write(loss), ops_write(dz), ops_write(change), ops_read(z), ops_read(z_ref),
			     ops_read(d->segments), ops_read(d->entries), ops_read(d->reference), ops_read(d->weight)},
		.binding_count = 9,
		.push = &push,
		.push_bytes = sizeof push,
	};
	if (tensor_count(z) <= NARROW_MOST)
		ops_use_narrow(rec, &dispatch, "drift_narrow", 1u << 3 | 1u << 4);
	ops_grid(&dispatch, (uint64_t)loss.cols + 1);
	record_dispatch(rec, &dispatch);
}

void op_group_norm(struct recorder *rec, struct tensor norm, struct tensor dx, struct tensor x, struct tensor segments,
		   double scale)
{
	ops_check("op_group_norm", "norm", norm, 1, norm.cols, DTYPE_F32);
	ops_check("op_group_norm", "x", x, x.rows, x.cols, DTYPE_F32);
	ops_check_optional("op_group_norm", "dx", dx, x.rows, x.cols, DTYPE_F32);
	struct push_segments push = segments_push("op_group_norm", segments, x, norm.cols, scale);
	struct dispatch d = {
		.kernel = "group_norm",
		.constants = {tensor_exists(dx)},
		.constant_count = 1,
		.bindings = {ops_write(norm), ops_write(dx), ops_read(x), ops_read(segments)},
		.binding_count = 4,
		.push = &push,
		.push_bytes = sizeof push,
	};
	if (tensor_count(x) <= NARROW_MOST)
		ops_use_narrow(rec, &d, "group_norm_narrow", 1u << 2);
	ops_grid(&d, (uint64_t)norm.cols + (tensor_exists(dx) ? 1 : 0));
	record_dispatch(rec, &d);
}

void op_monitor(struct recorder *rec, struct tensor ratio, struct tensor dz, struct tensor z, struct tensor segments,
		struct tensor initial, double scale)
{
	ops_check("op_monitor", "ratio", ratio, 1, ratio.cols, DTYPE_F32);
	ops_check("op_monitor", "initial", initial, 1, ratio.cols, DTYPE_F32);
	ops_check("op_monitor", "z", z, z.rows, z.cols, DTYPE_F32);
	ops_check("op_monitor", "dz", dz, z.rows, z.cols, DTYPE_F32);
	struct push_segments push = segments_push("op_monitor", segments, z, ratio.cols, scale);
	struct dispatch d = {
		.kernel = "monitor",
		.bindings = {ops_write(ratio), ops_write(dz), ops_read(z), ops_read(segments), ops_read(initial)},
		.binding_count = 5,
		.push = &push,
		.push_bytes = sizeof push,
	};
	if (tensor_count(z) <= NARROW_MOST)
		ops_use_narrow(rec, &d, "monitor_narrow", 1u << 2);
	ops_grid(&d, (uint64_t)ratio.cols + 1);
	record_dispatch(rec, &d);
}

/* ---- projection ---- */

void op_projector(struct recorder *rec, struct tensor p, struct tensor a, struct tensor scratch, double ridge)
{
	ops_check("op_projector", "a", a, a.rows, a.cols, DTYPE_F32);
	ops_check("op_projector", "p", p, a.rows, a.cols, DTYPE_F32);
	ops_check("op_projector", "scratch", scratch, a.rows, a.rows, DTYPE_F32);
	ops_require("op_projector", a.rows <= PROJECTOR_MOST, "more than 512 directions");
	struct push_projector push = {(uint32_t)a.rows, (uint32_t)a.cols, (float)ridge};
	struct dispatch gram = {
		.kernel = "gram",
		.bindings = {ops_write(scratch), texels(a)},
		.binding_count = 2,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_grid(&gram, (uint64_t)(a.rows * ops_div_up(a.rows, GRAM_LANES)));
	record_dispatch(rec, &gram);
	struct dispatch cholesky = {
		.kernel = "cholesky",
		.bindings = {ops_read_write(scratch)},
		.binding_count = 1,
		.push = &push,
		.push_bytes = sizeof push,
		.groups = {1},
	};
	record_dispatch(rec, &cholesky);
	struct dispatch solve = {
		.kernel = "projector_solve",
		.bindings = {ops_read_write(p), texels(a), texels(scratch)},
		.binding_count = 3,
		.push = &push,
		.push_bytes = sizeof push,
	};
	ops_grid(&solve, (uint64_t)ops_div_up(a.cols, SOLVE_LANES));
	record_dispatch(rec, &solve);
}

/* ---- steps of delta ---- */

enum update_mode { UPDATE_NONE, UPDATE_ADAM, UPDATE_DESCEND }; /* MODE of update.comp */

struct update {
	const char *op;
	enum update_mode mode;
	struct tensor delta, m, v, g, segments, step, rate, budget;
	bool rescale;
};

static void record_update(struct recorder *rec, const struct update *u)
{
	ops_check(u->op, "delta", u->delta, u->delta.rows, u->delta.cols, DTYPE_F32);
	if (u->mode != UPDATE_NONE) {
		ops_check(u->op, "g", u->g, u->delta.rows, u->delta.cols, DTYPE_F32);
		ops_check(u->op, "rate", u->rate, 1, u->budget.cols, DTYPE_F32);
	}
	if (u->mode == UPDATE_ADAM) {
		ops_check(u->op, "m", u->m, u->delta.rows, u->delta.cols, DTYPE_F32);
		ops_check(u->op, "v", u->v, u->delta.rows, u->delta.cols, DTYPE_F32);
		ops_check(u->op, "step", u->step, 1, 1, DTYPE_U32);
	}
	ops_check(u->op, "budget", u->budget, 1, u->budget.cols, DTYPE_F32);
	struct push_segments push = segments_push(u->op, u->segments, u->delta, u->budget.cols, 0);
	struct dispatch d = {
		.kernel = "update",
		.constants = {u->mode, u->rescale},
		.constant_count = 2,
		.bindings = {ops_read_write(u->delta), ops_read_write(u->m), ops_read_write(u->v), ops_read(u->g),
			     ops_read(u->segments), ops_read(u->step), ops_read(u->rate), ops_read(u->budget),
			     ops_read(u->delta), ops_read(u->m), ops_read(u->v)},
		.binding_count = 11,
		.push = &push,
		.push_bytes = sizeof push,
	};
	if (tensor_count(u->delta) <= NARROW_MOST)
		ops_use_narrow(rec, &d, "update_narrow", 1u << 3 | 1u << 8 | 1u << 9 | 1u << 10);
	ops_grid(&d, (uint64_t)u->budget.cols);
	record_dispatch(rec, &d);
}

void op_adam(struct recorder *rec, struct tensor delta, struct tensor m, struct tensor v, struct tensor g,
	     struct tensor segments, struct tensor step, struct tensor rate, struct tensor budget, bool rescale)
{
	record_update(rec,
		      &(struct update){"op_adam", UPDATE_ADAM, delta, m, v, g, segments, step, rate, budget, rescale});
}

void op_budget(struct recorder *rec, struct tensor delta, struct tensor segments, struct tensor budget)
{
	record_update(rec, &(struct update){.op = "op_budget",
					    .mode = UPDATE_NONE,
					    .delta = delta,
					    .segments = segments,
					    .budget = budget,
					    .rescale = true});
}

void op_descend(struct recorder *rec, struct tensor delta, struct tensor g, struct tensor segments, struct tensor rate,
		struct tensor budget)
{
	record_update(rec, &(struct update){.op = "op_descend",
					    .mode = UPDATE_DESCEND,
					    .delta = delta,
					    .g = g,
					    .segments = segments,
					    .rate = rate,
					    .budget = budget,
					    .rescale = true});
}

/* ---- what a step leaves ---- */

static uint32_t segment_count(const char *name, struct tensor flat, struct tensor segments)
{
	if (!tensor_exists(flat))
		return 0;
	ops_check("op_metrics", name, segments, segments.rows, 4, DTYPE_U32);
	return (uint32_t)segments.rows;
}

void op_metrics(struct recorder *rec, struct tensor ring, struct tensor trace, struct tensor step,
		const struct op_metrics *m)
{
	struct tensor delta = m->delta;
	ops_check("op_metrics", "J", m->J, 1, m->J.cols, DTYPE_F32);
	ops_check("op_metrics", "ring", ring, ring.rows, m->J.cols * OP_METRIC_COUNT, DTYPE_F32);
	ops_check("op_metrics", "delta", delta, delta.rows, delta.cols, DTYPE_F32);
	ops_check("op_metrics", "g_raw", m->g_raw, delta.rows, delta.cols, DTYPE_F32);
	ops_check("op_metrics", "g_projected", m->g_projected, delta.rows, delta.cols, DTYPE_F32);
	ops_check("op_metrics", "step", step, 1, 1, DTYPE_U32);
	ops_check_optional("op_metrics", "trace", trace, ring.rows, delta.rows * delta.cols, DTYPE_F32);
	ops_check_optional("op_metrics", "penalty", m->penalty, 1, m->J.cols, DTYPE_F32);
	struct push_metrics push = {
		.steps = (uint32_t)ring.rows,
		.sequences = (uint32_t)m->J.cols,
		.elements = (uint32_t)tensor_count(delta),
		.delta_segments = segment_count("delta_segments", delta, m->delta_segments),
		.change_segments = segment_count("change_segments", m->change, m->change_segments),
		.decoded_segments = segment_count("decoded_segments", m->decoded, m->decoded_segments),
		.has_penalty = tensor_exists(m->penalty),
		.lambda_act = (float)m->lambda_act,
		.lambda_decode = (float)m->lambda_decode,
		.lambda_delta = (float)m->lambda_delta,
	};
	struct dispatch d = {
		.kernel = "metrics",
		.constants = {tensor_exists(trace)},
		.constant_count = 1,
		.bindings = {ops_write(ring), ops_write(trace), ops_read_write(step), ops_read(m->J),
			     ops_read(m->g_raw), ops_read(m->g_projected), ops_read(delta), ops_read(m->delta_segments),
			     ops_read(m->change), ops_read(m->change_segments), ops_read(m->decoded),
			     ops_read(m->decoded_segments), ops_read(m->penalty)},
		.binding_count = 13,
		.push = &push,
		.push_bytes = sizeof push,
	};
	if (tensor_count(delta) <= NARROW_MOST)
		ops_use_narrow(rec, &d, "metrics_narrow", 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 10);
	ops_grid(&d, (uint64_t)m->J.cols);
	record_dispatch(rec, &d);
	if (m->J.cols == 1)
		return;
	struct dispatch add = {
		.kernel = "step_add",
		.bindings = {ops_read_write(step)},
		.binding_count = 1,
		.groups = {1},
	};
	record_dispatch(rec, &add);
}
