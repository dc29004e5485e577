/* Feature selection over sets of prompts: the scores against sums taken here, prompt by prompt. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "sessions/attribute.h"
#include "sessions/encode.h"
#include "sessions/hooked_sae.h"
#include "sessions/probe.h"
#include "sessions/select.h"
#include "tests/expect.h"
#include "tests/scratch.h"

enum { F = 1024 };

static struct session *session;
static struct prompt_set prompts;
static const struct prompt *first[3], *second[2];

static int set_up(void **state)
{
	(void)state;
	struct error error = {0};
	static const char *const saes[] = {"models/demo/sae/layer_1", "models/demo/sae/layer_2"};
	struct session_options options = {.model = "models/demo", .saes = saes, .sae_count = 2};
	expect_ok(session_open(&session, &options, &error), &error);
	expect_ok(prompt_set_load(&prompts, "models/demo/prompts.jsonl", &error), &error);
	int n = 0, m = 0;
	for (int i = 0; i < prompts.count; i++) {
		const struct prompt *p = &prompts.items[i];
		if (strcmp(p->task, "ioi") == 0 && n < 3)
			first[n++] = p;
		if (strcmp(p->task, "probe") == 0 && m < 2)
			second[m++] = p;
	}
	return n != 3 || m != 2;
}

static int tear_down(void **state)
{
	(void)state;
	prompt_set_done(&prompts);
	session_close(&session);
	return 0;
}

static struct select_options options_for(enum select_method method)
{
	return (struct select_options){.method = method,
				       .sets = {first, second},
				       .counts = {3, 2},
				       .only_site = 1,
				       .retain_threshold = 0.05,
				       .own_objectives = true};
}

/* Sums of activations and of firing at layer 2, at all positions behind BOS or the last. */
static int64_t sum_prompt(const struct prompt *p, bool all, double *activation, double *fired)
{
	struct error error = {0};
	struct scene scene;
	static float z[F];
	expect_ok(session_set_text(session, p->text, strlen(p->text), p->chat, false, false, &error), &error);
	expect_ok(scene_run(&scene, session, false, &error), &error);
	int64_t from = all ? probe_first_position(session) : scene.prompt - 1;
	for (int64_t t = from; t < scene.prompt; t++) {
		expect_ok(scene_features(&scene, 1, t, z, &error), &error);
		for (int f = 0; f < F; f++) {
			activation[f] += (double)z[f];
			fired[f] += z[f] > 0;
		}
	}
	int64_t rows = scene.prompt - from;
	scene_done(&scene);
	return rows;
}

static void close_to(double a, double b)
{
	if (!(fabs(a - b) <= 1e-5 * (1 + fabs(b))))
		fail_msg("%.9g is not %.9g", a, b);
}

static void check_order(const struct selection *s)
{
	for (int64_t i = 1; i < s->count; i++)
		assert_true(
			s->items[i - 1].score > s->items[i].score ||
			(s->items[i - 1].score == s->items[i].score && s->items[i - 1].feature < s->items[i].feature));
}

static void test_two_sets(void **state)
{
	(void)state;
	struct error error = {0};
	for (int all = 0; all < 2; all++) {
		double *sums = mem_alloc(4 * F, sizeof *sums);
		int64_t positions[2] = {0, 0};
		for (int i = 0; i < 3; i++)
			positions[0] += sum_prompt(first[i], all, sums, sums + F);
		for (int i = 0; i < 2; i++)
			positions[1] += sum_prompt(second[i], all, sums + 2 * F, sums + 3 * F);
		struct select_options options = options_for(SELECT_DIFFERENCE);
		struct selection s;
		options.all_positions = all;
		expect_ok(select_features(&s, session, &options, &error), &error);
		assert_int_equal(s.count, F);
		assert_int_equal(s.inputs[0], 3);
		assert_int_equal(s.positions[0], positions[0]);
		assert_int_equal(s.positions[1], positions[1]);
		check_order(&s);
		for (int i = 0; i < F; i++) {
			int f = (int)s.items[i].feature;
			assert_int_equal(s.items[i].layer, 2);
			for (int k = 0; k < 2; k++) {
				close_to(s.items[i].mean[k], sums[2 * k * F + f] / (double)positions[k]);
				close_to(s.items[i].frequency[k], sums[(2 * k + 1) * F + f] / (double)positions[k]);
			}
			close_to(s.items[i].score, s.items[i].mean[0] - s.items[i].mean[1]);
		}
		selection_done(&s);
		options.method = SELECT_SPARSITY;
		expect_ok(select_features(&s, session, &options, &error), &error);
		check_order(&s);
		int64_t expected = 0;
		for (int f = 0; f < F; f++)
			expected += sums[F + f] > 0 && sums[3 * F + f] / (double)positions[1] <= 0.05;
		assert_int_equal(s.count, expected);
		assert_true(s.count > 0 && s.count < F);
		for (int64_t i = 0; i < s.count; i++)
			close_to(s.items[i].score, sums[F + s.items[i].feature] / (double)positions[0]);
		selection_done(&s);
		free(sums);
	}
}

static void test_attribution(void **state)
{
	(void)state;
	struct error error = {0};
	struct select_options options = options_for(SELECT_ATTRIBUTION);
	struct selection s;
	double *sums = mem_alloc(F, sizeof *sums);
	options.counts[1] = 0;
	expect_ok(select_features(&s, session, &options, &error), &error);
	check_order(&s);
	for (int i = 0; i < 3; i++) {
		struct scene base;
		struct attribution *items;
		int64_t count;
		char *spec[1];
		assert_int_equal(prompt_objectives(first[i], spec, 1), 1);
		expect_ok(
			session_set_text(session, first[i]->text, strlen(first[i]->text), false, false, false, &error),
			&error);
		expect_ok(session_set_objective(session, (const char *const *)spec, 1, &error), &error);
		expect_ok(scene_run(&base, session, false, &error), &error);
		expect_ok(attribute_rank(&items, &count, session, &base, 1, &error), &error);
		for (int64_t j = 0; j < count; j++)
			sums[items[j].feature] += items[j].attribution / 3;
		scene_done(&base);
		free(items);
		free(spec[0]);
	}
	for (int64_t i = 0; i < s.count; i++)
		close_to(s.items[i].score, sums[s.items[i].feature]);
	selection_done(&s);
	free(sums);
}

static void test_probe(void **state)
{
	(void)state;
	struct error error = {0};
	struct select_options options = options_for(SELECT_PROBE);
	struct selection s, difference;
	struct probe probe;
	char *spec = mem_printf("probe_logit:%s@2", second[0]->profession);
	const char *const specs[] = {spec};
	expect_ok(session_set_objective(session, specs, 1, &error), &error);
	const struct sae *sae;
	expect_ok(session_sae(&sae, session, 1, &error), &error);
	expect_ok(probe_load(&probe, session, &error), &error);
	expect_ok(select_features(&s, session, &options, &error), &error);
	options.method = SELECT_DIFFERENCE;
	expect_ok(select_features(&difference, session, &options, &error), &error);
	check_order(&s);
	double by_feature[F] = {0};
	for (int64_t i = 0; i < F; i++)
		by_feature[difference.items[i].feature] = difference.items[i].score;
	for (int64_t i = 0; i < 20; i++) {
		float *one = mem_alloc(F, sizeof *one), row[128];
		double dot = 0;
		one[s.items[i].feature] = 1;
		expect_ok(decode_rows(sae, one, 1, row, &error), &error);
		for (int j = 0; j < 128; j++)
			dot += (double)row[j] * (double)probe.weight[j];
		close_to(s.items[i].score, fmax(0, by_feature[s.items[i].feature]) * dot);
		free(one);
	}
	assert_true(s.items[0].score > 0);
	selection_done(&s);
	selection_done(&difference);
	probe_done(&probe);
	/* At another layer the probe says nothing. */
	options = options_for(SELECT_PROBE);
	options.only_site = 0;
	assert_int_equal(select_features(&s, session, &options, &error), STATUS_INVALID);
	free(spec);
}

static void stop_after_two(void *context, int64_t done, int64_t total, const struct prompt *prompt,
			   const struct error *problem)
{
	assert_true(done <= total && prompt);
	if (problem)
		assert_true(scratch_says(problem->text, "context"));
	if (context && done == 2)
		atomic_store((atomic_bool *)context, true);
}

/* What was read before an interrupt is ranked; a prompt that is too long is left out. */
static void test_interrupt(void **state)
{
	(void)state;
	struct error error = {0};
	struct select_options options = options_for(SELECT_DIFFERENCE);
	struct selection s;
	atomic_bool cancel = false;
	session->cancel = &cancel;
	options.on_prompt = stop_after_two;
	options.context = &cancel;
	assert_int_equal(select_features(&s, session, &options, &error), STATUS_CANCELLED);
	assert_int_equal(s.inputs[0], 1);
	assert_int_equal(s.inputs[1], 1);
	assert_int_equal(s.count, F);
	selection_done(&s);
	session->cancel = NULL;
	struct strbuf text = {0};
	for (int i = 0; i < 400; i++)
		strbuf_add_string(&text, "a road ");
	struct prompt endless = *first[0];
	endless.text = text.data;
	const struct prompt *with[3] = {first[0], &endless, first[1]};
	options.sets[0] = with;
	options.context = NULL;
	expect_ok(select_features(&s, session, &options, &error), &error);
	assert_int_equal(s.skipped, 1);
	assert_int_equal(s.inputs[0], 2);
	selection_done(&s);
	options.counts[1] = 0;
	assert_int_equal(select_features(&s, session, &options, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "the second is empty"));
	strbuf_done(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_sets),
		cmocka_unit_test(test_attribution),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_interrupt),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
