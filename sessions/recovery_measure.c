/* The state under a given delta: metrics of METHOD 8, residuals, activations. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/recovery_internal.h"

/* Does the clamp hold this feature down (so that rising is a violation)? */
static bool holds_down(const struct clamp_rule *rule)
{
	switch (rule->mode) {
	case OP_CLAMP_ABLATE:
		return true;
	case OP_CLAMP_SET:
	case OP_CLAMP_SET_ACTIVE:
		return rule->value <= 0;
	case OP_CLAMP_SCALE:
	case OP_CLAMP_SCALE_ACTIVE:
		return rule->value < 1;
	default:
		return false;
	}
}

/* Drift, floor violation and reactivation of one site from its activations in the cone. */
struct tally {
	double drift, decode, violation, mass;
	int64_t over, hits, eligible, total;
};

static void tally_site(struct tally *t, const struct recovery *r, const struct cone_site *s, const float *z,
		       const float *z_ref, const float *decoded)
{
	const struct cone *cone = &r->cone;
	const struct clamp_rule *rules = r->session->sites[s->index].rules;
	int64_t d = r->session->model.arch.d;
	for (int64_t row = 0; row < cone->rows; row++) {
		int64_t position = cone->first + row;
		if (position < cone->monitored_first || position >= cone->monitored_first + cone->monitored_count)
			continue;
		for (int64_t k = 0; k < s->K; k++) {
			double change = (double)z[row * s->K + k] - (double)z_ref[row * s->K + k];
			double gap = holds_down(&rules[k]) ? change : -change;
			t->drift += change * change;
			if (gap > 0)
				t->violation += gap * gap;
			t->over += gap > 1e-6;
		}
		for (int64_t j = 0; j < d; j++)
			t->decode += (double)decoded[row * d + j] * (double)decoded[row * d + j];
	}
}

/* Over perturbed positions and clamped features (METHOD 8, reactivated fraction). z is NULL
 * for sites that delta can't reach. */
static void tally_reactivation(struct tally *t, const struct cone *cone, int site, const float *z)
{
	const float *before = cone->measured->sites[site].z;
	int64_t K = cone->session->sites[site].rule_count;
	for (int64_t i = 0; i < cone->position_count; i++)
		for (int64_t k = 0; k < K; k++) {
			double was = (double)before[cone->positions[i] * K + k];
			double is = z ? (double)z[(cone->positions[i] - cone->first) * K + k] : was;
			t->total++;
			t->eligible += was <= 0;
			if (was <= 0 && is > 0) {
				t->hits++;
				t->mass += is;
			}
		}
}

static enum status tally_all(struct tally *t, struct recovery *r, struct error *error)
{
	struct cone *cone = &r->cone;
	enum status status = STATUS_OK;
	bool reached[SESSION_MAX_SITES] = {false};
	for (int i = 0; i < cone->site_count && status == STATUS_OK; i++) {
		struct cone_site *s = &cone->sites[i];
		if (!s->has_clamp)
			continue;
		size_t n = (size_t)(cone->rows * s->K);
		float *z = mem_alloc(n, sizeof *z), *z_ref = mem_alloc(n, sizeof *z_ref);
		float *decoded = mem_alloc((size_t)tensor_count(s->decoded), sizeof *decoded);
		struct tensor reference = s->z;
		reference.buffer = cone->z_ref.buffer;
		reference.offset = cone->z_ref.offset + (s->z.offset - cone->z.offset);
		status = tensor_read(s->z, z, error);
		if (status == STATUS_OK)
			status = tensor_read(reference, z_ref, error);
		if (status == STATUS_OK)
			status = tensor_read(s->decoded, decoded, error);
		if (status == STATUS_OK) {
			tally_site(t, r, s, z, z_ref, decoded);
			tally_reactivation(t, cone, s->index, z);
			reached[s->index] = true;
		}
		free(z);
		free(z_ref);
		free(decoded);
	}
	for (int i = 0; i < r->session->site_count && status == STATUS_OK; i++)
		if (!reached[i] && r->session->sites[i].rule_count > 0)
			tally_reactivation(t, cone, i, NULL);
	return status;
}

static double norm_of(const float *x, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

enum status recovery_evaluate(struct recovery *r, const float *delta, struct recovery_final *final, struct error *error)
{
	struct cone *cone = &r->cone;
	*final = (struct recovery_final){.logits = r->logits};
	float J = 0, monitor = 0;
	enum status status = session_check_cancel(r->session, error);
	if (status == STATUS_OK)
		status = recovery_copy_now(r, r->delta_kept, cone->delta, error);
	if (status)
		return status;
	status = recovery_run_evaluation(r, delta, error);
	if (status == STATUS_OK)
		status = tensor_read(cone->readout.J, &J, error);
	if (status == STATUS_OK && !cone->probing)
		status = tensor_read(r->final_logits, r->logits, error);
	if (status == STATUS_OK && recovery_is_suffix(r))
		status = tensor_read(cone->monitor.ratio, &monitor, error);
	struct tally t = {0};
	if (status == STATUS_OK)
		status = tally_all(&t, r, error);
	if (status == STATUS_OK)
		status = recovery_copy_now(r, cone->delta, r->delta_kept, error);
	if (status)
		return status;
	double reference = cone->reference_norm + 1e-8;
	final->objective = (double)J;
	final->delta_norm = norm_of(delta, (size_t)tensor_count(cone->delta));
	final->delta_relative = final->delta_norm / (r->start_norm + 1e-8);
	final->monitor_relative = (double)monitor;
	final->drift_l2 = sqrt(t.drift);
	final->drift_relative_l2 = final->drift_l2 / reference;
	final->decode_drift_l2 = sqrt(t.decode);
	final->floor_violation_l2 = sqrt(t.violation);
	final->floor_violation_relative_l2 = final->floor_violation_l2 / reference;
	if (cone->monitored_entries > 0)
		final->floor_violation_fraction = (double)t.over / (double)cone->monitored_entries;
	if (t.total > 0)
		final->reactivated_fraction = (double)t.hits / (double)t.total;
	if (t.eligible > 0)
		final->reactivated_fraction_of_eligible = (double)t.hits / (double)t.eligible;
	final->reactivated_mass = t.mass;
	final->present = objective_present(&r->session->objective, cone->probing ? NULL : r->logits,
					   r->session->model.arch.vocab, final->objective);
	if (!cone->probing)
		logit_summary_make(&final->summary, r->logits, r->session->model.arch.vocab);
	r->evaluated = true;
	if (!isfinite(final->objective) || !isfinite(final->drift_l2))
		return error_set(error, STATUS_FAILED, "the recovered state is not finite");
	return STATUS_OK;
}

enum status recovery_state(struct recovery *r, int site, enum recovery_state_kind kind, float *h, struct error *error)
{
	struct cone *cone = &r->cone;
	size_t d = (size_t)r->session->model.arch.d;
	if (!r->evaluated)
		fatal("recovery_state before recovery_evaluate");
	memcpy(h, cone->scene->sites[site].h, (size_t)cone->total * d * sizeof *h);
	for (int i = 0; i < cone->site_count; i++) {
		struct cone_site *s = &cone->sites[i];
		if (s->index != site)
			continue;
		struct tensor from = kind == RECOVERY_BEFORE ? s->before : kind == RECOVERY_ADDED ? s->added : s->out;
		return tensor_read(from, h + (size_t)cone->first * d, error);
	}
	return STATUS_OK;
}

enum status recovery_activations(struct recovery *r, int site, float *z, struct error *error)
{
	struct cone *cone = &r->cone;
	for (int i = 0; i < cone->site_count; i++)
		if (cone->sites[i].index == site && cone->sites[i].has_clamp)
			return tensor_read(cone->sites[i].z, z, error);
	int64_t K = r->session->sites[site].rule_count;
	memcpy(z, cone->scene->sites[site].z + cone->first * K, (size_t)(cone->rows * K) * sizeof *z);
	return STATUS_OK;
}
