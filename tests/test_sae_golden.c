/* The golden SAEs of every format: what the files say of them, what models/sae_reference.h computes with
 * them under each reading; and the malformed files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/sae_reference.h"
#include "tests/golden_saes.h"
#include "tests/scratch.h"

static void check_clamps(const struct golden_sae *g)
{
	const struct sae_spec *s = g->spec;
	int64_t features[GOLDEN_CLAMPED_MAX], K = golden_sae_clamped(g, features);
	size_t outputs = (size_t)(g->T * s->d_out);
	double *target = golden_sae_array(g->inputs, json_member(g->about, "target")->valuestring, outputs);
	double *out = mem_alloc(outputs, sizeof *out);
	const cJSON *one;
	cJSON_ArrayForEach(one, json_member(g->about, "clamps"))
	{
		struct golden_clamp clamp = golden_clamp_of(one);
		sae_reference_clamp(s, g->T, g->x, target, features, K, clamp.mode, clamp.value, clamp.error_scale,
				    out);
		golden_sae_compare(g, clamp.file, out, outputs);
	}
	free(target);
	free(out);
}

/* Every array of a reading against what the loaded spec computes. */
static void check_arrays(const struct golden_sae *g)
{
	const struct sae_spec *s = g->spec;
	size_t latents = (size_t)(g->T * s->F), inputs = (size_t)(g->T * s->d_in), outputs = (size_t)(g->T * s->d_out);
	double *z = mem_alloc(latents, sizeof *z), *pre = mem_alloc(latents, sizeof *pre);
	double *y = mem_alloc(outputs, sizeof *y), *dx = mem_alloc(inputs, sizeof *dx);
	sae_reference_encode(s, g->T, g->x, z, pre);
	golden_sae_compare(g, "features.npy", z, latents);
	golden_sae_compare(g, "pre_activations.npy", pre, latents);
	golden_sae_check_exact(g, z);
	sae_reference_decode(s, g->T, g->x, z, y);
	golden_sae_compare(g, "recon.npy", y, outputs);

	double *up = golden_sae_array(g->inputs, "g_features.npy", latents);
	sae_reference_encode_back(s, g->T, g->x, up, dx);
	golden_sae_compare(g, "grad_x_from_features.npy", dx, inputs);
	free(up);
	up = golden_sae_array(g->inputs, "g_recon.npy", outputs);
	sae_reference_recon_back(s, g->T, g->x, up, dx);
	golden_sae_compare(g, "grad_x_from_recon.npy", dx, inputs);
	free(up);
	free(z);
	free(pre);
	free(y);
	free(dx);
}

static void check_description(const struct golden_sae *g)
{
	const struct sae_spec *s = g->spec;
	assert_int_equal(s->d_in, json_member(g->about, "d_in")->valuedouble);
	assert_int_equal(s->d_out, json_member(g->about, "d_out")->valuedouble);
	assert_int_equal(s->F, json_member(g->about, "n_features")->valuedouble);
	const cJSON *k = json_member(g->about, "k");
	assert_int_equal(s->k, k ? k->valuedouble : 0);
	assert_string_equal(st_dtype_name(s->stored_dtype), json_member(g->about, "stored_dtype")->valuestring);
	assert_string_equal(sae_act_name(s->act), json_member(g->about, "architecture")->valuestring);
	assert_string_equal(sae_norm_name(s->norm), json_member(g->about, "normalize")->valuestring);
	const char *hook = json_member(g->about, "hook")->valuestring;
	enum sae_site site;
	int64_t layer;
	assert_true(sae_site_parse(hook, &site, &layer));
	if (s->layer != layer)
		fail_msg("%s: layer %lld, not %lld", g->name, (long long)s->layer, (long long)layer);
	if (s->transcoder && site == SAE_SITE_MLP_OUT)
		site = SAE_SITE_MLP_IN;
	if (s->site_in != site)
		fail_msg("%s: site %s, not %s", g->name, sae_site_name(s->site_in), sae_site_name(site));
	assert_int_equal(s->transcoder, strcmp(json_member(g->about, "target")->valuestring, "y.npy") == 0);
}

static void check_reading(const struct golden_sae *g)
{
	if (!g->other_reading)
		check_description(g);
	check_arrays(g);
	check_clamps(g);
}

static void test_readings(void **state)
{
	(void)state;
	assert_true(golden_saes_each(check_reading) >= 43);
}

static void check_bad(const struct golden_bad *bad)
{
	struct sae_spec spec;
	struct error error;
	enum status status = sae_file_open(&spec, bad->path, NULL, &error);
	bool at_load = status == STATUS_OK;
	if (at_load)
		status = sae_file_load(&spec, NULL, &error);
	if (status != STATUS_INVALID)
		fail_msg("accepted: %s", bad->name);
	sae_spec_done(&spec);
	/* Only numbers may be found wrong late. */
	if (at_load && strcmp(bad->kind, "not finite") != 0 && strcmp(bad->kind, "checksum") != 0 &&
	    !strstr(bad->name, "npz_bomb"))
		fail_msg("found only when loading: %s: %s", bad->name, error.text);
	if (!scratch_says(error.text, bad->kind) || !scratch_says(error.text, "bad/"))
		fail_msg("at %s", bad->name);
	assert_null(strchr(error.text, 27));
}

static void test_malformed_files_refused(void **state)
{
	(void)state;
	assert_true(golden_saes_each_bad(NULL, check_bad) >= 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readings),
		cmocka_unit_test(test_malformed_files_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
