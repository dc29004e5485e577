/* Rotations that configs ask for, against numbers worked out by hand from the rules in FORMATS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "compute/base/mem.h"
#include "tests/quoted_config.h"

/* The numbers of a config's rotation; those that are 0 are not looked at. */
struct rotation {
	const char *config;
	int64_t dims, original_context;
	double scale, inverse[4], inverse_long[2];
};

static void check_pairs(const double *found, const double *expected, int count)
{
	for (int i = 0; i < count; i++)
		if (expected[i] != 0)
			assert_near(found[i], expected[i]);
}

static void check(const struct rotation *expected, int count)
{
	for (; count > 0; count--, expected++) {
		struct arch a;
		quoted_config_accept(&a, expected->config);
		if (expected->dims)
			assert_int_equal(a.ropes[0].dims, expected->dims);
		if (expected->original_context)
			assert_int_equal(a.ropes[0].original_context, expected->original_context);
		if (expected->scale != 0)
			assert_near(a.ropes[0].scale, expected->scale);
		check_pairs(a.ropes[0].inverse, expected->inverse, ARRAY_LEN(expected->inverse));
		check_pairs(a.ropes[0].inverse_long, expected->inverse_long, ARRAY_LEN(expected->inverse_long));
		arch_done(&a);
	}
}

#define NEOX "{'model_type':'gpt_neox','hidden_size':40,'num_attention_heads':2,"

static void neox_rotation(void **state)
{
	(void)state;
	const struct rotation rotations[] = {
		/* int(20 * .25) is 5: three frequencies with exponents in fifths, so that six numbers rotate. */
		{NEOX "'rotary_pct':0.25,'rotary_emb_base':100}", .dims = 6, .inverse = {[2] = pow(100, -4.0 / 5)}},
		{NEOX "'rotary_pct':0.9,'rope_parameters':{'rope_theta':7,'partial_rotary_factor':0.5}}", .dims = 10,
		 .inverse = {[1] = pow(7, -0.2)}},
	};
	check(rotations, ARRAY_LEN(rotations));
	struct arch a;
	quoted_config_accept(&a, rotations[0].config);
	assert_true(a.parallel_residual);
	assert_false(arch_has_hook(&a, HOOK_RESID_MID));
	assert_true(arch_has_hook(&a, HOOK_RESID_POST));
	arch_done(&a);
	quoted_config_accept(&a, NEOX "'rotary_pct':0.01}");
	assert_int_equal(a.n_ropes, 0);
	assert_int_equal(a.layer[0].rope, -1);
	arch_done(&a);
}

static void scaled_rotations(void **state)
{
	(void)state;
	double wavelength = 20 * acos(-1.0), keep = (160 / wavelength - 1) / 3;
	const struct rotation rotations[] = {
		/* Wavelengths 2 pi 10^i for i = 0..3; below 100 kept, above 400 divided, 62.8... */
		{"{'model_type':'llama','hidden_size':8,'num_attention_heads':1,'rope_theta':10000,'rope_scaling':"
		 "{'rope_type':'llama3','factor':8,'low_freq_factor':1,'high_freq_factor':4,"
		 "'original_max_position_embeddings':160}}",
		 .inverse = {1, (1 - keep) * 0.1 / 8 + keep * 0.1, 0.01 / 8, 0.001 / 8}},
		/* YaRN by hand: pair i turns 200 10^-i / (2 pi) times in 200 tokens: 31.8, 3.18, .318, ...
		 * Thirty turns are pair floor(.03) = 0, half a turn is pair ceil(1.80) = 2. */
		{"{'model_type':'qwen2','hidden_size':8,'num_attention_heads':1,'num_key_value_heads':1,"
		 "'rope_theta':10000,'rope_scaling':{'type':'yarn','factor':4,'beta_fast':30,'beta_slow':0.5,"
		 "'original_max_position_embeddings':200}}",
		 .scale = 1 + 0.1 * log(4), .inverse = {1, 0.1 * (0.5 / 4 + 0.5), 0.01 / 4, 0.001 / 4}},
		/* Old "su"; an O inside rope_scaling does not count for Phi-3: 4096. */
		{"{'model_type':'phi3','hidden_size':4,'num_attention_heads':1,'max_position_embeddings':131072,"
		 "'rope_scaling':{'type':'su','short_factor':[1,2],'long_factor':[3,4],"
		 "'original_max_position_embeddings':9}}",
		 .original_context = 4096, .scale = sqrt(1 + log(32) / log(4096)), .inverse = {[1] = 0.01 / 2},
		 .inverse_long = {1.0 / 3, 0.01 / 4}},
		{"{'model_type':'llama','hidden_size':4,'num_attention_heads':1,'max_position_embeddings':64,"
		 "'rope_scaling':{'rope_type':'longrope','short_factor':[1,2],'long_factor':[3,4],'factor':16,"
		 "'original_max_position_embeddings':8}}",
		 .original_context = 8, .scale = sqrt(1 + log(16) / log(8))},
		{"{'model_type':'llama','hidden_size':4,'num_attention_heads':1,"
		 "'rope_scaling':{'rope_type':'longrope','short_factor':[1,2],'long_factor':[3,4],"
		 "'attention_factor':1.5}}",
		 .original_context = 2048, .scale = 1.5},
		/* An empty rope_scaling is none; rope_parameters' theta wins over the top level's. */
		{"{'model_type':'llama','hidden_size':4,'num_attention_heads':1,'rope_scaling':{},'rope_theta':5,"
		 "'rope_parameters':{'rope_theta':25.0,'rope_type':'default'}}",
		 .inverse = {[1] = 0.2}},
	};
	check(rotations, ARRAY_LEN(rotations));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neox_rotation),
		cmocka_unit_test(scaled_rotations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
