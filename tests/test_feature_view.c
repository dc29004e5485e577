/* A feature's own view, on the built-in model, against plain loops over the same numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/encode.h"
#include "sessions/feature_usage.h"
#include "sessions/feature_view.h"
#include "sessions/hooked_sae.h"
#include "sessions/labels.h"
#include "sessions/scene.h"
#include "tests/expect.h"
#include "tests/scratch.h"

static struct session *open_session(void)
{
	struct error error = {0};
	struct session *session;
	static const char *const saes[] = {"models/demo/sae/layer_1", "models/demo/sae/layer_2"};
	struct session_options options = {.model = "models/demo", .saes = saes, .sae_count = 2};
	expect_ok(session_open(&session, &options, &error), &error);
	return session;
}

static float *read_tensor(struct tensor t)
{
	struct error error = {0};
	float *values = mem_alloc((size_t)tensor_count(t), sizeof *values);
	assert_int_equal(t.dtype, DTYPE_F32);
	expect_ok(tensor_read(t, values, &error), &error);
	return values;
}

static double dot(const float *a, const float *b, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += (double)a[i] * (double)b[i];
	return sum;
}

static void near_to(double found, double expected, const char *what)
{
	if (!(fabs(found - expected) <= 1e-5 + 1e-5 * fabs(expected)))
		fail_msg("%s is %.9g, expected %.9g", what, found, expected);
}

static int rising(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void test_facts(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session();
	const struct sae *sae;
	expect_ok(session_sae(&sae, session, 1, &error), &error);
	int64_t d = sae->d, F = sae->features, V = session->model.arch.vocab;
	float *enc = read_tensor(sae->w_enc), *dec = read_tensor(sae->w_dec);
	float *norm = read_tensor(session->model.weights.model[WEIGHT_FINAL_NORM]);
	float *unembed = read_tensor(session->model.weights.model[WEIGHT_UNEMBED]);
	double *cosines = mem_alloc((size_t)F, sizeof *cosines), *logits = mem_alloc((size_t)V, sizeof *logits);
	static const uint32_t features[] = {0, 31, 1023};
	bool layer_norm = session->model.arch.norm == ARCH_NORM_LAYER;
	for (size_t k = 0; k < ARRAY_LEN(features); k++) {
		const float *w = dec + (int64_t)features[k] * d, *e = enc + (int64_t)features[k] * d;
		struct feature_facts facts;
		expect_ok(feature_facts_find(&facts, session, 1, features[k], &error), &error);
		double size = sqrt(dot(w, w, d)), mean = 0;
		near_to(facts.decoder_norm, size, "the decoder norm");
		near_to(facts.encoder_norm, sqrt(dot(e, e, d)), "the encoder norm");
		assert_true(facts.has_alignment);
		near_to(facts.alignment, dot(w, e, d) / size / sqrt(dot(e, e, d)), "the alignment");
		for (int64_t i = 0; i < F; i++)
			cosines[i] = i == features[k]
					     ? -2
					     : dot(w, dec + i * d, d) / size / sqrt(dot(dec + i * d, dec + i * d, d));
		for (int i = 0; i < FEATURE_BEST; i++)
			near_to((double)facts.near[i].score, cosines[facts.near[i].id], "a near feature's cosine");
		qsort(cosines, (size_t)F, sizeof *cosines, rising);
		assert_int_equal(facts.near_count, FEATURE_BEST);
		near_to((double)facts.near[FEATURE_BEST - 1].score, cosines[F - FEATURE_BEST], "the last near one");
		for (int64_t i = 0; i < d && layer_norm; i++)
			mean += (double)w[i] / (double)d;
		for (int64_t v = 0; v < V; v++) {
			logits[v] = 0;
			for (int64_t i = 0; i < d; i++)
				logits[v] +=
					((double)w[i] - mean) *
					((double)norm[i] + (session->model.arch.norm == ARCH_NORM_RMS_PLUS ? 1 : 0)) *
					(double)unembed[v * d + i];
		}
		for (int i = 0; i < FEATURE_BEST; i++) {
			near_to((double)facts.promoted[i].score, logits[facts.promoted[i].id], "a promoted token");
			near_to((double)facts.demoted[i].score, logits[facts.demoted[i].id], "a demoted token");
		}
		qsort(logits, (size_t)V, sizeof *logits, rising);
		near_to((double)facts.promoted[0].score, logits[V - 1], "the most promoted token");
		near_to((double)facts.demoted[0].score, logits[0], "the most demoted token");
	}
	struct feature_facts facts;
	assert_int_equal(feature_facts_find(&facts, session, 1, (uint32_t)F, &error), STATUS_INVALID);
	assert_non_null(strstr(error.text, "0 to 1023"));
	free(enc);
	free(dec);
	free(norm);
	free(unembed);
	free(cosines);
	free(logits);
	session_close(&session);
}

static void test_along(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session();
	static const char text[] = "Then Anna and Tom went to the pond. Tom gave a ring to";
	expect_ok(session_set_text(session, text, strlen(text), false, false, false, &error), &error);
	struct scene scene;
	expect_ok(scene_run(&scene, session, false, &error), &error);
	int64_t F = session->sites[1].sae.features, T = scene.prompt, active = 0;
	float *z = mem_alloc((size_t)(T * F), sizeof *z), *along = mem_alloc((size_t)T, sizeof *along);
	const struct sae *sae;
	expect_ok(session_sae(&sae, session, 1, &error), &error);
	expect_ok(encode_rows(sae, scene.sites[1].h, T, z, NULL, &error), &error);
	for (uint32_t f = 0; f < F; f += 37) {
		expect_ok(feature_along(session, 1, f, scene.sites[1].h, T, along, &error), &error);
		for (int64_t t = 0; t < T; t++) {
			near_to((double)along[t], (double)z[t * F + f], "an activation");
			active += along[t] != 0;
		}
	}
	assert_true(active > 0);
	free(z);
	free(along);
	scene_done(&scene);
	session_close(&session);
}

static struct prompt_set some_prompts(int count)
{
	struct error error = {0};
	struct prompt_set set;
	expect_ok(prompt_set_load(&set, "models/demo/prompts.jsonl", &error), &error);
	assert_true(set.count > 3 * count);
	/* Some of each task: every third from the start. */
	struct prompt_set some = {0};
	for (int i = 0; i < count; i++) {
		int at = prompt_set_add(&some, set.items[3 * i].text, NULL);
		some.items[at].chat = set.items[3 * i].chat;
	}
	prompt_set_done(&set);
	return some;
}

static void read_all(struct feature_usage *usage, struct session *session, const struct prompt_set *set)
{
	struct error error = {0};
	while (!feature_usage_complete(usage))
		expect_ok(feature_usage_next(usage, session, set, false, &error), &error);
}

static void same_usage(const struct feature_usage *a, const struct feature_usage *b)
{
	size_t F = (size_t)a->features;
	assert_int_equal(a->done, b->done);
	assert_int_equal(a->tokens, b->tokens);
	assert_memory_equal(a->on_tokens, b->on_tokens, F * sizeof *a->on_tokens);
	assert_memory_equal(a->on_prompts, b->on_prompts, F * sizeof *a->on_prompts);
	assert_memory_equal(a->examples, b->examples, F * USAGE_EXAMPLES * sizeof *a->examples);
}

/* The counts, feature by feature, from all activations of all prompts. */
static void check_counts(const struct feature_usage *usage, struct session *session, const struct prompt_set *set)
{
	struct error error = {0};
	const struct sae *sae;
	expect_ok(session_sae(&sae, session, 0, &error), &error);
	int64_t F = usage->features, tokens = 0;
	uint32_t *on = mem_alloc((size_t)F, sizeof *on), *prompts = mem_alloc((size_t)F, sizeof *prompts);
	float *largest = mem_alloc((size_t)F, sizeof *largest);
	for (int i = 0; i < set->count; i++) {
		const struct prompt *p = &set->items[i];
		struct scene scene;
		expect_ok(session_set_text(session, p->text, strlen(p->text), p->chat, false, false, &error), &error);
		expect_ok(scene_run(&scene, session, false, &error), &error);
		float *z = mem_alloc((size_t)(scene.prompt * F), sizeof *z);
		expect_ok(encode_rows(sae, scene.sites[0].h, scene.prompt, z, NULL, &error), &error);
		tokens += scene.prompt - 1;
		for (int64_t f = 0; f < F; f++) {
			bool any = false;
			for (int64_t t = 1; t < scene.prompt; t++) {
				float a = z[t * F + f];
				on[f] += a != 0;
				any = any || a != 0;
				if (fabsf(a) > fabsf(largest[f]))
					largest[f] = a;
			}
			prompts[f] += any;
		}
		free(z);
		scene_done(&scene);
	}
	assert_int_equal(usage->tokens, tokens);
	assert_memory_equal(usage->on_tokens, on, (size_t)F * sizeof *on);
	assert_memory_equal(usage->on_prompts, prompts, (size_t)F * sizeof *prompts);
	for (int64_t f = 0; f < F; f++)
		near_to((double)usage->examples[f * USAGE_EXAMPLES].activation, (double)largest[f], "the largest");
	free(on);
	free(prompts);
	free(largest);
}

static char *use_cache(const char *name)
{
	char *inside = mem_printf("%s/none", name), *path = scratch_path(inside);
	path[strlen(path) - strlen("/none")] = '\0';
	setenv("XDG_CACHE_HOME", path, 1);
	free(inside);
	return path;
}

static void test_usage(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session();
	struct prompt_set set = some_prompts(9);
	char *cache = use_cache("usage"), *elsewhere = use_cache("usage-other");
	struct feature_usage *whole, *parts;
	static const char mine[] = "An input of my own";
	expect_ok(session_set_text(session, mine, strlen(mine), false, false, false, &error), &error);
	size_t length = session->prompt.count;

	setenv("XDG_CACHE_HOME", cache, 1);
	expect_ok(feature_usage_open(&whole, session, 0, &set, false, &error), &error);
	if (whole->done > 0)
		fail_msg("the scratch folder was not empty");
	read_all(whole, session, &set);
	assert_int_equal(whole->skipped, 0);
	assert_int_equal(session->prompt.count, length); /* the input is as it was */
	assert_string_equal(session->prompt_text, mine);

	/* Interrupted and gone on with, from disk. */
	expect_ok(feature_usage_open(&parts, session, 0, &set, false, &error), &error);
	for (int i = 0; i < 4; i++)
		expect_ok(feature_usage_next(parts, session, &set, false, &error), &error);
	atomic_bool cancel = true;
	session->cancel = &cancel;
	assert_int_equal(feature_usage_next(parts, session, &set, false, &error), STATUS_CANCELLED);
	session->cancel = NULL;
	assert_int_equal(parts->done, 4);
	assert_int_equal(session->prompt.count, length);
	feature_usage_save(parts);
	char *file = mem_printf("%s/rebound/features/%s", cache, parts->key);
	assert_true(file_exists(file));
	feature_usage_destroy(&parts);
	expect_ok(feature_usage_open(&parts, session, 0, &set, false, &error), &error);
	assert_int_equal(parts->done, 4);
	read_all(parts, session, &set);
	same_usage(parts, whole);
	feature_usage_save(parts);
	feature_usage_destroy(&parts);
	expect_ok(feature_usage_open(&parts, session, 0, &set, false, &error), &error);
	assert_true(feature_usage_complete(parts));
	same_usage(parts, whole);
	feature_usage_destroy(&parts);

	/* Another set, another SAE, another way of reading: none of them finds this file. */
	expect_ok(feature_usage_open(&parts, session, 1, &set, false, &error), &error);
	assert_int_equal(parts->done, 0);
	feature_usage_destroy(&parts);
	expect_ok(feature_usage_open(&parts, session, 0, &set, true, &error), &error);
	assert_int_equal(parts->done, 0);
	feature_usage_destroy(&parts);

	/* A damaged one counts as none. */
	char *bytes;
	size_t size;
	expect_ok(file_read(&bytes, &size, file, (size_t)1 << 24, &error), &error);
	memset(bytes + size - 100, 0xff, 100);
	expect_ok(file_write(file, bytes, size, &error), &error);
	expect_ok(feature_usage_open(&parts, session, 0, &set, false, &error), &error);
	assert_int_equal(parts->done, 0);
	feature_usage_destroy(&parts);
	expect_ok(file_write(file, bytes, size / 2, &error), &error);
	expect_ok(feature_usage_open(&parts, session, 0, &set, false, &error), &error);
	assert_int_equal(parts->done, 0);
	feature_usage_destroy(&parts);
	free(bytes);

	/* The examples lie where the text says. */
	for (int64_t f = 0; f < whole->features; f += 101) {
		const struct usage_example *e = whole->examples + f * USAGE_EXAMPLES;
		struct usage_context context;
		if (e->activation == 0)
			continue;
		expect_ok(feature_usage_context(&context, session, &set.items[e->prompt], e->position, false, &error),
			  &error);
		char *text = mem_printf("%s%s%s", context.before, context.token, context.after);
		for (char *c = set.items[e->prompt].text; *c; c++)
			*c = *c == '\n' ? ' ' : *c;
		if (!set.items[e->prompt].chat && !strstr(context.token, "<|") &&
		    !strstr(set.items[e->prompt].text, text))
			fail_msg("\"%s\" is not in \"%s\"", text, set.items[e->prompt].text);
		free(text);
	}
	prompt_set_done(&set);
	set = some_prompts(9);
	check_counts(whole, session, &set);

	/* A prompt longer than the context is skipped. */
	setenv("XDG_CACHE_HOME", elsewhere, 1);
	struct strbuf text = {0};
	for (int i = 0; i < 3000; i++)
		strbuf_add_string(&text, " pond");
	prompt_set_add(&set, text.data, NULL);
	expect_ok(feature_usage_open(&parts, session, 0, &set, false, &error), &error);
	read_all(parts, session, &set);
	assert_int_equal(parts->skipped, 1);
	assert_int_equal(parts->tokens, whole->tokens);
	feature_usage_destroy(&parts);
	strbuf_done(&text);

	feature_usage_destroy(&whole);
	prompt_set_done(&set);
	free(file);
	free(cache);
	free(elsewhere);
	session_close(&session);
}

static void test_page(void **state)
{
	(void)state;
	static const struct {
		const char *id, *page;
	} cases[] = {
		{"gemma-2-2b/20-gemmascope-res-16k", "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/7"},
		{NULL, NULL},
		{"", NULL},
		{"one", NULL},
		{"one/", NULL},
		{"/two", NULL},
		{"one/two/three", NULL},
		{"one/two?x", NULL},
		{"one/\033]52;c;x", NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct site site = {.spec.neuronpedia_id = (char *)(uintptr_t)cases[i].id};
		char *page = feature_page(&site, 7);
		if (cases[i].page)
			assert_string_equal(page, cases[i].page);
		else
			assert_null(page);
		free(page);
	}
}

/* --labels: by layer, plain or packed, several explanations of one feature. */
static void test_labels(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_session();
	char *plain = scratch_path("labels/a.jsonl"), *packed = scratch_path("labels/b.json.gz");
	static const char lines[] =
		"{\"index\":\"3\",\"description\":\"first\"}\n{\"index\":3,\"description\":\"second\"}\n";
	static const char array[] = "[{\"index\":\"5\",\"description\":\"packed\"}]";
	expect_ok(file_write(plain, lines, strlen(lines), &error), &error);
	gzFile file = gzopen(packed, "wb");
	assert_true(file && gzwrite(file, array, (unsigned)strlen(array)) > 0);
	gzclose(file);
	const char *const paths[] = {plain, packed, plain};
	expect_ok(hooked_saes_label(session, paths, 2, &error), &error);
	assert_int_equal(labels_count(session->sites[0].labels, 3), 2);
	assert_string_equal(labels_get_nth(session->sites[0].labels, 3, 1), "second");
	assert_string_equal(labels_get(session->sites[1].labels, 5), "packed");
	assert_string_equal(labels_get(session->sites[1].labels, 3), "");
	assert_int_equal(hooked_saes_label(session, paths, 3, &error), STATUS_INVALID);
	assert_non_null(strstr(error.text, "3 times and there are 2 SAEs"));
	free(plain);
	free(packed);
	session_close(&session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts), cmocka_unit_test(test_along),  cmocka_unit_test(test_usage),
		cmocka_unit_test(test_page),  cmocka_unit_test(test_labels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
