/* The desk on the built-in model, driven by commands as the screens send them. */
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
#include "sessions/desk.h"
#include "tests/demo_clamp.h"
#include "tests/scratch.h"

static struct desk *open_desk(void)
{
	static char *journal;
	struct error error = {0};
	struct desk *desk = mem_alloc(1, sizeof *desk);
	free(journal);
	journal = scratch_path("desk/run.jsonl");
	char *cache = scratch_path("desk-cache/none");
	cache[strlen(cache) - strlen("/none")] = '\0';
	setenv("XDG_CACHE_HOME", cache, 1);
	free(cache);
	setenv("REBOUND_DATA", "models/demo", 0);
	struct worker_options options = {.journal = journal};
	if (desk_open(desk, &options, &error))
		fail_msg("%s", error.text);
	return desk;
}

static void close_desk(struct desk *desk)
{
	desk_close(desk);
	free(desk);
}

static void send(struct desk *desk, enum command_kind kind, int64_t number, const char *text)
{
	struct command command = {.kind = kind, .number = number};
	uint64_t before = desk->error_serial;
	snprintf(command.text, sizeof command.text, "%s", text);
	desk_command(desk, &command);
	if (desk->error_serial != before)
		fail_msg("command %d: %s", (int)kind, desk->error.text);
}

static void finish_run(struct desk *desk)
{
	while (desk->run.running)
		desk_run_slice(desk);
	assert_true(desk->run.finished);
}

static void recovered(struct desk *desk)
{
	send(desk, COMMAND_SELECT_PROMPT, 0, "");
	send(desk, COMMAND_SETTING, 0, "steps=20");
	send(desk, COMMAND_CLAMP_TOP, 8, "");
	send(desk, COMMAND_RUN, 0, "");
	finish_run(desk);
}

/* A fork begins where the step shown was, also if more rows are perturbed from then on, and
 * the curves it left are there to compare. */
static void test_fork(void **state)
{
	(void)state;
	static const char *const positions[] = {"last", "9,11,last", "4"};
	for (size_t i = 0; i < ARRAY_LEN(positions); i++) {
		struct desk *desk = open_desk();
		recovered(desk);
		int64_t last = (int64_t)desk->session->prompt.count - 1;
		char at[32];
		snprintf(at, sizeof at, "%s", positions[i]);
		if (strstr(at, ",last"))
			snprintf(at, sizeof at, "9,11,%lld", (long long)last);
		send(desk, COMMAND_SCRUB, 13, "");
		struct snapshot *before = desk_snapshot(desk);
		assert_int_equal(before->step_shown, 13);
		assert_int_equal(before->run_count, 1);
		send(desk, COMMAND_DELTA_POSITIONS, 0, at);
		send(desk, COMMAND_FORK, 0, "");
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
		finish_run(desk);
		send(desk, COMMAND_SCRUB, 5, "");
		send(desk, COMMAND_FORK, 0, "");
		fork = desk_snapshot(desk);
		assert_int_equal(fork->run_count, 3);
		assert_int_equal(fork->run_begin, 18);
		assert_int_equal(fork->earlier[1].begin, 13);
		snapshot_free(fork);
		finish_run(desk);
		send(desk, COMMAND_RUN, 0, ""); /* a run of its own forgets them */
		fork = desk_snapshot(desk);
		assert_int_equal(fork->run_count, 1);
		snapshot_free(fork);
		snapshot_free(before);
		close_desk(desk);
	}
}

/* Esc while steps are in flight: what was reached is what is shown. */
static void test_pause(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	send(desk, COMMAND_SELECT_PROMPT, 0, "");
	send(desk, COMMAND_CLAMP_TOP, 8, "");
	send(desk, COMMAND_RUN, 0, "");
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
	close_desk(desk);
}

/* What counts as the result is what is shown at the end: here the best state within the drift. */
static void test_checkpoint(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	struct error error;
	int64_t step;
	send(desk, COMMAND_SETTING, 0, "project=none");
	send(desk, COMMAND_SETTING, 0, "checkpoint=drift_constrained");
	send(desk, COMMAND_SETTING, 0, "drift-threshold=0.05");
	recovered(desk);
	float *delta = mem_copy(desk->run.delta, (size_t)desk->session->model.arch.d * sizeof *delta);
	assert_int_equal(recovery_result(desk->run.recovery, desk->run.delta, &step, &error), STATUS_OK);
	assert_true(step < 20);
	assert_int_equal(desk->run.shown, step);
	assert_memory_equal(delta, desk->run.delta, (size_t)desk->session->model.arch.d * sizeof *delta);
	assert_true(desk->run.final.drift_relative_l2 <= 0.05);
	free(delta);
	/* The log says what was run, not what is set by then. */
	send(desk, COMMAND_RUN, 0, "");
	send(desk, COMMAND_SETTING, 0, "steps=7");
	finish_run(desk);
	assert_true(scratch_says(desk->log[desk->log_count - 1].command, "recover --project none --steps 20 "));
	close_desk(desk);
}

/* A feature's view follows the clamps, the prompts and the run. */
static void test_view(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	recovered(desk);
	uint32_t feature = desk->rules.rules[0].rule.feature;
	send(desk, COMMAND_FEATURE, feature, "");
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
	send(desk, COMMAND_CLEAR_CLAMPS, 0, "");
	s = desk_snapshot(desk);
	assert_int_equal(s->view->prompts_done, 3);
	assert_false(s->view->reading);
	assert_null(s->view->along[STATE_CLAMPED]);
	assert_null(s->view->along[STATE_RECOVERED]);
	snapshot_free(s);
	send(desk, COMMAND_FEATURE, feature + 1, ""); /* not begun again on its own */
	assert_false(desk->view.reading);
	send(desk, COMMAND_USAGE, 0, "");
	assert_true(desk->view.reading);
	send(desk, COMMAND_ADD_PROMPT, 0, "One more of mine"); /* another set: counted anew */
	assert_false(desk->view.reading);
	send(desk, COMMAND_USAGE, 0, "");
	s = desk_snapshot(desk);
	assert_int_equal(s->view->prompts_done, 0);
	assert_int_equal(s->view->token_count, (int)desk->session->prompt.count);
	snapshot_free(s);
	send(desk, COMMAND_FEATURE, -1, "");
	s = desk_snapshot(desk);
	assert_null(s->view);
	snapshot_free(s);
	close_desk(desk);
}

/* The task's recommended prompt under the clamp that suppresses it. */
static void make_flip(struct desk *desk, const char *task)
{
	struct demo_clamp clamp = demo_clamp_of(task);
	char line[sizeof clamp.rule + 8];
	int prompt = 0;
	while (strcmp(desk->prompts.items[prompt].id, clamp.prompt) != 0)
		prompt++;
	send(desk, COMMAND_SELECT_PROMPT, prompt, "");
	snprintf(line, sizeof line, "clamp %s", clamp.rule);
	send(desk, COMMAND_LINE, 0, line);
	send(desk, COMMAND_CLAMP_POSITIONS, 0, clamp.positions);
}

/* The input, objective and settings that a suffix replaces, as the screens see them. */
struct own_input {
	int tokens, selected;
	char objective[160], settings[200], command[4096];
};

static void note_input(struct own_input *own, const struct desk *desk)
{
	struct snapshot *s = desk_snapshot(desk);
	char *command = desk_command_text(desk, "recover", true);
	memset(own, 0, sizeof *own);
	own->tokens = s->token_count;
	own->selected = s->token_selected;
	snprintf(own->objective, sizeof own->objective, "%s", s->objective);
	snprintf(own->settings, sizeof own->settings, "%s", s->settings);
	snprintf(own->command, sizeof own->command, "%s", command);
	assert_false(s->suffix);
	free(command);
	snapshot_free(s);
}

static void train_suffix(struct desk *desk, const char *steps)
{
	make_flip(desk, "refusal");
	send(desk, COMMAND_SUFFIX_SETTING, 0, "suffix=5");
	send(desk, COMMAND_SUFFIX_SETTING, 0, "suffix-token=?");
	send(desk, COMMAND_SUFFIX_SETTING, 0, steps);
	send(desk, COMMAND_SUFFIX_SETTING, 0, "lr=0.03");
	send(desk, COMMAND_SUFFIX, 0, "");
}

/* A suffix is a run like any other: every pane shows its step. */
static void test_suffix(void **state)
{
	(void)state;
	enum { SUFFIX = 5, STEPS = 40 };
	struct desk *desk = open_desk();
	struct own_input own, again;
	make_flip(desk, "refusal");
	note_input(&own, desk);
	train_suffix(desk, "steps=40");
	assert_true(desk->run.running);
	struct snapshot *s = desk_snapshot(desk);
	int first = s->token_selected - SUFFIX + 1, readout = s->token_selected;
	assert_true(s->suffix);
	assert_string_equal(s->suffix_summary, "suffix of 5 tokens lr 0.03 budget 40 steps 40");
	assert_string_equal(s->settings, own.settings);
	assert_true(s->tokens[first].trained && s->tokens[readout].trained);
	assert_false(s->tokens[first - 1].trained || s->tokens[readout + 1].trained);
	assert_true(s->tokens[readout].readout && s->tokens[readout + 1].generated);
	assert_string_equal(s->tokens[first].piece, "?");
	assert_true(fabsf(s->tokens[first].nearness - 1) < 1e-5f);
	assert_true(fabs(s->monitor - 1) < 1e-6);
	assert_string_not_equal(s->state[STATE_BASE].text, s->state[STATE_CLAMPED].text);
	snapshot_free(s);
	desk_run_slice(desk);
	send(desk, COMMAND_SUFFIX_SETTING, 0, "suffix=9"); /* of the next one */
	send(desk, COMMAND_RUN, 0, "");			   /* paused, and on again */
	assert_true(desk->run.paused && desk->aside.on);
	send(desk, COMMAND_RUN, 0, "");
	finish_run(desk);

	s = desk_snapshot(desk);
	const struct snapshot_history *h = &s->history;
	assert_int_equal(h->steps, STEPS);
	assert_int_equal(s->step_shown, STEPS);
	assert_true(s->step_loss < (double)h->loss[0]);
	assert_true(fabs((double)h->monitor[0] - 1) < 1e-6);
	assert_true(s->state[STATE_BASE].verdict && !s->state[STATE_CLAMPED].verdict);
	assert_true(s->state[STATE_RECOVERED].verdict);
	assert_int_equal(s->prompts[s->prompt_selected].state, FLIP_RECOVERED);
	assert_true(scratch_says(s->state[STATE_CLAMPED].judge, "refusal: opens with"));
	assert_true(scratch_says(s->state[STATE_RECOVERED].judge, "no refusal"));
	assert_false(s->state[STATE_RECOVERED].text_stale);
	assert_true(scratch_says(s->log[s->log_count - 1].command,
				 "rebound recover --suffix 5 --suffix-token '?' --steps 40 --lr 0.03 --prompt"));
	assert_null(strstr(s->log[s->log_count - 1].command, "--objective"));
	assert_true(scratch_says(s->log[s->log_count - 1].result, "recovered: "));
	double last_loss = s->step_loss;

	/* An earlier step: what the history has of it, and the text is of another. */
	send(desk, COMMAND_SCRUB, 7, "");
	struct snapshot *then = desk_snapshot(desk);
	assert_int_equal(then->step_shown, 7);
	assert_true(fabs(then->step_objective - (double)h->objective[7]) < 1e-5);
	assert_true(fabs(then->step_loss - (double)h->loss[7]) < 1e-5);
	assert_true(fabs(then->monitor - (double)h->monitor[7]) < 1e-5);
	assert_true(fabs(then->drift - (double)h->drift[7]) < 1e-4);
	assert_true(fabs(then->delta_norm - (double)h->delta_norm[7]) < 1e-5);
	assert_true(then->tokens[first].delta_norm > 0 && then->tokens[first].delta_norm < s->tokens[first].delta_norm);
	assert_true(then->tokens[first].nearness > s->tokens[first].nearness);
	assert_true(then->state[STATE_RECOVERED].text_stale);
	snapshot_free(then);
	send(desk, COMMAND_GENERATE, 24, "");
	send(desk, COMMAND_DECOMPOSE, 0, "");
	then = desk_snapshot(desk);
	assert_false(then->state[STATE_RECOVERED].text_stale);
	assert_string_equal(then->state[STATE_BASE].text, s->state[STATE_BASE].text);
	assert_true(then->has_decomposition && then->decomposition_of_suffix && !then->decomposition_stale);
	assert_int_equal(then->step_shown, 7);
	assert_true(then->components[0].per_token[first - 1] > 0);
	assert_true(fabsf(then->components[0].per_token[readout]) < 1e-12f);
	snapshot_free(then);

	/* A feature along it: in front of the suffix as without it, but for the last token, where the clamp then was.
	 */
	send(desk, COMMAND_FEATURE, desk->rules.rules[0].rule.feature, "");
	then = desk_snapshot(desk);
	assert_int_equal(then->view->token_count, readout + 1);
	for (int i = 0; i < first - 1; i++)
		assert_true(fabsf(then->view->along[STATE_CLAMPED][i] - then->view->along[STATE_RECOVERED][i]) < 1e-3f);
	snapshot_free(then);
	send(desk, COMMAND_FEATURE, -1, "");

	/* On from there with other settings. */
	send(desk, COMMAND_SUFFIX_SETTING, 0, "steps=3");
	send(desk, COMMAND_FORK, 0, "");
	finish_run(desk);
	then = desk_snapshot(desk);
	assert_true(then->suffix);
	assert_int_equal(then->run_count, 2);
	assert_int_equal(then->run_begin, 7);
	assert_int_equal(then->history.steps, 3);
	assert_true(scratch_says(then->log[then->log_count - 1].command,
				 "rebound recover --suffix 5 --suffix-token '?' --steps 3 --lr 0.03 --prompt"));
	assert_true(fabs((double)then->history.objective[0] - (double)h->objective[7]) < 1e-5);
	assert_true(then->step_loss > last_loss);
	snapshot_free(then);
	snapshot_free(s);

	/* Without it all is as it was. */
	send(desk, COMMAND_CLAMP_POSITIONS, 0, "last");
	note_input(&again, desk);
	assert_memory_equal(&own, &again, sizeof own);
	close_desk(desk);
}

/* What looks at the run keeps the suffix; what needs the desk's own input takes it off first. */
static void test_suffix_is_left(void **state)
{
	(void)state;
	static const struct {
		enum command_kind kind;
		int64_t number;
		const char *text;
		bool kept;
	} cases[] = {
		{COMMAND_SELECT_TOKEN, 3, "", true},
		{COMMAND_SELECT_SITE, 1, "", true},
		{COMMAND_SETTING, 0, "steps=2", true},
		{COMMAND_SUFFIX_SETTING, 0, "steps=3", true},
		{COMMAND_DELTA_POSITIONS, 0, "answer", true},
		{COMMAND_SUFFIX, 0, "", true}, /* another */
		{COMMAND_RUN, 0, "", false},
		{COMMAND_STEP, 0, "", false},
		{COMMAND_CLEAR_CLAMPS, 0, "", false},
		{COMMAND_SELECT_PROMPT, 0, "", false},
		{COMMAND_SET_OBJECTIVE, 0, "answer_logprob:You", false},
		{COMMAND_ATTRIBUTE, 0, "", false},
		{COMMAND_FIND_FLIPS, 0, "", false},
		{COMMAND_TOGGLE_DELTA, 4, "", false},
		{COMMAND_TWO_STAGE, 0, "", false},
	};
	struct desk *desk = open_desk();
	make_flip(desk, "refusal");
	size_t prompt = desk->session->prompt.count;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		train_suffix(desk, "steps=2");
		finish_run(desk);
		assert_int_equal(desk->session->suffix.count, 5);
		assert_int_equal(desk->session->prompt.count, prompt + 5);
		send(desk, cases[i].kind, cases[i].number, cases[i].text);
		if (desk->aside.on != cases[i].kept)
			fail_msg("command %d: the suffix is %s", (int)cases[i].kind, cases[i].kept ? "gone" : "kept");
		assert_int_equal(desk->session->suffix.count, cases[i].kept ? 5 : 0);
		snapshot_free(desk_snapshot(desk));
		desk->flips_running = false;
	}
	/* The two stages have an objective of their own, which recover does not take. */
	assert_true(scratch_says(desk->log[desk->log_count - 1].command, "recover --stages 2 --prompt"));
	assert_null(strstr(desk->log[desk->log_count - 1].command, "--objective"));
	close_desk(desk);
}

/* Esc pauses it; and before the first step it is as if it had not been begun. */
static void test_suffix_is_stopped(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	struct own_input own, again;
	make_flip(desk, "refusal");
	note_input(&own, desk);
	train_suffix(desk, "steps=40");
	desk_run_slice(desk);
	atomic_store(&desk->cancel, true);
	desk_run_slice(desk);
	assert_true(desk->run.paused && desk->aside.on);
	assert_true(scratch_says(desk->notice, "the recovery is paused at step "));
	send(desk, COMMAND_CLAMP_POSITIONS, 0, "last");
	struct command command = {.kind = COMMAND_SUFFIX};
	atomic_store(&desk->cancel, true);
	desk_command(desk, &command);
	atomic_store(&desk->cancel, false);
	assert_string_equal(desk->notice, "stopped");
	note_input(&again, desk);
	assert_memory_equal(&own, &again, sizeof own);
	/* What can't be: one sentence, and nothing of it stays. */
	send(desk, COMMAND_SUFFIX_SETTING, 0, "suffix=250");
	desk_command(desk, &command);
	assert_true(scratch_says(desk->error.text, "context of 256"));
	note_input(&again, desk);
	assert_memory_equal(&own, &again, sizeof own);
	close_desk(desk);
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
	struct desk *desk = open_desk();
	struct search_seen seen = {0};
	make_flip(desk, "ioi");
	send(desk, COMMAND_SETTING, 0, "steps=20");
	send(desk, COMMAND_SETTING, 0, "budget=30");
	desk->publish = look_at_trial;
	desk->publish_context = &seen;
	send(desk, COMMAND_RADIUS, 0, "");
	assert_true(seen.most_trial > 2 && seen.snapshots > 4);
	assert_true(scratch_says(desk->method.title, "radius between "));
	assert_true(scratch_says(desk->notice, "the smallest budget that recovers is "));
	seen = (struct search_seen){.cancel_at = 2};
	send(desk, COMMAND_RADIUS, 0, "");
	assert_int_equal(seen.most_trial, 2);
	assert_true(scratch_says(desk->notice, "stopped: the radius is between 0 and "));
	assert_false(atomic_load(&desk->cancel));
	desk->publish = NULL;
	/* With a run of its own the pane goes back to that. */
	send(desk, COMMAND_RUN, 0, "");
	finish_run(desk);
	send(desk, COMMAND_RADIUS, 0, "");
	assert_false(desk->method.known);
	close_desk(desk);
}

/* The loss with the SAE spliced in is measured when nothing else is to be done, gives way to
 * commands, and is not begun again once the user has stopped it. */
static void test_loss(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	send(desk, COMMAND_SELECT_PROMPT, 0, "");
	struct snapshot *s = desk_snapshot(desk);
	assert_true(s->has_fvu && !s->has_loss && desk_loss_pending(desk));
	snapshot_free(s);
	atomic_store(&desk->called, true);
	desk_measure_loss(desk);
	assert_true(desk_loss_pending(desk));
	atomic_store(&desk->called, false);
	desk_measure_loss(desk);
	s = desk_snapshot(desk);
	assert_true(s->has_loss && !desk_loss_pending(desk));
	assert_true(s->loss_recovered > 0.8f && s->loss_recovered <= 1);
	assert_int_equal(s->job, JOB_NONE);
	snapshot_free(s);
	send(desk, COMMAND_SELECT_PROMPT, 1, "");
	s = desk_snapshot(desk);
	assert_false(s->has_loss);
	snapshot_free(s);
	atomic_store(&desk->called, true);
	atomic_store(&desk->cancel, true);
	desk_measure_loss(desk);
	assert_false(desk_loss_pending(desk) || atomic_load(&desk->cancel) || atomic_load(&desk->called));
	close_desk(desk);
}

/* A run beside the one that it was forked from; what a screen still shows stays. */
static void test_compare(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	char *home = scratch_path("desk-state/none");
	home[strlen(home) - strlen("/none")] = '\0';
	setenv("XDG_STATE_HOME", home, 1);
	desk->options.journal = NULL;
	struct command command = {.kind = COMMAND_COMPARE, .text = "nobody"};
	desk_command(desk, &command);
	assert_true(scratch_says(desk->error.text, "no run here to compare 'nobody' with"));
	send(desk, COMMAND_SESSIONS, 0, ""); /* there is no folder yet */
	recovered(desk);
	char *first = mem_strdup(desk->run.path);
	send(desk, COMMAND_SCRUB, 5, "");
	send(desk, COMMAND_SETTING, 0, "lr=0.3");
	send(desk, COMMAND_FORK, 0, "");
	finish_run(desk);
	free(scratch_file("desk-state/rebound/sessions/bad.jsonl", "{}", 2));
	send(desk, COMMAND_SESSIONS, 0, "");
	struct snapshot *s = desk_snapshot(desk);
	assert_int_equal(s->session_count, 1); /* without the current one */
	assert_non_null(strstr(first, s->sessions[0].name));
	assert_true(scratch_says(s->sessions[0].summary, "8 clamped, 20 steps: "));
	send(desk, COMMAND_COMPARE, 0, s->sessions[0].name);
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
	send(desk, COMMAND_COMPARE, 0, "");
	assert_null(desk->comparison);
	assert_int_equal(c->steps, 20); /* the snapshot's own */
	snapshot_free(s);
	free(first);
	free(home);
	close_desk(desk);
}

static void expect_loaded(const struct desk *desk, const char *which)
{
	char found[8] = "";
	struct snapshot *s = desk_snapshot(desk);
	for (int i = 0; i < s->site_count; i++)
		found[i] = s->sites[i].loaded ? (char)('0' + i) : '.';
	snapshot_free(s);
	assert_string_equal(found, which);
}

/* What the status line and the list of SAEs say of the one shown. */
static void expect_shown(const struct desk *desk, int site, bool known)
{
	struct snapshot *s = desk_snapshot(desk);
	assert_int_equal(s->site_selected, site);
	assert_int_equal(s->has_fvu, known);
	assert_int_equal(s->sites[site].loaded, known);
	assert_int_equal(s->sites[site].has_fit, known);
	assert_int_equal(s->feature_count > 0, known);
	if (known)
		assert_true(s->sites[site].fvu == s->fvu && s->fvu > 0 && s->fvu < 0.5f);
	snapshot_free(s);
}

/* SAEs come when they are shown or clamped, with their fit, and go when neither holds. */
static void test_saes_come_and_go(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	expect_loaded(desk, "....");
	send(desk, COMMAND_SELECT_PROMPT, 0, "");
	expect_shown(desk, 2, true);
	expect_loaded(desk, "..2.");
	uint64_t one = device_memory_used(desk->session->device);
	send(desk, COMMAND_SELECT_SITE, 3, "");
	expect_shown(desk, 3, true);
	send(desk, COMMAND_LINE, 0, "clamp 1:7=set:4");
	expect_loaded(desk, ".123");
	assert_true(desk->saes[1].known && desk->has_clamped);
	struct snapshot *s = desk_snapshot(desk);
	assert_true(strstr(s->sae, "3/4x1024") == s->sae);
	assert_int_equal(s->sae_bytes, 3 * s->sites[0].bytes);
	snapshot_free(s);

	send(desk, COMMAND_DROP_SAES, 0, "");
	expect_loaded(desk, ".1.3");
	expect_shown(desk, 3, true);
	assert_true(scratch_says(desk->notice, "dropped 1 SAE not in use, 1.1 MB"));
	send(desk, COMMAND_DROP_SAES, 0, "");
	assert_true(scratch_says(desk->notice, "no SAE to drop"));
	send(desk, COMMAND_CLEAR_CLAMPS, 0, "");
	send(desk, COMMAND_SELECT_SITE, 2, "");
	expect_shown(desk, 2, true);
	send(desk, COMMAND_DROP_SAES, 0, "");
	expect_loaded(desk, "..2.");
	assert_true(device_memory_used(desk->session->device) <= one);

	/* Its clamps come back by themselves, and with them the SAE. */
	send(desk, COMMAND_UNDO_CLAMPS, 0, "");
	expect_loaded(desk, ".12.");
	assert_int_equal(desk->rules.count, 1);
	send(desk, COMMAND_SELECT_PROMPT, 1, "");
	assert_true(desk->saes[1].stale && !desk->saes[2].stale);
	close_desk(desk);
}

/* As a command whose SAE can't be loaded: the sentence. */
static const char *refused(struct desk *desk, enum command_kind kind, int64_t number, const char *text)
{
	struct command command = {.kind = kind, .number = number};
	uint64_t before = desk->error_serial;
	snprintf(command.text, sizeof command.text, "%s", text);
	desk_command(desk, &command);
	assert_int_equal(desk->error_serial, before + 1);
	return desk->error.text;
}

/* No room for another SAE: clamps and what was computed stay, and dropping brings it in. */
static void test_no_room_for_an_sae(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	struct device *device = desk->session->device;
	struct device_info *info = (struct device_info *)(uintptr_t)device_get_info(device);
	send(desk, COMMAND_SELECT_PROMPT, 0, "");
	send(desk, COMMAND_CLAMP_TOP, 4, "");
	send(desk, COMMAND_SELECT_SITE, 1, "");
	uint64_t all = info->memory_bytes, one = desk->session->sites[0].sae.bytes;
	double J = desk->clamped.J;
	info->memory_bytes = device_memory_used(device);
	info->memory_bytes += 2 * one - 4096 - device_memory_left(device); /* what a load takes here, less a little */

	const char *error = refused(desk, COMMAND_LINE, 0, "clamp 3:1=ablate");
	assert_true(scratch_says(error, "the SAE of layer 3"));
	assert_true(scratch_says(error, "release the clamps"));
	assert_int_equal(desk->rules.count, 4);
	assert_true(desk->has_clamped && desk->clamped.J == J);

	error = refused(desk, COMMAND_SELECT_SITE, 0, "");
	assert_true(scratch_says(error, "the SAE of layer 0"));
	assert_true(scratch_says(error, "dropping the SAE that is not in use (D in the workbench) frees 1.1 MB"));
	expect_shown(desk, 0, false);
	expect_loaded(desk, ".12.");
	assert_true(desk->has_clamped && desk->clamped.J == J);
	send(desk, COMMAND_SELECT_TOKEN, 2, ""); /* not tried again unasked */
	send(desk, COMMAND_DROP_SAES, 0, "");
	expect_loaded(desk, "0.2.");
	expect_shown(desk, 0, true);
	info->memory_bytes = all;
	close_desk(desk);
}

/* Stops the load of an SAE in its middle, as Esc does. */
static void stop_load(struct desk *desk)
{
	struct snapshot *s = desk_snapshot(desk);
	if (s->job == JOB_LOADING && strstr(s->job_text, "the SAE of layer 0")) {
		assert_false(s->sites[0].loaded);
		assert_int_equal(s->feature_count, 0); /* those of the SAE before are not shown for its own */
		atomic_store(&desk->cancel, true);
	}
	snapshot_free(s);
	desk->published_ms = 0;
}

static void test_load_is_stopped(void **state)
{
	(void)state;
	struct desk *desk = open_desk();
	send(desk, COMMAND_SELECT_PROMPT, 0, "");
	desk->publish = stop_load;
	desk->published_ms = 0;
	send(desk, COMMAND_SELECT_SITE, 0, "");
	desk->publish = NULL;
	assert_true(atomic_exchange(&desk->cancel, false));
	expect_shown(desk, 0, false);
	assert_string_equal(desk->notice, "stopped");
	struct snapshot *s = desk_snapshot(desk);
	assert_int_equal(s->job, JOB_NONE);
	assert_true(s->sites[0].refused);
	snapshot_free(s);
	send(desk, COMMAND_SELECT_PROMPT, 1, "");
	expect_shown(desk, 0, false);
	send(desk, COMMAND_SELECT_SITE, 0, "");
	expect_shown(desk, 0, true);
	close_desk(desk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_checkpoint),
		cmocka_unit_test(test_view),
		cmocka_unit_test(test_suffix),
		cmocka_unit_test(test_suffix_is_left),
		cmocka_unit_test(test_suffix_is_stopped),
		cmocka_unit_test(test_radius),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_saes_come_and_go),
		cmocka_unit_test(test_no_room_for_an_sae),
		cmocka_unit_test(test_load_is_stopped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
