#include "sessions/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/compare.h"

enum { CURVES = 10 };

static void curves_of(float **out[CURVES], struct snapshot_history *h)
{
	float **const curves[CURVES] = {&h->objective,	&h->loss,   &h->drift,	  &h->drift_relative, &h->decode_drift,
					&h->delta_norm, &h->cosine, &h->gradient, &h->projected,      &h->monitor};
	memcpy(out, curves, sizeof curves);
}

void snapshot_history_copy(struct snapshot_history *out, const struct snapshot_history *history)
{
	float **curves[CURVES];
	*out = *history;
	curves_of(curves, out);
	for (int i = 0; i < CURVES; i++)
		*curves[i] = *curves[i] ? mem_copy(*curves[i], (size_t)history->steps * sizeof **curves[i]) : NULL;
}

void snapshot_history_done(struct snapshot_history *history)
{
	float **curves[CURVES];
	curves_of(curves, history);
	for (int i = 0; i < CURVES; i++)
		free(*curves[i]);
	*history = (struct snapshot_history){0};
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	for (int i = 0; i < STATE_COUNT; i++)
		free(s->state[i].text);
	for (int i = 0; i < s->component_count; i++)
		free(s->components[i].per_token);
	for (int i = 0; i < s->log_count; i++) {
		free(s->log[i].command);
		free(s->log[i].result);
	}
	snapshot_history_done(&s->history);
	snapshot_history_done(&s->method.history);
	for (int i = 0; i + 1 < s->run_count; i++)
		snapshot_history_done(&s->earlier[i].history);
	free(s->earlier);
	if (s->view) {
		for (int i = 0; i < s->view->label_count; i++)
			free(s->view->labels[i]);
		for (int i = 0; i < STATE_COUNT; i++)
			free(s->view->along[i]);
		free(s->view->labels);
		free(s->view);
	}
	free(s->sessions);
	comparison_release(&s->comparison);
	free(s->prompts);
	free(s->objective_choices);
	free(s->tokens);
	free(s->features);
	for (int i = 0; i < SETTINGS_OF_COUNT; i++)
		free(s->settings_of[i].values);
	free(s->components);
	free(s->log);
	free(s);
}
