/* The desk as the value that the screens draw. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/desk_snapshot.h"
#include "sessions/hooked_sae.h"
#include "sessions/labels.h"
#include "sessions/probe.h"

void snapshot_text(char *out, size_t size, const char *text)
{
	text_printable(out, size, text, strlen(text));
}

static bool same_width(const struct session *session)
{
	for (int i = 1; i < session->site_count; i++)
		if (session->sites[i].sae.features != session->sites[0].sae.features)
			return false;
	return true;
}

static void status_line(struct snapshot *s, const struct desk *desk)
{
	const struct session *session = desk->session;
	if (!session || !session->device)
		return;
	const struct device_info *device = device_get_info(session->device);
	snapshot_text(s->device, sizeof s->device, device->name);
	s->has_self_test = desk->has_self_test;
	s->self_test_ok = desk->self_test.ok;
	s->self_test_error = (float)desk->self_test.max_error;
	if (!session->model.folder)
		return;
	char *model = desk->options.model ? mem_printf("%s %dx%d", path_base(session->model.folder),
						       session->model.arch.layers, session->model.arch.d)
					  : mem_printf("demo %dx%d", session->model.arch.layers, session->model.arch.d);
	snapshot_text(s->model, sizeof s->model, model);
	free(model);
	const struct sae_memory memory = session_sae_memory(session);
	if (session->site_count == 0)
		snprintf(s->sae, sizeof s->sae, "none");
	else if (session->site_count == 1)
		snprintf(s->sae, sizeof s->sae, "%lld at layer %d", (long long)session->sites[0].sae.features,
			 session->sites[0].sae.layer);
	else if (same_width(session))
		snprintf(s->sae, sizeof s->sae, "%d/%dx%lld", memory.loaded, session->site_count,
			 (long long)session->sites[0].sae.features);
	else
		snprintf(s->sae, sizeof s->sae, "%d/%d", memory.loaded, session->site_count);
	s->sae_bytes = memory.bytes;
	const struct desk_sae *sae = &desk->saes[desk->site];
	s->has_fvu = sae->known && !sae->stale;
	s->fvu = (float)sae->fit.fvu;
	s->l0 = (float)sae->fit.l0;
	s->fit_cosine = (float)sae->fit.cosine;
	s->fit_dead = (float)sae->fit.dead;
	double recovered = 0;
	s->has_loss = s->has_fvu && splice_loss_recovered(&sae->fit.loss, &recovered);
	s->loss_recovered = (float)recovered;
}

static void prompts(struct snapshot *s, const struct desk *desk)
{
	s->prompt_count = desk->prompts.count;
	s->prompt_selected = desk->prompt;
	s->prompts = mem_alloc((size_t)s->prompt_count, sizeof *s->prompts);
	s->flips_total = desk->flips_running ? desk->prompts.count : 0;
	s->flips_done = desk->flips_running ? desk->flips_at : 0;
	for (int i = 0; i < s->prompt_count; i++) {
		const struct prompt *p = &desk->prompts.items[i];
		const struct prompt_state *state = &desk->states[i];
		struct snapshot_prompt *out = &s->prompts[i];
		snapshot_text(out->id, sizeof out->id, p->id);
		snapshot_text(out->task, sizeof out->task, p->task);
		/* The end says what is asked: keep it where the text is too long. */
		size_t n = strlen(p->text), room = sizeof out->text - 1;
		const char *from = p->text + (n > room ? n - room : 0);
		while (n > room && ((unsigned char)*from & 0xC0) == 0x80)
			from++;
		snapshot_text(out->text, sizeof out->text, from);
		out->state = state->state;
		out->state_stale = state->state != FLIP_UNKNOWN && state->clamp_serial != desk->clamp_serial;
		if (state->state != FLIP_UNKNOWN)
			s->cells[state->base][state->clamped]++;
	}
}

/* The objective's tokens at one readout, by the scene's or state's logits. */
static void reads(struct snapshot_state *out, const struct session *session, const float *logits,
		  const struct logit_summary *summary)
{
	const struct objective_term *term = session->has_objective ? &session->objective.terms[0] : NULL;
	if (!term || !logits || probe_objective(&session->objective))
		return;
	/* Of an answer only the first token is read here. */
	size_t count = session->objective.answer.count > 0 ? 1 : term->tokens.count;
	for (size_t i = 0; i < count && out->read_count < (int)ARRAY_LEN(out->reads); i++) {
		int32_t id = term->tokens.ids[i];
		struct snapshot_read *r = &out->reads[out->read_count++];
		r->id = (uint32_t)id;
		r->logit = logits[id];
		r->probability = (float)logit_summary_probability(summary, logits[id]);
	}
}

static void piece(const struct session *session, uint32_t id, char *out, size_t size)
{
	struct strbuf raw = {0};
	if (session->model.tokenizer)
		tokenizer_token_bytes(session->model.tokenizer, (int32_t)id, &raw);
	if (raw.length > 0)
		text_printable(out, size, raw.data, raw.length);
	else
		snprintf(out, size, "#%u", id);
	strbuf_done(&raw);
}

void snapshot_token(char *out, size_t size, const struct session *session, uint32_t id)
{
	struct strbuf shown = {0};
	if (session->model.tokenizer)
		tokenizer_token_show(session->model.tokenizer, (int32_t)id, &shown);
	if (shown.length > 0)
		snapshot_text(out, size, shown.data);
	else
		snprintf(out, size, "#%u", id);
	strbuf_done(&shown);
}

static void next_tokens(struct snapshot_state *out, const struct session *session, const float *logits,
			const struct logit_summary *summary)
{
	static_assert(ARRAY_LEN(out->top) <= LOGITS_SHOWN, "as many as there are summarised");
	const struct top_logit *top = summary->top;
	int most = (int)ARRAY_LEN(out->top);
	out->top_count = summary->count < most ? summary->count : most;
	for (int i = 0; i < out->top_count; i++) {
		out->top[i] = (struct snapshot_read){
			.id = (uint32_t)top[i].id, .logit = top[i].logit, .probability = top[i].probability};
		piece(session, out->top[i].id, out->top[i].piece, sizeof out->top[i].piece);
	}
	reads(out, session, logits, summary);
	for (int i = 0; i < out->read_count; i++)
		piece(session, out->reads[i].id, out->reads[i].piece, sizeof out->reads[i].piece);
}

static void scene_state(struct snapshot_state *out, const struct scene *scene)
{
	out->known = true;
	out->has_objective = scene->has_objective;
	out->objective = scene->J;
	out->has_verdict = scene->has_objective;
	out->verdict = scene->present;
	next_tokens(out, scene->session, scene->logits, &scene->summary);
}

static void states(struct snapshot *s, const struct desk *desk)
{
	const struct desk_run *run = &desk->run;
	if (desk->has_base)
		scene_state(&s->state[STATE_BASE], &desk->base);
	if (desk->has_clamped)
		scene_state(&s->state[STATE_CLAMPED], scene_reference(&desk->clamped));
	if (run->evaluated) {
		struct snapshot_state *r = &s->state[STATE_RECOVERED];
		r->known = true;
		r->has_objective = r->has_verdict = true;
		r->objective = run->final.objective;
		r->verdict = run->final.present;
		if (!probe_objective(&desk->session->objective))
			next_tokens(r, desk->session, run->final.logits, &run->final.summary);
	}
	for (int i = 0; i < STATE_COUNT; i++) {
		if (!desk->texts[i])
			continue;
		size_t n = strlen(desk->texts[i]);
		s->state[i].has_text = true;
		s->state[i].text_running = desk->text_running[i];
		s->state[i].text_stale = desk->text_stale[i];
		s->state[i].text = mem_alloc(n + 1, 1);
		text_printable(s->state[i].text, n + 1, desk->texts[i], n);
		snapshot_text(s->state[i].judge, sizeof s->state[i].judge, desk->verdicts[i]);
	}
	s->flip = FLIP_UNKNOWN;
	if (desk->has_base && desk->has_clamped && desk->base.has_objective)
		s->flip = desk_flip(desk->base.present, scene_reference(&desk->clamped)->present,
				    run->evaluated && run->final.present);
}

/* As `nearest` reads them, where that is known. */
static void suffix_tokens(struct snapshot *s, const struct desk *desk)
{
	const struct session *session = desk->session;
	int64_t first = (int64_t)session->prompt.count - session->suffix.count;
	for (int i = 0; i < s->token_count; i++)
		s->tokens[i].perturbed = false;
	for (int64_t i = 0; i < session->suffix.count; i++) {
		struct snapshot_token *t = &s->tokens[first + i];
		t->perturbed = t->trained = true;
		if (!desk->run.evaluated)
			continue;
		t->id = (uint32_t)desk->aside.nearest[i].id;
		t->nearness = desk->aside.nearest[i].cosine;
		snapshot_token(t->piece, sizeof t->piece, session, t->id);
	}
}

static void tokens(struct snapshot *s, const struct desk *desk)
{
	const struct session *session = desk->session;
	int64_t T = (int64_t)session->prompt.count, total = session_total_length(session);
	s->token_count = (int)total;
	s->token_selected = desk->token;
	s->tokens = mem_alloc((size_t)total, sizeof *s->tokens);
	bool *on = mem_alloc((size_t)total, sizeof *on);
	int64_t first, count;
	session_monitored(session, &first, &count);
	bool clamped = session_has_clamps(session) &&
		       positions_resolve(&session->clamp_positions, T, total, on, NULL) == STATUS_OK;
	for (int64_t i = 0; i < total; i++) {
		struct snapshot_token *t = &s->tokens[i];
		t->id = (uint32_t)(i < T ? session->prompt.ids[i] : session->objective.answer.ids[i - T]);
		snapshot_token(t->piece, sizeof t->piece, session, t->id);
		t->special = session->model.tokenizer && tokenizer_is_special(session->model.tokenizer, (int32_t)t->id);
		t->generated = i >= T;
		t->clamped = clamped && on[i];
		t->readout = session->has_objective && i >= T - 1 && i < (total > T ? total - 1 : T);
		t->monitored = i >= first && i < first + count;
	}
	if (positions_resolve(&session->settings.delta_positions, T, total, on, NULL) == STATUS_OK)
		for (int64_t i = 0; i < total; i++)
			s->tokens[i].perturbed = on[i];
	free(on);
	if (desk->aside.on)
		suffix_tokens(s, desk);
	const struct desk_run *run = &desk->run;
	int64_t d = session->model.arch.d;
	for (int64_t row = 0; run->evaluated && row < recovery_rows(run->recovery); row++) {
		double sum = 0;
		for (int64_t i = 0; i < d; i++)
			sum += (double)run->delta[row * d + i] * (double)run->delta[row * d + i];
		struct snapshot_token *t = &s->tokens[recovery_row_position(run->recovery, row)];
		t->delta_norm = (float)sqrt((double)t->delta_norm * (double)t->delta_norm + sum);
	}
}

static void input(struct snapshot *s, const struct desk *desk)
{
	const struct session *session = desk->session;
	if (desk->prompt >= 0)
		snapshot_text(s->task, sizeof s->task, desk->prompts.items[desk->prompt].task);
	if (session->has_objective)
		snapshot_text(s->objective, sizeof s->objective, session->objective.text);
	s->objective_choice_count = desk->objective_count;
	s->objective_choices = mem_alloc((size_t)desk->objective_count, sizeof *s->objective_choices);
	for (int i = 0; i < desk->objective_count; i++)
		snapshot_text(s->objective_choices[i], sizeof s->objective_choices[i], desk->objectives[i]);
	char *at = positions_text(&session->clamp_positions),
	     *delta = session->suffix.count > 0 ? mem_strdup("suffix")
						: positions_text(&session->settings.delta_positions);
	snapshot_text(s->clamp_positions, sizeof s->clamp_positions, at);
	snapshot_text(s->delta_positions, sizeof s->delta_positions, delta);
	free(at);
	free(delta);
	tokens(s, desk);
	states(s, desk);
}

/* ---- recovery ---- */

static void setting_values(struct snapshot *s, const struct desk *desk, const struct recovery_settings *settings)
{
	for (int of = 0; of < SETTINGS_OF_COUNT; of++) {
		bool suffix = of == SETTINGS_OF_SUFFIX;
		int n = 0;
		while (suffix ? suffix_setting_name(n).name != NULL : setting_names[n].name != NULL)
			n++;
		s->settings_of[of].count = n;
		s->settings_of[of].values = mem_alloc((size_t)n, sizeof *s->settings_of[of].values);
		for (int i = 0; i < n; i++) {
			char *value = suffix ? suffix_options_get(&desk->suffix, suffix_setting_name(i).name)
					     : settings_get(settings, setting_names[i].name);
			snapshot_text(s->settings_of[of].values[i], sizeof *s->settings_of[of].values, value);
			free(value);
		}
	}
}

static void suffix_run(struct snapshot *s, const struct desk *desk)
{
	const struct session *session = desk->session;
	const struct recovery_settings *settings = &session->settings;
	char *lr = settings_get(settings, "lr"), *budget = settings_get(settings, "budget");
	s->suffix = true;
	snprintf(s->suffix_summary, sizeof s->suffix_summary, "suffix of %lld tokens lr %s budget %s steps %lld",
		 (long long)session->suffix.count, lr, budget, (long long)settings->steps);
	free(lr);
	free(budget);
	s->monitor = desk->run.final.monitor_relative;
	s->step_loss = session->suffix.monitor_weight * s->monitor - desk->run.final.objective;
}

static void recovery(struct snapshot *s, const struct desk *desk)
{
	const struct desk_run *run = &desk->run;
	const struct recovery_settings *settings = desk->aside.on ? &desk->aside.settings : &desk->session->settings;
	char *summary = settings_summary(settings);
	snapshot_text(s->settings, sizeof s->settings, summary);
	free(summary);
	setting_values(s, desk, settings);
	if (desk->aside.on)
		suffix_run(s, desk);
	s->step_shown = -1;
	s->method = desk->method;
	snapshot_history_copy(&s->method.history, &desk->method.history);
	s->recovery_running = run->running;
	s->recovery_paused = run->paused;
	if (!run->recovery)
		return;
	desk_history(&s->history, run->recovery);
	s->step_shown = (int)run->shown;
	s->step_live = run->live;
	s->budget = recovery_budget(run->recovery);
	s->run_count = 1 + desk->earlier_count;
	s->run_selected = desk->earlier_count;
	s->run_begin = desk->run_begin;
	s->earlier = mem_alloc((size_t)desk->earlier_count, sizeof *s->earlier);
	for (int i = 0; i < desk->earlier_count; i++) {
		s->earlier[i].begin = desk->earlier[i].begin;
		snapshot_history_copy(&s->earlier[i].history, &desk->earlier[i].history);
	}
	if (!run->evaluated)
		return;
	s->delta_norm = run->final.delta_norm;
	s->drift = run->final.drift_l2;
	s->drift_relative = run->final.drift_relative_l2;
	s->step_objective = run->final.objective;
	s->recovered = run->final.present;
	int64_t at = run->shown < recovery_steps(run->recovery) ? run->shown : recovery_steps(run->recovery) - 1;
	if (at >= 0)
		s->cosine = recovery_history(run->recovery)[at].projection_cosine;
}

static void decomposition(struct snapshot *s, const struct desk *desk)
{
	if (!desk->has_parts)
		return;
	const struct decomposition *parts = &desk->parts;
	s->has_decomposition = true;
	s->decomposition_stale = desk->parts_stale;
	s->decomposition_of_suffix = parts->suffix;
	s->decomposition_layer = parts->suffix_layer;
	s->decomposition_step = (int)desk->parts_step;
	s->identity_error = parts->identity_error;
	s->component_count = COMPONENT_COUNT;
	s->components = mem_alloc(COMPONENT_COUNT, sizeof *s->components);
	for (int i = 0; i < COMPONENT_COUNT; i++) {
		const struct component *from = &parts->components[i];
		struct snapshot_component *c = &s->components[i];
		snprintf(c->name, sizeof c->name, "%s", component_name((enum component_kind)i));
		c->norm = from->norm;
		c->cosine = from->cosine;
		c->has_replay = true;
		c->replay_objective = from->objective;
		c->replay_recovered = from->recovered;
		c->has_knockout = from->has_knockout;
		c->knockout_objective = from->knockout_objective;
		c->knockout_recovered = from->knockout_recovered;
		for (int t = 0; t < from->top_count && t < (int)ARRAY_LEN(c->top); t++) {
			int site = session_site_of_layer(desk->session, from->top[t].layer);
			c->top[t].layer = from->top[t].layer;
			c->top[t].feature = from->top[t].feature;
			c->top[t].change = from->top[t].change;
			snapshot_text(c->top[t].label, sizeof c->top[t].label,
				      labels_get(desk->session->sites[site].labels, from->top[t].feature));
			c->top_count++;
		}
		c->token_count = s->token_count;
		c->per_token = mem_alloc((size_t)s->token_count, sizeof *c->per_token);
		for (int64_t row = 0; row < parts->rows; row++) {
			double sum = 0;
			for (int64_t k = 0; k < parts->d; k++)
				sum += (double)from->rows[row * parts->d + k] * (double)from->rows[row * parts->d + k];
			float *norm = &c->per_token[parts->positions[row]];
			*norm = (float)sqrt((double)*norm * (double)*norm + sum);
		}
	}
}

static void hint(struct snapshot *s, const struct desk *desk)
{
	const struct desk_run *run = &desk->run;
	s->hint = HINT_NONE;
	if (!desk->has_base || desk->session->site_count == 0 || !desk->session->has_objective)
		return;
	if (!desk->has_clamped)
		s->hint = desk->ranking ? HINT_CLAMP : HINT_RANK;
	else if (!desk->base.present || scene_reference(&desk->clamped)->present)
		s->hint = HINT_OTHER_CLAMP;
	else if (!run->recovery)
		s->hint = HINT_RECOVER;
	else if (run->finished && !desk->has_parts)
		s->hint = HINT_DECOMPOSE;
	else if (run->finished && !desk->exported)
		s->hint = HINT_EXPORT;
}

static void sessions(struct snapshot *s, const struct desk *desk)
{
	if (desk->run.path)
		snapshot_text(s->session, sizeof s->session, path_base(desk->run.path));
	s->session_count = desk->session_count;
	s->sessions_serial = desk->sessions_serial;
	if (desk->session_count > 0)
		s->sessions = mem_copy(desk->sessions, (size_t)desk->session_count * sizeof *s->sessions);
	s->comparison = comparison_hold(desk->comparison);
	s->comparison_serial = desk->comparison_serial;
}

struct snapshot *desk_snapshot(const struct desk *desk)
{
	struct snapshot *s = mem_alloc(1, sizeof *s);
	s->job = desk->job;
	snprintf(s->job_text, sizeof s->job_text, "%s", desk->job_text);
	s->job_done = desk->job_done;
	s->job_total = desk->job_total;
	if (desk->flips_running && s->job == JOB_NONE) {
		s->job = JOB_FLIPS;
		snprintf(s->job_text, sizeof s->job_text, "finding valid flips");
		s->job_done = desk->flips_at;
		s->job_total = desk->prompts.count;
	}
	if (desk->view.reading && s->job == JOB_NONE) {
		s->job = JOB_USAGE;
		snprintf(s->job_text, sizeof s->job_text, "reading the prompt set");
		s->job_done = desk->view.usage->done;
		s->job_total = desk->view.usage->prompts;
	}
	if (desk->loading[0]) {
		s->job = JOB_LOADING;
		snprintf(s->job_text, sizeof s->job_text, "%s", desk->loading);
		s->job_total = 0;
	}
	snprintf(s->error, sizeof s->error, "%s", desk->error.text);
	s->error_serial = desk->error_serial;
	snprintf(s->notice, sizeof s->notice, "%s", desk->notice);
	s->prompt_selected = -1;
	s->step_shown = -1;
	status_line(s, desk);
	if (!desk->session || desk->prompts.count < 0 || (desk->job == JOB_LOADING && desk->prompt < 0))
		return s;
	prompts(s, desk);
	input(s, desk);
	snapshot_features(s, desk);
	snapshot_view(s, desk);
	recovery(s, desk);
	decomposition(s, desk);
	hint(s, desk);
	sessions(s, desk);
	s->log_count = (int)desk->log_count;
	s->log = mem_alloc(desk->log_count, sizeof *s->log);
	for (size_t i = 0; i < desk->log_count; i++)
		s->log[i] = (struct snapshot_log){mem_strdup(desk->log[i].command), mem_strdup(desk->log[i].result)};
	return s;
}
