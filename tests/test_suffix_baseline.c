/* The whole suffix baseline (METHOD 11) on the built-in model: its record, replay and exports, an interrupt, and what
 * can't be. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "sessions/decompose.h"
#include "sessions/export.h"
#include "sessions/export_report.h"
#include "sessions/journal.h"
#include "sessions/replay.h"
#include "sessions/suffix.h"
#include "sessions/suffix_baseline.h"
#include "tests/builtin_session.h"
#include "tests/expect.h"
#include "tests/scratch.h"

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

static void count_steps(void *context, const struct recovery *recovery)
{
	int64_t *seen = context;
	assert_true(recovery_steps(recovery) > *seen);
	*seen = recovery_steps(recovery);
}

static const char *const refusals[] = {"No, I will not", "My lips are sealed"};

/* What a baseline runs on: six steps on the built-in model. */
struct fixture {
	struct session *session;
	struct judge_lists *lists;
	struct refusal_options options;
	struct suffix_options suffix;
};

static void begin(struct fixture *f)
{
	struct error error = {0};
	f->session = builtin_session_open();
	expect_ok(judge_lists_load(&f->lists, NULL, &error), &error);
	f->options = (struct refusal_options){
		.max_new = 6, .target = "You can see", .refusals = refusals, .refusal_count = 2, .judges = f->lists};
	suffix_options_init(&f->suffix);
	expect_ok(settings_set(&f->suffix.settings, "steps", "6", &error), &error);
}

static void end(struct fixture *f)
{
	suffix_options_done(&f->suffix);
	judge_lists_destroy(&f->lists);
	session_close(&f->session);
}

static void check_replay(const char *path)
{
	struct error error = {0};
	struct record record;
	struct session *session;
	struct record_overrides overrides = {0};
	struct replay_report report;
	expect_ok(record_load(&record, path, &error), &error);
	const struct record_run *run = record_main_run(&record);
	assert_int_equal(record.run_count, 1);
	assert_int_equal(run->suffix.count, 16);
	assert_int_equal(run->ids.count, BUILTIN_WORDS + 16);
	assert_int_equal(run->row_count, 16);
	assert_int_equal(run->rows[3].layer, LAYER_EMBEDDING);
	close_to("monitor", run->history[0].monitor_relative, 1, 1e-6);
	assert_true(run->history[5].monitor_relative != 1);
	expect_ok(record_apply(&session, &record, run, &overrides, &error), &error);
	expect_ok(replay_run(&report, session, &record, run, &error), &error);
	if (report.differing)
		fail_msg("%s, %s: %.17g, now %.17g", path, report.first_where, report.first_recorded, report.first_now);
	/* Six steps of 16 rows, and the metrics. */
	assert_true(report.compared > 6 * 16 * run->d);
	session_close(&session);
	record_done(&record);
}

/* Exports name the method and have the monitor; a redacted one has no text. */
static void check_exports(const char *path)
{
	struct error error = {0};
	struct record_list list;
	struct strbuf out = {0};
	expect_ok(record_list_load(&list, path, &error), &error);
	export_markdown(&out, &list, false);
	assert_true(scratch_says(out.data, "trained suffix of 16 tokens, lr 0.01 budget 40 steps 6"));
	assert_true(scratch_says(out.data, "| monitor, of its value at the start | "));
	strbuf_done(&out);
	export_csv(&out, &list, true);
	assert_true(scratch_says(out.data, ",monitor_relative,verdict\n"));
	assert_null(strstr(out.data, "ids="));
	strbuf_done(&out);
	cJSON *json = export_json(&list, false);
	char *text = cJSON_PrintUnformatted(json);
	assert_non_null(strstr(text, "\"suffix\":{\"tokens\":16,\"monitor_weight\":0.1}"));
	assert_non_null(strstr(text, "\"layer\":-1"));
	cJSON_Delete(json);
	cJSON_free(text);
	export_latex(&out, &list, false);
	assert_true(scratch_says(out.data, "& suffix &"));
	strbuf_done(&out);
	record_list_done(&list);
}

static void test_baseline(void **state)
{
	(void)state;
	struct error error = {0};
	struct fixture f;
	struct refusal t;
	int64_t seen = 0;
	begin(&f);
	struct session *session = f.session;
	assert_int_equal(f.suffix.tokens, 16);
	char *path = scratch_path("suffix/baseline.jsonl");
	expect_ok(experiment_open_journal(&f.options.journal, session, path, "rebound recover --suffix 16", &error),
		  &error);
	f.options.on_steps = count_steps;
	f.options.context = &seen;
	expect_ok(suffix_baseline_run(&t, session, &f.options, &f.suffix, &error), &error);
	expect_ok(journal_close(&f.options.journal, &error), &error);
	assert_int_equal(seen, 6);
	/* The prompt is as it was, and the rows are the suffix's. */
	assert_int_equal(session->prompt.count, BUILTIN_WORDS);
	assert_int_equal(session->suffix.count, 0);
	assert_true(t.complete);
	assert_int_equal(t.stage_count, 1);
	assert_int_equal(t.delta.count, 16);
	assert_int_equal(t.delta.layers[15], LAYER_EMBEDDING);
	assert_int_equal(t.delta.positions[0], BUILTIN_WORDS);
	/* The loss is METHOD 11's, and falls. */
	const struct recovery_metrics *history = recovery_history(t.stages[0].recovery);
	close_to("loss", history[0].loss, 0.1 - history[0].objective, 1e-6);
	assert_true(history[5].loss < history[0].loss);
	/* The text goes on from the logits that the trained suffix gives. */
	assert_int_equal(t.ids[REFUSAL_RECOVERED].ids[0], refusal_final(&t)->summary.top[0].id);
	assert_true(t.verdicts[REFUSAL_RECOVERED].findings[JUDGE_BASE_LIKE].known);
	/* Its figures are measured against the run that a recovery without it is measured against. */
	struct scene plain;
	expect_ok(scene_run(&plain, session, true, &error), &error);
	close_to("clamped J", scene_reference(&t.stages[0].clamped)->J, plain.J, 0);
	scene_done(&plain);
	expect_ok(scene_run(&plain, session, false, &error), &error);
	close_to("base J", t.stages[0].base.J, plain.J, 0);
	scene_done(&plain);
	/* After six small steps it still reads as the placeholder, and no longer is it. */
	struct nearest_token nearest[16];
	int32_t placeholder;
	expect_ok(tokenizer_find(session->model.tokenizer, "!", 1, &placeholder, &error), &error);
	expect_ok(suffix_baseline_read(&t, &f.suffix, nearest, &error), &error);
	assert_int_equal(session->suffix.count, 0);
	for (int i = 0; i < 16; i++) {
		assert_int_equal(nearest[i].id, placeholder);
		assert_true(nearest[i].cosine < 0.9999f);
	}
	refusal_done(&t);
	check_replay(path);
	check_exports(path);

	/* No valid flip: two texts, and no suffix is trained. */
	f.options.journal = NULL;
	f.options.on_steps = NULL;
	f.options.only_valid = true;
	expect_ok(suffix_baseline_run(&t, session, &f.options, &f.suffix, &error), &error);
	assert_false(t.valid_flip);
	assert_non_null(t.texts[REFUSAL_CLAMPED]);
	assert_int_equal(t.stage_count, 0);
	refusal_done(&t);
	end(&f);
	free(path);
}

/* Interrupted: the steps made are kept, and so is the prompt. */
static void interrupt(void *context, const struct recovery *recovery)
{
	(void)recovery;
	atomic_store((atomic_bool *)context, true);
}

static void test_interrupt(void **state)
{
	(void)state;
	struct error error = {0};
	struct fixture f;
	struct refusal t;
	atomic_bool cancel = false;
	begin(&f);
	struct session *session = f.session;
	session->cancel = &cancel;
	f.options.on_steps = interrupt;
	f.options.context = &cancel;
	assert_int_equal(suffix_baseline_run(&t, session, &f.options, &f.suffix, &error), STATUS_CANCELLED);
	assert_int_equal(recovery_steps(t.stages[0].recovery), 4);
	assert_int_equal(session->prompt.count, BUILTIN_WORDS);
	assert_false(t.complete);
	refusal_done(&t);
	end(&f);
}

/* What can't be: each one sentence, and the session is as it was. */
static void test_refusals(void **state)
{
	(void)state;
	struct error error = {0};
	struct fixture f;
	begin(&f);
	struct session *session = f.session;
	static const struct {
		int64_t tokens;
		const char *placeholder, *setting, *value, *says;
	} cases[] = {
		{16, "!", "project", "encoder", "--project has to be none"},
		{16, "!", "project", "jacobian", "--project has to be none"},
		{16, "!", "lambda-act", "1", "--lambda-act"},
		{16, "!", "order", "delta-clamp", "--order"},
		{16, "two words", NULL, NULL, "--suffix-token"},
		{16, "999999", NULL, NULL, "placeholder 999999 is outside the vocabulary"},
		{249, "!", NULL, NULL, "context of 256"},
		{248, "!", NULL, NULL, "context of 256"}, /* fits, but not with the answer */
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct refusal t;
		suffix_options_done(&f.suffix);
		suffix_options_init(&f.suffix);
		f.suffix.tokens = cases[i].tokens;
		expect_ok(suffix_options_set(&f.suffix, "suffix-token", cases[i].placeholder, &error), &error);
		if (cases[i].setting)
			expect_ok(settings_set(&f.suffix.settings, cases[i].setting, cases[i].value, &error), &error);
		assert_int_equal(suffix_baseline_run(&t, session, &f.options, &f.suffix, &error), STATUS_INVALID);
		assert_true(scratch_says(error.text, cases[i].says));
		assert_int_equal(session->prompt.count, BUILTIN_WORDS);
		refusal_done(&t);
	}
	/* An objective without an answer; no clamp; a second suffix. */
	struct scene scene;
	struct recovery *recovery;
	const char *objective = "vocab_margin:310";
	expect_ok(session_set_objective(session, &objective, 1, &error), &error);
	expect_ok(session_add_suffix(session, 2, 4, 0.1, &error), &error);
	assert_int_equal(session_add_suffix(session, 2, 4, 0.1, &error), STATUS_INVALID);
	set(session, "project", "none");
	set(session, "order", "clamp-delta");
	expect_ok(scene_run(&scene, session, true, &error), &error);
	assert_int_equal(recovery_create(&recovery, session, &scene, NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "has none"));
	scene_done(&scene);
	objective = "answer_logprob:ids=310,320";
	expect_ok(session_set_objective(session, &objective, 1, &error), &error);
	expect_ok(scene_run(&scene, session, true, &error), &error);
	expect_ok(recovery_create(&recovery, session, &scene, NULL, &error), &error);
	recovery_destroy(&recovery);
	struct layer_rule none;
	expect_ok(session_set_clamps(session, &none, 0, &error), &error);
	assert_int_equal(recovery_create(&recovery, session, &scene, NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "clamp"));
	scene_done(&scene);
	end(&f);
}

/* The change where the answer is read, found here from the two runs; its parts add up to it, and
 * replaying it reads the answer from the same residual at that layer. */
static void test_decomposition(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = builtin_session_open();
	struct scene clamped, plain;
	struct recovery *recovery;
	struct recovery_final final;
	struct decomposition parts;
	const char *objective = "answer_logprob:ids=310,320";
	size_t d = (size_t)session->model.arch.d;
	expect_ok(session_set_objective(session, &objective, 1, &error), &error);
	set(session, "project", "none");
	expect_ok(scene_run(&plain, session, true, &error), &error);
	expect_ok(session_add_suffix(session, 3, 4, 0.1, &error), &error);
	expect_ok(scene_run(&clamped, session, true, &error), &error);
	expect_ok(recovery_create(&recovery, session, &clamped, NULL, &error), &error);
	float *delta = mem_alloc(3 * d, sizeof *delta);
	for (size_t i = 0; i < 3 * d; i++)
		delta[i] = (float)(0.3 * sin((double)i));
	expect_ok(decompose(&parts, session, recovery, &clamped, delta, 5, false, &error), &error);
	assert_true(parts.suffix);
	assert_int_equal(parts.suffix_layer, session->sites[0].sae.layer);
	assert_int_equal(parts.rows, 1);
	assert_int_equal(parts.positions[0], BUILTIN_WORDS - 1);
	/* The session is as it was. */
	assert_int_equal(session->suffix.count, 3);
	assert_int_equal(session->prompt.count, BUILTIN_WORDS + 3);
	assert_int_equal(session->settings.steps, 100);

	float *h = mem_alloc((size_t)clamped.total * d, sizeof *h);
	expect_ok(recovery_evaluate(recovery, delta, &final, &error), &error);
	expect_ok(recovery_state(recovery, 0, RECOVERY_OUT, h, &error), &error);
	const float *with = h + (BUILTIN_WORDS + 2) * d, *without = plain.sites[0].h + (BUILTIN_WORDS - 1) * d;
	double largest = 0;
	for (size_t j = 0; j < d; j++) {
		close_to("change", (double)parts.components[COMPONENT_FULL].rows[j], (double)(with[j] - without[j]),
			 1e-6);
		largest = fmax(largest, fabs((double)(with[j] - without[j])));
	}
	assert_true(largest > 0.1);
	assert_true(parts.identity_error < 1e-5 * largest);
	/* Of a perturbation of nothing but that, at the prompt's last position. */
	session_take_suffix(session);
	recovery_destroy(&recovery);
	set(session, "delta-layers", "1");
	expect_ok(recovery_create(&recovery, session, &plain, NULL, &error), &error);
	expect_ok(recovery_evaluate(recovery, parts.components[COMPONENT_FULL].rows, &final, &error), &error);
	close_to("replay", parts.components[COMPONENT_FULL].objective, final.objective, 0);
	close_to("drift", parts.components[COMPONENT_FULL].drift_l2, final.drift_l2, 0);
	assert_true(final.objective != plain.J);
	decomposition_done(&parts);
	recovery_destroy(&recovery);
	scene_done(&clamped);
	scene_done(&plain);
	session_close(&session);
	free(delta);
	free(h);
}

/* Options by name, and back as the command that makes them. */
static void test_options(void **state)
{
	(void)state;
	struct suffix_options suffix;
	struct error error = {0};
	static const struct {
		const char *name, *value, *says; /* says: why it is refused; NULL: it is not */
		enum status status;
	} cases[] = {
		{"suffix", "0", "--suffix is '0'; expected a whole number from 1", STATUS_INVALID},
		{"suffix", "x", "--suffix is 'x'", STATUS_INVALID},
		{"suffix-token", "", "--suffix-token is ''", STATUS_INVALID},
		{"lr", "0", "--lr is '0'", STATUS_INVALID},
		{"project", "none", "--project is not for it", STATUS_NOTHING},
		{"suffix", "8", NULL, STATUS_OK},
		{"suffix-token", " it's", NULL, STATUS_OK},
		{"lr", "0.02", NULL, STATUS_OK},
		{"budget", "50%", NULL, STATUS_OK},
		{"checkpoint", "drift_constrained", NULL, STATUS_OK},
	};
	suffix_options_init(&suffix);
	char *command = suffix_options_command(&suffix);
	assert_string_equal(command, "--suffix 16");
	free(command);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *before = suffix_options_get(&suffix, cases[i].name);
		assert_int_equal(suffix_options_set(&suffix, cases[i].name, cases[i].value, &error), cases[i].status);
		if (cases[i].says)
			assert_true(scratch_says(error.text, cases[i].says));
		char *after = suffix_options_get(&suffix, cases[i].name);
		assert_string_equal(after, cases[i].says ? before : cases[i].value);
		free(before);
		free(after);
	}
	command = suffix_options_command(&suffix);
	assert_string_equal(
		command, "--suffix 8 --suffix-token ' it'\\''s' --lr 0.02 --budget 50% --checkpoint drift_constrained");
	free(command);
	int names = 0;
	while (suffix_setting_name(names).name) {
		char *value = suffix_options_get(&suffix, suffix_setting_name(names).name);
		expect_ok(suffix_options_set(&suffix, suffix_setting_name(names++).name, value, &error), &error);
		free(value);
	}
	assert_int_equal(names, 8);
	suffix_options_done(&suffix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_baseline),      cmocka_unit_test(test_interrupt), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_decomposition), cmocka_unit_test(test_options),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
