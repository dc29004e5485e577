/* Configs that are refused, and the sentence that says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "tests/quoted_config.h"
#include "tests/scratch.h"

/* Each config, and what the sentence must say besides the file. */
static void configs_refused(void **state)
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
		enum status status = quoted_config_parse(&arch, rows[i].config, &error);
		if (status != STATUS_INVALID)
			fail_msg("%s was accepted (%d)", rows[i].config, (int)status);
		if (!scratch_says(error.text, rows[i].says) || !scratch_says(error.text, "m/config.json"))
			fail_msg("%s: %s", rows[i].config, error.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configs_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
