#include "tests/workbench_sample.h"
#include "sessions/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"

enum { PROMPTS = 48, FEATURES = 34, STEPS = 42, PLANNED = 100 };

static const char *const pieces[] = {"<bos>", "Then",  ",", " Anna", " and",  " Tom", " went", " to",
				     " the",  " pond", ".", " Tom",  " gave", " a",   " ring", " to"};

static void add_prompts(struct snapshot *s)
{
	static const char *const texts[] = {
		"When Mary and John went to the store, John gave a drink to",
		"After John and Lily had lunch at the mill, John handed a key to",
		"Then, Anna and Tom went to the pond. Tom gave a ring to",
		"While Paul and Rosa worked in the garden, Paul passed a rake to",
	};
	static const enum flip_state states[] = {FLIP_VALID, FLIP_KEPT, FLIP_UNKNOWN, FLIP_RECOVERED, FLIP_NO_BASE};
	s->prompt_count = PROMPTS;
	s->prompt_selected = 2;
	s->prompts = mem_alloc(PROMPTS, sizeof *s->prompts);
	for (int i = 0; i < PROMPTS; i++) {
		struct snapshot_prompt *p = &s->prompts[i];
		bool choice = i >= 24;
		snprintf(p->id, sizeof p->id, "%s-%02d", choice ? "choice" : "ioi", i % 24 + 1);
		snprintf(p->task, sizeof p->task, "%s", choice ? "choice" : "ioi");
		snprintf(p->text, sizeof p->text, "%s",
			 choice ? "Which town has a lighthouse? A Penby B Lorne C Sall D Umber Answer:" : texts[i % 4]);
		p->state = s->cells[1][0] ? states[i % 5] : FLIP_UNKNOWN;
		p->state_stale = i > 12;
	}
}

static void add_tokens(struct snapshot *s)
{
	s->token_count = (int)ARRAY_LEN(pieces);
	s->token_selected = s->token_count - 1;
	s->tokens = mem_alloc(ARRAY_LEN(pieces), sizeof *s->tokens);
	for (int i = 0; i < s->token_count; i++) {
		struct snapshot_token *t = &s->tokens[i];
		snprintf(t->piece, sizeof t->piece, "%s", pieces[i]);
		t->special = i == 0;
		t->clamped = s->sites[s->site_selected].clamped > 0;
		t->perturbed = t->readout = i == s->token_count - 1;
		t->delta_norm = t->perturbed && s->step_shown >= 0 ? 3.2f : 0;
	}
}

static void add_features(struct snapshot *s, bool clamped)
{
	static const char *const labels[] = {"names that were given something",
					     "repeated name",
					     "places by water",
					     "verbs of giving",
					     "the second of two names, before \" and\"",
					     "",
					     "日本 wide label",
					     "end of a sentence"};
	s->feature_count = FEATURES;
	s->feature_total = FEATURES;
	s->features = mem_alloc(FEATURES, sizeof *s->features);
	s->feature_scale = 4.1f;
	for (int i = 0; i < FEATURES; i++) {
		struct snapshot_feature *f = &s->features[i];
		f->layer = 2;
		f->feature = (uint32_t)(311 + i * 157) % 1024;
		f->activation = (float)(4.1 / (1 + 0.35 * i));
		f->clamped = clamped && (i == 0 || i == 2 || i == 5);
		if (f->clamped)
			snprintf(f->clamp, sizeof f->clamp, "%s", i == 5 ? "ablate" : "set-active -5");
		f->has_held = f->clamped;
		f->held = i == 5 ? 0 : -5;
		f->has_attribution = clamped;
		f->attribution = (float)(2.2 / (1 + i) * (i % 3 == 1 ? -0.4 : 1));
		f->has_change = s->step_shown >= 0;
		f->change = (float)(sin(i) * 0.4);
		snprintf(f->label, sizeof f->label, "%s", labels[(size_t)i % ARRAY_LEN(labels)]);
	}
}

static void remove_view(struct snapshot *s)
{
	if (!s->view)
		return;
	for (int i = 0; i < s->view->label_count; i++)
		free(s->view->labels[i]);
	for (int i = 0; i < STATE_COUNT; i++)
		free(s->view->along[i]);
	free(s->view->labels);
	free(s->view);
	s->view = NULL;
}

static void add_view(struct snapshot *s, uint32_t feature)
{
	static const char *const labels[] = {"names that were given something",
					     "the receiver of a gift, in a sentence that names the giver twice"};
	struct snapshot_view *v = s->view = mem_alloc(1, sizeof *v);
	v->layer = 2;
	snprintf(v->hook, sizeof v->hook, "resid_post");
	v->feature = feature;
	v->features = 1024;
	v->label_count = (int)ARRAY_LEN(labels);
	v->labels = mem_alloc(ARRAY_LEN(labels), sizeof *v->labels);
	for (int i = 0; i < v->label_count; i++)
		v->labels[i] = mem_strdup(labels[i]);
	snprintf(v->page, sizeof v->page, "https://www.neuronpedia.org/demo/2-res/%u", feature);
	v->encoder_norm = 0.7;
	v->decoder_norm = 1;
	v->has_alignment = true;
	v->alignment = 0.86;
	for (int i = 0; i < 12; i++) {
		v->promoted[i] = (struct snapshot_score){.id = (uint32_t)i, .score = (float)(0.9 / (1 + i))};
		v->demoted[i] = (struct snapshot_score){.id = (uint32_t)i, .score = (float)(-0.7 / (1 + i))};
		v->near[i] = (struct snapshot_score){.id = (uint32_t)(5 + 90 * i), .score = (float)(0.5 - 0.03 * i)};
		snprintf(v->promoted[i].text, sizeof v->promoted[i].text, "·word%d", i);
		snprintf(v->demoted[i].text, sizeof v->demoted[i].text, "·other%d", i);
		snprintf(v->near[i].text, sizeof v->near[i].text, "a neighbour with a label of some length, number %d",
			 i);
	}
	v->promoted_count = v->demoted_count = v->near_count = 12;
	v->token_count = s->token_count;
	for (int state = 0; state < STATE_COUNT; state++) {
		if (!s->state[state].known)
			continue;
		v->along[state] = mem_alloc((size_t)v->token_count, sizeof **v->along);
		for (int t = 0; t < v->token_count; t++)
			v->along[state][t] = t % 4 == 3 ? (float)(state == STATE_CLAMPED ? 0 : 4.1 - 0.2 * t) : 0;
	}
	v->has_usage = true;
	v->prompts = PROMPTS;
	v->prompts_done = PROMPTS;
	v->prompts_skipped = 1;
	v->active_prompts = 18;
	v->tokens = 1304;
	v->active_tokens = 21;
	v->example_count = 6;
	for (int i = 0; i < v->example_count; i++) {
		struct snapshot_example *e = &v->examples[i];
		snprintf(e->prompt, sizeof e->prompt, "ioi-%02d", 3 * i + 1);
		e->position = 9 + i;
		e->activation = (float)(4.4 - 0.3 * i);
		snprintf(e->before, sizeof e->before, "%sJohn and Lily had lunch. John handed a key",
			 i % 2 ? "" : "Not for the first time, and not for the last, ");
		snprintf(e->token, sizeof e->token, " to");
		snprintf(e->after, sizeof e->after, " Lily at the mill");
	}
}

static void add_state(struct snapshot_state *state, double anna, double tom, double objective, const char *text)
{
	static const char *const others[] = {" Anna", " Tom", " the", " a", " her", " him"};
	state->known = state->has_objective = state->has_verdict = true;
	state->objective = objective;
	state->verdict = objective > 0;
	state->read_count = 2;
	snprintf(state->reads[0].piece, sizeof state->reads[0].piece, " Anna");
	snprintf(state->reads[1].piece, sizeof state->reads[1].piece, " Tom");
	state->reads[0].probability = (float)anna;
	state->reads[1].probability = (float)tom;
	state->top_count = (int)ARRAY_LEN(others);
	for (int i = 0; i < state->top_count; i++) {
		snprintf(state->top[i].piece, sizeof state->top[i].piece, "%s", others[i]);
		state->top[i].probability = (float)(i == 0 ? anna : i == 1 ? tom : 0.05 / i);
	}
	if (text) {
		state->has_text = true;
		state->text = mem_strdup(text);
	}
}

static void fill_history(struct snapshot_history *h, int steps)
{
	float **series[] = {&h->objective,  &h->loss,	&h->drift,    &h->drift_relative, &h->decode_drift,
			    &h->delta_norm, &h->cosine, &h->gradient, &h->projected,	  &h->monitor};
	for (size_t i = 0; i < ARRAY_LEN(series); i++)
		*series[i] = mem_alloc((size_t)steps, sizeof **series[i]);
	h->steps = steps;
	h->planned = PLANNED;
	for (int i = 0; i < steps; i++) {
		double t = (double)i / 20;
		h->objective[i] = (float)(-2.8 + 3.7 * (1 - exp(-t)));
		h->loss[i] = -h->objective[i];
		h->drift[i] = (float)(0.0004 * (1 - exp(-t)));
		h->drift_relative[i] = h->decode_drift[i] = h->drift[i] / 5;
		h->delta_norm[i] = (float)(3.9 * (1 - exp(-t)));
		h->cosine[i] = (float)(0.97 + 0.02 * sin(i));
		h->gradient[i] = h->projected[i] = (float)exp(-t);
	}
}

/* The second of two stages. */
static void add_method(struct snapshot *s, int steps)
{
	struct snapshot_method *method = &s->method;
	method->known = true;
	method->budget = 40;
	snprintf(method->title, sizeof method->title, "two stages: stage 2: the answer");
	fill_history(&method->history, steps);
	s->job = JOB_GENERATE;
	snprintf(s->job_text, sizeof s->job_text, "%s", method->title);
	s->job_done = steps;
	s->job_total = PLANNED;
}

/* A run that trains the last four tokens, step by step from what the placeholders give. */
static void make_suffix(struct snapshot *s, int steps)
{
	static const char *const nearest[] = {"!", " the", "!", "Th"};
	struct snapshot_history *h = &s->history;
	s->suffix = true;
	snprintf(s->suffix_summary, sizeof s->suffix_summary, "suffix of 4 tokens lr 0.01 budget 40 steps 100");
	for (int i = 0; i < steps; i++) {
		h->loss[i] = (float)(0.08 + 1.1 * exp(-i / 9.0));
		h->monitor[i] = (float)(0.4 + 0.6 * exp(-i / 30.0));
		h->drift[i] = (float)(5.1 + 2.7 * exp(-i / 12.0));
	}
	s->budget = 40;
	s->drift = 5.2;
	s->step_loss = 0.09;
	s->monitor = 0.55;
	snprintf(s->delta_positions, sizeof s->delta_positions, "suffix");
	for (int i = 0; i < (int)ARRAY_LEN(nearest); i++) {
		struct snapshot_token *t = &s->tokens[s->token_count - (int)ARRAY_LEN(nearest) + i];
		snprintf(t->piece, sizeof t->piece, "%s", nearest[i]);
		t->trained = t->perturbed = true;
		t->delta_norm = 1.6f;
		t->nearness = 0.58f;
	}
}

static void add_history(struct snapshot *s, int steps)
{
	fill_history(&s->history, steps);
	s->step_live = true;
	s->budget = 20;
	s->delta_norm = 3.2;
	s->drift = 0.0004;
	s->cosine = 0.97;
	s->step_objective = 0.8;
	s->recovered = true;
}

static void add_decomposition(struct snapshot *s)
{
	static const struct {
		const char *name;
		double norm, cosine, replay, knockout;
	} parts[] = {
		{"full", 3.2, 1, 0.8, -2.8},
		{"clamped_features", 0.01, 0.002, -2.8, 0.8},
		{"non_clamped_features", 2.9, 0.31, -1.9, -0.2},
		{"top_k_non_clamped", 1.1, 0.2, -2.4, 0.5},
		{"sae_residual", 4.0, 0.62, 0.7, -2.5},
		{"top_k_knockout", 3.0, 0.95, 0.5, -2.6},
	};
	s->has_decomposition = true;
	s->decomposition_step = STEPS;
	s->identity_error = 3e-7;
	s->component_count = (int)ARRAY_LEN(parts);
	s->components = mem_alloc(ARRAY_LEN(parts), sizeof *s->components);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		struct snapshot_component *k = &s->components[i];
		snprintf(k->name, sizeof k->name, "%s", parts[i].name);
		k->norm = parts[i].norm;
		k->cosine = parts[i].cosine;
		k->has_replay = true;
		k->replay_objective = parts[i].replay;
		k->replay_recovered = parts[i].replay > 0;
		k->has_knockout = i > 0 && i < 5;
		k->knockout_objective = parts[i].knockout;
		k->knockout_recovered = parts[i].knockout > 0;
		k->token_count = (int)ARRAY_LEN(pieces);
		k->per_token = mem_alloc(ARRAY_LEN(pieces), sizeof *k->per_token);
		for (int n = 0; n < k->token_count; n++)
			k->per_token[n] = (float)(parts[i].norm * exp(n - k->token_count + 1));
		k->top_count = 3;
		for (int n = 0; n < 3; n++) {
			k->top[n].layer = 2;
			k->top[n].feature = (uint32_t)(40 * n + 7);
			k->top[n].change = (float)(0.9 - 0.3 * n);
			snprintf(k->top[n].label, sizeof k->top[n].label, "feature label %d", n);
		}
	}
}

static void add_log(struct snapshot *s)
{
	static const char *const log[][2] = {
		{"rebound attribute --prompt ioi-03 --objective 'logit_diff:\" Anna\",\" Tom\"' --top 16",
		 "top: 2:311 +2.2, 2:625 +0.7"},
		{"rebound logits --prompt ioi-03 --clamp 2:311,625,72=set-active:-5",
		 "objective +2.2 -> -2.8: a valid flip"},
		{"rebound recover --prompt ioi-03 --clamp 2:311,625,72=set-active:-5 --steps 100 --seed 0",
		 "+0.8 after 42 steps, drift 4e-4, recovered"},
	};
	s->log_count = (int)ARRAY_LEN(log);
	s->log = mem_alloc(ARRAY_LEN(log), sizeof *s->log);
	for (size_t i = 0; i < ARRAY_LEN(log); i++) {
		s->log[i].command = mem_strdup(log[i][0]);
		s->log[i].result = mem_strdup(log[i][1]);
	}
}

static void add_values(struct snapshot *s, enum settings_of of, const char *const *values, int count)
{
	s->settings_of[of].count = count;
	s->settings_of[of].values = mem_alloc((size_t)count, sizeof *s->settings_of[of].values);
	for (int i = 0; i < count; i++)
		snprintf(s->settings_of[of].values[i], sizeof *s->settings_of[of].values, "%s", values[i]);
}

static void add_settings(struct snapshot *s)
{
	static const char *const values[] = {"100", "0.1", "20", "encoder"};
	static const char *const suffix_values[] = {"16", "!", "120"};
	static char objectives[][96] = {"logit_diff:\" Anna\",\" Tom\"", "answer_logprob:\" Anna\""};
	add_values(s, SETTINGS_OF_RECOVERY, values, (int)ARRAY_LEN(values));
	add_values(s, SETTINGS_OF_SUFFIX, suffix_values, (int)ARRAY_LEN(suffix_values));
	s->objective_choice_count = 2;
	s->objective_choices = objectives;
	snprintf(s->settings, sizeof s->settings, "encoder lr 0.1 budget 20");
	snprintf(s->objective, sizeof s->objective, "logit_diff \" Anna\" - \" Tom\"");
	snprintf(s->task, sizeof s->task, "ioi");
	snprintf(s->clamp_positions, sizeof s->clamp_positions, "all");
	snprintf(s->delta_positions, sizeof s->delta_positions, "last");
	snprintf(s->clamp_mode, sizeof s->clamp_mode, "set-active:-5");
}

static void add_machine(struct snapshot *s, bool loading)
{
	snprintf(s->model, sizeof s->model, "demo 4x128");
	if (loading) {
		s->job = JOB_LOADING;
		snprintf(s->job_text, sizeof s->job_text, "reading the model");
		s->job_done = 3;
		s->job_total = 10;
		return;
	}
	snprintf(s->sae, sizeof s->sae, "1/4x1024");
	snprintf(s->device, sizeof s->device, "llvmpipe");
	s->has_self_test = s->self_test_ok = s->has_fvu = true;
	s->fvu = 0.03f;
	s->l0 = 28;
	s->site_count = 4;
	s->site_selected = 2;
	for (int i = 0; i < 4; i++) {
		s->sites[i] = (struct snapshot_site){
			.layer = i, .features = 1024, .bytes = 1057280, .loaded = i == s->site_selected};
		snprintf(s->sites[i].hook, sizeof s->sites[i].hook, "resid_post");
		snprintf(s->sites[i].act, sizeof s->sites[i].act, "jumprelu");
	}
	s->sites[2].has_fit = true;
	s->sites[2].fvu = s->fvu;
	s->sites[2].l0 = s->l0;
	s->sae_bytes = 1057280;
}

void sample_init(struct sample *sample, enum sample_stage stage)
{
	static const char *const texts[] = {
		" Anna. Anna put the ring in a box and went home with Tom",
		" the pond. Tom and the ring went to the pond and the pond",
		" Anna. Anna put the ring in the box and went to the pond",
	};
	bool finished = stage == SAMPLE_FINISHED;
	memset(sample, 0, sizeof *sample);
	struct snapshot *s = &sample->snapshot;
	s->serial = 1;
	s->step_shown = -1;
	s->hint = HINT_NONE;
	add_machine(s, stage == SAMPLE_LOADING);
	if (stage == SAMPLE_LOADING)
		return;
	s->hint = HINT_RANK;
	s->cells[1][0] = stage > SAMPLE_FRESH ? 9 : 0;
	s->cells[1][1] = stage > SAMPLE_FRESH ? 4 : 0;
	add_settings(s);
	if (stage >= SAMPLE_CLAMPED) {
		s->sites[2].clamped = 3;
		s->flip = FLIP_VALID;
		s->hint = HINT_RECOVER;
		add_state(&s->state[STATE_CLAMPED], .04, .66, -2.8, finished ? texts[1] : NULL);
	}
	if (stage == SAMPLE_METHOD)
		add_method(s, STEPS);
	if (stage >= SAMPLE_RUNNING) {
		s->step_shown = STEPS;
		s->recovery_running = !finished;
		s->job = finished ? JOB_NONE : JOB_RECOVER;
		s->hint = finished ? HINT_EXPORT : HINT_DECOMPOSE;
		add_history(s, STEPS);
		add_state(&s->state[STATE_RECOVERED], .52, .23, .8, finished ? texts[2] : NULL);
	}
	add_state(&s->state[STATE_BASE], .81, .09, 2.2, finished ? texts[0] : NULL);
	add_prompts(s);
	add_tokens(s);
	add_features(s, stage >= SAMPLE_CLAMPED);
	if (stage == SAMPLE_SUFFIX)
		make_suffix(s, STEPS);
	if (finished)
		add_decomposition(s);
	if (stage >= SAMPLE_RUNNING)
		add_log(s);
}

void sample_done(struct sample *sample)
{
	remove_view(&sample->snapshot);
	struct snapshot *s = &sample->snapshot;
	struct snapshot_history *histories[] = {&s->history, &s->method.history};
	for (size_t k = 0; k < ARRAY_LEN(histories); k++) {
		struct snapshot_history *h = histories[k];
		float *series[] = {h->objective,  h->loss,   h->drift,	  h->drift_relative, h->decode_drift,
				   h->delta_norm, h->cosine, h->gradient, h->projected,	     h->monitor};
		for (size_t i = 0; i < ARRAY_LEN(series); i++)
			free(series[i]);
	}
	for (int i = 0; i < STATE_COUNT; i++)
		free(s->state[i].text);
	for (int i = 0; i < s->component_count; i++)
		free(s->components[i].per_token);
	for (int i = 0; i < s->log_count; i++) {
		free(s->log[i].command);
		free(s->log[i].result);
	}
	free(s->sessions);
	free(s->prompts);
	free(s->tokens);
	free(s->features);
	free(s->components);
	free(s->log);
	for (int i = 0; i < SETTINGS_OF_COUNT; i++)
		free(s->settings_of[i].values);
	memset(sample, 0, sizeof *sample);
}

/* ---- sessions on disk, and two of them side by side ---- */

static void add_sessions(struct snapshot *s)
{
	static const char *const names[] = {"20261124-231502-ioi-05", "20261124-230955-ioi-05-encoder",
					    "20261123-101112-choice-02"};
	free(s->sessions);
	s->session_count = (int)ARRAY_LEN(names);
	s->sessions = mem_alloc(ARRAY_LEN(names), sizeof *s->sessions);
	for (int i = 0; i < s->session_count; i++) {
		snprintf(s->sessions[i].name, sizeof s->sessions[i].name, "%s", names[i]);
		snprintf(s->sessions[i].summary, sizeof s->sessions[i].summary, "%.6s, 3 clamped, 100 steps: recovered",
			 names[i] + 16);
	}
	s->sessions_serial++;
}

static char path_a[] = "/sessions/20261124-231502-ioi-05.jsonl", path_b[] = "/sessions/20261124-230955-b.jsonl";
static char prompt_name[] = "ioi-05",
	    caution_text[] = "other features are clamped: drift is of those that each run clamps";
static char *caution_texts[] = {caution_text};

static const struct comparison *make_comparison(void)
{
	enum { STEPS_A = 100, STEPS_B = 60 };
	enum { DIFFERENCES = 3 };
	static char names[DIFFERENCES][8] = {"lr", "clamps", "steps"};
	static char values[DIFFERENCES][2][64] = {
		{"0.1", "0.2"},
		{"3 features, only here: 2:468=set-active:-5", "5 features, only here: 2:12,31,602=set-active:-5"},
		{"100", "60"},
	};
	static struct compare_difference differences[DIFFERENCES];
	static struct recovery_metrics histories[2][STEPS_A];
	static struct record_run runs[2];
	static double cosines[STEPS_A];
	static struct comparison c;
	for (int i = 0; i < DIFFERENCES; i++)
		differences[i] = (struct compare_difference){names[i], {values[i][0], values[i][1]}};
	for (int side = 0; side < 2; side++) {
		runs[side] = (struct record_run){
			.prompt = prompt_name,
			.base = {.known = true, .present = true, .objective = 2.2},
			.clamped = {.known = true, .objective = -2.8},
			.recovered = {.known = true, .present = side == 0},
			.history = histories[side],
			.steps = side ? STEPS_B : STEPS_A,
			.outcome = RECORD_COMPLETE,
			.final = {.objective = side ? -0.31 : 0.8, .delta_norm = side ? 19.5 : 20, .drift_l2 = 0.0004},
		};
		for (int i = 0; i < STEPS_A; i++) {
			double reach = 1 - exp(-i / (side ? 12. : 25.));
			histories[side][i] = (struct recovery_metrics){.objective = -2.8 + (side ? 2.5 : 3.6) * reach,
								       .delta_norm = 20 * reach,
								       .drift_l2 = 0.0004 * reach};
			cosines[i] = i == 0 || i >= STEPS_B ? NAN : 1 - 0.3 * reach;
		}
	}
	c = (struct comparison){
		.record = {{.path = path_a}, {.path = path_b}},
		.run = {&runs[0], &runs[1]},
		.differences = differences,
		.difference_count = DIFFERENCES,
		.cautions = caution_texts,
		.caution_count = 1,
		.same_prompt = true,
		.alike = true,
		.parting = {1, "objective", {-2.66, -2.6}},
		.clear_parting = {4, "objective", {-2.27, -2.09}},
		.steps = STEPS_A,
		.has_angle = true,
		.cosine = 0.7123,
		.distance = 15.2,
		.norm = {20, 19.5},
		.rows = 1,
		.cosines = cosines,
	};
	return &c;
}

/* ---- a backend that answers ---- */

static bool send(void *context, const struct command *command)
{
	struct sample *sample = context;
	struct snapshot *s = &sample->snapshot;
	int most = (int)ARRAY_LEN(sample->commands);
	if (sample->queue_full)
		return false;
	if (sample->command_count == most) {
		memmove(sample->commands, sample->commands + 1, sizeof sample->commands - sizeof sample->commands[0]);
		sample->command_count--;
	}
	sample->commands[sample->command_count++] = *command;
	s->serial++;
	switch (command->kind) {
	case COMMAND_SELECT_PROMPT:
		s->prompt_selected = (int)command->number;
		break;
	case COMMAND_SELECT_TOKEN:
		s->token_selected = (int)command->number;
		break;
	case COMMAND_SCRUB:
		s->step_live = command->number < 0;
		s->step_shown = s->step_live ? s->history.steps : (int)command->number;
		break;
	case COMMAND_FEATURE:
		remove_view(s);
		if (command->number >= 0)
			add_view(s, (uint32_t)command->number);
		break;
	case COMMAND_SESSIONS:
		add_sessions(s);
		break;
	case COMMAND_COMPARE:
		s->comparison = command->text[0] ? make_comparison() : NULL;
		s->comparison_serial += command->text[0] != '\0';
		break;
	case COMMAND_SORT:
		s->sort = (enum feature_sort)command->number;
		break;
	case COMMAND_TOGGLE_CLAMP:
		for (int i = 0; i < s->feature_count; i++)
			if (s->features[i].feature == command->number) {
				s->features[i].clamped = !s->features[i].clamped;
				snprintf(s->features[i].clamp, sizeof s->features[i].clamp, "set-active -5");
			}
		break;
	default:
		break;
	}
	return true;
}

static void cancel(void *context)
{
	struct sample *sample = context;
	sample->cancels++;
	sample->snapshot.recovery_running = false;
	sample->snapshot.job = JOB_NONE;
}

static struct sample *copying;

static bool copy(const char *text, size_t n)
{
	snprintf(copying->copied, sizeof copying->copied, "%.*s", (int)n, text);
	return true;
}

static enum status check_setting(void *context, const char *name, const char *value, struct error *error)
{
	(void)context;
	double number;
	if (strcmp(name, "budget") == 0 && (!text_double(value, &number) || number <= 0))
		return error_set(error, STATUS_INVALID, "budget is \"%s\", expected a number above 0", value);
	return STATUS_OK;
}

struct workbench_backend sample_backend(struct sample *sample)
{
	static const struct form_field suffix[] = {
		{"suffix", "whole number from 1", "placeholder tokens behind the prompt"},
		{"suffix-token", "a token's text or id", "the placeholder that they begin as"},
		{"steps", "whole number above 0", "iterations of the training"},
	};
	static const struct form_field fields[] = {
		{"steps", "whole number above 0", "iterations of the recovery"},
		{"lr", "number above 0 or n%", "Adam's rate"},
		{"budget", "number above 0 or n%", "largest norm of δ over all its rows"},
		{"project", "none|encoder|jacobian", "directions that move clamped features are removed"},
	};
	copying = sample;
	return (struct workbench_backend){.context = sample,
					  .send = send,
					  .cancel = cancel,
					  .copy = copy,
					  .settings = {{fields, (int)ARRAY_LEN(fields), check_setting},
						       {suffix, (int)ARRAY_LEN(suffix), check_setting}}};
}

const struct command *sample_command(const struct sample *sample, enum command_kind kind)
{
	for (int i = sample->command_count - 1; i >= 0; i--)
		if (sample->commands[i].kind == kind)
			return &sample->commands[i];
	return NULL;
}
