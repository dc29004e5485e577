/* The suffix baseline (METHOD 11): its optimisation on tiny models of several families against
 * a double-precision one on the host. The whole baseline is test_suffix_baseline.c's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/reference.h"
#include "models/sae_reference.h"
#include "sessions/suffix.h"
#include "sessions/suffix_baseline.h"
#include "sessions/suffix_tokens.h"
#include "tests/expect.h"
#include "tests/tiny_model.h"

static void set(struct session *session, const char *name, const char *value)
{
	struct error error = {0};
	expect_ok(settings_set(&session->settings, name, value, &error), &error);
}

static void close_to(const char *what, double a, double b, double tolerance)
{
	if (!(fabs(a - b) <= tolerance * (1 + fabs(b))))
		fail_msg("%s: %.9g is not %.9g", what, a, b);
}

/* ---- the optimisation on the host ---- */

enum { PROMPT = 4, SUFFIX = 3, ANSWER = 4, TOTAL = PROMPT + SUFFIX + ANSWER, STEPS = 8, SITES = 2, K = 3, F = 12 };
static const int64_t answer_ids[ANSWER] = {3, 6, 2, 7};
static const int64_t refusal_ids[2][3] = {{5, 1, 4}, {8, 0, -1}}; /* -1: shorter */
static const double rate = 0.05, budget = 0.5, monitor_weight = 0.1;

static const struct clamp_rule rules[SITES][K] = {
	{{2, OP_CLAMP_FLOOR, 1.5f}, {5, OP_CLAMP_SCALE, 2}, {9, OP_CLAMP_SET, 0.7f}},
	{{0, OP_CLAMP_SCALE, 3}, {7, OP_CLAMP_ABLATE, 0}, {11, OP_CLAMP_FLOOR, 0.9f}},
};

/* An SAE of the tiny model, and what its site saw of a run. */
struct host_site {
	struct sae_spec spec;
	int layer;
	enum hook hook;
	const struct clamp_rule *rules;
	double largest; /* defended activation before the clamp, from the suffix on */
};

struct host {
	struct arch arch;
	struct weight_files *files;
	struct weight_map map;
	struct reference *reference;
	struct host_site sites[SITES];
	int64_t ids[TOTAL];
	double *delta; /* [SUFFIX, d] */
};

static float *normal_floats(size_t n, double deviation, uint64_t *seed)
{
	float *x = mem_alloc(n, sizeof *x);
	for (size_t i = 0; i < n; i++)
		x[i] = (float)(deviation * tiny_normal(seed));
	return x;
}

static void make_spec(struct sae_spec *s, enum sae_act act, int64_t d, uint64_t *seed)
{
	*s = (struct sae_spec){.d_in = d, .d_out = d, .F = F, .act = act};
	s->W_enc = normal_floats((size_t)(F * d), 0.4, seed);
	s->W_dec = normal_floats((size_t)(F * d), 0.2, seed);
	s->b_enc = normal_floats(F, 0.3, seed);
	s->b_dec = normal_floats((size_t)d, 0.2, seed);
	if (act == SAE_JUMPRELU) {
		s->threshold = normal_floats(F, 0.1, seed);
		for (int i = 0; i < F; i++)
			s->threshold[i] = fabsf(s->threshold[i]);
	}
}

/* The clamp of a site on all rows (METHOD 2), noting what the monitor reads. */
static void clamp_rows(void *context, double *x, int T)
{
	struct host_site *site = context;
	int64_t d = site->spec.d_in, rows = T;
	double *z = mem_alloc((size_t)(rows * F), sizeof *z), *y = mem_alloc((size_t)(rows * d), sizeof *y);
	sae_reference_encode(&site->spec, rows, x, z, NULL);
	sae_reference_decode(&site->spec, rows, x, z, y);
	for (int64_t i = 0; i < rows * d; i++)
		x[i] -= y[i];
	site->largest = -INFINITY;
	for (int64_t t = 0; t < rows; t++)
		for (int k = 0; k < K; k++) {
			const struct clamp_rule *rule = &site->rules[k];
			double *at = &z[t * F + rule->feature];
			if (t >= PROMPT)
				site->largest = fmax(site->largest, *at);
			*at = sae_reference_clamp_value(rule->mode, (double)rule->value, *at);
		}
	sae_reference_decode(&site->spec, rows, x, z, y);
	for (int64_t i = 0; i < rows * d; i++)
		x[i] += y[i];
	free(z);
	free(y);
}

static double log_probability(const double *row, int64_t V, int64_t id)
{
	double largest = -INFINITY, sum = 0;
	for (int64_t v = 0; v < V; v++)
		largest = fmax(largest, row[v]);
	for (int64_t v = 0; v < V; v++)
		sum += exp(row[v] - largest);
	return row[id] - largest - log(sum);
}

/* What METHOD 11 says of the logits: the answer's cross entropy and the softplus, weighted. */
static double host_answer_loss(const double *logits, int64_t V)
{
	double target = 0, best = -INFINITY;
	for (int i = 0; i < ANSWER; i++)
		target += log_probability(logits + i * V, V, answer_ids[i]) / ANSWER;
	for (int r = 0; r < 2; r++) {
		double sum = 0;
		int n = 0;
		for (; n < 3 && refusal_ids[r][n] >= 0; n++)
			sum += log_probability(logits + n * V, V, refusal_ids[r][n]);
		best = fmax(best, sum / n);
	}
	return 0.9 * (-target + 0.3 * log1p(exp(best - target)));
}

/* The loss without the monitor, and the monitor, for the host's delta. */
static double host_loss(struct host *h, double *monitor)
{
	struct reference_run run;
	struct error error;
	int64_t d = h->arch.d;
	double *add = mem_alloc((size_t)(TOTAL * d), sizeof *add);
	for (int64_t i = 0; i < SUFFIX * d; i++)
		add[PROMPT * d + i] = h->arch.embed_scale * h->delta[i];
	struct reference_edit edits[1 + SITES] = {{.layer = 0, .hook = HOOK_RESID_PRE, .add = add}};
	for (int s = 0; s < SITES; s++)
		edits[1 + s] = (struct reference_edit){.layer = h->sites[s].layer,
						       .hook = h->sites[s].hook,
						       .apply = clamp_rows,
						       .context = &h->sites[s]};
	expect_ok(reference_forward(&run, h->reference, h->ids, TOTAL, ANSWER + 1, edits, 1 + SITES, &error), &error);
	double loss = host_answer_loss(run.logits, h->arch.vocab);
	*monitor = 0;
	for (int s = 0; s < SITES; s++)
		*monitor += h->sites[s].largest / SITES;
	reference_run_done(&run);
	free(add);
	return loss;
}

static double whole_loss(struct host *h, double initial)
{
	double monitor, loss = host_loss(h, &monitor);
	return loss + monitor_weight * monitor / initial;
}

/* By central differences. */
static void host_gradient(struct host *h, double initial, double *g)
{
	const double step = 1e-5;
	for (int64_t i = 0; i < SUFFIX * h->arch.d; i++) {
		double at = h->delta[i];
		h->delta[i] = at + step;
		double above = whole_loss(h, initial);
		h->delta[i] = at - step;
		g[i] = (above - whole_loss(h, initial)) / (2 * step);
		h->delta[i] = at;
	}
}

static double norm_of(const double *x, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	return sqrt(sum);
}

/* Adam's step number `step` (from 1), then the ball. */
static void host_step(struct host *h, const double *g, double *m, double *v, int step)
{
	int64_t n = SUFFIX * h->arch.d;
	for (int64_t i = 0; i < n; i++) {
		m[i] = 0.9 * m[i] + 0.1 * g[i];
		v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
		h->delta[i] -= rate * (m[i] / (1 - pow(0.9, step))) / (sqrt(v[i] / (1 - pow(0.999, step))) + 1e-8);
	}
	double norm = norm_of(h->delta, n);
	for (int64_t i = 0; i < n && norm > budget; i++)
		h->delta[i] *= budget / (norm + 1e-8);
}

static void open_host(struct host *h, const char *folder, uint64_t seed)
{
	struct error error = {0};
	*h = (struct host){0};
	expect_ok(arch_read(&h->arch, folder, &error), &error);
	expect_ok(weight_files_open(&h->files, folder, &error), &error);
	expect_ok(weight_map_build(&h->map, &h->arch, h->files, true, &error), &error);
	expect_ok(reference_load(&h->reference, &h->arch, &h->map, h->files, (size_t)1 << 30, &error), &error);
	for (int i = 0; i < TOTAL; i++)
		h->ids[i] = i < PROMPT ? i + 1 : i < PROMPT + SUFFIX ? 4 : answer_ids[i - PROMPT - SUFFIX];
	h->sites[0] = (struct host_site){.layer = 0, .hook = HOOK_RESID_PRE, .rules = rules[0]};
	h->sites[1] = (struct host_site){.layer = h->arch.layers - 1, .hook = HOOK_RESID_PRE, .rules = rules[1]};
	for (int s = 0; s < SITES; s++)
		make_spec(&h->sites[s].spec, s ? SAE_JUMPRELU : SAE_RELU, h->arch.d, &seed);
	h->delta = mem_alloc((size_t)(SUFFIX * h->arch.d), sizeof *h->delta);
}

static void close_host(struct host *h)
{
	for (int s = 0; s < SITES; s++)
		sae_spec_done(&h->sites[s].spec);
	free(h->delta);
	reference_destroy(&h->reference);
	weight_map_done(&h->map);
	weight_files_close(&h->files);
	arch_done(&h->arch);
}

/* ---- the same on the device ---- */

/* The tiny model with the host's SAEs, the prompt without a suffix, clamps and objective. */
static struct session *open_tiny(const char *folder, const struct host *h)
{
	struct error error = {0};
	struct session *session;
	struct session_options options = {.model = folder, .no_saes = true, .validation = true};
	expect_ok(session_open(&session, &options, &error), &error);
	struct layer_rule all[SITES * K];
	for (int s = 0; s < SITES; s++) {
		const struct host_site *from = &h->sites[s];
		struct site *site = &session->sites[session->site_count++];
		expect_ok(sae_create(&site->sae, session->device, &from->spec, from->layer, from->hook, &error),
			  &error);
		assert_true(point_of_hook(&session->model.arch, from->layer, from->hook, &site->point));
		for (int k = 0; k < K; k++)
			all[s * K + k] = (struct layer_rule){from->layer, from->rules[k]};
	}
	expect_ok(session_set_clamps(session, all, SITES * K, &error), &error);
	int32_t ids[PROMPT];
	for (int i = 0; i < PROMPT; i++)
		ids[i] = (int32_t)h->ids[i];
	expect_ok(session_set_tokens(session, ids, PROMPT, &error), &error);
	static const char *const objective[] = {"answer_logprob:ids=3,6,2,7*0.9",
						"soft_anti_refusal:ids=3,6,2,7|ids=5,1,4|ids=8,0*0.27"};
	expect_ok(session_set_objective(session, objective, 2, &error), &error);
	set(session, "project", "none");
	set(session, "steps", "8");
	set(session, "lr", "0.05");
	set(session, "budget", "0.5");
	return session;
}

/* Drift at step 0 is that of the untrained placeholders against the run without a suffix. */
static void check_start_drift(struct session *session, const struct scene *clamped, const struct recovery *recovery)
{
	struct error error = {0};
	struct scene plain;
	struct suffix suffix = session->suffix;
	session_take_suffix(session);
	expect_ok(scene_run(&plain, session, true, &error), &error);
	expect_ok(session_add_suffix(session, suffix.count, 4, suffix.monitor_weight, &error), &error);
	double change = 0, reference = 0;
	for (int s = 0; s < SITES; s++)
		for (int64_t i = 0; i < ANSWER * K; i++) {
			double with = (double)clamped->sites[s].z[(PROMPT + SUFFIX) * K + i];
			double without = (double)plain.sites[s].z[PROMPT * K + i];
			change += (with - without) * (with - without);
			reference += without * without;
		}
	close_to("reference norm", recovery_reference_norm(recovery), sqrt(reference), 1e-6);
	close_to("drift at the start", recovery_history(recovery)[0].drift_l2, sqrt(change), 2e-5);
	assert_true(change > 1e-4);
	close_to("J of the reference", scene_reference(clamped)->J, plain.J, 0);
	scene_done(&plain);
}

/* The base run of a suffix is that of the prompt without it, its rows where their tokens are; the
 * rows between are those of the placeholders. */
static void check_base(struct session *session)
{
	struct error error = {0};
	struct scene with, plain;
	struct suffix suffix = session->suffix;
	int64_t d = session->model.arch.d;
	expect_ok(scene_run(&with, session, false, &error), &error);
	assert_int_equal(with.prompt, PROMPT + SUFFIX);
	assert_int_equal(with.total, TOTAL);
	session_take_suffix(session);
	expect_ok(scene_run(&plain, session, false, &error), &error);
	expect_ok(session_add_suffix(session, suffix.count, 4, suffix.monitor_weight, &error), &error);
	close_to("J of the base run", with.J, plain.J, 0);
	for (int s = 0; s < SITES; s++) {
		const float *h = with.sites[s].h, *expected = plain.sites[s].h;
		size_t row = (size_t)d * sizeof *h;
		assert_memory_equal(h, expected, PROMPT * row);
		assert_memory_equal(h + (PROMPT + SUFFIX) * d, expected + PROMPT * d, ANSWER * row);
		assert_memory_not_equal(h + PROMPT * d, expected + PROMPT * d, row);
	}
	scene_done(&with);
	scene_done(&plain);
}

/* Placeholder 4 as it is, moved to the embedding of token 9, and moved anywhere. */
static void check_reading(struct session *session, const struct host *h)
{
	struct error error = {0};
	struct suffix_reader *reader;
	struct nearest_token nearest[SUFFIX];
	size_t d = (size_t)h->arch.d;
	const double *wte = h->reference->model[WEIGHT_WTE];
	float *delta = mem_alloc(SUFFIX * d, sizeof *delta);
	for (size_t j = 0; j < d; j++) {
		delta[d + j] = (float)(wte[9 * d + j] - wte[4 * d + j]);
		delta[2 * d + j] = (float)sin(1.0 + 7.0 * (double)j);
	}
	expect_ok(suffix_reader_create(&reader, session, &error), &error);
	expect_ok(suffix_reader_read(reader, delta, nearest, &error), &error);
	for (int i = 0; i < SUFFIX; i++) {
		int64_t best = -1;
		double largest = -2;
		for (int64_t t = 0; t < h->arch.vocab; t++) {
			double dot = 0, token = 0, trained = 0;
			for (size_t j = 0; j < d; j++) {
				double w = wte[(size_t)t * d + j];
				double e = wte[4 * d + j] + (double)delta[(size_t)i * d + j];
				dot += w * e;
				token += w * w;
				trained += e * e;
			}
			double cosine = dot / sqrt(token * trained);
			if (cosine > largest) {
				largest = cosine;
				best = t;
			}
		}
		assert_int_equal(nearest[i].id, best);
		close_to("cosine", (double)nearest[i].cosine, largest, 1e-5);
	}
	assert_int_equal(nearest[0].id, 4);
	assert_int_equal(nearest[1].id, 9);
	close_to("cosine", (double)nearest[1].cosine, 1, 1e-5);
	suffix_reader_destroy(&reader);
	free(delta);
}

static void check_trajectory(const char *config, uint64_t seed)
{
	struct error error = {0};
	struct tiny_model tiny;
	struct host h;
	struct scene clamped;
	struct recovery *recovery;
	char name[32];
	snprintf(name, sizeof name, "suffix-%d", (int)seed);
	tiny_model_plan(&tiny, config, NULL);
	char *folder = tiny_model_write(&tiny, name, seed);
	open_host(&h, folder, seed);
	struct session *session = open_tiny(folder, &h);
	expect_ok(session_add_suffix(session, SUFFIX, 4, monitor_weight, &error), &error);
	assert_int_equal(session->prompt.count, PROMPT + SUFFIX);
	expect_ok(scene_run(&clamped, session, true, &error), &error);
	expect_ok(recovery_create(&recovery, session, &clamped, NULL, &error), &error);
	expect_ok(recovery_advance(recovery, STEPS, &error), &error);
	const struct recovery_metrics *history = recovery_history(recovery);
	check_start_drift(session, &clamped, recovery);
	check_base(session);
	check_reading(session, &h);

	int64_t n = SUFFIX * h.arch.d;
	double *g = mem_alloc((size_t)n, sizeof *g), *m = mem_alloc((size_t)n, sizeof *m);
	double *v = mem_alloc((size_t)n, sizeof *v), initial, monitor, first = 0;
	float *delta = mem_alloc((size_t)n, sizeof *delta);
	assert_int_equal(recovery_rows(recovery), SUFFIX);
	assert_int_equal(recovery_row_layer(recovery, 1), LAYER_EMBEDDING);
	assert_int_equal(recovery_row_position(recovery, 1), PROMPT + 1);
	host_loss(&h, &initial);
	for (int i = 0; i < STEPS; i++) {
		double loss = host_loss(&h, &monitor);
		host_gradient(&h, initial, g);
		char where[64];
		snprintf(where, sizeof where, "%s, step %d", arch_family_name(h.arch.family), i);
		close_to(where, -history[i].objective, loss, 2e-5);
		close_to(where, history[i].loss, loss + monitor_weight * monitor / initial, 2e-5);
		close_to(where, history[i].monitor_relative, monitor / initial, 1e-4);
		close_to(where, history[i].grad_norm, norm_of(g, n), 2e-4);
		close_to(where, history[i].delta_norm, norm_of(h.delta, n), 1e-5);
		expect_ok(recovery_delta(recovery, i, delta, &error), &error);
		for (int64_t j = 0; j < n; j++)
			close_to(where, (double)delta[j], h.delta[j], 5e-4);
		if (i == 0)
			first = loss;
		host_step(&h, g, m, v, i + 1);
	}
	/* The loss falls, and the ball was reached. */
	assert_true(-history[STEPS - 1].objective < first);
	assert_true(history[STEPS - 1].delta_norm > 0.9999 * budget);
	assert_int_equal(device_validation_messages(session->device), 0);
	recovery_destroy(&recovery);
	scene_done(&clamped);
	session_close(&session);
	close_host(&h);
	free(folder);
	free(g);
	free(m);
	free(v);
	free(delta);
}

static void test_trajectory(void **state)
{
	(void)state;
	/* Learned positions, parallel residual, scaled embeddings with soft caps, rotation. */
	static const size_t families[] = {0, 2, 4, 6};
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		check_trajectory(tiny_configs[families[i]], 3 + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trajectory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
