/* A recovery on the built-in model, written, read back, run again: the same to the bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/experiment.h"
#include "sessions/record_write.h"
#include "sessions/replay.h"
#include "tests/expect.h"
#include "tests/scratch.h"

static struct session *open_session(const char *order)
{
	struct error error = {0};
	struct session *session;
	static const char *const saes[] = {"models/demo/sae/layer_1", "models/demo/sae/layer_2"};
	struct session_options options = {.model = "models/demo", .saes = saes, .sae_count = 2, .seed = 5};
	expect_ok(session_open(&session, &options, &error), &error);
	static const int32_t ids[] = {5, 300, 301, 302, 303, 304, 305};
	expect_ok(session_set_tokens(session, ids, ARRAY_LEN(ids), &error), &error);
	struct layer_rule rules[8];
	for (int i = 0; i < 8; i++)
		rules[i] = (struct layer_rule){
			1 + i / 4,
			{(uint32_t)(11 * i + 3), i % 2 ? OP_CLAMP_SET : OP_CLAMP_SCALE, i % 2 ? 0.7f : 2.3f}};
	expect_ok(session_set_clamps(session, rules, 8, &error), &error);
	static const char *const objective[] = {"logit_diff:310,320*0.3", "vocab_margin:330*0.7"};
	expect_ok(session_set_objective(session, objective, 2, &error), &error);
	static const char *const settings[][2] = {
		{"steps", "9"},		{"lr", "0.12345678901234567"}, {"budget", "30%"},
		{"lambda-act", "0.01"}, {"delta-positions", "4,6"},    {"delta-layers", "2"},
	};
	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		expect_ok(settings_set(&session->settings, settings[i][0], settings[i][1], &error), &error);
	expect_ok(settings_set(&session->settings, "order", order, &error), &error);
	return session;
}

static void replay(struct replay_report *report, const char *path)
{
	struct error error = {0};
	struct record record;
	struct session *session;
	expect_ok(record_load(&record, path, &error), &error);
	struct record_overrides overrides = {0};
	const struct record_run *run = record_main_run(&record);
	expect_ok(record_apply(&session, &record, run, &overrides, &error), &error);
	expect_ok(replay_run(report, session, &record, run, &error), &error);
	session_close(&session);
	record_done(&record);
}

static void test_replay(void **state)
{
	(void)state;
	static const char *const orders[] = {"clamp-delta", "delta-clamp"};
	for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
		struct error error = {0};
		struct session *session = open_session(orders[i]);
		struct experiment x;
		expect_ok(experiment_run(&x, session, &error), &error);
		char *path = scratch_path("replay/s.jsonl");
		expect_ok(experiment_write(&x, path, "rebound recover", &error), &error);
		assert_string_equal(x.journal_path, path);
		experiment_done(&x);
		session_close(&session);
		struct replay_report report;
		replay(&report, path);
		assert_true(report.same_device);
		assert_int_equal(report.steps, 9);
		if (report.differing)
			fail_msg("%s: %.17g, now %.17g", report.first_where, report.first_recorded, report.first_now);
		assert_true(replay_agrees(&report));
		/* Every metric of every step, both arrays, and more. */
		assert_true(report.compared > 9 * 9 + 9 * 2 * 128 + 2 * 128);
		free(path);
	}
}

/* The record says which kernels added: replay takes the same, and others differ in last digits only. */
static void test_rows_alike(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session("clamp-delta");
	struct experiment x;
	expect_ok(settings_set(&session->settings, "delta-positions", "last", &error), &error);
	expect_ok(settings_set(&session->settings, "rows-alike", "yes", &error), &error);
	bool cpu = device_get_info(session->device)->type == DEVICE_TYPE_CPU;
	expect_ok(experiment_run(&x, session, &error), &error);
	char *path = scratch_path("replay/alike.jsonl"), *text;
	size_t n;
	expect_ok(experiment_write(&x, path, "rebound recover", &error), &error);
	experiment_done(&x);
	session_close(&session);
	struct replay_report report;
	replay(&report, path);
	assert_int_equal(report.differing, 0);
	assert_true(report.compared > 9 * 9);
	expect_ok(file_read(&text, &n, path, 1 << 22, &error), &error);
	char *at = strstr(text, "\"rows-alike\":\"yes\"");
	assert_non_null(at);
	memcpy(at, "\"rows-alike\":\"no\" ", strlen("\"rows-alike\":\"yes\""));
	expect_ok(file_write(path, text, n, &error), &error);
	replay(&report, path);
	assert_int_equal(report.outside, 0);
	if (cpu)
		assert_true(report.differing > 0);
	free(text);
	free(path);
}

/* A number changed in the journal is found and named. */
static void test_changed(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session("clamp-delta");
	struct experiment x;
	expect_ok(experiment_run(&x, session, &error), &error);
	char *path = scratch_path("replay/changed.jsonl"), *text;
	size_t n;
	expect_ok(experiment_write(&x, path, "rebound recover", &error), &error);
	experiment_done(&x);
	session_close(&session);
	expect_ok(file_read(&text, &n, path, 1 << 22, &error), &error);
	char *at = strstr(strstr(text, "\"step\":7"), "\"grad_norm\":") + strlen("\"grad_norm\":");
	at += strcspn(at, ".") + 5;
	*at = *at == '9' ? '8' : (char)(*at + 1);
	expect_ok(file_write(path, text, n, &error), &error);
	struct replay_report report;
	replay(&report, path);
	assert_int_equal(report.differing, 1);
	assert_string_equal(report.first_where, "step 7, grad_norm");
	assert_false(replay_agrees(&report));
	free(text);
	free(path);
}

/* What a crash leaves: the steps that are there are compared. */
static void test_interrupted(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session("clamp-delta");
	struct scene base, clamped;
	struct recovery *recovery;
	expect_ok(scene_run(&base, session, false, &error), &error);
	expect_ok(scene_run(&clamped, session, true, &error), &error);
	int64_t d = session->model.arch.d;
	float *start = mem_alloc((size_t)(2 * d), sizeof *start);
	for (int64_t i = 0; i < 2 * d; i++)
		start[i] = 0.01f * (float)(i % 7);
	expect_ok(recovery_create(&recovery, session, &clamped, start, &error), &error);
	char *path = scratch_path("replay/live.jsonl");
	struct journal *journal;
	/* As the worker writes it: event by event, from a start that is not zero. */
	expect_ok(journal_create(&journal, path, false, &error), &error);
	expect_ok(record_write_session(journal, session, NULL, &error), &error);
	expect_ok(record_write_note(journal, "a note", &error), &error);
	expect_ok(record_write_setup(journal, session, start, 2, "1-start", NULL, &error), &error);
	expect_ok(record_write_state(journal, session, &base, &error), &error);
	expect_ok(record_write_state(journal, session, &clamped, &error), &error);
	expect_ok(record_write_recovery(journal, session, recovery, &error), &error);
	expect_ok(recovery_advance(recovery, 4, &error), &error);
	expect_ok(record_write_steps(journal, recovery, 0, 4, &error), &error);
	journal_abandon(&journal);
	recovery_destroy(&recovery);
	scene_done(&base);
	scene_done(&clamped);
	session_close(&session);
	struct replay_report report;
	replay(&report, path);
	assert_int_equal(report.steps, 4);
	assert_int_equal(report.differing, 0);
	assert_true(report.compared > 4 * 9);
	free(start);
	free(path);
}

static void test_other_files(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session("clamp-delta");
	struct experiment x;
	expect_ok(experiment_run(&x, session, &error), &error);
	char *path = scratch_path("replay/files.jsonl");
	expect_ok(experiment_write(&x, path, "rebound recover", &error), &error);
	experiment_done(&x);
	session_close(&session);
	struct record record;
	expect_ok(record_load(&record, path, &error), &error);
	const struct record_run *run = record_main_run(&record);
	struct record_overrides none = {0},
				saes = {.saes = (const char *const[]){"models/demo/sae/layer_1"}, .sae_count = 1};
	assert_int_equal(record_apply(&session, &record, run, &saes, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "layer 2"));
	char *sum = record.saes[1].files.items[0].sha256;
	sum[0] = sum[0] == '0' ? '1' : '0';
	assert_int_equal(record_apply(&session, &record, run, &none, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "sae/layer_2/"));
	record_done(&record);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replay),	    cmocka_unit_test(test_rows_alike),	cmocka_unit_test(test_changed),
		cmocka_unit_test(test_interrupted), cmocka_unit_test(test_other_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
