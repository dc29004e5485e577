#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/cone_internal.h"
#include "sessions/flat.h"
#include "sessions/probe.h"

static void delta_forward(struct edit *base, struct recorder *rec, struct tensor x)
{
	struct cone_edit *e = (struct cone_edit *)base;
	if (e->cone->rows_are_positions)
		op_add(rec, x, x, e->site->delta, 1);
	else
		op_scatter_add_rows(rec, x, e->site->delta, e->cone->index, e->cone->rows);
}

static void delta_backward(struct edit *base, struct recorder *rec, struct tensor dx)
{
	struct cone_edit *e = (struct cone_edit *)base;
	struct tensor g = dx.rows == e->cone->rows ? e->site->g : e->site->g_replicas;
	if (e->cone->rows_are_positions)
		record_copy_tensor(rec, g, dx);
	else
		op_gather_rows(rec, g, dx, e->cone->index, e->cone->rows);
}

static void monitor_forward(struct edit *base, struct recorder *rec, struct tensor x)
{
	struct cone_edit *e = (struct cone_edit *)base;
	struct cone_site *s = e->site;
	clamp_record_encode(&e->cone->session->sites[s->index].clamp, rec, s->z, s->h, &s->scratch, x);
}

static void monitor_backward(struct edit *base, struct recorder *rec, struct tensor dx)
{
	struct cone_edit *e = (struct cone_edit *)base;
	struct cone_site *s = e->site;
	bool probes = dx.rows > e->cone->rows;
	if (probes || e->cone->penalties)
		clamp_record_encode_back(&e->cone->session->sites[s->index].clamp, rec, dx,
					 probes ? s->dz_probes : s->dz, s->h, tensor_rows(s->dh, 0, dx.rows),
					 &s->scratch);
}

static void capture_forward(struct edit *base, struct recorder *rec, struct tensor x)
{
	struct cone_edit *e = (struct cone_edit *)base;
	if (e->cone->capturing)
		record_copy_tensor(rec, *e->capture, x);
}

static void add_edit(struct cone *cone, struct edit *edit)
{
	cone->edit_list[cone->edit_count++] = edit;
}

static void add_own(struct cone *cone, struct cone_site *site, struct tensor *capture,
		    void (*forward)(struct edit *, struct recorder *, struct tensor),
		    void (*backward)(struct edit *, struct recorder *, struct tensor))
{
	struct cone_edit *e = &cone->edits[cone->edit_count];
	*e = (struct cone_edit){
		.edit = {.point = cone->session->sites[site->index].point, .forward = forward, .backward = backward},
		.cone = cone,
		.site = site,
		.capture = capture,
	};
	add_edit(cone, &e->edit);
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

static int probe_point(const struct session *session)
{
	int site = probe_site(session);
	return site < 0 ? -1 : session->sites[site].point;
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
	int end = cone->probing ? probe_point(session) : 2 * session->model.arch.layers;
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

int cone_clamped_sites(const struct cone *cone)
{
	int n = 0;
	for (int i = 0; i < cone->site_count; i++)
		n += cone->sites[i].has_clamp;
	return n;
}

void cone_declare(struct cone *cone)
{
	struct session *session = cone->session;
	int64_t d = session->model.arch.d, R = cone->rows, S = cone->sequences, N = 0, Nd = 0;
	int clamped = cone_clamped_sites(cone);
	arena_add(cone->arena, &cone->delta, DTYPE_F32, cone->delta_rows, d);
	arena_add(cone->arena, &cone->g, DTYPE_F32, cone->delta_rows, d);
	if (cone->gradients > 1)
		arena_add(cone->arena, &cone->g_all, DTYPE_F32, cone->delta_site_count * cone->gradients,
			  cone->position_count * d);
	/* One prompt's rows of delta lie together, those of several by site. */
	arena_add(cone->tables, &cone->delta_segments, DTYPE_U32, S > 1 ? cone->delta_site_count * S : 1, 4);
	arena_add(cone->tables, &cone->index, DTYPE_U32, 1, cone->position_count);
	for (int i = 0; i < cone->site_count; i++) {
		struct cone_site *s = &cone->sites[i];
		if (S == 1) {
			arena_add(cone->arena, &s->before, DTYPE_F32, R, d);
			arena_add(cone->arena, &s->added, DTYPE_F32, R, d);
			arena_add(cone->arena, &s->out, DTYPE_F32, R, d);
		}
		if (!s->has_clamp)
			continue;
		arena_add(cone->arena, &s->h, DTYPE_F32, R, s->K);
		arena_add(cone->arena, &s->dh, DTYPE_F32, cone->gradients * R, s->K);
		if (cone->gradients > 1)
			arena_add(cone->arena, &s->dz_probes, DTYPE_F32, cone->gradients * R, s->K);
		sae_scratch_declare(&s->scratch, &session->sites[s->index].sae, cone->arena, SAE_SCRATCH_SELECTED, R,
				    cone->gradients);
		N += flat_aligned(R * s->K);
		Nd += flat_aligned(R * d);
	}
	if (clamped > 0) {
		arena_add(cone->arena, &cone->z, DTYPE_F32, 1, N);
		arena_add(cone->arena, &cone->z_ref, DTYPE_F32, 1, N);
		arena_add(cone->arena, &cone->dz, DTYPE_F32, 1, N);
		arena_add(cone->arena, &cone->change, DTYPE_F32, 1, N);
		arena_add(cone->arena, &cone->decoded, DTYPE_F32, 1, Nd);
		arena_add(cone->arena, &cone->ddecoded, DTYPE_F32, 1, Nd);
		arena_add(cone->tables, &cone->z_segments, DTYPE_U32, clamped * S, 4);
		arena_add(cone->tables, &cone->decoded_segments, DTYPE_U32, clamped * S, 4);
		arena_add(cone->tables, &cone->entries, DTYPE_F32, 1, clamped * S);
		arena_add(cone->tables, &cone->reference, DTYPE_F32, 1, clamped * S);
		arena_add(cone->tables, &cone->weight, DTYPE_F32, 1, clamped * S);
	}
	if (cone->probing) {
		arena_add(cone->arena, &cone->probe_w, DTYPE_F32, 1, d);
		arena_add(cone->tables, &cone->probe_scores, DTYPE_F32, R + 1, 1);
		arena_add(cone->arena, &cone->probe_dlast, DTYPE_F32, R, d);
	}
}

void cone_set_views(struct cone *cone)
{
	int64_t d = cone->session->model.arch.d, R = cone->rows, at = 0, at_d = 0;
	for (int i = 0; i < cone->site_count; i++) {
		struct cone_site *s = &cone->sites[i];
		if (s->has_delta) {
			s->delta = tensor_rows(cone->delta, s->first_row, cone->position_count);
			s->g = tensor_rows(cone->g, s->first_row, cone->position_count);
			if (cone->gradients > 1)
				s->g_replicas = flat_view(cone->g_all, s->first_row * cone->gradients * d,
							  cone->gradients * cone->position_count, d);
		}
		if (!s->has_clamp)
			continue;
		s->z = flat_view(cone->z, at, R, s->K);
		s->dz = flat_view(cone->dz, at, R, s->K);
		s->change = flat_view(cone->change, at, R, s->K);
		s->decoded = flat_view(cone->decoded, at_d, R, d);
		s->ddecoded = flat_view(cone->ddecoded, at_d, R, d);
		at += flat_aligned(R * s->K);
		at_d += flat_aligned(R * d);
	}
}

/* Sums of squares of z_ref over the monitored positions of every clamped site, also
 * those below the cone: the references of relative drift. */
static double reference_square(const struct cone *cone, int site)
{
	const float *z = cone->measured->sites[site].z;
	int64_t K = cone->session->sites[site].rule_count;
	double sum = 0;
	for (int64_t i = cone->monitored_first * K; i < (cone->monitored_first + cone->monitored_count) * K; i++)
		sum += (double)z[i] * (double)z[i];
	return sum;
}

static enum status write_tables(struct cone *cone, struct error *error)
{
	struct session *session = cone->session;
	int64_t d = session->model.arch.d, R = cone->rows;
	uint32_t delta_segment[4] = {0, (uint32_t)(cone->delta_rows * d), 0, 0};
	enum status status = tensor_write(cone->delta_segments, delta_segment, error);
	uint32_t *index = mem_alloc((size_t)cone->position_count, sizeof *index);
	cone->rows_are_positions = cone->position_count == R;
	for (int64_t i = 0; i < cone->position_count; i++)
		index[i] = (uint32_t)(cone->positions[i] - cone->first);
	if (status == STATUS_OK)
		status = tensor_write(cone->index, index, error);
	free(index);

	int layers = 0;
	double reference = 0;
	for (int i = 0; i < session->site_count && !cone->ignore_clamps; i++)
		if (session->sites[i].rule_count > 0) {
			layers++;
			for (int j = 0; j < cone->site_count; j++)
				if (cone->sites[j].index == i)
					cone->sites[j].entry = cone->monitored_entries;
			reference += reference_square(cone, i);
			cone->monitored_entries += cone->monitored_count * session->sites[i].rule_count;
		}
	cone->reference_norm = sqrt(reference);
	int clamped = cone_clamped_sites(cone);
	if (clamped == 0 || status)
		return status;
	/* The monitored rows of the cone; the part before it can't drift. */
	int64_t from = cone->monitored_first > cone->first ? cone->monitored_first - cone->first : 0;
	int64_t to = cone->monitored_first + cone->monitored_count - cone->first;
	if (to < from)
		to = from;
	uint32_t segments[SESSION_MAX_SITES][4], decoded[SESSION_MAX_SITES][4];
	float entries[SESSION_MAX_SITES], references[SESSION_MAX_SITES], weights[SESSION_MAX_SITES];
	int64_t at = 0, at_d = 0;
	int n = 0;
	for (int i = 0; i < cone->site_count; i++) {
		const struct cone_site *s = &cone->sites[i];
		if (!s->has_clamp)
			continue;
		segments[n][0] = (uint32_t)(at + from * s->K);
		segments[n][1] = (uint32_t)((to - from) * s->K);
		decoded[n][0] = (uint32_t)(at_d + from * d);
		decoded[n][1] = (uint32_t)((to - from) * d);
		segments[n][2] = segments[n][3] = decoded[n][2] = decoded[n][3] = 0;
		entries[n] = (float)(cone->monitored_count * s->K);
		references[n] = (float)reference_square(cone, s->index);
		weights[n++] = 1.0f / (float)layers;
		at += flat_aligned(R * s->K);
		at_d += flat_aligned(R * d);
	}
	status = tensor_write(cone->z_segments, segments, error);
	if (status == STATUS_OK)
		status = tensor_write(cone->decoded_segments, decoded, error);
	if (status == STATUS_OK)
		status = tensor_write(cone->entries, entries, error);
	if (status == STATUS_OK)
		status = tensor_write(cone->reference, references, error);
	if (status == STATUS_OK)
		status = tensor_write(cone->weight, weights, error);
	return status;
}

/* Clamps that act on what delta causes: at every clamped site above the lowest
 * perturbed one, and once more behind delta with the order delta-clamp. */
static enum status make_clamps(struct cone *cone, struct error *error)
{
	struct session *session = cone->session;
	enum status status = STATUS_OK;
	for (int i = 0; i < cone->site_count && status == STATUS_OK; i++) {
		struct cone_site *s = &cone->sites[i];
		struct site *site = &session->sites[s->index];
		if (!s->has_clamp)
			continue;
		if (s->index > cone->lowest) {
			status = clamp_edit_create(&s->clamp_first, &site->clamp, site->point, session->error_alpha,
						   cone->rows, cone->gradients, true, error);
			s->has_first = status == STATUS_OK;
			if (status == STATUS_OK)
				status = session_write_clamp_rows(session, &s->clamp_first, cone->first, cone->total,
								  error);
		}
		if (status == STATUS_OK && s->has_delta && cone->settings->order == ORDER_DELTA_CLAMP) {
			status = clamp_edit_create(&s->clamp_again, &site->clamp, site->point, session->error_alpha,
						   cone->rows, cone->gradients, true, error);
			s->has_again = status == STATUS_OK;
			if (status == STATUS_OK)
				status = session_write_clamp_rows(session, &s->clamp_again, cone->first, cone->total,
								  error);
		}
	}
	return status;
}

void cone_list_edits(struct cone *cone)
{
	size_t most = (size_t)cone->site_count * 9 + 1;
	cone->edits = mem_alloc(most, sizeof *cone->edits);
	cone->edit_list = mem_alloc(most, sizeof(struct edit *));
	if (cone->lowest < 0) {
		suffix_edit_init(&cone->suffix, cone->session, cone->delta, cone->g);
		add_edit(cone, &cone->suffix.edit);
	}
	for (int i = 0; i < cone->site_count; i++) {
		struct cone_site *s = &cone->sites[i];
		struct edit *monitor = monitor_edit_at(&cone->monitor, s->index);
		if (monitor)
			add_edit(cone, monitor);
		if (s->has_first)
			add_edit(cone, &s->clamp_first.edit);
		/* At the lowest site the start residual has them. */
		struct edit *frozen = s->index > cone->lowest ? frozen_edit_at(&cone->frozen, s->index) : NULL;
		if (frozen)
			add_edit(cone, frozen);
		add_own(cone, s, &s->before, capture_forward, NULL);
		if (s->has_delta)
			add_own(cone, s, NULL, delta_forward, delta_backward);
		add_own(cone, s, &s->added, capture_forward, NULL);
		if (s->has_again)
			add_edit(cone, &s->clamp_again.edit);
		if (s->has_clamp)
			add_own(cone, s, NULL, monitor_forward, monitor_backward);
		add_own(cone, s, &s->out, capture_forward, NULL);
	}
}

/* The tokens of the cone's rows: the suffix and the answer. */
static enum status write_ids(struct cone *cone, struct error *error)
{
	const struct session *session = cone->session;
	uint32_t *ids = mem_alloc((size_t)cone->rows, sizeof *ids);
	for (int64_t i = 0; i < cone->rows; i++) {
		int64_t p = cone->first + i;
		ids[i] = (uint32_t)(p < cone->prompt ? session->prompt.ids[p]
						     : session->objective.answer.ids[p - cone->prompt]);
	}
	enum status status = tensor_write(cone->pass.ids, ids, error);
	free(ids);
	return status;
}

static enum status make_pass(struct cone *cone, struct error *error)
{
	struct session *session = cone->session;
	const struct arch *arch = &session->model.arch;
	bool embed = cone->lowest < 0;
	int64_t answer = cone->total - cone->prompt;
	struct pass_config config = {
		.arch = arch,
		.weights = &session->model.weights,
		.cache = &cone->scene->cache,
		.rows = cone->rows,
		.first_point = embed ? 0 : session->sites[cone->lowest].point,
		.embed = embed,
		.last_point = 2 * arch->layers,
		.backward = true,
		.gradients = cone->gradients,
		.logits = cone->readout.plan.full ? LOGITS_ALL : LOGITS_SOME,
		.readouts = answer > 0 ? answer : 1,
		.ids = cone->readout.plan.id_count,
		.edits = cone->edit_list,
		.edit_count = cone->edit_count,
	};
	if (cone->probing) {
		config.last_point = probe_point(session);
		config.logits = LOGITS_NONE;
		config.readouts = 0;
	}
	for (int r = 0; r < arch->n_ropes; r++)
		if (arch->ropes[r].inverse_long && cone->total > arch->ropes[r].original_context)
			config.long_rope = true;
	enum status status = pass_create(&cone->pass, session->device, &config, error);
	if (status)
		return status;
	status = pass_set_rows(&cone->pass, 0, cone->first, error);
	if (status == STATUS_OK && config.logits == LOGITS_SOME)
		status = tensor_write(cone->pass.logit_ids, cone->readout.plan.ids, error);
	if (status == STATUS_OK && config.readouts > 0) {
		uint32_t *rows = mem_alloc((size_t)config.readouts, sizeof *rows);
		for (int64_t i = 0; i < config.readouts; i++)
			rows[i] = (uint32_t)(cone->prompt - 1 - cone->first + i);
		status = tensor_write(cone->pass.readout, rows, error);
		free(rows);
	}
	if (status == STATUS_OK && embed)
		status = write_ids(cone, error);
	else if (status == STATUS_OK)
		status = buffer_write(cone->pass.start.buffer, cone->pass.start.offset,
				      cone->scene->sites[cone->lowest].h + cone->first * arch->d,
				      tensor_bytes(cone->pass.start), error);
	return status;
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

static enum status build(struct cone *cone, struct error *error)
{
	struct session *session = cone->session;
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
	if (status)
		return status;
	cone->rows = cone->total - cone->first;
	status = cone->probing ? probe_readout_create(&cone->readout, session, cone->rows, error)
			       : readout_create(&cone->readout, session->device, &session->objective,
						&cone->settings->answer, false, true, session->model.arch.vocab, error);
	if (status)
		return status;
	cone->arena = arena_create(session->device, BUFFER_DEVICE, "the recovery");
	cone->tables = arena_create(session->device, BUFFER_HOST, "the recovery's tables");
	cone_declare(cone);
	status = arena_allocate(cone->arena, error);
	if (status == STATUS_OK)
		status = arena_allocate(cone->tables, error);
	if (status)
		return status;
	cone_set_views(cone);
	status = write_tables(cone, error);
	if (status == STATUS_OK)
		status = make_clamps(cone, error);
	if (status == STATUS_OK && cone->scene->reference)
		status = frozen_edits_create(&cone->frozen, session, cone->first, cone->total, error);
	if (status == STATUS_OK && cone->lowest < 0)
		status = monitor_create(&cone->monitor, session, cone->rows, error);
	if (status)
		return status;
	cone_list_edits(cone);
	status = make_pass(cone, error);
	if (status == STATUS_OK && cone->probing)
		status = probe_write(cone, error);
	return status;
}

enum status cone_create(struct cone *cone, struct session *session, struct scene *scene,
			const struct recovery_settings *settings, bool ignore_clamps, int64_t gradients,
			struct error *error)
{
	*cone = (struct cone){
		.session = session,
		.settings = settings,
		.ignore_clamps = ignore_clamps,
		.sequences = 1,
		.gradients = gradients,
		.scene = scene,
		.measured = scene_reference(scene),
		.prompt = scene->prompt,
		.total = scene->total,
		.penalties = settings->lambda_act > 0 || settings->lambda_decode > 0,
	};
	if (!session->has_objective)
		return error_set(error, STATUS_INVALID, "recovery needs an objective; give --objective");
	cone->probing = probe_objective(&session->objective);
	enum status status = build(cone, error);
	if (status)
		cone_done(cone);
	return status;
}

void cone_done(struct cone *cone)
{
	if (cone->pass.points)
		pass_done(&cone->pass);
	readout_done(&cone->readout);
	for (int i = 0; cone->sites && i < cone->site_count; i++) {
		if (cone->sites[i].has_first)
			clamp_edit_done(&cone->sites[i].clamp_first);
		if (cone->sites[i].has_again)
			clamp_edit_done(&cone->sites[i].clamp_again);
	}
	frozen_edits_done(&cone->frozen);
	monitor_done(&cone->monitor);
	arena_destroy(&cone->arena);
	arena_destroy(&cone->tables);
	if (cone->joint_cache.arena)
		kv_cache_done(&cone->joint_cache);
	free(cone->parts);
	free(cone->sites);
	free(cone->positions);
	free(cone->edits);
	free(cone->edit_list);
	*cone = (struct cone){0};
}

void cone_record_forward(struct cone *cone, struct recorder *rec)
{
	pass_record_forward(&cone->pass, rec);
	if (cone->probing)
		probe_record(cone, rec);
	else
		readout_record(&cone->readout, rec, &cone->pass);
}

void cone_record_backward(struct cone *cone, struct recorder *rec)
{
	struct tensor none = {0};
	if (cone->probing)
		probe_record_back(cone, rec);
	pass_record_backward(&cone->pass, rec, cone->probing ? cone->probe_dlast : none);
}

/* The point of the highest clamped site. */
static int last_monitor(const struct cone *cone)
{
	int point = cone->pass.config.first_point;
	for (int i = 0; i < cone->site_count; i++)
		if (cone->sites[i].has_clamp)
			point = cone->session->sites[cone->sites[i].index].point;
	return point;
}

void cone_record_monitors(struct cone *cone, struct recorder *rec)
{
	pass_record_forward_to(&cone->pass, rec, last_monitor(cone));
}

void cone_record_monitors_back(struct cone *cone, struct recorder *rec)
{
	bool penalties = cone->penalties;
	cone->penalties = true;
	/* Perturbed layers above the last clamp get no gradient: theirs is zero. */
	for (int i = 0; i < cone->site_count; i++)
		if (cone->sites[i].has_delta && cone->session->sites[cone->sites[i].index].point > last_monitor(cone))
			record_fill(rec, cone->sites[i].g, 0);
	pass_record_backward_from(&cone->pass, rec, last_monitor(cone), 1);
	cone->penalties = penalties;
}
