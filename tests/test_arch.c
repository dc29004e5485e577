/* What the families' configs mean: defaults of the classes, sizes, scales, windows; where they are read
 * from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tests/quoted_config.h"
#include "tests/scratch.h"

enum { GATED = 1, TIED = 2, QK_NORM = 4, POST_NORMS = 8, Q_BIAS = 16, O_BIAS = 32, MLP_BIAS = 64 };

/* A config that says nothing but its type is the class with its defaults. */
static void class_defaults(void **state)
{
	(void)state;
	static const struct {
		const char *config;
		enum arch_family family;
		struct {
			int layers, d, heads, kv_heads, head_dim, f;
		} sizes;
		struct {
			int64_t vocab, context;
		} limits;
		double eps;
		enum arch_norm norm;
		enum arch_act act;
		int flags;
		struct {
			int64_t bos, eos;
		} ends;
	} rows[] = {
		{"{'model_type':'gpt2'}",
		 ARCH_GPT2,
		 {12, 768, 12, 12, 64, 3072},
		 {50257, 1024},
		 1e-5,
		 ARCH_NORM_LAYER,
		 ARCH_ACT_GELU_TANH,
		 TIED | Q_BIAS | O_BIAS | MLP_BIAS,
		 {50256, 50256}},
		{"{'model_type':'gpt_neox'}",
		 ARCH_NEOX,
		 {44, 6144, 64, 64, 96, 24576},
		 {50432, 2048},
		 1e-5,
		 ARCH_NORM_LAYER,
		 ARCH_ACT_GELU,
		 Q_BIAS | O_BIAS | MLP_BIAS,
		 {0, 2}},
		{"{'model_type':'gemma2'}",
		 ARCH_GEMMA2,
		 {26, 2304, 8, 4, 256, 9216},
		 {256000, 8192},
		 1e-6,
		 ARCH_NORM_RMS_PLUS,
		 ARCH_ACT_GELU_TANH,
		 GATED | TIED | POST_NORMS,
		 {2, 1}},
		{"{'model_type':'gemma3_text'}",
		 ARCH_GEMMA3,
		 {26, 2304, 8, 4, 256, 9216},
		 {262208, 131072},
		 1e-6,
		 ARCH_NORM_RMS_PLUS,
		 ARCH_ACT_GELU_TANH,
		 GATED | TIED | QK_NORM | POST_NORMS,
		 {2, 1}},
		{"{'model_type':'gemma3','text_config':{}}",
		 ARCH_GEMMA3,
		 {26, 2304, 8, 4, 256, 9216},
		 {262208, 131072},
		 1e-6,
		 ARCH_NORM_RMS_PLUS,
		 ARCH_ACT_GELU_TANH,
		 GATED | TIED | QK_NORM | POST_NORMS,
		 {2, 1}},
		{"{'model_type':'llama'}",
		 ARCH_LLAMA,
		 {32, 4096, 32, 32, 128, 11008},
		 {32000, 2048},
		 1e-6,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 GATED,
		 {1, 2}},
		{"{'model_type':'mistral'}",
		 ARCH_MISTRAL,
		 {32, 4096, 32, 8, 128, 14336},
		 {32000, 131072},
		 1e-6,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 GATED,
		 {1, 2}},
		{"{'model_type':'qwen2'}",
		 ARCH_QWEN2,
		 {32, 4096, 32, 32, 128, 22016},
		 {151936, 32768},
		 1e-6,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 GATED | Q_BIAS,
		 {-1, -1}},
		{"{'model_type':'qwen3'}",
		 ARCH_QWEN3,
		 {32, 4096, 32, 32, 128, 22016},
		 {151936, 32768},
		 1e-6,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 GATED | QK_NORM,
		 {-1, -1}},
		{"{'model_type':'phi3'}",
		 ARCH_PHI3,
		 {32, 3072, 32, 32, 96, 8192},
		 {32064, 4096},
		 1e-5,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 GATED,
		 {1, 32000}},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arch a;
		quoted_config_accept(&a, rows[i].config);
		assert_int_equal(a.family, rows[i].family);
		assert_int_equal(a.layers, rows[i].sizes.layers);
		assert_int_equal(a.d, rows[i].sizes.d);
		assert_int_equal(a.heads, rows[i].sizes.heads);
		assert_int_equal(a.kv_heads, rows[i].sizes.kv_heads);
		assert_int_equal(a.head_dim, rows[i].sizes.head_dim);
		assert_int_equal(a.f, rows[i].sizes.f);
		assert_int_equal(a.vocab, rows[i].limits.vocab);
		assert_int_equal(a.context, rows[i].limits.context);
		assert_near(a.norm_eps, rows[i].eps);
		assert_int_equal(a.norm, rows[i].norm);
		assert_int_equal(a.act, rows[i].act);
		assert_int_equal(a.gated, (rows[i].flags & GATED) != 0);
		assert_int_equal(a.tied, (rows[i].flags & TIED) != 0);
		assert_int_equal(a.qk_norm, (rows[i].flags & QK_NORM) != 0);
		assert_int_equal(a.post_norms, (rows[i].flags & POST_NORMS) != 0);
		assert_int_equal(a.q_bias, (rows[i].flags & Q_BIAS) != 0);
		assert_int_equal(a.o_bias, (rows[i].flags & O_BIAS) != 0);
		assert_int_equal(a.mlp_bias, (rows[i].flags & MLP_BIAS) != 0);
		assert_int_equal(a.bos, rows[i].ends.bos);
		assert_int_equal(a.eos, rows[i].ends.eos);
		arch_done(&a);
	}
}

static void gpt2_scales_and_older_keys(void **state)
{
	(void)state;
	struct arch a;
	quoted_config_accept(&a, "{'model_type':'gpt2'}");
	assert_true(a.learned_positions);
	assert_near(a.embed_scale, 1);
	assert_int_equal(a.n_ropes, 0);
	assert_int_equal(a.layer[11].rope, -1);
	assert_near(a.layer[11].score_scale, 0.125);
	arch_done(&a);
	quoted_config_accept(&a, "{'model_type':'gpt2','scale_attn_by_inverse_layer_idx':true}");
	assert_near(a.layer[11].score_scale, 0.125 / 12);
	arch_done(&a);
	quoted_config_accept(&a,
			     "{'architectures':['GPT2LMHeadModel'],'scale_attn_weights':false,'hidden_size':10,"
			     "'num_attention_heads':2,'num_hidden_layers':1,'max_position_embeddings':7,'n_inner':null,"
			     "'vocab_size':50,'bos_token_id':3,'eos_token_id':[4,60,5]}");
	assert_near(a.layer[0].score_scale, 1);
	assert_int_equal(a.d, 10);
	assert_int_equal(a.layers, 1);
	assert_int_equal(a.head_dim, 5);
	assert_int_equal(a.context, 7);
	assert_int_equal(a.f, 40);
	assert_int_equal(a.bos, 3);
	/* 60 is outside the vocabulary. */
	assert_int_equal(a.n_stops, 2);
	assert_int_equal(a.stop[1], 5);
	assert_int_equal(a.eos, 4);
	arch_done(&a);
}

static void gemma_layers(void **state)
{
	(void)state;
	struct arch a;
	quoted_config_accept(&a, "{'model_type':'gemma2','num_hidden_layers':4,'hidden_act':'relu'}");
	assert_int_equal(a.act, ARCH_ACT_GELU_TANH);
	assert_int_equal(a.layer[0].window, 4096);
	assert_int_equal(a.layer[1].window, 0);
	assert_int_equal(a.layer[2].window, 4096);
	assert_near(a.layer[0].score_scale, 1.0 / 16);
	assert_near(a.embed_scale, 48);
	assert_near(a.score_softcap, 50);
	assert_near(a.logit_softcap, 30);
	arch_done(&a);
	quoted_config_accept(&a, "{'model_type':'gemma2','num_hidden_layers':2,'attn_logit_softcapping':null,"
				 "'final_logit_softcapping':null,'sliding_window':null,'query_pre_attn_scalar':144}");
	assert_near(a.score_softcap, 0);
	assert_near(a.logit_softcap, 0);
	assert_int_equal(a.layer[0].window, 0);
	assert_near(a.layer[0].score_scale, 1.0 / 12);
	arch_done(&a);

	/* Gemma 3: pattern 6 unless the key without underscore says otherwise; two rotations. */
	quoted_config_accept(
		&a,
		"{'model_type':'gemma3_text','num_hidden_layers':7,'_sliding_window_pattern':2,'sliding_window':512,"
		"'attn_logit_softcapping':50}");
	assert_int_equal(a.layer[4].window, 512);
	assert_int_equal(a.layer[5].window, 0);
	assert_int_equal(a.layer[6].window, 512);
	assert_near(a.score_softcap, 0);
	assert_near(a.logit_softcap, 0);
	assert_near(a.ropes[a.layer[5].rope].inverse[1], pow(1e6, -2.0 / 256));
	assert_near(a.ropes[a.layer[4].rope].inverse[1], pow(1e4, -2.0 / 256));
	arch_done(&a);
	quoted_config_accept(
		&a, "{'model_type':'gemma3','eos_token_id':[1,106],'tie_word_embeddings':false,"
		    "'text_config':{'num_hidden_layers':4,'sliding_window_pattern':2,'final_logit_softcapping':9,"
		    "'rope_scaling':{'rope_type':'linear','factor':8.0}}}");
	assert_near(a.logit_softcap, 0);
	assert_int_equal(a.layer[1].window, 0);
	assert_near(a.ropes[a.layer[1].rope].inverse[0], 1.0 / 8);
	assert_near(a.ropes[a.layer[0].rope].inverse[0], 1);
	assert_false(a.tied);
	assert_int_equal(a.n_stops, 2);
	assert_int_equal(a.stop[1], 106);
	arch_done(&a);
	quoted_config_accept(&a, "{'model_type':'gemma3_text','num_hidden_layers':2,'final_logit_softcapping':9,"
				 "'layer_types':['full_attention','sliding_attention']}");
	assert_near(a.logit_softcap, 9);
	assert_int_equal(a.layer[0].window, 0);
	assert_int_equal(a.layer[1].window, 4096);
	arch_done(&a);
}

static void llama_family_windows(void **state)
{
	(void)state;
	struct arch a;
	quoted_config_accept(&a, "{'model_type':'mistral','num_hidden_layers':2}");
	assert_int_equal(a.layer[1].window, 4096);
	arch_done(&a);
	quoted_config_accept(&a, "{'model_type':'mistral','num_hidden_layers':2,'sliding_window':null}");
	assert_int_equal(a.layer[1].window, 0);
	arch_done(&a);
	quoted_config_accept(&a,
			     "{'model_type':'qwen2','num_hidden_layers':2,'sliding_window':8,'max_window_layers':1}");
	assert_int_equal(a.layer[1].window, 0);
	arch_done(&a);
	quoted_config_accept(&a, "{'model_type':'qwen3','num_hidden_layers':2,'sliding_window':8,'max_window_layers':1,"
				 "'use_sliding_window':true}");
	assert_int_equal(a.layer[0].window, 0);
	assert_int_equal(a.layer[1].window, 8);
	arch_done(&a);
	quoted_config_accept(&a, "{'model_type':'phi3','num_hidden_layers':2}");
	assert_int_equal(a.layer[0].window, 0);
	arch_done(&a);
	quoted_config_accept(&a, "{'model_type':'phi3','num_hidden_layers':2,'sliding_window':2047,"
				 "'layer_types':['sliding_attention','sliding_attention']}");
	assert_int_equal(a.layer[1].window, 2047);
	arch_done(&a);
}

static void folders_are_read_or_refused(void **state)
{
	(void)state;
	struct arch arch;
	struct error error;
	char *folder = scratch_path("nothing");
	assert_int_equal(arch_read(&arch, folder, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "config.json"));
	free(folder);
	free(scratch_file("odd/config.json", "{\"model_type\":\"\033[2Jx\"}", 23));
	folder = scratch_path("odd");
	assert_int_equal(arch_read(&arch, folder, &error), STATUS_INVALID);
	assert_null(strchr(error.text, '\033'));
	free(folder);
	free(scratch_file("good/config.json", "{\"model_type\":\"gpt2\"}", 21));
	folder = scratch_path("good");
	assert_int_equal(arch_read(&arch, folder, &error), STATUS_OK);
	arch_done(&arch);
	free(folder);
}

static void hooks_and_families_have_names(void **state)
{
	(void)state;
	enum hook hook;
	for (enum hook h = 0; h < HOOK_COUNT; h++) {
		assert_true(hook_parse(hook_name(h), &hook));
		assert_int_equal(hook, h);
	}
	assert_true(hook_parse("hook_resid_mid", &hook));
	assert_int_equal(hook, HOOK_RESID_MID);
	assert_false(hook_parse("resid", &hook));
	assert_false(hook_parse("hook_hook_resid_mid", &hook));
	assert_string_equal(arch_family_name(ARCH_NEOX), "gpt_neox");
	assert_string_equal(arch_family_name(ARCH_GEMMA3), "gemma3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(class_defaults),
		cmocka_unit_test(gpt2_scales_and_older_keys),
		cmocka_unit_test(gemma_layers),
		cmocka_unit_test(llama_family_windows),
		cmocka_unit_test(folders_are_read_or_refused),
		cmocka_unit_test(hooks_and_families_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
