#include "sessions/monitor.h"

#include <stdlib.h>

#include "compute/base/mem.h"
#include "sessions/flat.h"

struct monitor_edit {
	struct edit edit; /* first */
	struct site *site;
	struct tensor z, dz; /* [R, K] views of the flat tensors */
	struct tensor h, dh;
	struct sae_scratch scratch;
};

static void monitor_forward(struct edit *base, struct recorder *rec, struct tensor x)
{
	struct monitor_edit *e = (struct monitor_edit *)base;
	clamp_record_encode(&e->site->clamp, rec, e->z, e->h, &e->scratch, x);
}

static void monitor_backward(struct edit *base, struct recorder *rec, struct tensor dx)
{
	struct monitor_edit *e = (struct monitor_edit *)base;
	clamp_record_encode_back(&e->site->clamp, rec, dx, e->dz, e->h, e->dh, &e->scratch);
}

enum status monitor_create(struct monitor *m, struct session *session, int64_t rows, struct error *error)
{
	*m = (struct monitor){.site_count = session->site_count};
	m->items = mem_alloc((size_t)session->site_count, sizeof *m->items);
	m->arena = arena_create(session->device, BUFFER_DEVICE, "the monitor");
	m->tables = arena_create(session->device, BUFFER_HOST, "the monitor's tables");
	uint32_t segments[SESSION_MAX_SITES][4] = {{0}};
	int64_t numbers = 0;
	int count = 0;
	for (int i = 0; i < session->site_count; i++) {
		struct site *site = &session->sites[i];
		struct monitor_edit *e = &m->items[i];
		int64_t K = site->rule_count;
		if (K == 0)
			continue;
		e->edit = (struct edit){.point = site->point, .forward = monitor_forward, .backward = monitor_backward};
		e->site = site;
		arena_add(m->arena, &e->h, DTYPE_F32, rows, K);
		arena_add(m->arena, &e->dh, DTYPE_F32, rows, K);
		sae_scratch_declare(&e->scratch, &site->sae, m->arena, SAE_SCRATCH_SELECTED, rows, 1);
		segments[count][0] = (uint32_t)numbers;
		segments[count++][1] = (uint32_t)(rows * K);
		numbers += flat_aligned(rows * K);
	}
	arena_add(m->arena, &m->z, DTYPE_F32, 1, numbers);
	arena_add(m->arena, &m->dz, DTYPE_F32, 1, numbers);
	arena_add(m->arena, &m->ratio, DTYPE_F32, 1, 1);
	arena_add(m->tables, &m->segments, DTYPE_U32, count, 4);
	arena_add(m->tables, &m->initial, DTYPE_F32, 1, 1);
	const float one = 1;
	enum status status = arena_allocate(m->arena, error);
	if (status == STATUS_OK)
		status = arena_allocate(m->tables, error);
	if (status == STATUS_OK)
		status = tensor_write(m->segments, segments, error);
	if (status == STATUS_OK)
		status = tensor_write(m->initial, &one, error);
	if (status) {
		monitor_done(m);
		return status;
	}
	count = 0;
	for (int i = 0; i < session->site_count; i++) {
		struct monitor_edit *e = &m->items[i];
		if (!e->site)
			continue;
		e->z = flat_view(m->z, segments[count][0], rows, e->site->rule_count);
		e->dz = flat_view(m->dz, segments[count++][0], rows, e->site->rule_count);
	}
	return STATUS_OK;
}

void monitor_done(struct monitor *m)
{
	arena_destroy(&m->arena);
	arena_destroy(&m->tables);
	free(m->items);
	*m = (struct monitor){0};
}

struct edit *monitor_edit_at(const struct monitor *m, int site)
{
	return site < m->site_count && m->items[site].site ? &m->items[site].edit : NULL;
}

void monitor_record(struct monitor *m, struct recorder *rec, double scale)
{
	op_monitor(rec, m->ratio, m->dz, m->z, m->segments, m->initial, scale);
}

enum status monitor_set_initial(struct monitor *m, struct error *error)
{
	float ratio = 0;
	enum status status = tensor_read(m->ratio, &ratio, error);
	return status ? status : tensor_write(m->initial, &ratio, error);
}
