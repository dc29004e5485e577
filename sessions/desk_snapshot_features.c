/* The features pane and a feature's own view, as the screens draw them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk_snapshot.h"
#include "sessions/labels.h"

/* Features listed at most: far more than anyone scrolls through, and quick to copy. */
enum { MOST_FEATURES = 512 };

/* ---- features ---- */

struct row {
	uint32_t feature;
	double key;
	bool clamped;
};

static int by_key(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	if (x->clamped != y->clamped)
		return x->clamped ? -1 : 1;
	if (x->key != y->key)
		return x->key > y->key ? -1 : 1;
	return (x->feature > y->feature) - (x->feature < y->feature);
}

static const struct clamp_rule *rule_of(const struct site *site, uint32_t feature)
{
	for (int64_t i = 0; i < site->rule_count; i++)
		if (site->rules[i].feature == feature)
			return &site->rules[i];
	return NULL;
}

static bool matches(const struct desk *desk, const struct site *site, uint32_t feature)
{
	if (!desk->filter[0])
		return false;
	char number[16];
	snprintf(number, sizeof number, "%u", feature);
	if (strcmp(number, desk->filter) == 0)
		return true;
	for (int i = 0, n = labels_count(site->labels, feature); i < n; i++)
		if (strcasestr(labels_get_nth(site->labels, feature, i), desk->filter))
			return true;
	return false;
}

static void fill_feature(struct snapshot_feature *f, const struct desk *desk, const struct site *site, uint32_t feature)
{
	*f = (struct snapshot_feature){.layer = site->sae.layer, .feature = feature};
	f->activation = desk->z_base ? desk->z_base[feature] : 0;
	const struct clamp_rule *rule = rule_of(site, feature);
	if (rule) {
		char *mode = clamp_mode_text(rule->mode, rule->value);
		for (char *c = mode; *c; c++)
			if (*c == ':')
				*c = ' ';
		f->clamped = true;
		snapshot_text(f->clamp, sizeof f->clamp, mode);
		free(mode);
	}
	if (desk->z_clamped) {
		f->has_held = true;
		f->held = desk->z_clamped[feature];
	}
	if (desk->ranking && desk->ranking_site == desk->site) {
		f->has_attribution = true;
		f->attribution = (float)desk->ranking[feature].attribution;
	}
	if (desk->z_recovered && desk->z_clamped) {
		f->has_change = true;
		f->change = desk->z_recovered[feature] - desk->z_clamped[feature];
	}
	snapshot_text(f->label, sizeof f->label, labels_get(site->labels, feature));
}

static double key_of(const struct desk *desk, uint32_t feature)
{
	switch (desk->sort) {
	case SORT_ATTRIBUTION:
		return desk->ranking && desk->ranking_site == desk->site ? desk->ranking[feature].attribution : 0;
	case SORT_CHANGE:
		return desk->z_recovered && desk->z_clamped
			       ? fabs((double)desk->z_recovered[feature] - (double)desk->z_clamped[feature])
			       : 0;
	case SORT_ID:
		return -(double)feature;
	default:
		return fabs((double)desk->z_base[feature]);
	}
}

static void fill_site(struct snapshot_site *out, const struct site *site, const struct desk_sae *known)
{
	*out = (struct snapshot_site){
		.layer = site->sae.layer,
		.features = site->sae.features,
		.clamped = (int)site->rule_count,
		.bytes = site->sae.bytes,
		.loaded = sae_loaded(&site->sae),
		.refused = known->refused,
		.has_fit = known->known,
		.fit_stale = known->stale,
		.fvu = (float)known->fit.fvu,
		.l0 = (float)known->fit.l0,
	};
	snprintf(out->hook, sizeof out->hook, "%s", hook_name(site->sae.hook));
	snprintf(out->act, sizeof out->act, "%s", sae_act_name(site->spec.act));
}

void snapshot_features(struct snapshot *s, const struct desk *desk)
{
	const struct session *session = desk->session;
	s->sort = desk->sort;
	snapshot_text(s->filter, sizeof s->filter, desk->filter);
	s->site_count = session->site_count;
	s->site_selected = desk->site;
	for (int i = 0; i < session->site_count; i++)
		fill_site(&s->sites[i], &session->sites[i], &desk->saes[i]);
	char *mode = clamp_mode_text(desk->mode, desk->mode_value);
	snapshot_text(s->clamp_mode, sizeof s->clamp_mode, mode);
	free(mode);
	if (!desk->z_base || session->site_count == 0)
		return;
	const struct site *site = &session->sites[desk->site];
	size_t F = (size_t)site->sae.features, n = 0;
	struct row *rows = mem_alloc(F, sizeof *rows);
	float scale = 0;
	for (size_t f = 0; f < F; f++) {
		uint32_t feature = (uint32_t)f;
		bool clamped = rule_of(site, feature) != NULL;
		bool shown = desk->filter[0] ? matches(desk, site, feature)
					     : desk->z_base[f] != 0 || clamped ||
						       (desk->z_recovered && desk->z_recovered[f] != 0);
		scale = fmaxf(scale, fabsf(desk->z_base[f]));
		/* Clamped features stay on top, so that what is held can be watched. */
		if (shown)
			rows[n++] = (struct row){feature, key_of(desk, feature), clamped && desk->sort != SORT_ID};
	}
	qsort(rows, n, sizeof *rows, by_key);
	s->feature_total = (int)n;
	s->feature_count = (int)(n < MOST_FEATURES ? n : MOST_FEATURES);
	s->feature_scale = scale;
	s->features = mem_alloc((size_t)s->feature_count, sizeof *s->features);
	for (int i = 0; i < s->feature_count; i++)
		fill_feature(&s->features[i], desk, site, rows[i].feature);
	free(rows);
}

/* ---- a feature's own view ---- */

static void token_scores(struct snapshot_score *out, int *count, const struct session *session,
			 const struct feature_score *from, int n)
{
	for (int i = 0; i < n && i < (int)ARRAY_LEN(((struct snapshot_view *)NULL)->promoted); i++) {
		out[i].id = from[i].id;
		out[i].score = from[i].score;
		snapshot_token(out[i].text, sizeof out[i].text, session, from[i].id);
		*count = i + 1;
	}
}

static void view_usage(struct snapshot_view *v, const struct desk *desk)
{
	const struct feature_usage *usage = desk->view.usage;
	v->reading = desk->view.reading;
	v->prompts = desk->prompts.count;
	if (!usage || usage->site != desk->view.site)
		return;
	uint32_t feature = desk->view.feature;
	v->has_usage = true;
	v->prompts_done = usage->done;
	v->prompts_skipped = usage->skipped;
	v->active_prompts = (int)usage->on_prompts[feature];
	v->tokens = usage->tokens;
	v->active_tokens = usage->on_tokens[feature];
	const struct usage_example *e = usage->examples + (size_t)feature * USAGE_EXAMPLES;
	for (int i = 0; i < USAGE_EXAMPLES && e[i].activation != 0; i++) {
		struct snapshot_example *out = &v->examples[v->example_count++];
		const struct usage_context *context = &desk->view.contexts[i];
		snapshot_text(out->prompt, sizeof out->prompt, desk->prompts.items[e[i].prompt].id);
		out->position = (int)e[i].position;
		out->activation = e[i].activation;
		memcpy(out->before, context->before, sizeof out->before);
		memcpy(out->token, context->token, sizeof out->token);
		memcpy(out->after, context->after, sizeof out->after);
	}
}

void snapshot_view(struct snapshot *s, const struct desk *desk)
{
	const struct desk_view *from = &desk->view;
	if (!from->open)
		return;
	const struct site *site = &desk->session->sites[from->site];
	struct snapshot_view *v = s->view = mem_alloc(1, sizeof *v);
	v->layer = site->sae.layer;
	snprintf(v->hook, sizeof v->hook, "%s", hook_name(site->sae.hook));
	v->feature = from->feature;
	v->features = site->sae.features;
	v->label_count = labels_count(site->labels, from->feature);
	v->labels = mem_alloc((size_t)v->label_count, sizeof *v->labels);
	for (int i = 0; i < v->label_count; i++)
		v->labels[i] = mem_strdup(labels_get_nth(site->labels, from->feature, i));
	char *page = feature_page(site, from->feature);
	snapshot_text(v->page, sizeof v->page, page && strlen(page) < sizeof v->page ? page : "");
	free(page);
	v->encoder_norm = from->facts.encoder_norm;
	v->decoder_norm = from->facts.decoder_norm;
	v->has_alignment = from->facts.has_alignment;
	v->alignment = from->facts.alignment;
	v->has_training_rate = site->spec.training_rates != NULL;
	if (site->spec.training_rates)
		v->training_rate = (double)site->spec.training_rates[from->feature];
	token_scores(v->promoted, &v->promoted_count, desk->session, from->facts.promoted, from->facts.promoted_count);
	token_scores(v->demoted, &v->demoted_count, desk->session, from->facts.demoted, from->facts.demoted_count);
	for (int i = 0; i < from->facts.near_count; i++) {
		v->near[i].id = from->facts.near[i].id;
		v->near[i].score = from->facts.near[i].score;
		snapshot_text(v->near[i].text, sizeof v->near[i].text, labels_get(site->labels, v->near[i].id));
		v->near_count++;
	}
	v->token_count = (int)from->length;
	for (int i = 0; i < STATE_COUNT; i++)
		if (from->along[i])
			v->along[i] = mem_copy(from->along[i], (size_t)from->length * sizeof **from->along);
	view_usage(v, desk);
}
