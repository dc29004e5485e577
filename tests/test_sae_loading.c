/* SAEs of a session (sessions/hooked_sae.h): opened at the start, on the device once they are
 * needed, and off it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/attribute.h"
#include "sessions/hooked_sae.h"
#include "sessions/scene.h"
#include "tests/expect.h"
#include "tests/scratch.h"
#include "tests/st_writer.h"

enum { LAYERS = 4, F = 1024, D = 128 };

static struct session *open_all(const struct progress *progress)
{
	struct error error = {0};
	struct session *session;
	struct session_options options = {0};
	setenv("REBOUND_DATA", "models/demo", 0);
	if (progress)
		options.progress = *progress;
	expect_ok(session_open(&session, &options, &error), &error);
	static const int32_t ids[] = {5, 300, 301, 302, 303, 304, 305};
	expect_ok(session_set_tokens(session, ids, 7, &error), &error);
	const char *objective = "logit_diff:300,301";
	expect_ok(session_set_objective(session, &objective, 1, &error), &error);
	return session;
}

static void expect_loaded(const struct session *session, const char *which)
{
	char found[LAYERS + 1] = "";
	for (int i = 0; i < session->site_count; i++)
		found[i] = sae_loaded(&session->sites[i].sae) ? (char)('0' + i) : '.';
	assert_string_equal(found, which);
}

static void clamp(struct session *session, int layer, uint32_t feature)
{
	struct error error = {0};
	struct layer_rule rule = {layer, {feature, OP_CLAMP_SET, 4}};
	expect_ok(session_set_clamps(session, &rule, layer < 0 ? 0 : 1, &error), &error);
}

static float *features(struct session *session, int site)
{
	struct error error = {0};
	struct scene scene;
	float *z = mem_alloc(F, sizeof *z);
	expect_ok(scene_run(&scene, session, false, &error), &error);
	expect_ok(scene_features(&scene, site, 3, z, &error), &error);
	scene_done(&scene);
	return z;
}

/* Only what is asked for is loaded, takes what was said that it takes, and computes the same
 * when it has been away. */
static void test_loaded_when_needed(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_all(NULL);
	assert_int_equal(session->site_count, LAYERS);
	expect_loaded(session, "....");
	for (int i = 0; i < LAYERS; i++) {
		assert_int_equal(session->sites[i].sae.features, F);
		assert_int_equal(session->sites[i].sae.layer, i);
		assert_true(session->sites[i].sae.bytes > (uint64_t)2 * F * D * sizeof(float));
	}
	uint64_t before = device_memory_used(session->device);
	float *first = features(session, 2);
	expect_loaded(session, "..2.");
	assert_int_equal(device_memory_used(session->device) - before, session->sites[2].sae.bytes);

	clamp(session, 1, 7);
	expect_loaded(session, "..2.");
	struct scene scene;
	expect_ok(scene_run(&scene, session, true, &error), &error);
	expect_loaded(session, ".12.");
	float held = scene.sites[1].z[3];
	scene_done(&scene);
	struct sae_memory memory = session_sae_memory(session);
	assert_int_equal(memory.loaded, 2);
	assert_int_equal(memory.unused, 1);
	assert_int_equal(memory.bytes, session->sites[1].sae.bytes + session->sites[2].sae.bytes);
	assert_int_equal(memory.unused_bytes, session->sites[2].sae.bytes);

	session->sites[2].shown = true;
	session_drop_unused_saes(session);
	expect_loaded(session, ".12.");
	session->sites[2].shown = false;
	session_drop_unused_saes(session);
	expect_loaded(session, ".1..");
	expect_ok(scene_run(&scene, session, true, &error), &error);
	assert_true(scene.sites[1].z[3] == held);
	scene_done(&scene);
	clamp(session, -1, 0);
	session_drop_unused_saes(session);
	expect_loaded(session, "....");
	assert_int_equal(device_memory_used(session->device), before);

	float *again = features(session, 2);
	assert_memory_equal(first, again, F * sizeof *first);
	free(first);
	free(again);
	session_close(&session);
}

/* What ranks, ranks the one it is asked for. */
static void test_attribution_loads_one(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_all(NULL);
	struct scene base;
	struct attribution *items;
	int64_t count;
	expect_ok(scene_run(&base, session, false, &error), &error);
	expect_loaded(session, "....");
	expect_ok(attribute_rank(&items, &count, session, &base, 3, &error), &error);
	expect_loaded(session, "...3");
	free(items);
	scene_done(&base);
	session_close(&session);
}

/* Too little memory: one sentence says what dropping would free, nothing is lost, and with
 * the room made it loads. */
static void test_no_room(void **state)
{
	(void)state;
	struct error error = {0};
	struct session *session = open_all(NULL);
	struct device_info *info = (struct device_info *)(uintptr_t)device_get_info(session->device);
	const struct sae *sae;
	expect_ok(session_sae(&sae, session, 0, &error), &error);
	expect_ok(session_sae(&sae, session, 1, &error), &error);
	clamp(session, 0, 3);
	uint64_t used = device_memory_used(session->device);
	uint64_t all = info->memory_bytes, one = sae->bytes;
	uint64_t needed = one + (info->type == DEVICE_TYPE_CPU ? sae_file_load_bytes(&session->sites[2].spec) : 0);
	/* So little that one byte is missing; of what is used some is imported and takes none. */
	info->memory_bytes = used;
	uint64_t left = device_memory_left(session->device);
	info->memory_bytes = used - left + needed - 1;
	assert_int_equal(device_memory_left(session->device), needed - 1);
	assert_int_equal(session_sae(&sae, session, 2, &error), STATUS_FAILED);
	assert_true(scratch_says(error.text, "layer 2"));
	assert_true(scratch_says(error.text, "dropping the SAE that is not in use (D in the workbench) frees 1.1 MB"));
	assert_false(strstr(error.text, "not enough"));
	expect_loaded(session, "01..");
	assert_int_equal(device_memory_used(session->device), used);

	info->memory_bytes -= one;
	assert_int_equal(session_sae(&sae, session, 2, &error), STATUS_FAILED);
	assert_true(scratch_says(error.text, "frees 1.1 MB, which is not enough"));
	info->memory_bytes += one;

	session->sites[1].shown = true;
	assert_int_equal(session_sae(&sae, session, 2, &error), STATUS_FAILED);
	assert_true(scratch_says(error.text, "release the clamps of one"));
	session->sites[1].shown = false;

	session_drop_unused_saes(session);
	expect_ok(session_sae(&sae, session, 2, &error), &error);
	expect_loaded(session, "0.2.");
	info->memory_bytes = all;
	session_close(&session);
}

/* How a load is told, and whether it is to be stopped after how many calls. */
struct watch {
	int calls, most;
	uint64_t done, total;
	atomic_bool cancel;
};

static bool watch(void *context, const char *what, uint64_t done, uint64_t total)
{
	struct watch *w = context;
	if (strcmp(what, "loading the SAE of layer 3") != 0)
		return true;
	assert_true(w->calls == 0 || done > w->done);
	w->done = done;
	w->total = total;
	return ++w->calls < w->most;
}

/* Progress ends at its total, whatever becomes of the load; stopped by it or by the cancel
 * flag, the load leaves nothing behind and can be begun again. */
static void test_progress_and_cancel(void **state)
{
	(void)state;
	struct error error = {0};
	struct watch w = {.most = 1};
	struct session *session = open_all(&(struct progress){watch, &w});
	session->cancel = &w.cancel;
	const struct sae *sae;
	uint64_t before = device_memory_used(session->device);
	assert_int_equal(session_sae(&sae, session, 3, &error), STATUS_CANCELLED);
	assert_true(scratch_says(error.text, "loading the SAE of layer 3 was stopped"));
	assert_int_equal(w.calls, 2);
	assert_int_equal(w.done, w.total);
	expect_loaded(session, "....");
	assert_int_equal(device_memory_used(session->device), before);
	assert_null(session->sites[3].spec.W_enc);

	atomic_store(&w.cancel, true);
	w = (struct watch){.most = 1000, .cancel = true};
	assert_int_equal(session_sae(&sae, session, 3, &error), STATUS_CANCELLED);
	expect_loaded(session, "....");
	atomic_store(&w.cancel, false);
	w.calls = 0;
	expect_ok(session_sae(&sae, session, 3, &error), &error);
	expect_loaded(session, "...3");
	assert_true(w.calls >= 4);
	assert_int_equal(w.done, w.total);
	session_close(&session);
}

/* Shapes are looked at when it is opened, numbers when it is loaded; then it is a file's fault
 * that it can't be. */
static void test_bad_numbers(void **state)
{
	(void)state;
	struct error error = {0};
	struct st_writer w = {0};
	float *w_enc = mem_alloc((size_t)D * 8, sizeof *w_enc), *w_dec = mem_alloc((size_t)D * 8, sizeof *w_dec);
	float b_enc[8] = {0}, b_dec[D] = {0};
	w_dec[17] = NAN;
	st_writer_add(&w, "W_enc", "F32", 2, (int64_t[]){D, 8}, w_enc, (size_t)D * 8 * sizeof *w_enc);
	st_writer_add(&w, "W_dec", "F32", 2, (int64_t[]){8, D}, w_dec, (size_t)D * 8 * sizeof *w_dec);
	st_writer_add(&w, "b_enc", "F32", 1, (int64_t[]){8}, b_enc, sizeof b_enc);
	st_writer_add(&w, "b_dec", "F32", 1, (int64_t[]){D}, b_dec, sizeof b_dec);
	free(st_writer_end(&w, "bad/sae_weights.safetensors"));
	static const char cfg[] = "{\"hook_name\":\"blocks.1.hook_resid_post\"}";
	free(scratch_file("bad/cfg.json", cfg, strlen(cfg)));
	char *path = scratch_path("bad");
	const char *saes[] = {path};
	struct session *session;
	struct session_options options = {.model = "models/demo", .saes = saes, .sae_count = 1};
	expect_ok(session_open(&session, &options, &error), &error);
	assert_int_equal(session->sites[0].sae.features, 8);
	const struct sae *sae;
	assert_int_equal(session_sae(&sae, session, 0, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "not finite"));
	assert_false(sae_loaded(&session->sites[0].sae));
	session_close(&session);
	free(path);
	free(w_enc);
	free(w_dec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loaded_when_needed),
		cmocka_unit_test(test_attribution_loads_one),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_progress_and_cancel),
		cmocka_unit_test(test_bad_numbers),
	};
	return cmocka_run_group_tests_name("sae_loading", tests, NULL, NULL);
}
