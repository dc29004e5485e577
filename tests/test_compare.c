/* sessions/compare.h on journals written here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "models/npy.h"
#include "sessions/compare.h"
#include "tests/scratch.h"

#define SUM   "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define OTHER "00136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

/* What the sessions of these tests may differ in. */
struct sample {
	const char *name, *model_sum, *sae_sum, *device, *ids, *prompt, *objective, *clamps, *settings;
	const char *more; /* of the setup: ",..." */
	const char *rows; /* of delta */
	double objectives[8];
	int steps;
	bool monitored;	    /* with the numbers of a suffix */
	bool open;	    /* without an end */
	int row_count;	    /* d is 2 */
	float result[4];    /* [rows, 2] */
	float trace[4 * 8]; /* [steps, rows, 2]; all 0: no such array */
};

static const struct sample plain = {
	.name = "plain",
	.model_sum = SUM,
	.sae_sum = SUM,
	.device = "llvmpipe",
	.ids = "1,2,3",
	.prompt = "ioi-01",
	.objective = "logit_diff:4,5",
	.clamps = "{\"layer\":2,\"feature\":7,\"mode\":\"set-active\",\"value\":-5},"
		  "{\"layer\":2,\"feature\":9,\"mode\":\"ablate\"}",
	.settings = "\"lr\":\"0.1\",\"steps\":\"3\"",
	.rows = "{\"layer\":2,\"position\":2}",
	.objectives = {-1, 0, 1},
	.steps = 3,
	.row_count = 1,
	.result = {3, 4},
	.trace = {0, 0, 1, 0, 1, 1},
};

static void write_array(const char *path, const char *kind, const float *data, int rank, const int64_t *shape)
{
	struct error error;
	char *name = mem_printf("%.*s.%s.npy", (int)strlen(path) - 6, path, kind);
	if (npy_write_float(name, data, rank, shape, &error))
		fail_msg("%s", error.text);
	free(name);
}

/* A session's path; a new string. */
static char *write_sample(const struct sample *s)
{
	struct strbuf b = {0};
	bool traced = false;
	for (size_t i = 0; i < ARRAY_LEN(s->trace); i++)
		traced = traced || s->trace[i] != 0;
	strbuf_printf(&b,
		      "{\"event\":\"session\",\"format\":1,\"version\":\"0.1.0\",\"created\":\"2026-11-24T23:15:02Z\","
		      "\"folder\":\"/\",\"command\":\"rebound\",\"seed\":\"0\",\"device\":{\"name\":\"%s\",\"driver\":"
		      "\"Mesa\",\"api\":\"1.3\"},\"model\":{\"path\":\"/m/%s\",\"files\":[{\"name\":\"config.json\","
		      "\"bytes\":2,\"sha256\":\"%s\"}]},\"saes\":[{\"path\":\"/m/sae\",\"layer\":2,\"hook\":"
		      "\"resid_post\",\"files\":[{\"name\":\"w\",\"bytes\":2,\"sha256\":\"%s\"}]}]}\n",
		      s->device, s->name, s->model_sum, s->sae_sum);
	strbuf_printf(&b,
		      "{\"event\":\"setup\",\"ids\":[%s],\"text\":\"t\",\"prompt\":\"%s\",\"clamps\":[%s],"
		      "\"clamp_positions\":\"all\",\"error\":1,\"objectives\":[\"%s\"],\"settings\":{%s}%s}\n",
		      s->ids, s->prompt, s->clamps, s->objective, s->settings, s->more ? s->more : "");
	strbuf_printf(&b, "{\"event\":\"base\",\"objective\":5,\"present\":true}\n"
			  "{\"event\":\"clamped\",\"objective\":-1,\"present\":false}\n");
	strbuf_printf(&b, "{\"event\":\"recovery\",\"rows\":[%s],\"d\":2,\"budget\":20,\"reference_norm\":1}\n",
		      s->rows);
	for (int i = 0; i < s->steps; i++)
		strbuf_printf(&b,
			      "{\"event\":\"step\",\"step\":%d,\"objective\":%.17g,\"loss\":null,\"drift_l2\":0,"
			      "\"decode_drift_l2\":0,\"drift_relative_l2\":0,\"delta_norm\":%d,\"grad_norm\":1,"
			      "\"projected_grad_norm\":1,\"projection_cosine\":1%s}\n",
			      i, s->objectives[i], i, s->monitored ? ",\"monitor_relative\":1" : "");
	if (!s->open)
		strbuf_printf(
			&b,
			"{\"event\":\"end\",\"outcome\":\"complete\",\"steps\":%d,\"wall_s\":0.5,\"result_step\":%d,"
			"\"objective\":1.25,\"present\":true,\"final\":{\"objective\":1.25,\"delta_norm\":3,"
			"\"delta_norm_relative\":0.5,\"drift_l2\":0,\"drift_relative_l2\":0,\"decode_drift_l2\":0,"
			"\"floor_violation_l2\":0,\"floor_violation_relative_l2\":0,\"floor_violation_fraction\":0,"
			"\"reactivated_fraction\":0,\"reactivated_fraction_of_eligible\":0,\"reactivated_mass\":0%s},"
			"\"result\":\"%s.result.npy\"%s%s%s}\n",
			s->steps, s->steps, s->monitored ? ",\"monitor_relative\":1" : "", s->name,
			traced ? ",\"delta\":\"" : "", traced ? s->name : "", traced ? ".delta.npy\"" : "");
	char *file = mem_printf("%s.jsonl", s->name), *path = scratch_file(file, b.data, b.length);
	write_array(path, "result", s->result, 2, (int64_t[]){s->row_count, 2});
	write_array(path, "delta", s->trace, 3, (int64_t[]){s->steps, s->row_count, 2});
	strbuf_done(&b);
	free(file);
	return path;
}

static const struct comparison *compare(const struct sample *a, const struct sample *b)
{
	struct error error;
	struct comparison *made;
	char *path_a = write_sample(a), *path_b = write_sample(b);
	if (comparison_open(&made, path_a, path_b, &error))
		fail_msg("%s", error.text);
	free(path_a);
	free(path_b);
	return made;
}

/* A difference of that name, its values; and a caution that holds the words. */
static void expect_difference(const struct comparison *c, const char *name, const char *a, const char *b)
{
	for (int i = 0; i < c->difference_count; i++)
		if (strcmp(c->differences[i].name, name) == 0) {
			assert_string_equal(c->differences[i].value[0], a);
			assert_string_equal(c->differences[i].value[1], b);
			return;
		}
	fail_msg("%s should differ", name);
}

static bool warned(const struct comparison *c, const char *words)
{
	for (int i = 0; i < c->caution_count; i++)
		if (strstr(c->cautions[i], words))
			return true;
	return false;
}

static void expect_near(double found, double expected)
{
	if (!(fabs(found - expected) <= 1e-9))
		fail_msg("%.12g, expected %.12g", found, expected);
}

/* Equal perturbations are no rounding error apart, whatever their numbers. */
static void test_equal_perturbations(void **state)
{
	(void)state;
	for (int i = 1; i <= 20; i++) {
		struct sample a = plain, b;
		a.result[0] = 7.3f / (float)i;
		a.result[1] = 0.1f * (float)i;
		b = a;
		b.name = "other";
		const struct comparison *c = compare(&a, &b);
		assert_true(c->has_angle && c->cosine == 1 && c->distance == 0);
		comparison_release(&c);
	}
}

static void test_same(void **state)
{
	(void)state;
	struct sample other = plain;
	other.name = "other";
	/* The order of the clamps, and where the same files lie, are no difference. */
	other.clamps = "{\"layer\":2,\"feature\":9,\"mode\":\"ablate\"},"
		       "{\"layer\":2,\"feature\":7,\"mode\":\"set-active\",\"value\":-5}";
	const struct comparison *c = compare(&plain, &other);
	assert_int_equal(c->difference_count, 0);
	assert_int_equal(c->caution_count, 0);
	assert_true(c->alike && c->same_prompt);
	assert_int_equal(c->parting.step, -1);
	assert_int_equal(c->steps, 3);
	assert_true(c->has_angle);
	expect_near(c->cosine, 1);
	expect_near(c->distance, 0);
	expect_near(c->norm[0], 5);
	assert_true(isnan(c->cosines[0])); /* both begin at zero */
	expect_near(c->cosines[1], 1);
	char *name = comparison_name(c, 1);
	assert_string_equal(name, "other");
	free(name);
	const struct comparison *held = comparison_hold(c);
	comparison_release(&c);
	assert_null(c);
	assert_int_equal(held->steps, 3);
	comparison_release(&held);
	comparison_release(&held); /* NULL */
}

static void test_settings(void **state)
{
	(void)state;
	struct sample b = plain;
	b.name = "b";
	b.settings = "\"lr\":\"0.2\",\"steps\":\"5\"";
	b.clamps = "{\"layer\":2,\"feature\":7,\"mode\":\"set-active\",\"value\":-5},"
		   "{\"layer\":2,\"feature\":31,\"mode\":\"ablate\"},{\"layer\":2,\"feature\":12,\"mode\":\"ablate\"}";
	b.steps = 5;
	memcpy(b.objectives, (double[]){-1, 0.0005, 1.5, 2, 3}, 5 * sizeof(double));
	memcpy(b.result, (float[]){4, -3}, 2 * sizeof(float));
	memcpy(b.trace, (float[]){0, 0, 1, 0, 0, -1, 1, 1, 1, 1}, 10 * sizeof(float));
	const struct comparison *c = compare(&plain, &b);
	assert_int_equal(c->difference_count, 3);
	expect_difference(c, "lr", "0.1", "0.2");
	expect_difference(c, "steps", "3", "5");
	expect_difference(c, "clamps", "2 features, only here: 2:9=ablate", "3 features, only here: 2:12,31=ablate");
	assert_int_equal(c->caution_count, 1);
	assert_true(warned(c, "other features are clamped"));
	/* Step 1 differs by less than another device might. */
	assert_int_equal(c->parting.step, 1);
	assert_string_equal(c->parting.field, "objective");
	expect_near(c->parting.value[1], 0.0005);
	assert_int_equal(c->clear_parting.step, 2);
	assert_int_equal(c->steps, 5);
	assert_null(comparison_step(c, 0, 3));
	expect_near(comparison_step(c, 1, 4)->objective, 3);
	expect_near(c->cosine, 0);
	expect_near(c->distance, sqrt(50));
	expect_near(c->cosines[1], 1);
	expect_near(c->cosines[2], -sqrt(0.5));
	assert_true(isnan(c->cosines[3]) && isnan(c->cosines[4]));
	comparison_release(&c);
}

/* Another prompt: rows belong together by their distance from its end. */
static void test_prompts(void **state)
{
	(void)state;
	struct sample b = plain;
	b.name = "b";
	b.ids = "8,1,2,9,3";
	b.prompt = "ioi-02";
	b.objective = "logit_diff:6,7";
	b.rows = "{\"layer\":2,\"position\":3},{\"layer\":2,\"position\":4}";
	b.row_count = 2;
	memcpy(b.result, (float[]){0, 12, 3, 4}, 4 * sizeof(float));
	memset(b.trace, 0, sizeof b.trace);
	const struct comparison *c = compare(&plain, &b);
	assert_false(c->same_prompt || c->alike);
	expect_difference(c, "prompt", "ioi-01", "ioi-02");
	expect_difference(c, "objective", "logit_diff:4,5", "logit_diff:6,7");
	assert_true(warned(c, "the prompts differ"));
	assert_int_equal(c->caution_count, 1);
	assert_int_equal(c->parting.step, -1);
	assert_true(c->has_angle);
	assert_int_equal(c->rows, 1);
	expect_near(c->norm[1], 13);
	expect_near(c->cosine, 25. / (5 * 13));
	expect_near(c->distance, 12);
	assert_null(c->cosines);
	comparison_release(&c);

	/* One name, other tokens. */
	b = plain;
	b.name = "b";
	b.ids = "1,2,4";
	c = compare(&plain, &b);
	assert_false(c->same_prompt);
	expect_difference(c, "prompt", "3 tokens", "3 tokens of other ids");
	comparison_release(&c);
}

static void test_unlike(void **state)
{
	(void)state;
	struct sample b = plain;
	b.name = "b";
	b.model_sum = OTHER;
	b.sae_sum = OTHER;
	b.device = "a GPU";
	b.objective = "vocab_margin:4";
	const struct comparison *c = compare(&plain, &b);
	expect_difference(c, "model", "plain (44136fa3)", "b (00136fa3)");
	expect_difference(c, "SAE of layer 2", "sae (44136fa3)", "sae (00136fa3)");
	expect_difference(c, "device", "llvmpipe", "a GPU");
	assert_true(warned(c, "the models differ") && warned(c, "the objectives differ"));
	assert_true(warned(c, "other features") && !warned(c, "devices"));
	assert_false(c->alike);
	comparison_release(&c);

	b = plain;
	b.name = "b";
	b.rows = "{\"layer\":1,\"position\":2}";
	b.device = "a GPU";
	c = compare(&plain, &b);
	expect_difference(c, "perturbed rows", "layer 2 @2", "layer 1 @2");
	assert_true(warned(c, "different devices"));
	assert_false(c->has_angle);
	assert_non_null(strstr(c->angle_reason, "other layers or positions"));
	comparison_release(&c);

	b = plain;
	b.name = "b";
	memset(b.result, 0, sizeof b.result);
	c = compare(&plain, &b);
	assert_false(c->has_angle);
	assert_non_null(strstr(c->angle_reason, "zero"));
	comparison_release(&c);
}

/* A recovery beside the baseline: a suffix is no other prompt, and perturbs elsewhere. */
static void test_suffix(void **state)
{
	(void)state;
	struct sample b = plain;
	b.name = "b";
	b.ids = "1,2,3,77,77";
	b.more = ",\"suffix\":{\"tokens\":2,\"monitor_weight\":0.5}";
	b.rows = "{\"layer\":-1,\"position\":3},{\"layer\":-1,\"position\":4}";
	b.row_count = 2;
	b.monitored = true;
	const struct comparison *c = compare(&plain, &b);
	assert_true(c->same_prompt && c->alike);
	expect_difference(c, "suffix", "none", "2 trained tokens, monitor weight 0.5");
	expect_difference(c, "perturbed rows", "layer 2 @2", "embedding @3, embedding @4");
	assert_int_equal(c->difference_count, 2);
	assert_non_null(strstr(c->angle_reason, "other layers or positions"));
	comparison_release(&c);
}

/* A run that goes on, arrays that are gone or are others; sessions that can't be read. */
static void test_partial(void **state)
{
	(void)state;
	struct error error;
	struct comparison *made;
	struct sample b = plain;
	b.name = "b";
	b.open = true;
	const struct comparison *c = compare(&plain, &b);
	assert_false(c->has_angle);
	assert_non_null(strstr(c->angle_reason, "'b.jsonl' has no result yet"));
	assert_int_equal(c->parting.step, -1);
	assert_int_equal(c->difference_count, 0);
	comparison_release(&c);

	b.open = false;
	char *good = write_sample(&plain), *path = write_sample(&b), *gone = scratch_path("b.result.npy");
	write_array(path, "result", b.result, 2, (int64_t[]){2, 1});
	assert_int_equal(comparison_open(&made, good, path, &error), STATUS_OK);
	assert_false(made->has_angle);
	assert_non_null(strstr(made->angle_reason, "has the shape [2, 1]"));
	c = made;
	comparison_release(&c);
	remove(gone);
	assert_int_equal(comparison_open(&made, good, path, &error), STATUS_OK);
	assert_non_null(strstr(made->angle_reason, "b.result.npy"));
	c = made;
	comparison_release(&c);
	free(path);
	free(gone);

	path = scratch_file("bad.jsonl", "{}", 2);
	assert_int_equal(comparison_open(&made, good, path, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "bad.jsonl"));
	assert_null(made);
	assert_int_equal(comparison_open(&made, "/nonexistent", good, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "/nonexistent"));
	free(path);
	static const char head[] =
		"{\"event\":\"session\",\"format\":1,\"version\":\"0\",\"created\":\"\",\"folder\":\"/\","
		"\"command\":\"\",\"seed\":\"0\",\"device\":{\"name\":\"\",\"driver\":\"\",\"api\":\"\"},"
		"\"model\":{\"path\":\"/m\",\"files\":[]},\"saes\":[]}\n";
	path = scratch_file("empty.jsonl", head, sizeof head - 1);
	assert_int_equal(comparison_open(&made, good, path, &error), STATUS_NOTHING);
	assert_true(scratch_says(error.text, "empty.jsonl' holds no recovery"));
	free(path);
	free(good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),	 cmocka_unit_test(test_equal_perturbations),
		cmocka_unit_test(test_settings), cmocka_unit_test(test_prompts),
		cmocka_unit_test(test_unlike),	 cmocka_unit_test(test_partial),
		cmocka_unit_test(test_suffix),
	};
	return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
