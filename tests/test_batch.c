/* Recoveries in a batch against the same recoveries one by one: every metric of every step, every
 * step's delta, the result and its state. On a CPU device to the bit, whoever else is in the
 * batch; elsewhere, and without the setting rows-alike, within a tolerance. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "sessions/batch.h"
#include "sessions/experiment_set.h"
#include "tests/scratch.h"
#include "tui/options.h"

enum { PROMPTS = 5, STEPS = 12, MOST_WORDS = 48 };

/* A setup: the options of `rebound recover` but for the input, and an objective with %d for tokens
 * or an answer that each prompt fills in. */
struct setup {
	const char *options, *objective;
	bool golden; /* in the folder golden/recovery */
};

static const struct setup setups[] = {
	{"--clamp 1:3,40,77,512=set-active:-5 --project encoder", "logit_diff:%d,%d", false},
	{"--clamp 1:3,40,77=set:0.7 --clamp 2:9,10=scale:2.5 --project none --lambda-act 0.1", "vocab_margin:%d",
	 false},
	{"--clamp 1:3,40=scale-active:0.3 --clamp 2:5,6,7=ablate --delta-layers 1,2 --delta-positions 1,3 "
	 "--project encoder --project-what both --budget 3",
	 "choice_margin:%d,%d,%d", false},
	{"--clamp 1:8,9,10=floor:2 --project encoder --project-what delta --lambda-decode 0.1 --lambda-delta 0.05 "
	 "--act-loss relative_l2 --lambda-act 0.2",
	 "answer_logprob:ids=%d,%d,%d", false},
	{"--clamp 1:3,40,77=scale:0.4 --order delta-clamp --error 0.5 --project none --budget 30%",
	 "choice_ce:%d,%d,%d", false},
	{"--model gpt2-tiny --sae sae-jumprelu --clamp 2:3,17,73,79=scale:0.3 --lambda-act 0.2 --lambda-decode 0.1 "
	 "--lambda-delta 0.1 --act-loss raw_mse --budget 3",
	 "logit_diff:%d,%d", true},
	{"--model gpt2-tiny --sae sae-topk --clamp 1:7,38,80,85,141=scale:0.3", "first_token_logprob:ids=%d", true},
	{"--model gpt2-tiny --sae sae-relu --sae sae-jumprelu --clamp 1:52,54=scale:2.5 --clamp 2:40,66=scale:3 "
	 "--clamp-positions generated --delta-positions answer --project none --answer-token-limit 3",
	 "answer_logprob:ids=%d,%d,%d,%d", true},
	{"--model llama-tiny --sae sae-llama --clamp 1:69,89,128=set-active:-1 --project-what both", "logit_diff:%d,%d",
	 true},
};

static struct options options;
static struct opened opened;
static char *words_text;
static const char *previous;

/* Opens the setup; false if its files are not there. */
static bool open_setup(const struct setup *setup)
{
	struct error error;
	static char folder[4096];
	char *words[MOST_WORDS] = {(char *)"test", (char *)"recover", (char *)"--quiet"};
	int n = 3;
	previous = NULL;
	if (setup->golden) {
		char *golden = scratch_golden("recovery");
		if (!golden)
			return false;
		previous = getcwd(folder, sizeof folder);
		assert_int_equal(chdir(golden), 0);
		free(golden);
	}
	words_text = mem_strdup(setup->options);
	for (char *save, *word = strtok_r(words_text, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[n++] = word;
	if (options_parse(&options, n, words, &error) || options_open(&opened, &options, NEED_SAES, &error))
		fail_msg("%s: %s", setup->options, error.text);
	opened.session->settings.steps = STEPS;
	opened.session->settings.rows_alike = true;
	return true;
}

static void close_setup(void)
{
	options_close(&opened);
	free(words_text);
	if (previous)
		assert_int_equal(chdir(previous), 0);
}

static uint32_t number(uint32_t *state, uint32_t below)
{
	*state = *state * 1664525u + 1013904223u;
	return (*state >> 8) % below;
}

/* Prompt i: its own length, tokens and targets. */
static void set_prompt(const struct setup *setup, int i)
{
	struct error error;
	struct session *session = opened.session;
	uint32_t state = 77u + (uint32_t)i, vocab = (uint32_t)session->model.arch.vocab;
	int32_t ids[32], target[4];
	size_t count = 5 + (size_t)(i * 7 % 11);
	for (size_t t = 0; t < count; t++)
		ids[t] = (int32_t)number(&state, vocab);
	for (int t = 0; t < 4; t++)
		target[t] = (int32_t)number(&state, vocab / 4) + t * (int32_t)(vocab / 4);
	char *objective = mem_printf(setup->objective, target[i % 2], target[1 - i % 2], target[2], target[3]);
	/* Another answer's length: its last token is left out. */
	if (i % 2 && strncmp(objective, "answer", 6) == 0)
		*strrchr(objective, ',') = '\0';
	const char *specs[] = {objective};
	if (session_set_tokens(session, ids, count, &error) || session_set_objective(session, specs, 1, &error))
		fail_msg("%s", error.text);
	free(objective);
}

/* What a prompt's recovery left. */
struct outcome {
	struct recovery_metrics history[STEPS];
	float *trace, *result, *logits;
	size_t delta, vocab;
	struct recovery_final final;
};

struct run {
	struct kept_input input;
	struct scene clamped;
	struct recovery *recovery;
};

/* `start` NULL: delta begins at zero. */
static void prepare(struct run *run, const struct setup *setup, int prompt, const float *start)
{
	struct error error;
	set_prompt(setup, prompt);
	if (scene_run(&run->clamped, opened.session, true, &error) ||
	    recovery_create(&run->recovery, opened.session, &run->clamped, start, &error))
		fail_msg("%s, prompt %d: %s", setup->options, prompt, error.text);
	session_keep_input(opened.session, &run->input);
}

static void conclude(struct outcome *out, struct run *run)
{
	struct error error;
	struct recovery *r = run->recovery;
	int64_t step;
	session_restore_input(opened.session, &run->input);
	assert_int_equal(recovery_steps(r), STEPS);
	memcpy(out->history, recovery_history(r), sizeof out->history);
	out->delta = (size_t)(recovery_rows(r) * opened.session->model.arch.d);
	out->vocab = (size_t)opened.session->model.arch.vocab;
	out->trace = mem_alloc(out->delta * STEPS, sizeof(float));
	out->result = mem_alloc(out->delta, sizeof(float));
	for (int64_t i = 0; i < STEPS; i++)
		if (recovery_delta(r, i, out->trace + (size_t)i * out->delta, &error))
			fail_msg("%s", error.text);
	if (recovery_result(r, out->result, &step, &error) || recovery_evaluate(r, out->result, &out->final, &error))
		fail_msg("%s", error.text);
	out->logits = mem_copy(out->final.logits, out->vocab * sizeof(float));
	recovery_destroy(&run->recovery);
	scene_done(&run->clamped);
}

static void outcome_done(struct outcome *out)
{
	free(out->trace);
	free(out->result);
	free(out->logits);
}

static bool exact(void)
{
	return device_get_info(opened.session->device)->type == DEVICE_TYPE_CPU;
}

/* NaN is never equal. */
static void compare_doubles(const char *what, int prompt, const double *a, const double *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!(exact() ? a[i] == b[i] : fabs(a[i] - b[i]) <= 1e-3 * (fabs(a[i]) + 0.01)))
			fail_msg("%s of prompt %d: number %zu is %.17g in the batch and %.17g alone", what, prompt, i,
				 a[i], b[i]);
}

static void compare_floats(const char *what, int prompt, const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!(exact() ? a[i] == b[i] : fabsf(a[i] - b[i]) <= 1e-3f * (fabsf(a[i]) + 0.01f)))
			fail_msg("%s of prompt %d: number %zu is %.9g in the batch and %.9g alone", what, prompt, i,
				 (double)a[i], (double)b[i]);
}

/* The kernels of an ordinary recovery add in another order. */
static void compare_plain(int prompt, const struct outcome *alike, const struct outcome *plain)
{
	for (int i = 0; i <= STEPS; i++) {
		double a = i < STEPS ? alike->history[i].objective : alike->final.objective;
		double b = i < STEPS ? plain->history[i].objective : plain->final.objective;
		if (!(fabs(a - b) <= 1e-3 * (fabs(a) + 0.1)))
			fail_msg("the objective of prompt %d before step %d is %.9g with rows alike, %.9g without",
				 prompt, i, a, b);
	}
}

static void compare(int prompt, const struct outcome *batch, const struct outcome *alone)
{
	assert_int_equal(batch->delta, alone->delta);
	compare_doubles("the history", prompt, (const double *)batch->history, (const double *)alone->history,
			sizeof batch->history / (sizeof(double)));
	compare_floats("the trace", prompt, batch->trace, alone->trace, alone->delta * STEPS);
	compare_floats("the result", prompt, batch->result, alone->result, alone->delta);
	compare_floats("the logits", prompt, batch->logits, alone->logits, alone->vocab);
	compare_doubles("the objective", prompt, &batch->final.objective, &alone->final.objective, 1);
	compare_doubles("the drift", prompt, &batch->final.drift_l2, &alone->final.drift_l2, 1);
}

static void alone(struct outcome *out, const struct setup *setup, int prompt)
{
	struct error error;
	struct run run = {0};
	prepare(&run, setup, prompt, NULL);
	if (recovery_advance(run.recovery, STEPS, &error))
		fail_msg("%s: %s", setup->options, error.text);
	conclude(out, &run);
}

/* `together` steps in a batch, the others by each prompt on its own. */
static void in_batch(struct outcome *out, const struct setup *setup, const int *prompts, int count, int64_t together)
{
	struct error error;
	struct run runs[PROMPTS] = {0};
	struct recovery *recoveries[PROMPTS];
	struct batch *batch;
	for (int i = 0; i < count; i++) {
		prepare(&runs[i], setup, prompts[i], NULL);
		recoveries[i] = runs[i].recovery;
	}
	assert_int_equal(batch_fitting(recoveries, count), count);
	if (batch_create(&batch, recoveries, count, &error))
		fail_msg("%s: %s", setup->options, error.text);
	/* In two parts: what the first hands out must be whole. */
	if (batch_advance(batch, together / 2, &error) || batch_advance(batch, together - together / 2, &error))
		fail_msg("%s: %s", setup->options, error.text);
	for (int i = 0; i < count; i++)
		assert_int_equal(batch_member_status(batch, i, NULL), STATUS_OK);
	batch_destroy(&batch);
	for (int i = 0; i < count; i++) {
		if (together < STEPS && recovery_advance(recoveries[i], STEPS - together, &error))
			fail_msg("%s: %s", setup->options, error.text);
		conclude(&out[i], &runs[i]);
	}
}

static void test_setup(void **state)
{
	const struct setup *setup = *state;
	static const struct {
		int prompts[PROMPTS], count;
		int64_t together;
	} batches[] = {{{0, 1, 2, 3, 4}, 5, STEPS}, {{3, 0}, 2, STEPS}, {{4, 2, 1}, 3, STEPS / 2}};
	struct outcome single[PROMPTS], joined[PROMPTS];
	if (!open_setup(setup))
		skip();
	for (int i = 0; i < PROMPTS; i++) {
		struct outcome plain;
		alone(&single[i], setup, i);
		opened.session->settings.rows_alike = false;
		alone(&plain, setup, i);
		opened.session->settings.rows_alike = true;
		compare_plain(i, &single[i], &plain);
		outcome_done(&plain);
	}
	for (size_t b = 0; b < ARRAY_LEN(batches); b++) {
		in_batch(joined, setup, batches[b].prompts, batches[b].count, batches[b].together);
		for (int i = 0; i < batches[b].count; i++) {
			compare(batches[b].prompts[i], &joined[i], &single[batches[b].prompts[i]]);
			outcome_done(&joined[i]);
		}
	}
	for (int i = 0; i < PROMPTS; i++)
		outcome_done(&single[i]);
	close_setup();
}

/* One prompt's numbers leave the finite; its neighbours don't notice. */
static void test_divergence(void **state)
{
	(void)state;
	struct error error = {0};
	const struct setup *setup = &setups[1];
	struct run runs[3] = {0};
	struct recovery *recoveries[3];
	struct outcome joined, single;
	struct batch *batch;
	if (!open_setup(setup))
		skip();
	alone(&single, setup, 2);
	float *start = mem_alloc(single.delta, sizeof *start);
	start[single.delta - 1] = NAN;
	for (int i = 0; i < 3; i++) {
		prepare(&runs[i], setup, i, i == 1 ? start : NULL);
		recoveries[i] = runs[i].recovery;
	}
	assert_int_equal(batch_create(&batch, recoveries, 3, &error), STATUS_OK);
	assert_int_equal(batch_advance(batch, STEPS, &error), STATUS_OK);
	assert_int_equal(batch_member_status(batch, 0, &error), STATUS_OK);
	assert_int_equal(batch_member_status(batch, 1, &error), STATUS_FAILED);
	assert_true(scratch_says(error.text, "diverged at step"));
	assert_int_equal(batch_member_status(batch, 2, &error), STATUS_OK);
	assert_true(recovery_steps(recoveries[1]) < STEPS);
	batch_destroy(&batch);
	conclude(&joined, &runs[2]);
	compare(2, &joined, &single);
	outcome_done(&joined);
	outcome_done(&single);
	free(start);
	for (int i = 0; i < 2; i++) {
		session_restore_input(opened.session, &runs[i].input);
		recovery_destroy(&runs[i].recovery);
		scene_done(&runs[i].clamped);
	}
	close_setup();
}

static atomic_bool cancel;

/* An interrupt keeps the steps that were made, and what does not fit together is told apart. */
static void test_cancel_and_fit(void **state)
{
	(void)state;
	struct error error;
	const struct setup *setup = &setups[0];
	struct run runs[5] = {0};
	struct recovery *recoveries[5];
	struct batch *batch;
	if (!open_setup(setup))
		skip();
	for (int i = 0; i < 5; i++) {
		opened.session->settings.project = i == 2 ? PROJECT_NONE : i == 3 ? PROJECT_JACOBIAN : PROJECT_ENCODER;
		opened.session->settings.rows_alike = i != 4;
		prepare(&runs[i], setup, i, NULL);
		recoveries[i] = runs[i].recovery;
	}
	assert_int_equal(batch_fitting(recoveries, 4), 2);
	assert_true(batch_takes(recoveries[2]));
	assert_false(batch_takes_both(recoveries[0], recoveries[2]));
	assert_false(batch_takes(recoveries[3]));
	assert_false(batch_takes(recoveries[4]));
	assert_int_equal(batch_fitting(recoveries + 3, 1), 1);
	assert_int_equal(batch_create(&batch, recoveries, 2, &error), STATUS_OK);
	assert_int_equal(batch_advance(batch, 4, &error), STATUS_OK);
	opened.session->cancel = &cancel;
	atomic_store(&cancel, true);
	assert_int_equal(batch_advance(batch, 4, &error), STATUS_CANCELLED);
	atomic_store(&cancel, false);
	assert_int_equal(recovery_steps(recoveries[0]), 4);
	assert_int_equal(recovery_steps(recoveries[1]), 4);
	assert_false(batch_takes(recoveries[0]));
	batch_destroy(&batch);
	for (int i = 0; i < 5; i++) {
		session_restore_input(opened.session, &runs[i].input);
		recovery_destroy(&runs[i].recovery);
		scene_done(&runs[i].clamped);
	}
	close_setup();
}

/* ---- prompt sets ---- */

enum { SET = 7 };

struct set_result {
	const char *ids[SET];
	enum status outcomes[SET];
	float *results[SET];
	double objectives[SET];
	int count, stop_after;
};

static enum status keep_result(void *context, const struct prompt *prompt, struct experiment *x, enum status outcome,
			       const struct error *problem, struct error *error)
{
	struct set_result *r = context;
	/* The session has the prompt's input, as a record needs it. */
	if (outcome == STATUS_OK) {
		assert_string_equal(x->session->prompt_id, prompt->id);
		assert_int_equal(x->clamped.prompt, x->session->prompt.count);
		size_t n = (size_t)(recovery_rows(x->recovery) * x->session->model.arch.d);
		r->results[r->count] = mem_copy(x->delta, n * sizeof(float));
		r->objectives[r->count] = x->final.objective;
	} else {
		assert_true(strlen(problem->text) > 0);
	}
	r->ids[r->count] = prompt->id;
	r->outcomes[r->count++] = outcome;
	return r->count == r->stop_after ? error_set(error, STATUS_FAILED, "enough") : STATUS_OK;
}

static void free_results(struct set_result *r)
{
	for (int i = 0; i < r->count; i++)
		free(r->results[i]);
}

/* Tasks that go together and a probe that does not, in one list with a prompt that is too long: the
 * same results in the same order, whatever the batch. */
static void test_set(void **state)
{
	(void)state;
	struct error error;
	static const char *const ids[] = {"ioi-01", "probe-01", "ioi-02", "", "choice-01", "ioi-03", "probe-02"};
	char *words = mem_alloc(4000, 1);
	char *argv[] = {(char *)"test", (char *)"recover", (char *)"--quiet", (char *)"--clamp",
			(char *)"1:3,40,77,512=set-active:-5"};
	struct prompt too_long = {.id = (char *)"long",
				  .task = (char *)"ioi",
				  .text = words,
				  .target = (char *)" Mary",
				  .foil = (char *)" John"};
	const struct prompt *prompts[SET];
	struct set_result first = {0};
	memset(words, 'q', 3999);
	if (options_parse(&options, ARRAY_LEN(argv), argv, &error) ||
	    options_open(&opened, &options, NEED_SAES | NEED_PROMPTS, &error))
		fail_msg("%s", error.text);
	opened.session->settings.steps = STEPS;
	for (int i = 0; i < SET; i++) {
		prompts[i] = *ids[i] ? prompt_set_find(&opened.prompts, ids[i]) : &too_long;
		assert_non_null(prompts[i]);
	}
	static const int64_t batches[] = {1, 3, SET};
	for (size_t b = 0; b < ARRAY_LEN(batches); b++) {
		struct set_result r = {0};
		struct experiment_set_options o = {
			.prompts = prompts, .count = SET, .batch = batches[b], .on_result = keep_result, .context = &r};
		if (experiment_set_run(opened.session, &o, &error))
			fail_msg("%s", error.text);
		assert_int_equal(r.count, SET);
		for (int i = 0; i < SET; i++) {
			assert_string_equal(r.ids[i], prompts[i]->id);
			assert_int_equal(r.outcomes[i], i == 3 ? STATUS_INVALID : STATUS_OK);
			if (i == 3 || b == 0)
				continue;
			compare_floats("the result", i, r.results[i], first.results[i],
				       (size_t)opened.session->model.arch.d);
			compare_doubles("the objective", i, &r.objectives[i], &first.objectives[i], 1);
		}
		if (b == 0)
			first = r;
		else
			free_results(&r);
	}
	free_results(&first);
	/* The callee can end it; an interrupt too, and then each prompt of the chunk is told of. */
	struct set_result r = {.stop_after = 2};
	struct experiment_set_options o = {
		.prompts = prompts, .count = SET, .batch = 3, .on_result = keep_result, .context = &r};
	assert_int_equal(experiment_set_run(opened.session, &o, &error), STATUS_FAILED);
	assert_int_equal(r.count, 2);
	free_results(&r);
	r = (struct set_result){0};
	opened.session->cancel = &cancel;
	atomic_store(&cancel, true);
	assert_int_equal(experiment_set_run(opened.session, &o, &error), STATUS_CANCELLED);
	atomic_store(&cancel, false);
	assert_int_equal(r.count, 1);
	assert_int_equal(r.outcomes[0], STATUS_CANCELLED);
	free(words);
	options_close(&opened);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(setups) + 3];
	for (size_t i = 0; i < ARRAY_LEN(setups); i++)
		tests[i] = (struct CMUnitTest){setups[i].options, test_setup, NULL, NULL, (void *)&setups[i]};
	tests[ARRAY_LEN(setups)] = (struct CMUnitTest)cmocka_unit_test(test_divergence);
	tests[ARRAY_LEN(setups) + 1] = (struct CMUnitTest)cmocka_unit_test(test_cancel_and_fit);
	tests[ARRAY_LEN(setups) + 2] = (struct CMUnitTest)cmocka_unit_test(test_set);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
