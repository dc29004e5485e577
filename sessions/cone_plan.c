/* What a cone covers: the sites and positions that delta has rows at, and from where on. */
#include <stdlib.h>

#include "compute/base/mem.h"
#include "sessions/cone_internal.h"
#include "sessions/probe.h"

int cone_probe_point(const struct session *session)
{
	int site = probe_site(session);
	return site < 0 ? -1 : session->sites[site].point;
}

/* Which sites carry delta. */
static enum status choose_delta_sites(const struct cone *cone, bool *has_delta, struct error *error)
{
	const struct session *session = cone->session;
	const struct recovery_settings *settings = cone->settings;
	bool any = false;
	for (int i = 0; i < session->site_count; i++)
		if (settings->delta_layer_count == 0 && session->sites[i].rule_count > 0)
			has_delta[i] = any = true;
	for (int i = 0; i < settings->delta_layer_count; i++) {
		int site = session_site_of_layer(session, (int)settings->delta_layers[i]);
		if (site < 0)
			return error_set(error, STATUS_INVALID,
					 "--delta-layers: layer %lld has no SAE; delta is added where one is hooked in",
					 (long long)settings->delta_layers[i]);
		has_delta[site] = any = true;
	}
	if (!any)
		return error_set(error, STATUS_INVALID,
				 "there is nothing to perturb: no feature is clamped and no --delta-layers are given");
	return STATUS_OK;
}

static enum status choose_positions(struct cone *cone, struct error *error)
{
	const struct positions *rule = &cone->settings->delta_positions;
	int64_t suffix = cone->session->suffix.count;
	if (suffix > 0) {
		cone->positions = mem_alloc((size_t)suffix, sizeof *cone->positions);
		for (; cone->position_count < suffix; cone->position_count++)
			cone->positions[cone->position_count] = cone->prompt - suffix + cone->position_count;
		return STATUS_OK;
	}
	bool *on = mem_alloc((size_t)cone->total, sizeof *on);
	enum status status = positions_resolve(rule, cone->prompt, cone->total, on, error);
	cone->positions = mem_alloc((size_t)cone->total, sizeof *cone->positions);
	/* An answer's tokens behind its limit count nowhere. */
	int64_t end = rule->rule == POSITIONS_ANSWER ? cone->monitored_first + cone->monitored_count : cone->total;
	for (int64_t p = 0; p < end && status == STATUS_OK; p++)
		if (on[p])
			cone->positions[cone->position_count++] = p;
	free(on);
	if (status == STATUS_OK && cone->position_count == 0)
		status = error_set(error, STATUS_INVALID,
				   "--delta-positions selects no position; 'answer' needs an objective with an answer");
	return status;
}

/* Frozen rows below the lowest perturbed layer move features that the cone does not see. */
static enum status check_frozen(const struct cone *cone, struct error *error)
{
	const struct session *session = cone->session;
	bool below = false;
	for (int i = 0; i < cone->lowest && cone->scene->reference; i++) {
		below = below || frozen_at_site(session, i);
		if (below && session->sites[i].rule_count > 0)
			return error_set(error, STATUS_INVALID,
					 "frozen rows of delta move the clamped features of layer %d, and the lowest "
					 "perturbed layer is %d: --delta-layers has to include it",
					 session->sites[i].sae.layer, session->sites[cone->lowest].sae.layer);
	}
	return STATUS_OK;
}

/* What a suffix can be trained for. */
static enum status check_suffix(const struct cone *cone, struct error *error)
{
	const struct session *session = cone->session;
	if (session->objective.answer.count == 0)
		return error_set(error, STATUS_INVALID,
				 "a suffix is trained to bring an answer back, and the objective '%s' has none",
				 session->objective.text);
	if (session->frozen.count > 0)
		return error_set(error, STATUS_INVALID, "frozen rows of delta and a suffix do not go together");
	if (!session_has_clamps(session) || cone->ignore_clamps)
		return error_set(error, STATUS_INVALID, "a suffix is trained against a clamp, and there is none");
	return STATUS_OK;
}

static enum status plan_sites(struct cone *cone, struct error *error)
{
	struct session *session = cone->session;
	bool has_delta[SESSION_MAX_SITES] = {false};
	bool suffix = session->suffix.count > 0;
	enum status status = suffix ? check_suffix(cone, error) : choose_delta_sites(cone, has_delta, error);
	if (status)
		return status;
	if (suffix) {
		cone->lowest = -1;
		cone->delta_site_count = 1;
	}
	while (!suffix && !has_delta[cone->lowest])
		cone->lowest++;
	status = check_frozen(cone, error);
	if (status)
		return status;
	cone->sites = mem_alloc((size_t)session->site_count, sizeof *cone->sites);
	int end = cone->probing ? cone_probe_point(session) : 2 * session->model.arch.layers;
	for (int i = suffix ? 0 : cone->lowest; i < session->site_count; i++) {
		const struct site *site = &session->sites[i];
		bool frozen = cone->scene->reference && frozen_at_site(session, i);
		if ((!has_delta[i] && site->rule_count == 0 && !frozen) || site->point > end)
			continue;
		struct cone_site *s = &cone->sites[cone->site_count++];
		*s = (struct cone_site){.index = i,
					.has_delta = has_delta[i],
					.has_clamp = site->rule_count > 0,
					.K = site->rule_count};
		if (s->has_delta)
			s->first_row = cone->position_count * cone->delta_site_count++;
	}
	if (cone->delta_site_count == 0)
		return error_set(error, STATUS_INVALID,
				 "the perturbed layers lie above the layer that the objective reads (%d)",
				 session->sites[probe_site(session)].sae.layer);
	cone->delta_rows = cone->position_count * cone->delta_site_count;
	return STATUS_OK;
}

/* A clamp need not be idempotent: applied once more behind delta it can move every clamped
 * position, so the cone starts at the first of them. */
static enum status include_second_clamp(struct cone *cone, struct error *error)
{
	bool *on = mem_alloc((size_t)cone->total, sizeof *on);
	enum status status = positions_resolve(&cone->session->clamp_positions, cone->prompt, cone->total, on, error);
	for (int64_t p = 0; p < cone->first && status == STATUS_OK; p++)
		if (on[p])
			cone->first = p;
	free(on);
	return status;
}

enum status cone_plan(struct cone *cone, struct error *error)
{
	const struct session *session = cone->session;
	session_monitored(session, &cone->monitored_first, &cone->monitored_count);
	enum status status = choose_positions(cone, error);
	if (status == STATUS_OK)
		status = plan_sites(cone, error);
	if (status)
		return status;
	cone->first = cone->positions[0];
	if (!cone->probing && cone->prompt - 1 < cone->first)
		cone->first = cone->prompt - 1;
	/* What frozen rows move and is monitored has to be seen. */
	for (int64_t i = 0; cone->scene->reference && i < session->frozen.count; i++)
		if (cone->monitored_first < cone->first && session->frozen.positions[i] < cone->first)
			cone->first = session->frozen.positions[i];
	if (cone->settings->order == ORDER_DELTA_CLAMP && !cone->ignore_clamps)
		status = include_second_clamp(cone, error);
	cone->rows = cone->total - cone->first;
	return status;
}
