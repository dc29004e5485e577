/* The desk's view of one feature, and its reading of the prompt set for all of them. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"

static void forget_along(struct desk_view *view)
{
	for (int i = 0; i < STATE_COUNT; i++) {
		free(view->along[i]);
		view->along[i] = NULL;
	}
}

/* Texts around the examples; only those that changed are made anew. */
static enum status update_contexts(struct desk *desk, struct error *error)
{
	struct desk_view *view = &desk->view;
	if (!view->open || !view->usage || view->usage->site != view->site)
		return STATUS_OK;
	const struct usage_example *e = view->usage->examples + (size_t)view->feature * USAGE_EXAMPLES;
	enum status status = STATUS_OK;
	for (int i = 0; i < USAGE_EXAMPLES && e[i].activation != 0 && status == STATUS_OK; i++) {
		const struct usage_example *of = &view->context_of[i];
		if (e[i].prompt == of->prompt && e[i].position == of->position && e[i].activation == of->activation)
			continue;
		status = feature_usage_context(&view->contexts[i], desk->session, &desk->prompts.items[e[i].prompt],
					       e[i].position, desk->options.no_bos, error);
		if (status == STATUS_OK)
			view->context_of[i] = e[i];
	}
	return status;
}

/* What was read of the shown SAE before, or nothing yet. */
static enum status open_usage(struct desk *desk, struct error *error)
{
	struct desk_view *view = &desk->view;
	if (desk->prompts.count == 0 || !desk->session->model.tokenizer)
		return STATUS_OK;
	if (!view->usage || view->usage->site != view->site) {
		desk_usage_forget(desk);
		enum status status = feature_usage_open(&view->usage, desk->session, view->site, &desk->prompts,
							desk->options.no_bos, error);
		if (status)
			return status;
	}
	if (!view->stopped)
		view->reading = !feature_usage_complete(view->usage);
	return update_contexts(desk, error);
}

enum status desk_view_open(struct desk *desk, int64_t feature, struct error *error)
{
	struct desk_view *view = &desk->view;
	view->open = false;
	forget_along(view);
	if (feature < 0)
		return STATUS_OK;
	if (desk->session->site_count == 0)
		return error_set(error, STATUS_INVALID, "no SAE is loaded, so there is no feature to look at");
	if (feature > UINT32_MAX)
		feature = UINT32_MAX;
	desk_begin_job(desk, JOB_FEATURE, "looking at the feature");
	enum status status = feature_facts_find(&view->facts, desk->session, desk->site, (uint32_t)feature, error);
	if (status)
		return status;
	if (view->usage && view->usage->site != desk->site)
		view->stopped = false;
	view->open = true;
	view->site = desk->site;
	view->feature = (uint32_t)feature;
	view->dirty = true;
	memset(view->context_of, 0, sizeof view->context_of);
	status = desk_view_update(desk, error);
	if (status == STATUS_OK) {
		char *verb = mem_printf("feature %d:%u", desk->session->sites[desk->site].sae.layer, view->feature);
		desk_log(desk, verb, false, "decoder norm %.4f", view->facts.decoder_norm);
		free(verb);
		status = open_usage(desk, error);
	}
	return status;
}

static enum status add_along(struct desk *desk, int state, const float *h, struct error *error)
{
	struct desk_view *view = &desk->view;
	view->along[state] = mem_alloc((size_t)view->length, sizeof **view->along);
	return feature_along(desk->session, view->site, view->feature, h, view->length, view->along[state], error);
}

enum status desk_view_update(struct desk *desk, struct error *error)
{
	struct desk_view *view = &desk->view;
	if (!view->open || !view->dirty)
		return STATUS_OK;
	forget_along(view);
	view->dirty = false;
	if (!desk->has_base)
		return STATUS_OK;
	view->length = desk->base.prompt;
	enum status status = add_along(desk, STATE_BASE, desk->base.sites[view->site].h, error);
	if (status == STATUS_OK && desk->has_clamped)
		status = add_along(desk, STATE_CLAMPED, scene_reference(&desk->clamped)->sites[view->site].h, error);
	if (status == STATUS_OK && desk->run.evaluated) {
		size_t d = (size_t)desk->session->sites[view->site].sae.d;
		float *h = mem_alloc((size_t)desk->clamped.total * d, sizeof *h);
		status = recovery_state(desk->run.recovery, view->site, RECOVERY_OUT, h, error);
		if (status == STATUS_OK)
			status = add_along(desk, STATE_RECOVERED, h, error);
		free(h);
	}
	if (status)
		forget_along(view);
	return status;
}

enum status desk_usage_toggle(struct desk *desk, struct error *error)
{
	struct desk_view *view = &desk->view;
	if (view->reading) {
		desk_usage_stop(desk);
		return STATUS_OK;
	}
	if (!view->open)
		return error_set(error, STATUS_INVALID,
				 "no feature is looked at: Enter in the features pane opens one");
	if (desk->prompts.count == 0 || !desk->session->model.tokenizer)
		return error_set(error, STATUS_INVALID, "there is no prompt set to read");
	view->stopped = false;
	enum status status = open_usage(desk, error);
	if (status == STATUS_OK && !view->reading)
		desk_notice(desk, "all %d prompts have been read", desk->prompts.count);
	return status;
}

bool desk_usage_next(struct desk *desk)
{
	struct desk_view *view = &desk->view;
	struct error error;
	enum status status =
		feature_usage_next(view->usage, desk->session, &desk->prompts, desk->options.no_bos, &error);
	if (status == STATUS_OK)
		status = update_contexts(desk, &error);
	if (status == STATUS_CANCELLED) {
		atomic_store(&desk->cancel, false);
		desk_usage_stop(desk);
	} else if (status) {
		view->reading = false;
		view->stopped = true;
		desk_report(desk, status, &error);
	} else if (feature_usage_complete(view->usage)) {
		view->reading = false;
		feature_usage_save(view->usage);
	}
	return view->reading;
}

void desk_usage_stop(struct desk *desk)
{
	struct desk_view *view = &desk->view;
	view->reading = false;
	view->stopped = true;
	feature_usage_save(view->usage);
	desk_notice(desk, "reading the prompt set was stopped at %d of %d; e in a feature's view goes on",
		    view->usage->done, view->usage->prompts);
}

void desk_usage_forget(struct desk *desk)
{
	struct desk_view *view = &desk->view;
	if (view->usage)
		feature_usage_save(view->usage);
	feature_usage_destroy(&view->usage);
	view->reading = false;
	memset(view->context_of, 0, sizeof view->context_of);
}

void desk_view_done(struct desk *desk)
{
	desk_usage_forget(desk);
	forget_along(&desk->view);
	desk->view.open = false;
}
