/* config.json: what the families' configs mean, and what is refused. */
#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/arch.h"
#include "tests/scratch.h"

/* Strings below are JSON with ' for ". */
static char *quoted(const char *text)
{
	char *copy = mem_strdup(text);
	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	return copy;
}

static enum status parse(struct arch *arch, const char *text, struct error *error)
{
	char *json = quoted(text);
	enum status status = arch_parse(arch, json, strlen(json), "'m/config.json'", error);
	free(json);
	return status;
}

static void accept(struct arch *arch, const char *text)
{
	struct error error;
	if (parse(arch, text, &error))
		fail_msg("%s", error.text);
}

static void assert_near(double x, double y)
{
	if (!(fabs(x - y) <= 1e-12 * (1 + fabs(y))))
		fail_msg("%.15g is not %.15g", x, y);
}

/* A config that says nothing but its type is the class with its defaults. */
static void class_defaults(void **state)
{
	(void)state;
	static const struct {
		const char *config;
		enum arch_family family;
		int layers, d, heads, kv_heads, head_dim, f;
		int64_t vocab, context;
		double eps;
		enum arch_norm norm;
		enum arch_act act;
		bool gated, tied, qk_norm, post_norms, q_bias, o_bias, mlp_bias;
		int64_t bos, eos;
	} rows[] = {
		{"{'model_type':'gpt2'}",
		 ARCH_GPT2,
		 12,
		 768,
		 12,
		 12,
		 64,
		 3072,
		 50257,
		 1024,
		 1e-5,
		 ARCH_NORM_LAYER,
		 ARCH_ACT_GELU_TANH,
		 false,
		 true,
		 false,
		 false,
		 true,
		 true,
		 true,
		 50256,
		 50256},
		{"{'model_type':'gpt_neox'}",
		 ARCH_NEOX,
		 44,
		 6144,
		 64,
		 64,
		 96,
		 24576,
		 50432,
		 2048,
		 1e-5,
		 ARCH_NORM_LAYER,
		 ARCH_ACT_GELU,
		 false,
		 false,
		 false,
		 false,
		 true,
		 true,
		 true,
		 0,
		 2},
		{"{'model_type':'gemma2'}",
		 ARCH_GEMMA2,
		 26,
		 2304,
		 8,
		 4,
		 256,
		 9216,
		 256000,
		 8192,
		 1e-6,
		 ARCH_NORM_RMS_PLUS,
		 ARCH_ACT_GELU_TANH,
		 true,
		 true,
		 false,
		 true,
		 false,
		 false,
		 false,
		 2,
		 1},
		{"{'model_type':'gemma3_text'}",
		 ARCH_GEMMA3,
		 26,
		 2304,
		 8,
		 4,
		 256,
		 9216,
		 262208,
		 131072,
		 1e-6,
		 ARCH_NORM_RMS_PLUS,
		 ARCH_ACT_GELU_TANH,
		 true,
		 true,
		 true,
		 true,
		 false,
		 false,
		 false,
		 2,
		 1},
		{"{'model_type':'gemma3','text_config':{}}",
		 ARCH_GEMMA3,
		 26,
		 2304,
		 8,
		 4,
		 256,
		 9216,
		 262208,
		 131072,
		 1e-6,
		 ARCH_NORM_RMS_PLUS,
		 ARCH_ACT_GELU_TANH,
		 true,
		 true,
		 true,
		 true,
		 false,
		 false,
		 false,
		 2,
		 1},
		{"{'model_type':'llama'}",
		 ARCH_LLAMA,
		 32,
		 4096,
		 32,
		 32,
		 128,
		 11008,
		 32000,
		 2048,
		 1e-6,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 true,
		 false,
		 false,
		 false,
		 false,
		 false,
		 false,
		 1,
		 2},
		{"{'model_type':'mistral'}",
		 ARCH_MISTRAL,
		 32,
		 4096,
		 32,
		 8,
		 128,
		 14336,
		 32000,
		 131072,
		 1e-6,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 true,
		 false,
		 false,
		 false,
		 false,
		 false,
		 false,
		 1,
		 2},
		{"{'model_type':'qwen2'}",
		 ARCH_QWEN2,
		 32,
		 4096,
		 32,
		 32,
		 128,
		 22016,
		 151936,
		 32768,
		 1e-6,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 true,
		 false,
		 false,
		 false,
		 true,
		 false,
		 false,
		 -1,
		 -1},
		{"{'model_type':'qwen3'}",
		 ARCH_QWEN3,
		 32,
		 4096,
		 32,
		 32,
		 128,
		 22016,
		 151936,
		 32768,
		 1e-6,
		 ARCH_NORM_RMS,
		 ARCH_ACT_SILU,
		 true,
		 false,
		 true,
		 false,
		 false,
		 false,
		 false,
		 -1,
		 -1},
		{"{'model_type':'phi3'}", ARCH_PHI3,	 32,   3072,  32,    32,    96,	   8192,  32064, 4096, 1e-5,
		 ARCH_NORM_RMS,		  ARCH_ACT_SILU, true, false, false, false, false, false, false, 1,    32000},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arch a;
		accept(&a, rows[i].config);
		assert_int_equal(a.family, rows[i].family);
		assert_int_equal(a.layers, rows[i].layers);
		assert_int_equal(a.d, rows[i].d);
		assert_int_equal(a.heads, rows[i].heads);
		assert_int_equal(a.kv_heads, rows[i].kv_heads);
		assert_int_equal(a.head_dim, rows[i].head_dim);
		assert_int_equal(a.f, rows[i].f);
		assert_int_equal(a.vocab, rows[i].vocab);
		assert_int_equal(a.context, rows[i].context);
		assert_near(a.norm_eps, rows[i].eps);
		assert_int_equal(a.norm, rows[i].norm);
		assert_int_equal(a.act, rows[i].act);
		assert_int_equal(a.gated, rows[i].gated);
		assert_int_equal(a.tied, rows[i].tied);
		assert_int_equal(a.qk_norm, rows[i].qk_norm);
		assert_int_equal(a.post_norms, rows[i].post_norms);
		assert_int_equal(a.q_bias, rows[i].q_bias);
		assert_int_equal(a.o_bias, rows[i].o_bias);
		assert_int_equal(a.mlp_bias, rows[i].mlp_bias);
		assert_int_equal(a.bos, rows[i].bos);
		assert_int_equal(a.eos, rows[i].eos);
		arch_done(&a);
	}
}

static void gpt2_scales(void **state)
{
	(void)state;
	struct arch a;
	accept(&a, "{'model_type':'gpt2'}");
	assert_true(a.learned_positions);
	assert_near(a.embed_scale, 1);
	assert_int_equal(a.n_ropes, 0);
	assert_int_equal(a.layer[11].rope, -1);
	assert_near(a.layer[11].score_scale, 0.125);
	arch_done(&a);
	accept(&a, "{'model_type':'gpt2','scale_attn_by_inverse_layer_idx':true}");
	assert_near(a.layer[11].score_scale, 0.125 / 12);
	arch_done(&a);
	accept(&a, "{'architectures':['GPT2LMHeadModel'],'scale_attn_weights':false,'hidden_size':10,"
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

static void neox_rotation(void **state)
{
	(void)state;
	struct arch a;
	accept(&a, "{'model_type':'gpt_neox','hidden_size':40,'num_attention_heads':2,'rotary_pct':0.25,"
		   "'rotary_emb_base':100}");
	/* int(20 * .25) is 5: three frequencies with exponents in fifths, so that six numbers rotate. */
	assert_int_equal(a.ropes[0].dims, 6);
	assert_near(a.ropes[0].inverse[2], pow(100, -4.0 / 5));
	assert_true(a.parallel_residual);
	assert_false(arch_has_hook(&a, HOOK_RESID_MID));
	assert_true(arch_has_hook(&a, HOOK_RESID_POST));
	arch_done(&a);
	accept(&a, "{'model_type':'gpt_neox','hidden_size':40,'num_attention_heads':2,'rotary_pct':0.9,"
		   "'rope_parameters':{'rope_theta':7,'partial_rotary_factor':0.5}}");
	assert_int_equal(a.ropes[0].dims, 10);
	assert_near(a.ropes[0].inverse[1], pow(7, -0.2));
	arch_done(&a);
	accept(&a, "{'model_type':'gpt_neox','hidden_size':40,'num_attention_heads':2,'rotary_pct':0.01}");
	assert_int_equal(a.n_ropes, 0);
	assert_int_equal(a.layer[0].rope, -1);
	arch_done(&a);
}

static void gemma_layers(void **state)
{
	(void)state;
	struct arch a;
	accept(&a, "{'model_type':'gemma2','num_hidden_layers':4,'hidden_act':'relu'}");
	assert_int_equal(a.act, ARCH_ACT_GELU_TANH);
	assert_int_equal(a.layer[0].window, 4096);
	assert_int_equal(a.layer[1].window, 0);
	assert_int_equal(a.layer[2].window, 4096);
	assert_near(a.layer[0].score_scale, 1.0 / 16);
	assert_near(a.embed_scale, 48);
	assert_near(a.score_softcap, 50);
	assert_near(a.logit_softcap, 30);
	arch_done(&a);
	accept(&a, "{'model_type':'gemma2','num_hidden_layers':2,'attn_logit_softcapping':null,"
		   "'final_logit_softcapping':null,'sliding_window':null,'query_pre_attn_scalar':144}");
	assert_near(a.score_softcap, 0);
	assert_near(a.logit_softcap, 0);
	assert_int_equal(a.layer[0].window, 0);
	assert_near(a.layer[0].score_scale, 1.0 / 12);
	arch_done(&a);

	/* Gemma 3: pattern 6 unless the key without underscore says otherwise; two rotations. */
	accept(&a, "{'model_type':'gemma3_text','num_hidden_layers':7,'_sliding_window_pattern':2,'sliding_window':512,"
		   "'attn_logit_softcapping':50}");
	assert_int_equal(a.layer[4].window, 512);
	assert_int_equal(a.layer[5].window, 0);
	assert_int_equal(a.layer[6].window, 512);
	assert_near(a.score_softcap, 0);
	assert_near(a.logit_softcap, 0);
	assert_near(a.ropes[a.layer[5].rope].inverse[1], pow(1e6, -2.0 / 256));
	assert_near(a.ropes[a.layer[4].rope].inverse[1], pow(1e4, -2.0 / 256));
	arch_done(&a);
	accept(&a, "{'model_type':'gemma3','eos_token_id':[1,106],'tie_word_embeddings':false,"
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
	accept(&a, "{'model_type':'gemma3_text','num_hidden_layers':2,'final_logit_softcapping':9,"
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
	accept(&a, "{'model_type':'mistral','num_hidden_layers':2}");
	assert_int_equal(a.layer[1].window, 4096);
	arch_done(&a);
	accept(&a, "{'model_type':'mistral','num_hidden_layers':2,'sliding_window':null}");
	assert_int_equal(a.layer[1].window, 0);
	arch_done(&a);
	accept(&a, "{'model_type':'qwen2','num_hidden_layers':2,'sliding_window':8,'max_window_layers':1}");
	assert_int_equal(a.layer[1].window, 0);
	arch_done(&a);
	accept(&a, "{'model_type':'qwen3','num_hidden_layers':2,'sliding_window':8,'max_window_layers':1,"
		   "'use_sliding_window':true}");
	assert_int_equal(a.layer[0].window, 0);
	assert_int_equal(a.layer[1].window, 8);
	arch_done(&a);
	accept(&a, "{'model_type':'phi3','num_hidden_layers':2}");
	assert_int_equal(a.layer[0].window, 0);
	arch_done(&a);
	accept(&a, "{'model_type':'phi3','num_hidden_layers':2,'sliding_window':2047,"
		   "'layer_types':['sliding_attention','sliding_attention']}");
	assert_int_equal(a.layer[1].window, 2047);
	arch_done(&a);
}

/* Against numbers worked out by hand from the rules in FORMATS. */
static void rope_kinds(void **state)
{
	(void)state;
	struct arch a;
	/* Wavelengths 2 pi 10^i for i = 0..3; below 100 kept, above 400 divided, 62.8... */
	accept(&a, "{'model_type':'llama','hidden_size':8,'num_attention_heads':1,'rope_theta':10000,'rope_scaling':"
		   "{'rope_type':'llama3','factor':8,'low_freq_factor':1,'high_freq_factor':4,"
		   "'original_max_position_embeddings':160}}");
	double wavelength = 20 * acos(-1.0), keep = (160 / wavelength - 1) / 3;
	assert_near(a.ropes[0].inverse[0], 1);
	assert_near(a.ropes[0].inverse[1], (1 - keep) * 0.1 / 8 + keep * 0.1);
	assert_near(a.ropes[0].inverse[2], 0.01 / 8);
	assert_near(a.ropes[0].inverse[3], 0.001 / 8);
	arch_done(&a);

	/* YaRN by hand: pair i turns 200 10^-i / (2 pi) times in 200 tokens: 31.8, 3.18, .318, ...
	 * Thirty turns are pair floor(.03) = 0, half a turn is pair ceil(1.80) = 2. */
	accept(&a, "{'model_type':'qwen2','hidden_size':8,'num_attention_heads':1,'num_key_value_heads':1,"
		   "'rope_theta':10000,'rope_scaling':{'type':'yarn','factor':4,'beta_fast':30,'beta_slow':0.5,"
		   "'original_max_position_embeddings':200}}");
	assert_near(a.ropes[0].scale, 1 + 0.1 * log(4));
	assert_near(a.ropes[0].inverse[0], 1);
	assert_near(a.ropes[0].inverse[1], 0.1 * (0.5 / 4 + 0.5));
	assert_near(a.ropes[0].inverse[2], 0.01 / 4);
	assert_near(a.ropes[0].inverse[3], 0.001 / 4);
	arch_done(&a);

	/* Old "su"; an O inside rope_scaling does not count for Phi-3: 4096. */
	accept(&a, "{'model_type':'phi3','hidden_size':4,'num_attention_heads':1,'max_position_embeddings':131072,"
		   "'rope_scaling':{'type':'su','short_factor':[1,2],'long_factor':[3,4],"
		   "'original_max_position_embeddings':9}}");
	assert_int_equal(a.ropes[0].original_context, 4096);
	assert_near(a.ropes[0].scale, sqrt(1 + log(32) / log(4096)));
	assert_near(a.ropes[0].inverse[1], 0.01 / 2);
	assert_near(a.ropes[0].inverse_long[1], 0.01 / 4);
	assert_near(a.ropes[0].inverse_long[0], 1.0 / 3);
	arch_done(&a);

	accept(&a, "{'model_type':'llama','hidden_size':4,'num_attention_heads':1,'max_position_embeddings':64,"
		   "'rope_scaling':{'rope_type':'longrope','short_factor':[1,2],'long_factor':[3,4],'factor':16,"
		   "'original_max_position_embeddings':8}}");
	assert_int_equal(a.ropes[0].original_context, 8);
	assert_near(a.ropes[0].scale, sqrt(1 + log(16) / log(8)));
	arch_done(&a);
	accept(&a, "{'model_type':'llama','hidden_size':4,'num_attention_heads':1,"
		   "'rope_scaling':{'rope_type':'longrope','short_factor':[1,2],'long_factor':[3,4],"
		   "'attention_factor':1.5}}");
	assert_near(a.ropes[0].scale, 1.5);
	assert_int_equal(a.ropes[0].original_context, 2048);
	arch_done(&a);

	/* An empty rope_scaling is none; rope_parameters' theta wins over the top level's. */
	accept(&a, "{'model_type':'llama','hidden_size':4,'num_attention_heads':1,'rope_scaling':{},'rope_theta':5,"
		   "'rope_parameters':{'rope_theta':25.0,'rope_type':'default'}}");
	assert_near(a.ropes[0].inverse[1], 0.2);
	arch_done(&a);
}

/* Each config, and what the sentence must say besides the file. */
static void rejections(void **state)
{
	(void)state;
	static const struct {
		const char *config, *says;
	} rows[] = {
		{"[1]", "not a JSON object"},
		{"{", "not valid JSON"},
		{"{}", "\"model_type\" is absent; expected a supported family"},
		{"{'model_type':'bert'}", "\"model_type\" is \"bert\""},
		{"{'model_type':'qwen2_moe'}", "\"qwen2_moe\""},
		{"{'architectures':['MixtralForCausalLM']}", "supported family"},
		{"{'model_type':7}", "\"model_type\" is 7"},
		{"{'model_type':'gpt2','n_embd':768,'n_embd':64}", "\"n_embd\" twice"},
		{"{'model_type':'gemma3'}", "\"text_config\" is absent"},
		{"{'model_type':'gemma3','text_config':3}", "\"text_config\" is 3"},

		/* what is not implemented */
		{"{'model_type':'llama','quantization_config':{'bits':4}}", "\"quantization_config\" is {\"bits\":4}"},
		{"{'model_type':'gemma3','text_config':{'quantization_config':{'bits':4}}}", "\"quantization_config\""},
		{"{'model_type':'gpt2','add_cross_attention':true}", "\"add_cross_attention\" is true"},
		{"{'model_type':'gpt2','pruned_heads':{'1':[0]}}", "\"pruned_heads\""},
		{"{'model_type':'gemma3_text','use_bidirectional_attention':true}", "\"use_bidirectional_attention\""},
		{"{'model_type':'llama','is_causal':false}", "\"is_causal\" is false"},
		{"{'model_type':'llama','is_encoder_decoder':true}", "\"is_encoder_decoder\""},
		{"{'model_type':'qwen2','use_mrope':true}", "\"use_mrope\""},
		{"{'model_type':'gpt2','activation_function':'quick_gelu'}",
		 "\"activation_function\" is \"quick_gelu\""},
		{"{'model_type':'llama','hidden_act':'relu2'}", "\"hidden_act\" is \"relu2\""},
		{"{'model_type':'gemma2','hidden_activation':4}", "\"hidden_activation\" is 4"},
		{"{'model_type':'llama','rope_scaling':{'type':'dynamic','factor':2}}", "\"type\" is \"dynamic\""},
		{"{'model_type':'qwen2','rope_scaling':{'rope_type':'yarn','factor':4,'mscale':1}}", "\"mscale\" is 1"},
		{"{'model_type':'qwen2','rope_scaling':{'rope_type':'yarn'}}", "\"factor\" is absent"},
		{"{'model_type':'qwen2','rope_theta':1,'rope_scaling':{'rope_type':'yarn','factor':4}}",
		 "yarn needs more than 1"},
		{"{'model_type':'llama','rope_scaling':{'rope_type':3}}", "\"rope_type\" is 3"},
		{"{'model_type':'llama','partial_rotary_factor':0.5}", "\"partial_rotary_factor\" is 0.5"},
		{"{'model_type':'phi3','rope_scaling':{'type':'su','short_mscale':1.1}}", "\"short_mscale\" is 1.1"},
		{"{'model_type':'qwen2','num_hidden_layers':2,'layer_types':['full_attention','chunked_attention']}",
		 "\"layer_types\" of layer 1 is chunked_attention"},
		{"{'model_type':'llama','num_hidden_layers':2,'layer_types':['full_attention','sliding_attention']}",
		 "\"layer_types\" of layer 1 is sliding_attention"},
		{"{'model_type':'qwen2','num_hidden_layers':1,'layer_types':['sliding_attention']}",
		 "no \"sliding_window\" is in force"},

		/* wrong types and values */
		{"{'model_type':'gpt2','n_embd':'768'}", "\"n_embd\" is \"768\""},
		{"{'model_type':'gpt2','n_embd':0}", "\"n_embd\" is 0"},
		{"{'model_type':'gpt2','n_embd':-768}", "\"n_embd\" is -768"},
		{"{'model_type':'gpt2','n_embd':768.5}", "\"n_embd\" is 768.5"},
		{"{'model_type':'gpt2','n_embd':1e300}", "\"n_embd\" is"},
		{"{'model_type':'gpt2','n_layer':257}", "\"n_layer\" is 257"},
		{"{'model_type':'gpt2','n_inner':99999999}", "\"n_inner\" is 99999999"},
		{"{'model_type':'gpt2','n_head':7}", "\"n_embd\" 768 is not a multiple of \"n_head\" 7"},
		{"{'model_type':'gpt2','vocab_size':0}", "\"vocab_size\" is 0"},
		{"{'model_type':'gpt2','layer_norm_epsilon':-1}", "\"layer_norm_epsilon\" is -1"},
		{"{'model_type':'gpt2','layer_norm_epsilon':'1e-5'}", "\"layer_norm_epsilon\" is \"1e-5\""},
		{"{'model_type':'gpt2','scale_attn_weights':1}", "\"scale_attn_weights\" is 1"},
		{"{'model_type':'gpt2','eos_token_id':'x'}", "\"eos_token_id\" is \"x\""},
		{"{'model_type':'gpt2','bos_token_id':[1]}", "\"bos_token_id\" is [1]"},
		{"{'model_type':'llama','num_key_value_heads':5}", "32 query heads"},
		{"{'model_type':'llama','num_key_value_heads':64}", "32 query heads"},
		{"{'model_type':'qwen2','num_attention_heads':4,'hidden_size':64}", "32 key/value heads"},
		{"{'model_type':'llama','hidden_size':33}", "\"hidden_size\" 33 is not a multiple"},
		{"{'model_type':'qwen2','hidden_size':12}",
		 "\"hidden_size\" 12 is not a multiple of \"num_attention_heads\" 32"},
		{"{'model_type':'llama','head_dim':4096,'num_attention_heads':64,'hidden_size':4096}",
		 "64 heads of width 4096"},
		{"{'model_type':'llama','head_dim':7}", "odd width 7"},
		{"{'model_type':'gpt_neox','head_dim':32}", "head width"},
		{"{'model_type':'gpt_neox','num_key_value_heads':8}", "key/value heads"},
		{"{'model_type':'gpt_neox','rotary_pct':1.5}", "\"rotary_pct\" is 1.5"},
		{"{'model_type':'llama','rope_theta':0}", "\"rope_theta\" is 0"},
		{"{'model_type':'llama','rope_scaling':7}", "\"rope_scaling\" is 7"},
		{"{'model_type':'llama','rope_scaling':{'type':'linear'}}", "\"factor\" is absent"},
		{"{'model_type':'llama','rope_scaling':{'type':'linear','factor':0}}", "\"factor\" is 0"},
		{"{'model_type':'llama','rope_scaling':{'type':'llama3','factor':8,'low_freq_factor':4,"
		 "'high_freq_factor':4}}",
		 "\"high_freq_factor\" is 4; expected more"},
		{"{'model_type':'phi3','rope_scaling':{'type':'longrope','short_factor':[1],'long_factor':[1]}}",
		 "\"short_factor\" with 48 numbers, one for each rotated pair; found 1"},
		{"{'model_type':'phi3','hidden_size':64,'rope_scaling':{'type':'longrope','short_factor':[1]}}",
		 "\"long_factor\" with 1 numbers"},
		{"{'model_type':'phi3','hidden_size':64,'rope_scaling':{'type':'longrope','short_factor':[0]}}",
		 "entry 0 of \"short_factor\""},
		{"{'model_type':'phi3','original_max_position_embeddings':1,'hidden_size':64,'rope_scaling':"
		 "{'type':'longrope','short_factor':[1],'long_factor':[1]}}",
		 "\"original_max_position_embeddings\" is 1"},
		{"{'model_type':'gemma2','attn_logit_softcapping':0}", "\"attn_logit_softcapping\" is 0"},
		{"{'model_type':'gemma2','query_pre_attn_scalar':0}", "\"query_pre_attn_scalar\" is 0"},
		{"{'model_type':'gemma2','sliding_window':0}", "\"sliding_window\" is 0"},
		{"{'model_type':'gemma2','layer_types':'full'}", "\"layer_types\" is \"full\""},
		{"{'model_type':'gemma2','layer_types':['full_attention']}", "\"layer_types\" has 1 entries"},
		{"{'model_type':'gemma2','num_hidden_layers':1,'layer_types':[1]}", "of layer 0 is not a string"},
		{"{'model_type':'gemma3_text','num_hidden_layers':1,'sliding_window':null,'layer_types':"
		 "['sliding_attention']}",
		 "no \"sliding_window\" is in force"},
		{"{'model_type':'gemma3_text','rope_parameters':{'rope_theta':5}}",
		 "\"rope_parameters\" is {\"rope_theta\":5}"},
		{"{'model_type':'gemma3_text','rope_parameters':{'full_attention':5}}", "\"full_attention\" is 5"},
		{"{'model_type':'gemma3_text','rope_scaling':{'type':'linear','factor':2},'rope_parameters':"
		 "{'full_attention':{}}}",
		 "only one of"},
		{"{'model_type':'gemma3_text','sliding_window_pattern':0}", "\"sliding_window_pattern\" is 0"},
		{"{'model_type':'mistral','sliding_window':'4k'}", "\"sliding_window\" is \"4k\""},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct arch arch;
		struct error error = {0};
		enum status status = parse(&arch, rows[i].config, &error);
		if (status != STATUS_INVALID)
			fail_msg("%s was accepted (%d)", rows[i].config, (int)status);
		if (!scratch_says(error.text, rows[i].says) || !scratch_says(error.text, "m/config.json"))
			fail_msg("%s: %s", rows[i].config, error.text);
	}
}

static void folders(void **state)
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

static void names(void **state)
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
		cmocka_unit_test(gpt2_scales),
		cmocka_unit_test(neox_rotation),
		cmocka_unit_test(gemma_layers),
		cmocka_unit_test(llama_family_windows),
		cmocka_unit_test(rope_kinds),
		cmocka_unit_test(rejections),
		cmocka_unit_test(folders),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
