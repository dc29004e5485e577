/* The loop on the built-in model: one prompt of each task, from its own files. What is
 * checked holds whatever the model has learned: that runs agree with each other. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "sessions/attribute.h"
#include "sessions/decompose.h"
#include "sessions/experiment.h"
#include "sessions/generate.h"
#include "tui/options.h"

static void must(enum status status, const struct error *error)
{
	if (status)
		fail_msg("%s", error->text);
}

static void open_prompt(struct opened *opened, const char *prompt)
{
	struct error error;
	char *argv[] = {"rebound", "recover", "--prompt", (char *)(uintptr_t)prompt, "--quiet", "--steps", "12", NULL};
	struct options options;
	must(options_parse(&options, 7, argv, &error), &error);
	must(options_open(opened, &options, NEED_INPUT | NEED_SAES, &error), &error);
}

/* Clamps the top features of a layer's ranking. */
static void clamp_top(struct session *session, int site, int count)
{
	struct error error;
	struct scene base;
	struct attribution *ranking;
	int64_t n;
	must(scene_run(&base, session, false, &error), &error);
	must(attribute_rank(&ranking, &n, session, &base, site, &error), &error);
	struct layer_rule *rules = mem_alloc((size_t)count, sizeof *rules);
	for (int i = 0; i < count; i++) {
		assert_true(i == 0 || ranking[i].attribution <= ranking[i - 1].attribution);
		rules[i] = (struct layer_rule){ranking[i].layer, {ranking[i].feature, OP_CLAMP_SET_ACTIVE, -5}};
	}
	must(session_set_clamps(session, rules, count, &error), &error);
	free(rules);
	free(ranking);
	scene_done(&base);
}

static void near(const char *what, double a, double b, double tolerance)
{
	if (!(fabs(a - b) <= tolerance * (1 + fabs(b))))
		fail_msg("%s: %.9g and %.9g", what, a, b);
}

static void one_task(void **state)
{
	struct error error;
	struct opened opened;
	struct experiment x;
	struct decomposition parts;
	open_prompt(&opened, *state);
	struct session *session = opened.session;
	clamp_top(session, 1, 8);
	must(experiment_run(&x, session, &error), &error);

	const struct recovery_metrics *history = recovery_history(x.recovery);
	near("J at step 0 and of the clamped run", history[0].objective, x.clamped.J, 1e-4);
	assert_true(history[0].drift_l2 == 0);
	assert_true(history[0].delta_norm == 0);
	/* The first step goes uphill: Adam's step along the projected gradient of J. */
	assert_true(history[1].objective > history[0].objective);

	must(decompose(&parts, session, x.recovery, &x.clamped, x.delta, 20, false, &error), &error);
	near("delta alone and the result", parts.components[COMPONENT_FULL].objective, x.final.objective, 1e-6);
	assert_true(parts.identity_error < 1e-5);
	near("without the clamped part, and all", parts.components[COMPONENT_FULL].norm, x.final.delta_norm, 1e-6);
	decomposition_done(&parts);

	/* The same run once more, to the bit. */
	struct experiment again;
	must(experiment_run(&again, session, &error), &error);
	size_t n = (size_t)(recovery_rows(x.recovery) * session->model.arch.d);
	assert_memory_equal(x.delta, again.delta, n * sizeof *x.delta);
	assert_memory_equal(recovery_history(again.recovery), history,
			    (size_t)recovery_steps(x.recovery) * sizeof *history);
	experiment_done(&again);
	int messages = device_validation_messages(session->device);
	experiment_done(&x);
	options_close(&opened);
	assert_int_equal(messages, 0);
}

/* Generation through the cache gives the ids that whole passes give, with a clamp active. */
static void cache_and_no_cache(void **state)
{
	(void)state;
	struct error error;
	struct opened opened;
	open_prompt(&opened, "refusal-02");
	struct session *session = opened.session;
	clamp_top(session, 1, 4);
	must(session_set_objective(session, NULL, 0, &error), &error);
	struct token_list ids = {0};
	struct generate_options options = {.clamped = true, .max_new = 8, .ignore_stops = true};
	must(generate(session, &options, &ids, &error), &error);
	assert_int_equal(ids.count, 8);
	for (size_t i = 0; i < ids.count; i++) {
		struct scene scene;
		struct top_logit best[2];
		must(scene_run(&scene, session, true, &error), &error);
		top_logits(scene.logits, session->model.arch.vocab, 1, best);
		assert_int_equal(best[0].id, ids.ids[i]);
		scene_done(&scene);
		token_list_add(&session->prompt, ids.ids[i]);
	}
	token_list_done(&ids);
	options_close(&opened);
}

int main(void)
{
	setenv("REBOUND_VALIDATION", "1", 1);
	setenv("REBOUND_DATA", "models/demo", 1);
	const struct CMUnitTest tests[] = {
		{"ioi", one_task, NULL, NULL, (void *)(uintptr_t) "ioi-01"},
		{"choice", one_task, NULL, NULL, (void *)(uintptr_t) "choice-01"},
		{"refusal", one_task, NULL, NULL, (void *)(uintptr_t) "refusal-02"},
		{"probe", one_task, NULL, NULL, (void *)(uintptr_t) "probe-01"},
		cmocka_unit_test(cache_and_no_cache),
	};
	return cmocka_run_group_tests_name("builtin", tests, NULL, NULL);
}
