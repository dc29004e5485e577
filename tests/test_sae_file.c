/* models/sae_file.h and models/sae_reference.h: small SAEs written here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "models/sae_reference.h"
#include "tests/scratch.h"

/* A safetensors file of float32 tensors, each given by name, shape and numbers. */
struct writer {
	struct strbuf header, data;
};

static void writer_add(struct writer *w, const char *name, int rank, int64_t rows, int64_t cols, const float *numbers)
{
	size_t count = (size_t)(rows * (rank == 2 ? cols : 1)), begin = w->data.length;
	strbuf_add(&w->data, numbers, count * sizeof *numbers);
	strbuf_printf(&w->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%lld", w->header.length ? "," : "{", name,
		      (long long)rows);
	if (rank == 2)
		strbuf_printf(&w->header, ",%lld", (long long)cols);
	strbuf_printf(&w->header, "],\"data_offsets\":[%zu,%zu]}", begin, w->data.length);
}

static char *writer_end(struct writer *w, const char *name)
{
	strbuf_add_char(&w->header, '}');
	struct strbuf file = {0};
	for (int i = 0; i < 8; i++)
		strbuf_add_char(&file, (char)((uint64_t)w->header.length >> 8 * i));
	strbuf_add(&file, w->header.data, w->header.length);
	strbuf_add(&file, w->data.data, w->data.length);
	char *path = scratch_file(name, file.data, file.length);
	strbuf_done(&file);
	strbuf_done(&w->header);
	strbuf_done(&w->data);
	*w = (struct writer){0};
	return path;
}

/* d_in 2, three latents. */
static const float tiny_W_enc[] = {1, 0, -1, /**/ 0, 2, 1};
static const float tiny_W_dec[] = {1, 0, /**/ 0, 1, /**/ 3, 4};
static const float tiny_b_enc[] = {0.5f, -1, 0};
static const float tiny_b_dec[] = {0.25f, -0.25f};
static const float tiny_threshold[] = {0.5f, 0.25f, 1};

static enum status open_tiny(struct sae_spec *spec, const char *cfg, const struct sae_options *options,
			     struct error *error)
{
	struct writer w = {0};
	writer_add(&w, "W_enc", 2, 2, 3, tiny_W_enc);
	writer_add(&w, "W_dec", 2, 3, 2, tiny_W_dec);
	writer_add(&w, "b_enc", 1, 3, 0, tiny_b_enc);
	writer_add(&w, "b_dec", 1, 2, 0, tiny_b_dec);
	writer_add(&w, "threshold", 1, 3, 0, tiny_threshold);
	free(writer_end(&w, "tiny/sae_weights.safetensors"));
	free(scratch_file("tiny/cfg.json", cfg, strlen(cfg)));
	char *folder = scratch_path("tiny");
	enum status status = sae_file_open(spec, folder, options, error);
	free(folder);
	if (status == STATUS_OK)
		status = sae_file_load(spec, error);
	if (status)
		sae_spec_done(spec);
	return status;
}

static void check_tiny(const char *cfg, const double expected_z[3], const double expected_y[2])
{
	struct sae_spec spec;
	struct error error;
	if (open_tiny(&spec, cfg, NULL, &error))
		fail_msg("%s: %s", cfg, error.text);
	static const double x[2] = {1.25, 0.75};
	double z[3], y[2];
	sae_reference_encode(&spec, 1, x, z, NULL);
	sae_reference_decode(&spec, 1, x, z, y);
	for (int i = 0; i < 3; i++)
		if (!(fabs(z[i] - expected_z[i]) < 1e-6))
			fail_msg("%s: z[%d] is %g, not %g", cfg, i, z[i], expected_z[i]);
	for (int i = 0; i < 2; i++)
		if (!(fabs(y[i] - expected_y[i]) < 1e-6))
			fail_msg("%s: y[%d] is %g, not %g", cfg, i, y[i], expected_y[i]);
	assert_int_equal(spec.loaded_bytes, sae_file_load_bytes(&spec));
	sae_spec_done(&spec);
}

/* By hand: v = (1, 1), so h = (1.5, 1, 0); without b_dec v = (1.25, 0.75), h = (1.75, 0.5, -0.5). */
static void test_tiny(void **state)
{
	(void)state;
	check_tiny("{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":3}", (double[]){1.5, 1, 0},
		   (double[]){1.75, 0.75});
	check_tiny("{}", (double[]){1.5, 1, 0}, (double[]){1.75, 0.75});
	check_tiny("{\"apply_b_dec_to_input\":false}", (double[]){1.75, 0.5, 0}, (double[]){2, 0.25});
	check_tiny("{\"architecture\":\"jumprelu\",\"apply_b_dec_to_input\":false}", (double[]){1.75, 0.5, 0},
		   (double[]){2, 0.25});
	check_tiny("{\"architecture\":\"topk\",\"k\":1}", (double[]){1.5, 0, 0}, (double[]){1.75, -0.25});
	check_tiny("{\"activation_fn_str\":\"topk\",\"activation_fn_kwargs\":{\"k\":1}}", (double[]){1.5, 0, 0},
		   (double[]){1.75, -0.25});
	check_tiny("{\"activation_fn_str\":\"tanh-relu\"}", (double[]){tanh(1.5), tanh(1), 0},
		   (double[]){tanh(1.5) + 0.25, tanh(1) - 0.25});
	check_tiny("{\"architecture\":\"batchtopk\",\"k\":1}", (double[]){1.5, 0, 0}, (double[]){1.75, -0.25});
	check_tiny("{\"architecture\":\"transcoder\"}", (double[]){1.75, 0.5, 0}, (double[]){2, 0.25});
	/* Decoder norms (1, 1, 5): h becomes (1.75, 0.5, -2.5), the largest by magnitude is the last. */
	check_tiny("{\"architecture\":\"abstopk\",\"k\":1,\"rescale_acts_by_decoder_norm\":true,"
		   "\"apply_b_dec_to_input\":false}",
		   (double[]){0, 0, -2.5}, (double[]){0.25 - 1.5, -0.25 - 2});
}

static void test_tiny_refused(void **state)
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
		if (open_tiny(&spec, cases[i].cfg, NULL, &error) != STATUS_INVALID)
			fail_msg("accepted: %s", cases[i].cfg);
		if (!scratch_says(error.text, cases[i].says) || !scratch_says(error.text, "tiny/"))
			fail_msg("at: %s", cases[i].cfg);
	}
	struct sae_spec spec;
	struct error error;
	struct sae_options options = {.activation_scale = 2};
	assert_int_equal(open_tiny(&spec, "{}", &options, &error), STATUS_INVALID);
	assert_int_equal(sae_file_open(&spec, "/nonexistent", NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "/nonexistent"));
	char *parent = scratch_path("");
	assert_int_equal(sae_file_open(&spec, parent, NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "did you mean"));
	free(parent);
}

static void test_description(void **state)
{
	(void)state;
	struct sae_spec spec;
	struct error error;
	assert_int_equal(
		open_tiny(&spec,
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
		open_tiny(&spec, "{\"metadata\":{\"model_from_pretrained_kwargs\":{\"center_writing_weights\":true}}}",
			  &options, &error),
		STATUS_OK);
	assert_false(spec.center_input);
	sae_spec_done(&spec);
	assert_int_equal(open_tiny(&spec,
				   "{\"metadata\":{\"neuronpedia_id\":\"gpt2-small/8-res-jb\","
				   "\"model_from_pretrained_kwargs\":{}}}",
				   NULL, &error),
			 STATUS_OK);
	assert_false(spec.center_input);
	sae_spec_done(&spec);

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

/* One folder of another format: its tensors and configuration, and what the SAE gives
 * for x = (1.25, 0.75) by hand. */
static void check_layout(const char *folder, const char *weights, struct writer *w, const char *config, const char *cfg,
			 enum sae_format format, const double expected_z[3], const double expected_y[2])
{
	static const double x[2] = {1.25, 0.75};
	char *name = path_join(folder, weights);
	free(writer_end(w, name));
	free(name);
	name = path_join(folder, config);
	free(scratch_file(name, cfg, strlen(cfg)));
	free(name);
	char *path = scratch_path(folder);
	struct sae_spec spec;
	struct error error;
	double z[3], y[2];
	if (sae_file_open(&spec, path, NULL, &error) || sae_file_load(&spec, &error))
		fail_msg("%s", error.text);
	assert_int_equal(spec.format, format);
	sae_reference_encode(&spec, 1, x, z, NULL);
	sae_reference_decode(&spec, 1, x, z, y);
	for (int i = 0; i < 3; i++)
		if (!(fabs(z[i] - expected_z[i]) < 1e-6))
			fail_msg("%s: z[%d] is %g, not %g", folder, i, z[i], expected_z[i]);
	for (int i = 0; i < 2; i++)
		if (!(fabs(y[i] - expected_y[i]) < 1e-6))
			fail_msg("%s: y[%d] is %g, not %g", folder, i, y[i], expected_y[i]);
	sae_spec_done(&spec);
	free(path);
}

static void test_layouts(void **state)
{
	(void)state;
	static const float encoder[] = {1, 0, /**/ 0, 2, /**/ -1, 1}; /* [F, d] */
	static const float decoder[] = {1, 0, 3, /**/ 0, 1, 4};	      /* [d, F] */
	static const float skip[] = {1, 2, 3, 4};
	struct writer w = {0};

	writer_add(&w, "encoder.weight", 2, 3, 2, encoder);
	writer_add(&w, "encoder.bias", 1, 3, 0, tiny_b_enc);
	writer_add(&w, "W_dec", 2, 3, 2, tiny_W_dec);
	writer_add(&w, "b_dec", 1, 2, 0, tiny_b_dec);
	check_layout("s1/layers.3", "sae.safetensors", &w, "cfg.json", "{\"k\":1,\"num_latents\":3,\"d_in\":2}",
		     SAE_SPARSIFY, (double[]){1.5, 0, 0}, (double[]){1.75, -0.25});

	/* h = (1.75, 0.5, -0.5); x W_skip^T = (2.75, 6.75) */
	writer_add(&w, "encoder.weight", 2, 3, 2, encoder);
	writer_add(&w, "encoder.bias", 1, 3, 0, tiny_b_enc);
	writer_add(&w, "W_dec", 2, 3, 2, tiny_W_dec);
	writer_add(&w, "b_dec", 1, 2, 0, tiny_b_dec);
	writer_add(&w, "W_skip", 2, 2, 2, skip);
	check_layout("s2/layers.3.mlp", "sae.safetensors", &w, "cfg.json",
		     "{\"k\":1,\"num_latents\":3,\"d_in\":2,\"transcode\":true,\"skip_connection\":true}", SAE_SPARSIFY,
		     (double[]){1.75, 0, 0}, (double[]){4.75, 6.5});

	/* x A = (3.5, 5.5) */
	writer_add(&w, "w_enc", 2, 2, 3, tiny_W_enc);
	writer_add(&w, "w_dec", 2, 3, 2, tiny_W_dec);
	writer_add(&w, "b_enc", 1, 3, 0, tiny_b_enc);
	writer_add(&w, "b_dec", 1, 2, 0, tiny_b_dec);
	writer_add(&w, "threshold", 1, 3, 0, (float[]){0.5f, 0.25f, 1});
	writer_add(&w, "affine_skip_connection", 2, 2, 2, skip);
	check_layout("transcoder/layer_7_width_16k_l0_small_affine", "params.safetensors", &w, "config.json",
		     "{\"architecture\":\"jump_relu\"}", SAE_GEMMA_SCOPE_2, (double[]){1.75, 0.5, 0},
		     (double[]){5.5, 5.75});

	/* s_in = 2, s_out = 4; decoder norms after the scales (0.5, 0.5, 2.5): h = (0.75, 0.5, -1.25) */
	writer_add(&w, "encoder.weight", 2, 3, 2, encoder);
	writer_add(&w, "encoder.bias", 1, 3, 0, tiny_b_enc);
	writer_add(&w, "decoder.weight", 2, 2, 3, decoder);
	writer_add(&w, "decoder.bias", 1, 2, 0, tiny_b_dec);
	check_layout("llama", "checkpoints/final.safetensors", &w, "hyperparams.json",
		     "{\"act_fn\":\"jumprelu\",\"jump_relu_threshold\":0.6,\"norm_activation\":\"dataset-wise\","
		     "\"dataset_average_activation_norm\":{\"in\":0.70710678118654752,\"out\":0.35355339059327376}}",
		     SAE_LLAMA_SCOPE, (double[]){0.75, 0, 0}, (double[]){0.8125, -0.0625});
}

/* OpenMOSS gates on h n against theta: h just at or below theta / n is off, the next
 * float above is on, wherever theta / n falls between two floats. */
static void test_gate_norm_rounding(void **state)
{
	(void)state;
	static const char cfg[] = "{\"act_fn\":\"jumprelu\",\"norm_activation\":\"none\",\"d_model\":2}";
	static const float W_E[] = {1, 1, 1, 1}, W_D[] = {3, 4, 3, 4}, b_D[] = {0, 0};
	static const double x[2] = {0, 0};
	for (int i = 0; i < 20; i++) {
		float log_theta = -1 + 0.1f * (float)i;
		double exact = exp((double)log_theta) / 5;
		float below = (float)exact > exact ? nextafterf((float)exact, 0) : (float)exact;
		float b_E[2] = {below, nextafterf(below, INFINITY)}, log_thetas[2] = {log_theta, log_theta};
		struct writer w = {0};
		writer_add(&w, "W_E", 2, 2, 2, W_E);
		writer_add(&w, "W_D", 2, 2, 2, W_D);
		writer_add(&w, "b_E", 1, 2, 0, b_E);
		writer_add(&w, "b_D", 1, 2, 0, b_D);
		writer_add(&w, "log_jumprelu_threshold", 1, 2, 0, log_thetas);
		char *path = writer_end(&w, "gate/sae_weights.safetensors");
		free(scratch_file("gate/config.json", cfg, strlen(cfg)));
		struct sae_spec spec;
		struct error error;
		if (sae_file_open(&spec, path, NULL, &error) || sae_file_load(&spec, &error))
			fail_msg("%s", error.text);
		double z[2];
		sae_reference_encode(&spec, 1, x, z, NULL);
		assert_true(z[0] == 0 && z[1] == (double)b_E[1]);
		sae_spec_done(&spec);
		free(path);
	}
}

static void test_list(void **state)
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

	/* The configuration, given in place of its folder. */
	assert_int_equal(open_tiny(&spec, "{}", NULL, &error), STATUS_OK);
	char *config = mem_strdup(spec.config_path);
	sae_spec_done(&spec);
	assert_int_equal(sae_file_open(&spec, config, NULL, &error), STATUS_OK);
	assert_int_equal(spec.format, SAE_SAELENS);
	sae_spec_done(&spec);
	free(config);
}

/* Gradients of every activation and normalisation against central differences. */
static void test_gradients(void **state)
{
	(void)state;
	enum { D = 5, F = 6, T = 3 };
	float W_enc[F * D], W_dec[F * D], b_enc[F], b_dec[D], threshold[F], b_gate[F], b_mag[F], mag[F], skip[D * D];
	unsigned seed = 7;
	float *all[] = {W_enc, W_dec, b_enc, b_dec, threshold, b_gate, b_mag, mag, skip};
	size_t sizes[] = {F * D, F * D, F, D, F, F, F, F, D * D};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (size_t j = 0; j < sizes[i]; j++) {
			seed = seed * 1664525 + 1013904223;
			all[i][j] = (float)(seed >> 8) / (1 << 24) * 2 - 0.8f;
		}
	double x[T * D], dz[T * F], dy[T * D], dx[T * D];
	double *wide[] = {x, dz, dy};
	size_t wide_sizes[] = {T * D, T * F, T * D};
	for (size_t i = 0; i < 3; i++)
		for (size_t j = 0; j < wide_sizes[i]; j++) {
			seed = seed * 1664525 + 1013904223;
			wide[i][j] = (seed >> 8) / (double)(1 << 24) * 3 - 1.5;
		}
	for (int act = 0; act < SAE_ACT_COUNT; act++)
		for (int norm = 0; norm <= SAE_NORM_LAYER; norm++)
			for (int center = 0; center < 2; center++) {
				struct sae_spec s = {.d_in = D,
						     .d_out = D,
						     .F = F,
						     .act = (enum sae_act)act,
						     .k = 2,
						     .batch_k = 1.5,
						     .norm = (enum sae_norm)norm,
						     .norm_out = norm != 0,
						     .subtract_b_dec = true,
						     .center_input = center,
						     .has_skip = true,
						     .W_enc = W_enc,
						     .W_dec = W_dec,
						     .b_dec = b_dec,
						     .W_skip = skip,
						     .b_enc = act == SAE_GATED ? NULL : b_enc,
						     .threshold = threshold,
						     .b_gate = b_gate,
						     .b_mag = b_mag,
						     .mag_scale = mag};
				for (int which = 0; which < 2; which++) {
					if (which)
						sae_reference_recon_back(&s, T, x, dy, dx);
					else
						sae_reference_encode_back(&s, T, x, dz, dx);
					for (int i = 0; i < T * D; i++) {
						double z[T * F], y[T * D], side[2], keep = x[i], eps = 1e-6;
						for (int e = 0; e < 2; e++) {
							x[i] = keep + (e ? eps : -eps);
							side[e] = 0;
							sae_reference_encode(&s, T, x, z, NULL);
							sae_reference_decode(&s, T, x, z, y);
							for (int j = 0; j < T * F && !which; j++)
								side[e] += z[j] * dz[j];
							for (int j = 0; j < T * D && which; j++)
								side[e] += y[j] * dy[j];
						}
						x[i] = keep;
						double slope = (side[1] - side[0]) / (2 * eps);
						if (!(fabs(slope - dx[i]) <= 1e-6 * fmax(1, fabs(slope))))
							fail_msg("%s, norm %d, centre %d, of %s: %g, not %g",
								 sae_act_name(s.act), norm, center,
								 which ? "reconstruction" : "features", dx[i], slope);
					}
				}
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tiny),
		cmocka_unit_test(test_tiny_refused),
		cmocka_unit_test(test_description),
		cmocka_unit_test(test_gradients),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_gate_norm_rounding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
