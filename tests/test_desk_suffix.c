/* The desk's suffix: a run like any other, on an input and an objective of its own. */
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
	drive_flip(desk, "refusal");
	drive(desk, COMMAND_SUFFIX_SETTING, 0, "suffix=5");
	drive(desk, COMMAND_SUFFIX_SETTING, 0, "suffix-token=?");
	drive(desk, COMMAND_SUFFIX_SETTING, 0, steps);
	drive(desk, COMMAND_SUFFIX_SETTING, 0, "lr=0.03");
	drive(desk, COMMAND_SUFFIX, 0, "");
}

/* A suffix is a run like any other: every pane shows its step. */
static void test_suffix(void **state)
{
	(void)state;
	enum { SUFFIX = 5, STEPS = 40 };
	struct desk *desk = drive_open();
	struct own_input own, again;
	drive_flip(desk, "refusal");
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
	drive(desk, COMMAND_SUFFIX_SETTING, 0, "suffix=9"); /* of the next one */
	drive(desk, COMMAND_RUN, 0, "");		    /* paused, and on again */
	assert_true(desk->run.paused && desk->aside.on);
	drive(desk, COMMAND_RUN, 0, "");
	drive_finish(desk);

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
	drive(desk, COMMAND_SCRUB, 7, "");
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
	drive(desk, COMMAND_GENERATE, 24, "");
	drive(desk, COMMAND_DECOMPOSE, 0, "");
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
	drive(desk, COMMAND_FEATURE, desk->rules.rules[0].rule.feature, "");
	then = desk_snapshot(desk);
	assert_int_equal(then->view->token_count, readout + 1);
	for (int i = 0; i < first - 1; i++)
		assert_true(fabsf(then->view->along[STATE_CLAMPED][i] - then->view->along[STATE_RECOVERED][i]) < 1e-3f);
	snapshot_free(then);
	drive(desk, COMMAND_FEATURE, -1, "");

	/* On from there with other settings. */
	drive(desk, COMMAND_SUFFIX_SETTING, 0, "steps=3");
	drive(desk, COMMAND_FORK, 0, "");
	drive_finish(desk);
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
	drive(desk, COMMAND_CLAMP_POSITIONS, 0, "last");
	note_input(&again, desk);
	assert_memory_equal(&own, &again, sizeof own);
	drive_close(desk);
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
	struct desk *desk = drive_open();
	drive_flip(desk, "refusal");
	size_t prompt = desk->session->prompt.count;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		train_suffix(desk, "steps=2");
		drive_finish(desk);
		assert_int_equal(desk->session->suffix.count, 5);
		assert_int_equal(desk->session->prompt.count, prompt + 5);
		drive(desk, cases[i].kind, cases[i].number, cases[i].text);
		if (desk->aside.on != cases[i].kept)
			fail_msg("command %d: the suffix is %s", (int)cases[i].kind, cases[i].kept ? "gone" : "kept");
		assert_int_equal(desk->session->suffix.count, cases[i].kept ? 5 : 0);
		snapshot_free(desk_snapshot(desk));
		desk->flips_running = false;
	}
	/* The two stages have an objective of their own, which recover does not take. */
	assert_true(scratch_says(desk->log[desk->log_count - 1].command, "recover --stages 2 --prompt"));
	assert_null(strstr(desk->log[desk->log_count - 1].command, "--objective"));
	drive_close(desk);
}

/* Esc pauses it; and before the first step it is as if it had not been begun. */
static void test_suffix_is_stopped(void **state)
{
	(void)state;
	struct desk *desk = drive_open();
	struct own_input own, again;
	drive_flip(desk, "refusal");
	note_input(&own, desk);
	train_suffix(desk, "steps=40");
	desk_run_slice(desk);
	atomic_store(&desk->cancel, true);
	desk_run_slice(desk);
	assert_true(desk->run.paused && desk->aside.on);
	assert_true(scratch_says(desk->notice, "the recovery is paused at step "));
	drive(desk, COMMAND_CLAMP_POSITIONS, 0, "last");
	struct command command = {.kind = COMMAND_SUFFIX};
	atomic_store(&desk->cancel, true);
	desk_command(desk, &command);
	atomic_store(&desk->cancel, false);
	assert_string_equal(desk->notice, "stopped");
	note_input(&again, desk);
	assert_memory_equal(&own, &again, sizeof own);
	/* What can't be: one sentence, and nothing of it stays. */
	drive(desk, COMMAND_SUFFIX_SETTING, 0, "suffix=250");
	desk_command(desk, &command);
	assert_true(scratch_says(desk->error.text, "context of 256"));
	note_input(&again, desk);
	assert_memory_equal(&own, &again, sizeof own);
	drive_close(desk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suffix),
		cmocka_unit_test(test_suffix_is_left),
		cmocka_unit_test(test_suffix_is_stopped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
