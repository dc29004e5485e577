/* What acts on the residual in a cone: delta, the captures and monitors of each site. */
#include "compute/base/mem.h"
#include "sessions/cone_internal.h"

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
