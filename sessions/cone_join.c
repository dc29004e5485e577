#include <stdlib.h>

#include "compute/base/mem.h"
#include "sessions/cone_internal.h"
#include "sessions/flat.h"

/* Is what makes them one pass alike? */
static bool same_site(const struct cone_site *a, const struct cone_site *b)
{
	return a->index == b->index && a->has_delta == b->has_delta && a->has_clamp == b->has_clamp && a->K == b->K &&
	       a->has_first == b->has_first && a->has_again == b->has_again;
}

static bool joinable(const struct cone *cone)
{
	return cone->sequences == 1 && cone->gradients == 1 && cone->lowest >= 0 && !cone->probing &&
	       !cone->ignore_clamps && !cone->scene->reference && cone->readout.has_terms;
}

bool cone_joins(const struct cone *a, const struct cone *b)
{
	bool same = joinable(a) && joinable(b) && a->session == b->session && a->lowest == b->lowest &&
		    a->site_count == b->site_count && a->penalties == b->penalties &&
		    a->readout.plan.full == b->readout.plan.full &&
		    a->pass.config.long_rope == b->pass.config.long_rope;
	for (int i = 0; same && i < a->site_count; i++)
		same = same_site(&a->sites[i], &b->sites[i]);
	return same;
}

/* Counts rows, positions and rows of delta, and notes where each prompt's begin. */
static void count_parts(struct cone *joint, struct cone *const *members)
{
	int64_t readouts = 0;
	joint->parts = mem_alloc((size_t)joint->sequences, sizeof *joint->parts);
	joint->rows_are_positions = true;
	for (int64_t i = 0; i < joint->sequences; i++) {
		joint->parts[i] = (struct cone_part){joint->rows, joint->position_count, readouts};
		joint->rows += members[i]->rows;
		joint->position_count += members[i]->position_count;
		readouts += members[i]->readout.plan.rows;
		joint->rows_are_positions = joint->rows_are_positions && members[i]->rows_are_positions;
	}
	joint->delta_rows = joint->delta_site_count * joint->position_count;
}

static void copy_sites(struct cone *joint, const struct cone *like)
{
	joint->site_count = like->site_count;
	joint->delta_site_count = like->delta_site_count;
	joint->sites = mem_alloc((size_t)like->site_count, sizeof *joint->sites);
	for (int i = 0; i < like->site_count; i++) {
		const struct cone_site *from = &like->sites[i];
		joint->sites[i] = (struct cone_site){
			.index = from->index, .has_delta = from->has_delta, .has_clamp = from->has_clamp, .K = from->K};
	}
}

/* Behind count_parts. */
static void place_delta(struct cone *joint)
{
	int64_t at = 0;
	for (int i = 0; i < joint->site_count; i++)
		if (joint->sites[i].has_delta) {
			joint->sites[i].first_row = at;
			at += joint->position_count;
		}
}

static enum status write_index(struct cone *joint, struct cone *const *members, struct error *error)
{
	int64_t d = joint->session->model.arch.d, n = 0;
	uint32_t *index = mem_alloc((size_t)joint->position_count, sizeof *index);
	uint32_t(*segments)[4] = mem_alloc((size_t)(joint->delta_site_count * joint->sequences), sizeof *segments);
	for (int64_t i = 0; i < joint->sequences; i++)
		for (int64_t p = 0; p < members[i]->position_count; p++)
			index[joint->parts[i].position + p] =
				(uint32_t)(joint->parts[i].row + members[i]->positions[p] - members[i]->first);
	for (int s = 0; s < joint->delta_site_count; s++)
		for (int64_t i = 0; i < joint->sequences; i++) {
			uint32_t *segment = segments[n++];
			segment[0] = (uint32_t)((s * joint->position_count + joint->parts[i].position) * d);
			segment[1] = (uint32_t)(members[i]->position_count * d);
			segment[2] = (uint32_t)i;
		}
	enum status status = tensor_write(joint->index, index, error);
	if (status == STATUS_OK)
		status = tensor_write(joint->delta_segments, segments, error);
	free(index);
	free(segments);
	return status;
}

/* What op_drift knows of a segment: a member has a number for each of its clamped sites. */
static enum status join_numbers(struct tensor to, struct cone *const *members, int64_t count, size_t which,
				struct error *error)
{
	int64_t clamped = to.cols / count;
	float *all = mem_alloc((size_t)to.cols, sizeof *all), *one = mem_alloc((size_t)clamped, sizeof *one);
	enum status status = STATUS_OK;
	for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
		const struct tensor *from = (const struct tensor *)((const char *)members[i] + which);
		status = tensor_read(*from, one, error);
		for (int64_t s = 0; s < clamped; s++)
			all[s * count + i] = one[s];
	}
	if (status == STATUS_OK)
		status = tensor_write(to, all, error);
	free(all);
	free(one);
	return status;
}

/* The monitored entries of each site and prompt, as write_tables of cone.c has them. */
static enum status write_segments(struct cone *joint, struct cone *const *members, struct error *error)
{
	int64_t d = joint->session->model.arch.d, at = 0, at_d = 0, n = 0, count = joint->sequences;
	int clamped = cone_clamped_sites(joint);
	if (clamped == 0)
		return STATUS_OK;
	uint32_t(*segments)[4] = mem_alloc((size_t)(clamped * count), sizeof *segments);
	uint32_t(*decoded)[4] = mem_alloc((size_t)(clamped * count), sizeof *decoded);
	for (int s = 0; s < joint->site_count; s++) {
		int64_t K = joint->sites[s].K;
		if (!joint->sites[s].has_clamp)
			continue;
		for (int64_t i = 0; i < count; i++, n++) {
			const struct cone *m = members[i];
			int64_t from = m->monitored_first > m->first ? m->monitored_first - m->first : 0;
			int64_t to = m->monitored_first + m->monitored_count - m->first;
			int64_t rows = to > from ? to - from : 0, row = joint->parts[i].row + from;
			segments[n][0] = (uint32_t)(at + row * K);
			segments[n][1] = (uint32_t)(rows * K);
			decoded[n][0] = (uint32_t)(at_d + row * d);
			decoded[n][1] = (uint32_t)(rows * d);
			segments[n][2] = decoded[n][2] = (uint32_t)i;
		}
		at += flat_aligned(joint->rows * K);
		at_d += flat_aligned(joint->rows * d);
	}
	enum status status = tensor_write(joint->z_segments, segments, error);
	if (status == STATUS_OK)
		status = tensor_write(joint->decoded_segments, decoded, error);
	free(segments);
	free(decoded);
	if (status == STATUS_OK)
		status = join_numbers(joint->entries, members, count, offsetof(struct cone, entries), error);
	if (status == STATUS_OK)
		status = join_numbers(joint->reference, members, count, offsetof(struct cone, reference), error);
	if (status == STATUS_OK)
		status = join_numbers(joint->weight, members, count, offsetof(struct cone, weight), error);
	return status;
}

/* A clamp as the members have it, over all their rows. */
static enum status join_clamp(struct cone *joint, struct cone *const *members, int site, bool again,
			      struct error *error)
{
	struct session *session = joint->session;
	struct cone_site *s = &joint->sites[site];
	struct site *hooked = &session->sites[s->index];
	struct clamp_edit *edit = again ? &s->clamp_again : &s->clamp_first;
	enum status status = clamp_edit_create(edit, &hooked->clamp, hooked->point, session->error_alpha, joint->rows,
					       1, true, error);
	if (status)
		return status;
	*(again ? &s->has_again : &s->has_first) = true;
	uint32_t *on = mem_alloc((size_t)joint->rows, sizeof *on);
	for (int64_t i = 0; i < joint->sequences && status == STATUS_OK; i++) {
		const struct cone_site *from = &members[i]->sites[site];
		struct tensor words = again ? from->clamp_again.on : from->clamp_first.on;
		status = buffer_read(words.buffer, words.offset, on + joint->parts[i].row, tensor_bytes(words), error);
	}
	if (status == STATUS_OK)
		status = tensor_write(edit->on, on, error);
	free(on);
	return status;
}

static enum status join_clamps(struct cone *joint, struct cone *const *members, struct error *error)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < joint->site_count && status == STATUS_OK; i++) {
		if (members[0]->sites[i].has_first)
			status = join_clamp(joint, members, i, false, error);
		if (status == STATUS_OK && members[0]->sites[i].has_again)
			status = join_clamp(joint, members, i, true, error);
	}
	return status;
}

static int64_t longest(struct cone *const *members, int64_t count)
{
	int64_t total = 0;
	for (int64_t i = 0; i < count; i++)
		if (members[i]->total > total)
			total = members[i]->total;
	return total;
}

/* The row, readout and id tables of the pass. */
static enum status write_pass(struct cone *joint, struct cone *const *members, struct error *error)
{
	struct pass *pass = &joint->pass;
	int64_t Q = pass->config.readouts, columns = pass->config.ids;
	uint32_t(*rows)[2] = mem_alloc((size_t)joint->rows, sizeof *rows);
	uint32_t *readout = mem_alloc((size_t)Q, sizeof *readout);
	uint32_t *ids = mem_alloc((size_t)(Q * columns) + 1, sizeof *ids);
	for (int64_t i = 0; i < joint->sequences; i++) {
		const struct cone *m = members[i];
		const struct objective_plan *plan = &m->readout.plan;
		for (int64_t r = 0; r < m->rows; r++) {
			rows[joint->parts[i].row + r][0] = (uint32_t)i;
			rows[joint->parts[i].row + r][1] = (uint32_t)(m->first + r);
		}
		for (int64_t q = 0; q < plan->rows; q++) {
			int64_t at = joint->parts[i].readout + q;
			readout[at] = (uint32_t)(joint->parts[i].row + m->prompt - 1 - m->first + q);
			/* Columns that a prompt lacks repeat its first id; nothing reads them. */
			for (int64_t j = 0; j < columns; j++)
				ids[at * columns + j] = plan->ids[j < plan->id_count ? j : 0];
		}
	}
	enum status status = tensor_write(pass->rows, rows, error);
	if (status == STATUS_OK)
		status = tensor_write(pass->readout, readout, error);
	if (status == STATUS_OK && pass->config.logits == LOGITS_SOME)
		status = tensor_write(pass->logit_ids, ids, error);
	free(rows);
	free(readout);
	free(ids);
	return status;
}

/* Keys, values and start residuals of the members. */
static enum status copy_states(struct cone *joint, struct cone *const *members, struct error *error)
{
	const struct arch *arch = &joint->session->model.arch;
	uint64_t width = (uint64_t)arch->d * sizeof(float);
	struct recorder *rec = recorder_create(joint->session->device, "joining");
	recorder_begin(rec);
	for (int64_t i = 0; i < joint->sequences; i++) {
		const struct cone *m = members[i];
		uint64_t cache_row = (uint64_t)(i * joint->joint_cache.context);
		record_copy(rec, joint->pass.start, (uint64_t)joint->parts[i].row * width, m->pass.start, 0,
			    tensor_bytes(m->pass.start));
		for (int l = joint->pass.config.first_point / 2; l < arch->layers; l++) {
			struct tensor k = m->pass.config.cache->k[l], v = m->pass.config.cache->v[l];
			uint64_t to = cache_row * (uint64_t)k.cols * sizeof(float);
			record_copy(rec, joint->joint_cache.k[l], to, k, 0, tensor_bytes(k));
			record_copy(rec, joint->joint_cache.v[l], to, v, 0, tensor_bytes(v));
		}
	}
	enum status status = recorder_run(rec, error);
	recorder_destroy(&rec);
	return status;
}

static enum status make_pass(struct cone *joint, struct cone *const *members, int64_t columns, struct error *error)
{
	struct session *session = joint->session;
	struct pass_config config = members[0]->pass.config;
	int64_t context = longest(members, joint->sequences);
	config.cache = &joint->joint_cache;
	config.rows = joint->rows;
	config.readouts = joint->readout.plan.rows;
	config.ids = columns;
	config.ids_by_row = true;
	config.edits = joint->edit_list;
	config.edit_count = joint->edit_count;
	enum status status = pass_check_memory(session->device, &config, joint->sequences, context, error);
	if (status == STATUS_OK)
		status = kv_cache_create(&joint->joint_cache, session->device, config.arch, joint->sequences, context,
					 error);
	if (status == STATUS_OK)
		status = pass_create(&joint->pass, session->device, &config, error);
	if (status == STATUS_OK)
		status = write_pass(joint, members, error);
	return status ? status : copy_states(joint, members, error);
}

static enum status build(struct cone *joint, struct cone *const *members, struct error *error)
{
	struct session *session = joint->session;
	const struct readout **readouts = mem_alloc((size_t)joint->sequences, sizeof *readouts);
	int64_t columns;
	for (int64_t i = 0; i < joint->sequences; i++)
		readouts[i] = &members[i]->readout;
	enum status status =
		readout_join(&joint->readout, session->device, readouts, joint->sequences, &columns, error);
	free(readouts);
	if (status)
		return status;
	copy_sites(joint, members[0]);
	count_parts(joint, members);
	place_delta(joint);
	joint->arena = arena_create(session->device, BUFFER_DEVICE, "the recoveries of a batch");
	joint->tables = arena_create(session->device, BUFFER_HOST, "the tables of a batch");
	cone_declare(joint);
	status = arena_allocate(joint->arena, error);
	if (status == STATUS_OK)
		status = arena_allocate(joint->tables, error);
	if (status)
		return status;
	cone_set_views(joint);
	status = write_index(joint, members, error);
	if (status == STATUS_OK)
		status = write_segments(joint, members, error);
	if (status == STATUS_OK)
		status = join_clamps(joint, members, error);
	if (status)
		return status;
	cone_list_edits(joint);
	return make_pass(joint, members, columns, error);
}

enum status cone_join(struct cone *joint, struct cone *const *members, int64_t count,
		      const struct recovery_settings *settings, struct error *error)
{
	*joint = (struct cone){
		.session = members[0]->session,
		.settings = settings,
		.sequences = count,
		.gradients = 1,
		.lowest = members[0]->lowest,
		.penalties = members[0]->penalties,
	};
	enum status status = build(joint, members, error);
	if (status)
		cone_done(joint);
	return status;
}
