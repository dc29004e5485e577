/* Finding and checking a model's weights in its files. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "compute/tensor.h"
#include "models/weight_map.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

struct opened {
	struct arch arch;
	struct weight_files *files;
	struct weight_map map;
};

/* Writes the model to a new folder and maps its weights. */
static enum status open_tiny(struct opened *m, const struct tiny_model *tiny, struct error *error)
{
	static int number;
	char name[32];
	snprintf(name, sizeof name, "model-%d", number++);
	char *folder = tiny_model_write(tiny, name, 5);
	*m = (struct opened){0};
	if (arch_read(&m->arch, folder, error) || weight_files_open(&m->files, folder, error))
		fail_msg("%s", error->text);
	free(folder);
	return weight_map_build(&m->map, &m->arch, m->files, true, error);
}

static void open_good(struct opened *m, const struct tiny_model *tiny)
{
	struct error error;
	if (open_tiny(m, tiny, &error))
		fail_msg("%s", error.text);
}

static void close_tiny(struct opened *m)
{
	weight_map_done(&m->map);
	weight_files_close(&m->files);
	arch_done(&m->arch);
}

static const char *const gpt2 = "{\"model_type\":\"gpt2\",\"n_embd\":6,\"n_head\":2,\"n_layer\":2,\"n_positions\":5,"
				"\"vocab_size\":9}";
static const char *const llama = "{\"model_type\":\"llama\",\"hidden_size\":6,\"num_attention_heads\":3,"
				 "\"num_hidden_layers\":2,\"intermediate_size\":4,\"vocab_size\":9}";

/* Every planned tensor is found under its name, at its bytes, in its shape. */
static void every_family(void **state)
{
	(void)state;
	for (size_t c = 0; c < tiny_config_count; c++) {
		struct tiny_model tiny;
		struct opened m;
		size_t found = 0;
		int64_t parameters = 0;
		tiny_model_plan(&tiny, tiny_configs[c], NULL);
		open_good(&m, &tiny);
		for (int l = -1; l < m.arch.layers; l++) {
			for (enum weight_role role = 0; role < WEIGHT_COUNT; role++) {
				const struct weight_place *place = weight_map_place(&m.map, l, role);
				if ((l >= 0) != weight_role_is_layer(role) || place->file < 0)
					continue;
				char name[128];
				weight_map_name(&m.map, l, role, name, sizeof name);
				const struct st_tensor *tensor = weight_files_find(m.files, name, NULL);
				assert_non_null(tensor);
				assert_ptr_equal(weight_map_data(m.files, place), tensor->data);
				assert_int_equal(place->rows, tensor->rank == 1 ? 1 : tensor->shape[0]);
				assert_int_equal(place->cols, tensor->shape[tensor->rank - 1]);
				assert_int_equal(place->dtype, DTYPE_F32);
				parameters += place->rows * place->cols;
				found++;
			}
		}
		assert_int_equal(found, tiny.n);
		assert_int_equal(m.map.parameters, parameters);
		assert_int_equal(m.map.bytes, 4 * parameters);
		assert_int_equal(m.map.n_extra, 0);
		assert_false(m.map.redundant_unembed);
		close_tiny(&m);
	}
}

static void gpt2_places(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct opened m;
	tiny_model_plan(&tiny, gpt2, NULL);
	open_good(&m, &tiny);
	assert_true(m.map.layout.in_out);
	assert_int_equal(m.map.layout.qkv, QKV_FUSED);
	assert_int_equal(m.map.layer[1][WEIGHT_Q].rows, 6);
	assert_int_equal(m.map.layer[1][WEIGHT_Q].cols, 18);
	assert_int_equal(m.map.layer[1][WEIGHT_K].file, -1);
	assert_int_equal(m.map.layer[1][WEIGHT_UP].cols, 24);
	assert_int_equal(m.map.layer[1][WEIGHT_DOWN].rows, 24);
	assert_int_equal(m.map.layer[1][WEIGHT_GATE].file, -1);
	assert_int_equal(m.map.model[WEIGHT_WPE].rows, 5);
	assert_int_equal(m.map.model[WEIGHT_UNEMBED].file, -1);
	close_tiny(&m);
}

static void prefixes(void **state)
{
	(void)state;
	static const struct {
		int config;
		const char *prefix;
	} rows[] = {{0, ""},
		    {0, "transformer."},
		    {2, ""},
		    {5, "language_model.model."},
		    {5, "model.language_model."},
		    {5, ""},
		    {6, ""}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tiny_model tiny;
		struct opened m;
		tiny_model_plan(&tiny, tiny_configs[rows[i].config], rows[i].prefix);
		open_good(&m, &tiny);
		assert_string_equal(m.map.prefix, rows[i].prefix);
		close_tiny(&m);
	}
}

static void dtypes(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct opened m;
	tiny_model_plan(&tiny, llama, NULL);
	tiny_model_find(&tiny, "model.norm.weight")->dtype = "F16";
	tiny_model_find(&tiny, "model.layers.1.mlp.up_proj.weight")->dtype = "BF16";
	open_good(&m, &tiny);
	assert_int_equal(m.map.model[WEIGHT_FINAL_NORM].dtype, DTYPE_F16);
	assert_int_equal(m.map.layer[1][WEIGHT_UP].dtype, DTYPE_BF16);
	assert_int_equal(m.map.layer[0][WEIGHT_UP].dtype, DTYPE_F32);
	assert_int_equal(m.map.bytes, 4 * m.map.parameters - (int64_t)2 * (6 + 24));
	close_tiny(&m);
}

/* What an output matrix in the file, or none, means. */
static void tying(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct opened m;
	struct error error;

	/* untied, and there */
	tiny_model_plan(&tiny, llama, NULL);
	open_good(&m, &tiny);
	assert_false(m.arch.tied);
	assert_int_equal(m.map.model[WEIGHT_UNEMBED].rows, 9);
	close_tiny(&m);

	/* untied, but missing */
	tiny_model_find(&tiny, "lm_head.weight")->name[0] = '\0';
	open_good(&m, &tiny);
	assert_true(m.arch.tied);
	assert_int_equal(m.map.model[WEIGHT_UNEMBED].file, -1);
	close_tiny(&m);

	/* tied, with another matrix: not tied */
	tiny_model_plan(&tiny, gpt2, NULL);
	struct tiny_tensor *head = tiny_model_add(&tiny, "lm_head.weight", 2, 9, 6);
	open_good(&m, &tiny);
	assert_false(m.arch.tied);
	assert_int_equal(m.map.model[WEIGHT_UNEMBED].cols, 6);
	/* ... which nobody notices who does not look */
	struct weight_map blind;
	m.arch.tied = true;
	assert_int_equal(weight_map_build(&blind, &m.arch, m.files, false, &error), STATUS_OK);
	assert_true(m.arch.tied);
	assert_true(blind.redundant_unembed);
	weight_map_done(&blind);
	close_tiny(&m);

	/* tied, with the same matrix again: here both constant */
	head->deviation = 0;
	tiny_model_find(&tiny, "transformer.wte.weight")->deviation = 0;
	open_good(&m, &tiny);
	assert_true(m.arch.tied);
	assert_true(m.map.redundant_unembed);
	assert_int_equal(m.map.n_extra, 0);
	assert_int_equal(m.map.model[WEIGHT_UNEMBED].file, -1);
	close_tiny(&m);
}

static void extras(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct opened m;
	tiny_model_plan(&tiny, llama, NULL);
	tiny_model_add(&tiny, "model.layers.0.self_attn.q_proj.bias", 1, 1, 6);
	tiny_model_add(&tiny, "model.layers.0.self_attn.rotary_emb.inv_freq", 1, 1, 1);
	tiny_model_add(&tiny, "model.layers.2.mlp.up_proj.weight", 2, 4, 6);
	tiny_model_add(&tiny, "vision_tower.x", 2, 3, 3);
	open_good(&m, &tiny);
	assert_int_equal(m.map.n_extra, 2);
	assert_string_equal(m.map.extra[0], "model.layers.0.self_attn.q_proj.bias");
	assert_string_equal(m.map.extra[1], "model.layers.2.mlp.up_proj.weight");
	close_tiny(&m);

	tiny_model_plan(&tiny, gpt2, "");
	tiny_model_add(&tiny, "h.0.attn.bias", 1, 1, 25);
	tiny_model_add(&tiny, "h.0.attn.masked_bias", 0, 1, 1);
	tiny_model_add(&tiny, "bias", 1, 1, 1);
	open_good(&m, &tiny);
	assert_int_equal(m.map.n_extra, 1);
	assert_string_equal(m.map.extra[0], "bias");
	close_tiny(&m);
}

/* Spoils one tensor of a good model and expects a sentence. */
struct spoil {
	const char *config, *tensor;
	const char *dtype; /* if not NULL */
	int rank;	   /* if > 0 */
	int64_t rows, cols;
	const char *says;
};

static void rejections(void **state)
{
	(void)state;
	const struct spoil rows[] = {
		/* missing */
		{gpt2, "transformer.h.1.attn.c_proj.bias", NULL, 0, 0, 0,
		 "there is no tensor \"transformer.h.1.attn.c_proj.bias\", which a gpt2 model"},
		{gpt2, "transformer.wte.weight", NULL, 0, 0, 0,
		 "there is no token embedding; a gpt2 model calls it \"transformer.wte.weight\""},
		{gpt2, "transformer.wpe.weight", NULL, 0, 0, 0, "\"transformer.wpe.weight\""},
		{llama, "model.layers.0.mlp.gate_proj.weight", NULL, 0, 0, 0, "which a llama model"},
		/* another shape */
		{gpt2, "transformer.h.0.attn.c_attn.weight", NULL, 2, 18, 6,
		 "tensor \"transformer.h.0.attn.c_attn.weight\" has shape [18, 6]; the config makes it [6, 18]"},
		{gpt2, "transformer.wpe.weight", NULL, 2, 4, 6, "has shape [4, 6]; the config makes it [5, 6]"},
		{gpt2, "transformer.ln_f.bias", NULL, 1, 1, 7, "has shape [7]; the config makes it [6]"},
		{gpt2, "transformer.ln_f.bias", NULL, 2, 1, 6, "has shape [1, 6]; the config makes it [6]"},
		{gpt2, "transformer.wte.weight", NULL, 1, 1, 54, "has shape [54]; the config makes it [9, 6]"},
		{gpt2, "transformer.wte.weight", NULL, 3, 9, 6, "has shape [9, 6, 1]; the config makes it [9, 6]"},
		{llama, "lm_head.weight", NULL, 2, 10, 6, "has shape [10, 6]; the config makes it [9, 6]"},
		{llama, "model.layers.1.self_attn.k_proj.weight", NULL, 2, 2, 6,
		 "has shape [2, 6]; the config makes it [6, 6]"},
		/* another dtype */
		{llama, "model.layers.1.mlp.down_proj.weight", "F8_E4M3", 0, 0, 0,
		 "\"model.layers.1.mlp.down_proj.weight\" is stored as F8_E4M3; expected F32, BF16 or F16"},
		{llama, "model.embed_tokens.weight", "I8", 0, 0, 0, "is stored as I8"},
		{llama, "lm_head.weight", "U8", 0, 0, 0, "is stored as U8"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tiny_model tiny;
		struct opened m;
		struct error error = {0};
		tiny_model_plan(&tiny, rows[i].config, NULL);
		struct tiny_tensor *tensor = tiny_model_find(&tiny, rows[i].tensor);
		if (rows[i].dtype) {
			tensor->dtype = rows[i].dtype;
		} else if (rows[i].rank == 0) {
			tensor->name[0] = '\0';
		} else {
			tensor->rank = rows[i].rank;
			tensor->shape[0] = rows[i].rank == 1 ? rows[i].cols : rows[i].rows;
			tensor->shape[1] = rows[i].cols;
		}
		enum status status = open_tiny(&m, &tiny, &error);
		if (status != STATUS_INVALID)
			fail_msg("row %zu (%s) was accepted", i, rows[i].says);
		if (!scratch_says(error.text, rows[i].says) || !scratch_says(error.text, "model.safetensors"))
			fail_msg("row %zu: %s", i, error.text);
		weight_files_close(&m.files);
		arch_done(&m.arch);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_family), cmocka_unit_test(gpt2_places), cmocka_unit_test(prefixes),
		cmocka_unit_test(dtypes),	cmocka_unit_test(tying),       cmocka_unit_test(extras),
		cmocka_unit_test(rejections),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
