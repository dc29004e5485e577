#include "tests/tiny_model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "models/half.h"
#include "models/weight_map.h"
#include "tests/scratch.h"
#include "tests/st_writer.h"

const char *const tiny_configs[] = {
	"{\"model_type\":\"gpt2\",\"n_embd\":21,\"n_head\":3,\"n_layer\":2,\"n_positions\":19,\"vocab_size\":23,"
	"\"n_inner\":17,\"layer_norm_epsilon\":0.01,\"scale_attn_by_inverse_layer_idx\":true}",
	"{\"model_type\":\"gpt2\",\"n_embd\":12,\"n_head\":2,\"n_layer\":2,\"n_positions\":16,\"vocab_size\":11,"
	"\"activation_function\":\"silu\",\"scale_attn_weights\":false}",
	"{\"model_type\":\"gpt_neox\",\"hidden_size\":30,\"num_attention_heads\":3,\"num_hidden_layers\":2,"
	"\"intermediate_size\":23,\"vocab_size\":17,\"rotary_pct\":0.5,\"layer_norm_eps\":0.01}",
	"{\"model_type\":\"gpt_neox\",\"hidden_size\":28,\"num_attention_heads\":2,\"num_hidden_layers\":2,"
	"\"intermediate_size\":29,\"vocab_size\":13,\"use_parallel_residual\":false,\"attention_bias\":false,\"hidden_"
	"act\":\"relu\"}",
	"{\"model_type\":\"gemma2\",\"hidden_size\":15,\"num_attention_heads\":6,\"num_key_value_heads\":3,"
	"\"head_dim\":6,\"num_hidden_layers\":3,\"intermediate_size\":19,\"vocab_size\":29,\"sliding_window\":4,"
	"\"query_pre_attn_scalar\":5,\"attn_logit_softcapping\":2.5,\"final_logit_softcapping\":4,"
	"\"rms_norm_eps\":0.01,\"attention_bias\":true}",
	"{\"model_type\":\"gemma3_text\",\"hidden_size\":18,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
	"\"head_dim\":8,\"num_hidden_layers\":4,\"intermediate_size\":13,\"vocab_size\":19,\"sliding_window\":3,"
	"\"sliding_window_pattern\":3,\"query_pre_attn_scalar\":7,\"rope_theta\":300,\"rope_local_base_freq\":20,"
	"\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":3},\"final_logit_softcapping\":6,"
	"\"hidden_activation\":\"gelu\"}",
	"{\"model_type\":\"llama\",\"hidden_size\":20,\"num_attention_heads\":5,\"num_key_value_heads\":1,"
	"\"num_hidden_layers\":2,\"intermediate_size\":27,\"vocab_size\":31,\"attention_bias\":true,\"mlp_bias\":true,"
	"\"hidden_act\":\"gelu_new\",\"rope_parameters\":{\"rope_type\":\"llama3\",\"rope_theta\":50,\"factor\":4,"
	"\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":30}}",
	"{\"model_type\":\"mistral\",\"hidden_size\":14,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
	"\"head_dim\":6,\"num_hidden_layers\":2,\"intermediate_size\":11,\"vocab_size\":9,\"sliding_window\":5,"
	"\"tie_word_embeddings\":true}",
	"{\"model_type\":\"qwen2\",\"hidden_size\":12,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
	"\"num_hidden_layers\":3,\"intermediate_size\":21,\"vocab_size\":15,\"use_sliding_window\":true,"
	"\"sliding_window\":3,\"max_window_layers\":2}",
	"{\"model_type\":\"qwen3\",\"hidden_size\":10,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
	"\"head_dim\":14,\"num_hidden_layers\":2,\"intermediate_size\":9,\"vocab_size\":21,\"attention_bias\":true}",
	"{\"model_type\":\"phi3\",\"hidden_size\":24,\"num_attention_heads\":3,\"num_key_value_heads\":1,"
	"\"num_hidden_layers\":2,\"intermediate_size\":25,\"vocab_size\":33,\"max_position_embeddings\":64,"
	"\"original_max_position_embeddings\":8,\"partial_rotary_factor\":0.75,\"sliding_window\":6,"
	"\"rope_scaling\":{\"type\":\"su\",\"short_factor\":[1,1.1,1.3],\"long_factor\":[1.2,2,4]}}",
};
const size_t tiny_config_count = ARRAY_LEN(tiny_configs);

static uint64_t next_bits(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += 0x9E3779B97F4A7C15U;
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
	return z ^ (z >> 31);
}

double tiny_normal(uint64_t *state)
{
	/* Box and Muller */
	double u = ((double)(next_bits(state) >> 11) + 0.5) / 9007199254740992.0;
	double v = (double)(next_bits(state) >> 11) / 9007199254740992.0;
	return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static bool is_norm(enum weight_role role)
{
	return role == WEIGHT_FINAL_NORM || role == WEIGHT_NORM1 || role == WEIGHT_NORM2 || role == WEIGHT_POST_NORM1 ||
	       role == WEIGHT_POST_NORM2 || role == WEIGHT_Q_NORM || role == WEIGHT_K_NORM;
}

static void plan_role(struct tiny_model *model, const struct arch *arch, const char *prefix, int layer,
		      enum weight_role role)
{
	int rank;
	int64_t rows, cols;
	char name[128];
	weight_role_name(arch->family, prefix, layer, role, name, sizeof name);
	if (!name[0] || !weight_role_shape(arch, role, &rank, &rows, &cols))
		return;
	struct tiny_tensor *tensor = tiny_model_add(model, name, rank, rows, cols);
	if (is_norm(role)) {
		tensor->centre = arch->norm == ARCH_NORM_RMS_PLUS ? 0 : 1;
		tensor->deviation = 0.3;
	} else if (rank == 1) {
		tensor->deviation = 0.25;
	} else if (weight_role_is_layer(role)) {
		int64_t inputs = arch_layout_of(arch->family).in_out ? rows : cols;
		tensor->deviation = 1.2 / sqrt((double)inputs);
	} else {
		tensor->deviation = role == WEIGHT_UNEMBED ? 3 / sqrt((double)cols) : 1;
	}
}

void tiny_model_plan(struct tiny_model *model, const char *config, const char *prefix)
{
	*model = (struct tiny_model){.config = config};
	struct arch arch;
	struct error error;
	if (arch_parse(&arch, config, strlen(config), "tiny config", &error))
		fatal("%s", error.text);
	if (!prefix)
		prefix = arch.family == ARCH_GPT2 ? "transformer." : arch.family == ARCH_NEOX ? "gpt_neox." : "model.";
	for (enum weight_role role = 0; role < WEIGHT_COUNT; role++)
		if (!weight_role_is_layer(role))
			plan_role(model, &arch, prefix, -1, role);
	for (int l = 0; l < arch.layers; l++)
		for (enum weight_role role = 0; role < WEIGHT_COUNT; role++)
			if (weight_role_is_layer(role))
				plan_role(model, &arch, prefix, l, role);
	arch_done(&arch);
}

struct tiny_tensor *tiny_model_find(struct tiny_model *model, const char *name)
{
	for (size_t i = 0; i < model->n; i++)
		if (strcmp(model->tensors[i].name, name) == 0)
			return &model->tensors[i];
	fatal("the tiny model has no tensor %s", name);
}

struct tiny_tensor *tiny_model_add(struct tiny_model *model, const char *name, int rank, int64_t rows, int64_t cols)
{
	if (model->n == TINY_MAX_TENSORS)
		fatal("the tiny model has too many tensors");
	struct tiny_tensor *tensor = &model->tensors[model->n++];
	*tensor = (struct tiny_tensor){.dtype = "F32", .rank = rank, .shape = {rows, cols, 1}, .deviation = 1};
	if (rank == 1)
		tensor->shape[0] = cols;
	snprintf(tensor->name, sizeof tensor->name, "%s", name);
	return tensor;
}

static void add_value(struct strbuf *data, const char *dtype, double value)
{
	float f = (float)value;
	uint16_t half = strcmp(dtype, "BF16") == 0 ? bf16_from_float(f) : half_from_float(f);
	if (strcmp(dtype, "F32") == 0)
		strbuf_add(data, &f, sizeof f);
	else if (strcmp(dtype, "BF16") == 0 || strcmp(dtype, "F16") == 0)
		strbuf_add(data, &half, sizeof half);
	else
		strbuf_add_char(data, '\0');
}

static void add_tensor(struct st_writer *w, const struct tiny_tensor *tensor, uint64_t seed)
{
	struct strbuf data = {0};
	int64_t count = 1;
	for (int i = 0; i < tensor->rank; i++)
		count *= tensor->shape[i];
	for (int64_t i = 0; i < count; i++)
		add_value(&data, tensor->dtype, tensor->centre + tensor->deviation * tiny_normal(&seed));
	st_writer_add(w, tensor->name, tensor->dtype, tensor->rank, tensor->shape, data.data, data.length);
	strbuf_done(&data);
}

char *tiny_model_write(const struct tiny_model *model, const char *name, uint64_t seed)
{
	struct st_writer w = {0};
	for (size_t i = 0; i < model->n; i++)
		if (model->tensors[i].name[0])
			add_tensor(&w, &model->tensors[i], seed * 1000003 + i);
	char *config_name = mem_printf("%s/config.json", name),
	     *weights_name = mem_printf("%s/model.safetensors", name);
	free(scratch_file(config_name, model->config, strlen(model->config)));
	free(st_writer_end(&w, weights_name));
	free(config_name);
	free(weights_name);
	return scratch_path(name);
}
