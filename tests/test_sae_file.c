/* Opening an SAE: what its configuration, its metadata and its path decide, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "tests/scratch.h"
#include "tests/small_sae.h"

static void check_config(const char *cfg, const double expected_z[3], const double expected_y[2])
{
	struct sae_spec spec;
	struct error error;
	if (small_sae_open(&spec, cfg, NULL, &error))
		fail_msg("%s: %s", cfg, error.text);
	small_sae_expect(&spec, cfg, expected_z, expected_y);
	assert_int_equal(spec.loaded_bytes, sae_file_load_bytes(&spec));
	sae_spec_done(&spec);
}

/* By hand: v = (1, 1), so h = (1.5, 1, 0); without b_dec v = (1.25, 0.75), h = (1.75, 0.5, -0.5). */
static void test_config_decides_the_rule(void **state)
{
	(void)state;
	check_config("{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":3}", (double[]){1.5, 1, 0},
		     (double[]){1.75, 0.75});
	check_config("{}", (double[]){1.5, 1, 0}, (double[]){1.75, 0.75});
	check_config("{\"apply_b_dec_to_input\":false}", (double[]){1.75, 0.5, 0}, (double[]){2, 0.25});
	check_config("{\"architecture\":\"jumprelu\",\"apply_b_dec_to_input\":false}", (double[]){1.75, 0.5, 0},
		     (double[]){2, 0.25});
	check_config("{\"architecture\":\"topk\",\"k\":1}", (double[]){1.5, 0, 0}, (double[]){1.75, -0.25});
	check_config("{\"activation_fn_str\":\"topk\",\"activation_fn_kwargs\":{\"k\":1}}", (double[]){1.5, 0, 0},
		     (double[]){1.75, -0.25});
	check_config("{\"activation_fn_str\":\"tanh-relu\"}", (double[]){tanh(1.5), tanh(1), 0},
		     (double[]){tanh(1.5) + 0.25, tanh(1) - 0.25});
	check_config("{\"architecture\":\"batchtopk\",\"k\":1}", (double[]){1.5, 0, 0}, (double[]){1.75, -0.25});
	check_config("{\"architecture\":\"transcoder\"}", (double[]){1.75, 0.5, 0}, (double[]){2, 0.25});
	/* Decoder norms (1, 1, 5): h becomes (1.75, 0.5, -2.5), the largest by magnitude is the last. */
	check_config("{\"architecture\":\"abstopk\",\"k\":1,\"rescale_acts_by_decoder_norm\":true,"
		     "\"apply_b_dec_to_input\":false}",
		     (double[]){0, 0, -2.5}, (double[]){0.25 - 1.5, -0.25 - 2});
}

static void test_configs_refused(void **state)
{
	(void)state;
	static const struct {
		const char *cfg, *says;
	} cases[] = {
		{"", "bad config"},
		{"[]", "bad config"},
		{"{\"d_in\":2,\"d_in\":2}", "bad config"},
		{"{\"d_in\":3}", "shape mismatch"},
		{"{\"d_in\":0}", "bad config"},
		{"{\"d_in\":2.5}", "bad config"},
		{"{\"d_sae\":4}", "shape mismatch"},
		{"{\"architecture\":3}", "bad config"},
		{"{\"architecture\":\"gated\"}", "missing tensor"},
		{"{\"architecture\":\"temporal\"}", "unsupported architecture"},
		{"{\"architecture\":\"skip_transcoder\"}", "missing tensor"},
		{"{\"architecture\":\"topk\"}", "bad k"},
		{"{\"architecture\":\"topk\",\"k\":4}", "bad k"},
		{"{\"architecture\":\"topk\",\"k\":1.5}", "bad k"},
		{"{\"architecture\":\"batchtopk\",\"k\":0}", "bad k"},
		{"{\"activation_fn\":\"gelu\"}", "unsupported activation"},
		{"{\"normalize_activations\":\"batch\"}", "unsupported normalisation"},
		{"{\"normalize_activations\":7}", "unsupported normalisation"},
		{"{\"finetuning_scaling_factor\":true}", "missing tensor"},
		{"{\"apply_b_dec_to_input\":\"yes\"}", "bad config"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct sae_spec spec;
		struct error error;
		if (small_sae_open(&spec, cases[i].cfg, NULL, &error) != STATUS_INVALID)
			fail_msg("accepted: %s", cases[i].cfg);
		if (!scratch_says(error.text, cases[i].says) || !scratch_says(error.text, "small/"))
			fail_msg("at: %s", cases[i].cfg);
	}
}

static void test_options_and_paths_refused(void **state)
{
	(void)state;
	struct sae_spec spec;
	struct error error;
	struct sae_options options = {.activation_scale = 2};
	assert_int_equal(small_sae_open(&spec, "{}", &options, &error), STATUS_INVALID);
	assert_int_equal(sae_file_open(&spec, "/nonexistent", NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "/nonexistent"));
	char *parent = scratch_path("");
	assert_int_equal(sae_file_open(&spec, parent, NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "did you mean"));
	free(parent);
}

static void test_metadata_describes(void **state)
{
	(void)state;
	struct sae_spec spec;
	struct error error;
	assert_int_equal(
		small_sae_open(
			&spec,
			"{\"metadata\":{\"model_name\":\"gpt2-small\",\"hook_name\":\"blocks.8.hook_resid_mid\","
			"\"neuronpedia_id\":\"gpt2-small/8-res-jb\",\"prepend_bos\":false,\"context_size\":128}}",
			NULL, &error),
		STATUS_OK);
	enum hook hook;
	assert_int_equal(spec.layer, 8);
	assert_true(sae_site_hook(spec.site_in, &hook) && hook == HOOK_RESID_MID);
	assert_true(spec.center_input && !spec.prepend_bos && spec.context_size == 128);
	assert_string_equal(spec.model_name, "gpt2-small");
	sae_spec_done(&spec);
	struct sae_options options = {.center = SAE_CENTER_NO};
	assert_int_equal(
		small_sae_open(&spec,
			       "{\"metadata\":{\"model_from_pretrained_kwargs\":{\"center_writing_weights\":true}}}",
			       &options, &error),
		STATUS_OK);
	assert_false(spec.center_input);
	sae_spec_done(&spec);
	assert_int_equal(small_sae_open(&spec,
					"{\"metadata\":{\"neuronpedia_id\":\"gpt2-small/8-res-jb\","
					"\"model_from_pretrained_kwargs\":{}}}",
					NULL, &error),
			 STATUS_OK);
	assert_false(spec.center_input);
	sae_spec_done(&spec);
}

static void test_site_names(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum sae_site site;
		int64_t layer;
	} names[] = {
		{"blocks.4.hook_resid_pre", SAE_SITE_RESID_PRE, 4},
		{"blocks.11.attn.hook_z", SAE_SITE_ATTN_Z, 11},
		{"layers.10", SAE_SITE_RESID_POST, 10},
		{"h.3.attn", SAE_SITE_ATTN_OUT, 3},
		{"transformer.h.0.mlp", SAE_SITE_MLP_OUT, 0},
		{"model.layers.7.output", SAE_SITE_RESID_POST, 7},
		{"model.layers.7.pre_feedforward_layernorm.output", SAE_SITE_MLP_IN, 7},
		{"model.layers.7.self_attn.o_proj.input", SAE_SITE_ATTN_Z, 7},
		{"resid_post_layer_3", SAE_SITE_RESID_POST, 3},
		{"embed_tokens", SAE_SITE_EMBED, -1},
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		enum sae_site site;
		int64_t layer;
		if (!sae_site_parse(names[i].name, &site, &layer) || site != names[i].site || layer != names[i].layer)
			fail_msg("%s is read as %s of layer %lld", names[i].name, sae_site_name(site),
				 (long long)layer);
	}
	static const char *const unknown[] = {"",
					      "layers.",
					      "layers.x",
					      "blocks.4.hook_other",
					      "resid_post_layer_",
					      "blocks.99999999999.hook_resid_pre"};
	for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
		enum sae_site site;
		int64_t layer;
		assert_false(sae_site_parse(unknown[i], &site, &layer));
	}
}

static void test_folders_are_listed(void **state)
{
	(void)state;
	static const char *const files[] = {"many/layers.10/sae.safetensors", "many/layers.2/sae.safetensors",
					    "many/layers.2/cfg.json",	      "many/layers.10/cfg.json",
					    "many/q/layer3.sae.pt",	      "many/q/layer12.sae.pt",
					    "many/.hidden/params.npz",	      "many/README.md"};
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		free(scratch_file(files[i], "{}", 2));
	char *folder = scratch_path("many");
	struct sae_list list;
	struct sae_spec spec;
	struct error error;
	assert_int_equal(sae_file_list(&list, folder, &error), STATUS_OK);
	static const char *const expected[] = {"/layers.2", "/layers.10", "/q/layer3.sae.pt", "/q/layer12.sae.pt"};
	assert_int_equal(list.count, ARRAY_LEN(expected));
	for (size_t i = 0; i < list.count; i++)
		assert_string_equal(list.paths[i] + strlen(folder), expected[i]);
	sae_list_done(&list);
	assert_int_equal(sae_file_open(&spec, folder, NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "many/layers.2'?"));
	char *inner = path_join(folder, "q");
	assert_int_equal(sae_file_open(&spec, inner, NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "several .pt files"));
	free(inner);
	free(folder);
	folder = scratch_path("nothing/here");
	assert_int_equal(sae_file_list(&list, folder, &error), STATUS_INVALID);
	free(folder);
}

/* The configuration, given in place of its folder. */
static void test_config_is_a_path_too(void **state)
{
	(void)state;
	struct sae_spec spec;
	struct error error;
	assert_int_equal(small_sae_open(&spec, "{}", NULL, &error), STATUS_OK);
	char *config = mem_strdup(spec.config_path);
	sae_spec_done(&spec);
	assert_int_equal(sae_file_open(&spec, config, NULL, &error), STATUS_OK);
	assert_int_equal(spec.format, SAE_SAELENS);
	sae_spec_done(&spec);
	free(config);
}

static bool count_bytes(void *context, const char *what, uint64_t done, uint64_t total)
{
	uint64_t *last = context;
	(void)what;
	assert_true(done > *last && done <= total);
	*last = done;
	return true;
}

static bool stop(void *context, const char *what, uint64_t done, uint64_t total)
{
	(void)what;
	(void)done;
	(void)total;
	return ++*(int *)context < 2;
}

/* Reading tells how many of the bytes are there; stopped, the SAE is only opened again. */
static void test_reading_can_be_stopped(void **state)
{
	(void)state;
	struct sae_spec spec;
	struct error error;
	uint64_t last = 0;
	int calls = 0;
	static const char cfg[] = "{\"architecture\":\"jumprelu\",\"apply_b_dec_to_input\":false}";
	assert_int_equal(small_sae_open(&spec, cfg, NULL, &error), STATUS_OK);
	sae_file_unload(&spec);
	assert_int_equal(sae_file_load(&spec, &(struct progress){count_bytes, &last}, &error), STATUS_OK);
	assert_int_equal(last, sae_file_load_bytes(&spec));
	sae_file_unload(&spec);
	assert_int_equal(sae_file_load(&spec, &(struct progress){stop, &calls}, &error), STATUS_CANCELLED);
	assert_int_equal(calls, 2);
	assert_null(spec.W_enc);
	assert_null(spec.W_dec);
	assert_int_equal(spec.loaded_bytes, 0);
	assert_int_equal(sae_file_load(&spec, NULL, &error), STATUS_OK);
	small_sae_expect(&spec, "read again", (double[]){1.75, 0.5, 0}, (double[]){2, 0.25});
	sae_spec_done(&spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_decides_the_rule),
		cmocka_unit_test(test_configs_refused),
		cmocka_unit_test(test_options_and_paths_refused),
		cmocka_unit_test(test_metadata_describes),
		cmocka_unit_test(test_site_names),
		cmocka_unit_test(test_folders_are_listed),
		cmocka_unit_test(test_config_is_a_path_too),
		cmocka_unit_test(test_reading_can_be_stopped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
