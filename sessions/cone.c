#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/cone_internal.h"
#include "sessions/flat.h"
#include "sessions/probe.h"

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
		config.last_point = cone_probe_point(session);
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

static enum status build(struct cone *cone, struct error *error)
{
	struct session *session = cone->session;
	enum status status = cone_plan(cone, error);
	if (status)
		return status;
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
