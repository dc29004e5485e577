/* The desk's SAEs: loaded when one is shown, measured when it is loaded, dropped on request. */
#include <stdio.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"
#include "sessions/hooked_sae.h"

bool desk_report_loading(void *context, const char *what, uint64_t done, uint64_t total)
{
	struct desk *desk = context;
	desk->loading[0] = '\0';
	if (done < total)
		snprintf(desk->loading, sizeof desk->loading, "%s, %.0f %%", what, 100 * (double)done / (double)total);
	return desk_pulse(desk);
}

/* What is on the screen is not unused. */
static void mark_shown(struct desk *desk)
{
	const struct desk_view *view = &desk->view;
	for (int i = 0; i < desk->session->site_count; i++)
		desk->session->sites[i].shown =
			i == desk->site || (view->open && i == view->site) || (view->reading && i == view->usage->site);
}

/* Of the one that is shown: what is said of the others would be mistaken for it. */
static void warn_of_fit(struct desk *desk, int site)
{
	char text[256];
	int64_t F = desk->session->sites[site].sae.features;
	if (site == desk->site && sae_fit_warning(text, sizeof text, &desk->saes[site].fit, F))
		desk_notice(desk, "%s", text);
}

static bool wants_fit(const struct desk *desk, int site)
{
	const struct desk_sae *s = &desk->saes[site];
	bool shown = site == desk->site;
	if (s->refused || (!shown && !sae_loaded(&desk->session->sites[site].sae)))
		return false;
	return !s->known || (shown && s->stale);
}

enum status desk_update_saes(struct desk *desk, struct error *error)
{
	mark_shown(desk);
	enum status status = STATUS_OK;
	for (int i = 0; i < desk->session->site_count && desk->has_base && status == STATUS_OK; i++) {
		struct desk_sae *s = &desk->saes[i];
		if (!wants_fit(desk, i))
			continue;
		if (!sae_loaded(&desk->session->sites[i].sae))
			desk->features_dirty = true;
		status = sae_fit_measure(&s->fit, desk_plain_base(desk), i, error);
		s->known = s->loss_pending = status == STATUS_OK;
		s->refused = status != STATUS_OK;
		s->stale = false;
		if (status == STATUS_OK)
			warn_of_fit(desk, i);
	}
	return status;
}

void desk_ask_for_sae(struct desk *desk, int site)
{
	desk->saes[site].refused = false;
}

void desk_drop_saes(struct desk *desk)
{
	struct session *session = desk->session;
	mark_shown(desk);
	struct sae_memory memory = session_sae_memory(session);
	char freed[TEXT_BYTES_SIZE];
	session_drop_unused_saes(session);
	for (int i = 0; i < session->site_count; i++)
		if (!sae_loaded(&session->sites[i].sae))
			desk->saes[i] = (struct desk_sae){0};
	if (memory.unused > 0)
		desk_notice(desk, "dropped %d SAE%s not in use, %s; back when needed", memory.unused,
			    memory.unused == 1 ? "" : "s", text_bytes(freed, memory.unused_bytes));
	else
		desk_notice(desk, "no SAE to drop: those loaded are shown or have clamps");
}

/* ---- the loss recovered, in idle time ---- */

/* The site whose loss is to be measured next, the shown one first; -1: none. */
static int next_loss(const struct desk *desk)
{
	if (!desk->session || !desk->has_base)
		return -1;
	if (desk->session->site_count > 0 && desk->saes[desk->site].loss_pending)
		return desk->site;
	for (int i = 0; i < desk->session->site_count; i++)
		if (desk->saes[i].loss_pending)
			return i;
	return -1;
}

bool desk_loss_pending(const struct desk *desk)
{
	return next_loss(desk) >= 0;
}

void desk_measure_loss(struct desk *desk)
{
	enum { WORTH_SAYING_MS = 150 };
	struct session *session = desk->session;
	struct error error;
	int site = next_loss(desk);
	if (site < 0)
		return;
	struct desk_sae *s = &desk->saes[site];
	if (desk->base_ms > WORTH_SAYING_MS)
		desk_begin_job(desk, JOB_LOSS, "loss with the SAE spliced in");
	session->cancel = &desk->called;
	enum status status = sae_fit_measure_loss(&s->fit, desk_plain_base(desk), site, &error);
	session->cancel = &desk->cancel;
	if (desk->job == JOB_LOSS)
		desk_end_job(desk);
	bool stopped = atomic_exchange(&desk->cancel, false);
	if (status == STATUS_CANCELLED) {
		atomic_store(&desk->called, false);
		s->loss_pending = !stopped;
		return;
	}
	s->loss_pending = false;
	desk_report(desk, status, &error);
	if (status == STATUS_OK && s->fit.fvu <= SAE_FIT_POOR)
		warn_of_fit(desk, site); /* what is said of a poor one is on the screen already */
}
