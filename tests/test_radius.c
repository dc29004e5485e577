/* The recovery radius on the built-in model. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sessions/radius.h"
#include "tests/expect.h"
#include "tests/scratch.h"

static struct session *open_session(const char *objective)
{
	struct error error = {0};
	struct session *session;
	static const char *const saes[] = {"models/demo/sae/layer_2"};
	struct session_options options = {.model = "models/demo", .saes = saes, .sae_count = 1};
	expect_ok(session_open(&session, &options, &error), &error);
	static const int32_t ids[] = {5, 300, 301, 302, 303, 304, 305};
	expect_ok(session_set_tokens(session, ids, 7, &error), &error);
	struct layer_rule rule = {2, {17, OP_CLAMP_SET, 3}};
	expect_ok(session_set_clamps(session, &rule, 1, &error), &error);
	expect_ok(session_set_objective(session, &objective, 1, &error), &error);
	expect_ok(settings_set(&session->settings, "steps", "40", &error), &error);
	expect_ok(settings_set(&session->settings, "lr", "1", &error), &error);
	return session;
}

static void count_trial(void *context, const struct radius_trial *trial)
{
	assert_true(trial->budget > 0);
	(*(int *)context)++;
}

/* The bracket is narrow, its upper end is shown by a delta of that norm, each trial lies in the
 * bracket of those before it, and its lower end did not recover. */
static void test_bracket(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session("first_token_logprob:ids=330");
	struct scene clamped;
	struct radius radius;
	int told = 0;
	struct radius_options options = {
		.tolerance = 0.05, .most_trials = 20, .on_trial = count_trial, .context = &told};
	expect_ok(scene_run(&clamped, session, true, &error), &error);
	assert_false(clamped.present);
	expect_ok(settings_set(&session->settings, "budget", "150", &error), &error);
	expect_ok(radius_find(&radius, session, &clamped, &options, &error), &error);
	assert_true(radius.found);
	assert_int_equal(told, radius.trial_count);
	assert_true(radius.trial_count > 2 && radius.trial_count < 20);
	assert_true(radius.trials[0].budget == 150);
	double lower = 0, upper = HUGE_VAL;
	for (int i = 0; i < radius.trial_count; i++) {
		const struct radius_trial *t = &radius.trials[i];
		assert_true(t->budget > lower && t->budget < upper);
		assert_true(t->delta_norm <= t->budget * (1 + 1e-5));
		if (!t->recovered)
			lower = t->budget;
		else
			upper = t->delta_norm;
	}
	assert_true(fabs(radius.upper - upper) < 1e-4 * upper && radius.lower == lower);
	assert_true(lower < upper && upper - lower <= 0.05 * upper);
	struct recovery *recovery;
	struct recovery_final final;
	expect_ok(recovery_create(&recovery, session, &clamped, NULL, &error), &error);
	expect_ok(recovery_evaluate(recovery, radius.delta, &final, &error), &error);
	assert_true(final.present);
	assert_true(fabs(final.delta_norm - radius.upper) < 1e-4 * radius.upper);
	recovery_destroy(&recovery);
	/* The settings are as they were. */
	assert_true(session->settings.budget.value == 150 && !session->settings.budget.percent);
	radius_done(&radius);

	/* Below the radius there is none; at 0 there is nothing to search. */
	session->settings.budget.value = lower / 4;
	expect_ok(radius_find(&radius, session, &clamped, &options, &error), &error);
	assert_false(radius.found);
	assert_null(radius.delta);
	assert_int_equal(radius.trial_count, 1);
	radius_done(&radius);
	session->settings.budget.value = 0;
	assert_int_equal(radius_find(&radius, session, &clamped, &options, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "--budget is 0"));
	radius_done(&radius);
	/* An interrupt keeps what was tried. */
	atomic_bool cancel = true;
	session->cancel = &cancel;
	session->settings.budget.value = 150;
	assert_int_equal(radius_find(&radius, session, &clamped, &options, &error), STATUS_CANCELLED);
	radius_done(&radius);
	scene_done(&clamped);
	session_close(&session);
}

static void test_nothing_removed(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session("logit_diff:330,331");
	struct scene clamped;
	struct radius radius;
	struct radius_options options = {.tolerance = 0.05, .most_trials = 20};
	expect_ok(scene_run(&clamped, session, true, &error), &error);
	if (!clamped.present) {
		const char *other = "logit_diff:331,330";
		scene_done(&clamped);
		expect_ok(session_set_objective(session, &other, 1, &error), &error);
		expect_ok(scene_run(&clamped, session, true, &error), &error);
	}
	expect_ok(radius_find(&radius, session, &clamped, &options, &error), &error);
	assert_true(radius.found && radius.upper == 0 && radius.trial_count == 0);
	radius_done(&radius);
	scene_done(&clamped);
	session_close(&session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bracket),
		cmocka_unit_test(test_nothing_removed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
