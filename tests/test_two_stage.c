/* Frozen rows of delta, and recoveries in two stages, on the built-in model. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "sessions/journal.h"
#include "sessions/replay.h"
#include "sessions/two_stage.h"
#include "tests/builtin_session.h"
#include "tests/expect.h"
#include "tests/scratch.h"

static void set(struct session *session, const char *name, const char *value)
{
	struct error error = {0};
	expect_ok(settings_set(&session->settings, name, value, &error), &error);
}

enum { PROMPT = BUILTIN_WORDS, ANSWER = 4 };

/* Clamps at layers 1 and 2, an answer of four tokens behind seven. */
static struct session *open_session(void)
{
	struct error error = {0};
	struct session *session = builtin_session_open();
	static const char *const objective[] = {"answer_logprob:ids=310,320,330,340",
						"anti_refusal:ids=310,320,330,340|ids=7,8*0.3"};
	expect_ok(session_set_objective(session, objective, 2, &error), &error);
	assert_int_equal(session_answer_length(session), ANSWER);
	set(session, "project", "none");
	set(session, "budget", "1000");
	set(session, "delta-layers", "1,2");
	return session;
}

/* Rows at the layers 1 and 2 for the positions, as recovery_create has them. */
static float *some_rows(int64_t rows, int64_t d, int from)
{
	float *x = mem_alloc((size_t)(rows * d), sizeof *x);
	for (int64_t i = 0; i < rows * d; i++)
		x[i] = 0.2f * (float)(((i + from) * 37) % 11 - 5);
	return x;
}

static void close_to(double a, double b, double tolerance)
{
	if (!(fabs(a - b) <= tolerance * (1 + fabs(b))))
		fail_msg("%.9g is not %.9g", a, b);
}

/* One recovery over the anchor and two answer positions; the same with the anchor's rows
 * frozen: the same numbers, and the same first step of the other rows. */
static void test_frozen(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session();
	int64_t d = session->model.arch.d;
	struct scene clamped, staged;
	struct recovery *whole, *part;
	struct recovery_final of_whole, of_part, of_none;
	float *both = some_rows(6, d, 0), *rest = mem_alloc((size_t)(4 * d), sizeof *rest);
	float *after = mem_alloc((size_t)(6 * d), sizeof *after),
	      *after_part = mem_alloc((size_t)(4 * d), sizeof *after);
	float *anchor = mem_alloc((size_t)(2 * d), sizeof *anchor);
	/* rows: layer 1 at 6, 7, 9; layer 2 at 6, 7, 9 */
	for (int l = 0; l < 2; l++) {
		memcpy(anchor + l * d, both + 3 * l * d, (size_t)d * sizeof *both);
		memcpy(rest + 2 * l * d, both + (3 * l + 1) * d, (size_t)(2 * d) * sizeof *both);
	}
	expect_ok(scene_run(&clamped, session, true, &error), &error);
	assert_null(clamped.reference);
	set(session, "delta-positions", "6,7,9");
	expect_ok(recovery_create(&whole, session, &clamped, both, &error), &error);
	expect_ok(recovery_evaluate(whole, both, &of_whole, &error), &error);
	expect_ok(recovery_advance(whole, 1, &error), &error);
	expect_ok(recovery_delta(whole, 1, after, &error), &error);

	const int layers[] = {1, 2};
	const int64_t positions[] = {6, 6};
	struct delta_rows frozen = {2, (int *)layers, (int64_t *)positions, anchor};
	expect_ok(session_set_frozen(session, &frozen, &error), &error);
	expect_ok(scene_run(&staged, session, true, &error), &error);
	assert_non_null(staged.reference);
	close_to(staged.reference->J, clamped.J, 0);
	set(session, "delta-positions", "7,9");
	expect_ok(recovery_create(&part, session, &staged, rest, &error), &error);
	close_to(recovery_reference_norm(part), recovery_reference_norm(whole), 0);
	expect_ok(recovery_evaluate(part, rest, &of_part, &error), &error);
	close_to(of_part.objective, of_whole.objective, 2e-6);
	close_to(of_part.drift_l2, of_whole.drift_l2, 2e-6);
	close_to(of_part.decode_drift_l2, of_whole.decode_drift_l2, 2e-6);
	close_to(of_part.floor_violation_l2, of_whole.floor_violation_l2, 2e-6);
	assert_true(of_whole.drift_l2 > 0.01);
	for (int64_t v = 0; v < session->model.arch.vocab; v += 97)
		close_to((double)of_part.logits[v], (double)of_whole.logits[v], 1e-5);
	expect_ok(recovery_advance(part, 1, &error), &error);
	expect_ok(recovery_delta(part, 1, after_part, &error), &error);
	/* Adam's first step is the rate in the gradient's sign. */
	int differ = 0;
	for (int l = 0; l < 2; l++)
		for (int64_t i = 0; i < 2 * d; i++)
			differ += fabsf(after_part[2 * l * d + i] - after[(3 * l + 1) * d + i]) > 1e-4f;
	assert_true(differ <= 2);
	assert_true(recovery_history(part)[0].grad_norm < recovery_history(whole)[0].grad_norm);

	/* Without other rows it is the scene itself. */
	memset(rest, 0, (size_t)(4 * d) * sizeof *rest);
	expect_ok(recovery_evaluate(part, rest, &of_none, &error), &error);
	close_to(of_none.objective, staged.J, 2e-6);
	assert_true(of_none.drift_l2 > 0.01);
	recovery_destroy(&part);
	recovery_destroy(&whole);
	scene_done(&staged);
	scene_done(&clamped);
	session_close(&session);
	free(both);
	free(rest);
	free(after);
	free(after_part);
	free(anchor);
}

static void test_frozen_refusals(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session();
	int64_t d = session->model.arch.d;
	float *values = some_rows(2, d, 3);
	int layers[] = {1, 2};
	int64_t positions[] = {6, 6};
	struct delta_rows rows = {2, layers, positions, values};
	struct scene scene;
	struct recovery *recovery;
	layers[0] = 3;
	assert_int_equal(session_set_frozen(session, &rows, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "layer 3"));
	layers[0] = 2;
	assert_int_equal(session_set_frozen(session, &rows, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "two frozen rows"));
	layers[0] = 1;
	values[3] = NAN;
	assert_int_equal(session_set_frozen(session, &rows, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "finite"));
	values[3] = 0;
	positions[1] = 400;
	assert_int_equal(session_set_frozen(session, &rows, &error), STATUS_INVALID);
	positions[1] = PROMPT + ANSWER;
	expect_ok(session_set_frozen(session, &rows, &error), &error);
	assert_int_equal(scene_run(&scene, session, true, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "position 11"));
	positions[1] = 6;
	expect_ok(session_set_frozen(session, &rows, &error), &error);
	set(session, "order", "delta-clamp");
	assert_int_equal(scene_run(&scene, session, true, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "--order"));
	set(session, "order", "clamp-delta");
	set(session, "delta-layers", "2");
	expect_ok(scene_run(&scene, session, true, &error), &error);
	assert_int_equal(recovery_create(&recovery, session, &scene, NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "--delta-layers"));
	scene_done(&scene);
	/* The base run has none. */
	expect_ok(scene_run(&scene, session, false, &error), &error);
	assert_null(scene.reference);
	scene_done(&scene);
	session_close(&session);
	free(values);
}

/* An answer that does not fit behind the prompt. */
static void test_too_long(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session();
	struct strbuf spec = {0};
	struct scene scene;
	strbuf_add_string(&spec, "answer_logprob:ids=9");
	for (int i = 0; i < 250; i++)
		strbuf_add_string(&spec, ",9");
	const char *const objective[] = {spec.data};
	expect_ok(session_set_objective(session, objective, 1, &error), &error);
	assert_int_equal(scene_run(&scene, session, false, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "context of 256"));
	strbuf_done(&spec);
	session_close(&session);
}

static void replay(const char *path, const struct record *record, const struct record_run *run)
{
	struct error error = {0};
	struct session *session;
	struct record_overrides overrides = {0};
	struct replay_report report;
	expect_ok(record_apply(&session, record, run, &overrides, &error), &error);
	expect_ok(replay_run(&report, session, record, run, &error), &error);
	if (report.differing)
		fail_msg("%s, %s: %.17g, now %.17g", path, report.first_where, report.first_recorded, report.first_now);
	assert_true(report.compared > 50);
	session_close(&session);
}

/* Both stages on a prompt, recorded, read back and replayed to the bit. */
static void test_two_stages(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session();
	int64_t d = session->model.arch.d;
	struct judge_lists *lists;
	struct refusal_options options = {.max_new = 6, .target = "You can see"};
	struct recovery_settings settings[STAGE_COUNT];
	struct refusal t;
	static const char *const refusals[] = {"No, I will not", "My lips are sealed"};
	expect_ok(judge_lists_load(&lists, NULL, &error), &error);
	options.judges = lists;
	options.refusals = refusals;
	options.refusal_count = 2;
	two_stage_settings(settings);
	assert_int_equal(settings[STAGE_ANCHOR].steps, 20);
	assert_int_equal(settings[STAGE_ANSWER].answer.prefix_tokens, 16);
	for (int i = 0; i < STAGE_COUNT; i++) {
		expect_ok(settings_set(&settings[i], "steps", "3", &error), &error);
		expect_ok(settings_set(&settings[i], "probes", "2", &error), &error);
		expect_ok(settings_set(&settings[i], "corrections", "1", &error), &error);
	}
	char *path = scratch_path("two/stages.jsonl");
	expect_ok(experiment_open_journal(&options.journal, session, path, "rebound recover --stages 2", &error),
		  &error);
	expect_ok(two_stage_run(&t, session, &options, settings, &error), &error);
	expect_ok(journal_close(&options.journal, &error), &error);
	int64_t target = (int64_t)t.target.count;
	assert_true(target > 1);
	/* Two layers: the anchor, then every answer position. */
	assert_int_equal(t.delta.count, 2 + 2 * target);
	assert_int_equal(t.delta.positions[0], PROMPT - 1);
	assert_int_equal(t.delta.positions[2], PROMPT);
	assert_memory_equal(t.delta.values, t.stages[STAGE_ANCHOR].delta, (size_t)(2 * d) * sizeof(float));
	/* The second stage starts where the first one ended. */
	assert_true(t.stages[STAGE_ANSWER].clamped.reference != NULL);
	assert_true(recovery_history(t.stages[STAGE_ANSWER].recovery)[0].delta_norm == 0);
	assert_true(t.stages[STAGE_ANSWER].final.objective > scene_reference(&t.stages[STAGE_ANSWER].clamped)->J);
	for (int i = 0; i < REFUSAL_STATES; i++)
		assert_true(t.texts[i] && t.verdicts[i].findings[JUDGE_REFUSAL].known);
	assert_false(t.verdicts[REFUSAL_BASE].findings[JUDGE_BASE_LIKE].known);
	assert_true(t.verdicts[REFUSAL_RECOVERED].findings[JUDGE_BASE_LIKE].known);

	struct record record;
	expect_ok(record_load(&record, path, &error), &error);
	assert_int_equal(record.run_count, 2);
	const struct record_run *second = record_main_run(&record), *first = record_earlier_stage(&record, second);
	assert_ptr_equal(first, &record.runs[0]);
	assert_null(record_earlier_stage(&record, first));
	assert_int_equal(second->frozen_count, 2);
	assert_int_equal(second->frozen_rows[1].layer, 2);
	replay(path, &record, first);
	replay(path, &record, second);
	record_done(&record);

	/* No valid flip: two texts and no stage. */
	refusal_done(&t);
	options.journal = NULL;
	options.only_valid = true;
	expect_ok(two_stage_run(&t, session, &options, settings, &error), &error);
	assert_false(t.valid_flip);
	assert_non_null(t.texts[REFUSAL_CLAMPED]);
	assert_null(t.texts[REFUSAL_RECOVERED]);
	assert_int_equal(t.stage_count, 0);
	assert_false(t.complete);
	assert_int_equal(t.delta.count, 0);

	/* Without anything to aim at. */
	refusal_done(&t);
	struct layer_rule none;
	expect_ok(session_set_clamps(session, &none, 0, &error), &error);
	assert_int_equal(two_stage_run(&t, session, &options, settings, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "--clamp"));
	refusal_done(&t);
	two_stage_settings_done(settings);
	judge_lists_destroy(&lists);
	session_close(&session);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frozen),
		cmocka_unit_test(test_frozen_refusals),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_two_stages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
