/* The desk: runs, forks, a feature's view, the radius, sessions side by side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tests/desk_driver.h"
#include "tests/scratch.h"

/* A fork begins where the step shown was, also if more rows are perturbed from then on, and
 * the curves it left are there to compare. */
static void test_fork(void **state)
{
	(void)state;
	static const char *const positions[] = {"last", "9,11,last", "4"};
	for (size_t i = 0; i < ARRAY_LEN(positions); i++) {
		struct desk *desk = drive_open();
		drive_recovery(desk);
		int64_t last = (int64_t)desk->session->prompt.count - 1;
		char at[32];
		snprintf(at, sizeof at, "%s", positions[i]);
		if (strstr(at, ",last"))
			snprintf(at, sizeof at, "9,11,%lld", (long long)last);
		drive(desk, COMMAND_SCRUB, 13, "");
		struct snapshot *before = desk_snapshot(desk);
		assert_int_equal(before->step_shown, 13);
		assert_int_equal(before->run_count, 1);
		drive(desk, COMMAND_DELTA_POSITIONS, 0, at);
		drive(desk, COMMAND_FORK, 0, "");
		struct snapshot *fork = desk_snapshot(desk);
		assert_int_equal(fork->run_count, 2);
		assert_int_equal(fork->run_begin, 13);
		assert_int_equal(fork->earlier[0].begin, 0);
		assert_int_equal(fork->earlier[0].history.steps, 20);
		assert_memory_equal(fork->earlier[0].history.objective, before->history.objective, 20 * sizeof(float));
		assert_memory_equal(fork->earlier[0].history.drift, before->history.drift, 20 * sizeof(float));
		if (i < 2) /* the perturbed position is still there */
			assert_true(fabs(fork->step_objective - before->step_objective) < 1e-4);
		else
			assert_true(fabs(fork->delta_norm) < 1e-12);
		snapshot_free(fork);
		drive_finish(desk);
		drive(desk, COMMAND_SCRUB, 5, "");
		drive(desk, COMMAND_FORK, 0, "");
		fork = desk_snapshot(desk);
		assert_int_equal(fork->run_count, 3);
		assert_int_equal(fork->run_begin, 18);
		assert_int_equal(fork->earlier[1].begin, 13);
		snapshot_free(fork);
		drive_finish(desk);
		drive(desk, COMMAND_RUN, 0, ""); /* a run of its own forgets them */
		fork = desk_snapshot(desk);
		assert_int_equal(fork->run_count, 1);
		snapshot_free(fork);
		snapshot_free(before);
		drive_close(desk);
	}
}

/* Esc while steps are in flight: what was reached is what is shown. */
static void test_pause(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	drive(desk, COMMAND_SELECT_PROMPT, 0, "");
	drive(desk, COMMAND_CLAMP_TOP, 8, "");
	drive(desk, COMMAND_RUN, 0, "");
	desk_run_slice(desk);
	int64_t steps = recovery_steps(desk->run.recovery);
	struct error error;
	assert_true(steps < recovery_planned(desk->run.recovery));
	/* Steps beyond the one that is shown, as if the flag had been set in the middle. */
	assert_int_equal(recovery_advance(desk->run.recovery, 1, &error), STATUS_OK);
	atomic_store(&desk->cancel, true);
	desk_run_slice(desk);
	assert_false(atomic_load(&desk->cancel));
	assert_false(desk->run.running);
	assert_true(desk->run.paused);
	assert_int_equal(desk->run.shown, steps + 1);
	assert_true(desk->run.evaluated);
	char *expected = mem_printf("the recovery is paused at step %lld; r goes on", (long long)steps + 1);
	assert_string_equal(desk->notice, expected);
	free(expected);
	drive_close(desk);
}

/* What counts as the result is what is shown at the end: here the best state within the drift. */
static void test_checkpoint(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	struct error error;
	int64_t step;
	drive(desk, COMMAND_SETTING, 0, "project=none");
	drive(desk, COMMAND_SETTING, 0, "checkpoint=drift_constrained");
	drive(desk, COMMAND_SETTING, 0, "drift-threshold=0.05");
	drive_recovery(desk);
	float *delta = mem_copy(desk->run.delta, (size_t)desk->session->model.arch.d * sizeof *delta);
	assert_int_equal(recovery_result(desk->run.recovery, desk->run.delta, &step, &error), STATUS_OK);
	assert_true(step < 20);
	assert_int_equal(desk->run.shown, step);
	assert_memory_equal(delta, desk->run.delta, (size_t)desk->session->model.arch.d * sizeof *delta);
	assert_true(desk->run.final.drift_relative_l2 <= 0.05);
	free(delta);
	/* The log says what was run, not what is set by then. */
	drive(desk, COMMAND_RUN, 0, "");
	drive(desk, COMMAND_SETTING, 0, "steps=7");
	drive_finish(desk);
	assert_true(scratch_says(desk->log[desk->log_count - 1].command, "recover --project none --steps 20 "));
	drive_close(desk);
}

/* A feature's view follows the clamps, the prompts and the run. */
static void test_view(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	drive_recovery(desk);
	uint32_t feature = desk->rules.rules[0].rule.feature;
	drive(desk, COMMAND_FEATURE, feature, "");
	struct snapshot *s = desk_snapshot(desk);
	assert_non_null(s->view);
	assert_int_equal(s->view->feature, feature);
	assert_int_equal(s->view->token_count, (int)desk->session->prompt.count);
	size_t last = desk->session->prompt.count - 1;
	assert_true(fabsf(s->view->along[STATE_BASE][last] - desk->z_base[feature]) < 1e-4f);
	assert_true(fabsf(s->view->along[STATE_CLAMPED][last] - desk->z_clamped[feature]) < 1e-4f);
	assert_true(fabsf(s->view->along[STATE_RECOVERED][last] - desk->z_recovered[feature]) < 1e-4f);
	assert_true(s->view->reading);
	assert_int_equal(s->job, JOB_USAGE);
	snapshot_free(s);
	for (int i = 0; i < 3; i++)
		desk_usage_next(desk);
	atomic_store(&desk->cancel, true);
	assert_false(desk_usage_next(desk));
	assert_false(atomic_load(&desk->cancel));
	drive(desk, COMMAND_CLEAR_CLAMPS, 0, "");
	s = desk_snapshot(desk);
	assert_int_equal(s->view->prompts_done, 3);
	assert_false(s->view->reading);
	assert_null(s->view->along[STATE_CLAMPED]);
	assert_null(s->view->along[STATE_RECOVERED]);
	snapshot_free(s);
	drive(desk, COMMAND_FEATURE, feature + 1, ""); /* not begun again on its own */
	assert_false(desk->view.reading);
	drive(desk, COMMAND_USAGE, 0, "");
	assert_true(desk->view.reading);
	drive(desk, COMMAND_ADD_PROMPT, 0, "One more of mine"); /* another set: counted anew */
	assert_false(desk->view.reading);
	drive(desk, COMMAND_USAGE, 0, "");
	s = desk_snapshot(desk);
	assert_int_equal(s->view->prompts_done, 0);
	assert_int_equal(s->view->token_count, (int)desk->session->prompt.count);
	snapshot_free(s);
	drive(desk, COMMAND_FEATURE, -1, "");
	s = desk_snapshot(desk);
	assert_null(s->view);
	snapshot_free(s);
	drive_close(desk);
}

/* What the screens see of a search for the radius. */
struct search_seen {
	int snapshots, most_trial, cancel_at; /* cancelled at that trial; 0: not */
};

static void look_at_trial(struct desk *desk)
{
	struct search_seen *seen = desk->publish_context;
	struct snapshot *s = desk_snapshot(desk);
	static const char begins[] = "radius, trial ";
	if (s->method.known) {
		seen->snapshots++;
		assert_int_equal(strncmp(s->method.title, begins, sizeof begins - 1), 0);
		int trial = (int)strtol(s->method.title + sizeof begins - 1, NULL, 10);
		assert_true(trial >= 1);
		assert_true(trial == 1 || strstr(s->method.title, ": between "));
		seen->most_trial = trial > seen->most_trial ? trial : seen->most_trial;
		assert_true(s->method.history.steps <= 20 && s->method.history.planned == 20);
		assert_true(s->method.budget > 0 && s->method.budget <= 30);
		assert_int_equal(s->job, JOB_RECOVER);
		/* The settings are the desk's own. */
		assert_non_null(strstr(s->settings, "budget 30"));
		if (trial == seen->cancel_at)
			atomic_store(&desk->cancel, true);
	}
	desk->published_ms = 0; /* each look is published */
	snapshot_free(s);
}

/* The search for the radius shows each trial's curves; stopped, it says what is known. */
static void test_radius(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	struct search_seen seen = {0};
	drive_flip(desk, "ioi");
	drive(desk, COMMAND_SETTING, 0, "steps=20");
	drive(desk, COMMAND_SETTING, 0, "budget=30");
	desk->publish = look_at_trial;
	desk->publish_context = &seen;
	drive(desk, COMMAND_RADIUS, 0, "");
	assert_true(seen.most_trial > 2 && seen.snapshots > 4);
	assert_true(scratch_says(desk->method.title, "radius between "));
	assert_true(scratch_says(desk->notice, "the smallest budget that recovers is "));
	seen = (struct search_seen){.cancel_at = 2};
	drive(desk, COMMAND_RADIUS, 0, "");
	assert_int_equal(seen.most_trial, 2);
	assert_true(scratch_says(desk->notice, "stopped: the radius is between 0 and "));
	assert_false(atomic_load(&desk->cancel));
	desk->publish = NULL;
	/* With a run of its own the pane goes back to that. */
	drive(desk, COMMAND_RUN, 0, "");
	drive_finish(desk);
	drive(desk, COMMAND_RADIUS, 0, "");
	assert_false(desk->method.known);
	drive_close(desk);
}

/* A run beside the one that it was forked from; what a screen still shows stays. */
static void test_compare(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	char *home = scratch_path("desk-state/none");
	home[strlen(home) - strlen("/none")] = '\0';
	setenv("XDG_STATE_HOME", home, 1);
	desk->options.journal = NULL;
	struct command command = {.kind = COMMAND_COMPARE, .text = "nobody"};
	desk_command(desk, &command);
	assert_true(scratch_says(desk->error.text, "no run here to compare 'nobody' with"));
	drive(desk, COMMAND_SESSIONS, 0, ""); /* there is no folder yet */
	drive_recovery(desk);
	char *first = mem_strdup(desk->run.path);
	drive(desk, COMMAND_SCRUB, 5, "");
	drive(desk, COMMAND_SETTING, 0, "lr=0.3");
	drive(desk, COMMAND_FORK, 0, "");
	drive_finish(desk);
	free(scratch_file("desk-state/rebound/sessions/bad.jsonl", "{}", 2));
	drive(desk, COMMAND_SESSIONS, 0, "");
	struct snapshot *s = desk_snapshot(desk);
	assert_int_equal(s->session_count, 1); /* without the current one */
	assert_non_null(strstr(first, s->sessions[0].name));
	assert_true(scratch_says(s->sessions[0].summary, "8 clamped, 20 steps: "));
	drive(desk, COMMAND_COMPARE, 0, s->sessions[0].name);
	snapshot_free(s);
	s = desk_snapshot(desk);
	const struct comparison *c = s->comparison;
	assert_non_null(c);
	assert_string_equal(c->record[1].path, first);
	assert_int_equal(c->difference_count, 2);
	assert_string_equal(c->differences[0].name, "lr");
	assert_string_equal(c->differences[1].name, "starts from");
	assert_string_equal(c->differences[1].value[1], "zero");
	assert_int_equal(c->parting.step, 0);
	assert_true(c->has_angle);
	assert_true(scratch_says(s->log[s->log_count - 1].command, "rebound compare '"));
	drive(desk, COMMAND_COMPARE, 0, "");
	assert_null(desk->comparison);
	assert_int_equal(c->steps, 20); /* the snapshot's own */
	snapshot_free(s);
	free(first);
	free(home);
	drive_close(desk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fork), cmocka_unit_test(test_pause),  cmocka_unit_test(test_checkpoint),
		cmocka_unit_test(test_view), cmocka_unit_test(test_radius), cmocka_unit_test(test_compare),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
