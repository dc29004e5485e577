/* SAEs as other libraries lay them out: names and order of the tensors, scales and skips. */
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
#include "models/sae_reference.h"
#include "tests/scratch.h"
#include "tests/small_sae.h"

/* One folder of another format: its tensors and configuration, and what the SAE gives
 * for x = (1.25, 0.75) by hand. */
static void check_layout(const char *folder, const char *weights, struct st_writer *w, const char *config,
			 const char *cfg, enum sae_format format, const double expected_z[3],
			 const double expected_y[2])
{
	char *name = path_join(folder, weights);
	free(st_writer_end(w, name));
	free(name);
	name = path_join(folder, config);
	free(scratch_file(name, cfg, strlen(cfg)));
	free(name);
	char *path = scratch_path(folder);
	struct sae_spec spec;
	struct error error;
	if (sae_file_open(&spec, path, NULL, &error) || sae_file_load(&spec, NULL, &error))
		fail_msg("%s", error.text);
	assert_int_equal(spec.format, format);
	small_sae_expect(&spec, folder, expected_z, expected_y);
	sae_spec_done(&spec);
	free(path);
}

static void test_layouts_of_other_libraries(void **state)
{
	(void)state;
	static const float encoder[] = {1, 0, /**/ 0, 2, /**/ -1, 1}; /* [F, d] */
	static const float decoder[] = {1, 0, 3, /**/ 0, 1, 4};	      /* [d, F] */
	static const float skip[] = {1, 2, 3, 4};
	struct st_writer w = {0};

	small_sae_add(&w, "encoder.weight", 2, 3, 2, encoder);
	small_sae_add(&w, "encoder.bias", 1, 3, 0, small_b_enc);
	small_sae_add(&w, "W_dec", 2, 3, 2, small_W_dec);
	small_sae_add(&w, "b_dec", 1, 2, 0, small_b_dec);
	check_layout("s1/layers.3", "sae.safetensors", &w, "cfg.json", "{\"k\":1,\"num_latents\":3,\"d_in\":2}",
		     SAE_SPARSIFY, (double[]){1.5, 0, 0}, (double[]){1.75, -0.25});

	/* h = (1.75, 0.5, -0.5); x W_skip^T = (2.75, 6.75) */
	small_sae_add(&w, "encoder.weight", 2, 3, 2, encoder);
	small_sae_add(&w, "encoder.bias", 1, 3, 0, small_b_enc);
	small_sae_add(&w, "W_dec", 2, 3, 2, small_W_dec);
	small_sae_add(&w, "b_dec", 1, 2, 0, small_b_dec);
	small_sae_add(&w, "W_skip", 2, 2, 2, skip);
	check_layout("s2/layers.3.mlp", "sae.safetensors", &w, "cfg.json",
		     "{\"k\":1,\"num_latents\":3,\"d_in\":2,\"transcode\":true,\"skip_connection\":true}", SAE_SPARSIFY,
		     (double[]){1.75, 0, 0}, (double[]){4.75, 6.5});

	/* x A = (3.5, 5.5) */
	small_sae_add(&w, "w_enc", 2, 2, 3, small_W_enc);
	small_sae_add(&w, "w_dec", 2, 3, 2, small_W_dec);
	small_sae_add(&w, "b_enc", 1, 3, 0, small_b_enc);
	small_sae_add(&w, "b_dec", 1, 2, 0, small_b_dec);
	small_sae_add(&w, "threshold", 1, 3, 0, small_threshold);
	small_sae_add(&w, "affine_skip_connection", 2, 2, 2, skip);
	check_layout("transcoder/layer_7_width_16k_l0_small_affine", "params.safetensors", &w, "config.json",
		     "{\"architecture\":\"jump_relu\"}", SAE_GEMMA_SCOPE_2, (double[]){1.75, 0.5, 0},
		     (double[]){5.5, 5.75});

	/* s_in = 2, s_out = 4; decoder norms after the scales (0.5, 0.5, 2.5): h = (0.75, 0.5, -1.25) */
	small_sae_add(&w, "encoder.weight", 2, 3, 2, encoder);
	small_sae_add(&w, "encoder.bias", 1, 3, 0, small_b_enc);
	small_sae_add(&w, "decoder.weight", 2, 2, 3, decoder);
	small_sae_add(&w, "decoder.bias", 1, 2, 0, small_b_dec);
	check_layout("llama", "checkpoints/final.safetensors", &w, "hyperparams.json",
		     "{\"act_fn\":\"jumprelu\",\"jump_relu_threshold\":0.6,\"norm_activation\":\"dataset-wise\","
		     "\"dataset_average_activation_norm\":{\"in\":0.70710678118654752,\"out\":0.35355339059327376}}",
		     SAE_LLAMA_SCOPE, (double[]){0.75, 0, 0}, (double[]){0.8125, -0.0625});
}

/* OpenMOSS gates on h n against theta: h just at or below theta / n is off, the next
 * float above is on, wherever theta / n falls between two floats. */
static void test_gate_rounds_as_openmoss(void **state)
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
		struct st_writer w = {0};
		small_sae_add(&w, "W_E", 2, 2, 2, W_E);
		small_sae_add(&w, "W_D", 2, 2, 2, W_D);
		small_sae_add(&w, "b_E", 1, 2, 0, b_E);
		small_sae_add(&w, "b_D", 1, 2, 0, b_D);
		small_sae_add(&w, "log_jumprelu_threshold", 1, 2, 0, log_thetas);
		char *path = st_writer_end(&w, "gate/sae_weights.safetensors");
		free(scratch_file("gate/config.json", cfg, strlen(cfg)));
		struct sae_spec spec;
		struct error error;
		if (sae_file_open(&spec, path, NULL, &error) || sae_file_load(&spec, NULL, &error))
			fail_msg("%s", error.text);
		double z[2];
		sae_reference_encode(&spec, 1, x, z, NULL);
		assert_true(z[0] == 0 && z[1] == (double)b_E[1]);
		sae_spec_done(&spec);
		free(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts_of_other_libraries),
		cmocka_unit_test(test_gate_rounds_as_openmoss),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
