/* The facts about a model folder. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/inspect_model.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

static double number(const cJSON *json, const char *key)
{
	const cJSON *value = json_member(json, key);
	assert_non_null(value);
	assert_true(cJSON_IsNumber(value));
	return value->valuedouble;
}

static void facts_of_a_model(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct model_facts facts;
	struct error error;
	tiny_model_plan(&tiny, tiny_configs[7], NULL);
	tiny_model_add(&tiny, "odd\\u001b[2Jname", 1, 1, 3);
	tiny_model_find(&tiny, "model.norm.weight")->dtype = "BF16";
	char *folder = tiny_model_write(&tiny, "mistral", 1);
	if (inspect_model(&facts, folder, &error))
		fail_msg("%s", error.text);
	cJSON *json = model_facts_json(&facts);
	assert_string_equal(json_member(json, "architecture")->valuestring, "mistral");
	assert_int_equal(number(json, "layers"), 2);
	assert_int_equal(number(json, "width"), 14);
	assert_int_equal(number(json, "kv_heads"), 2);
	assert_int_equal(number(json, "head_width"), 6);
	assert_int_equal(number(json, "window"), 5);
	assert_int_equal(number(json, "sliding_layers"), 2);
	/* 9 14 + 14 + 2 (14 + 24 14 + 2 12 14 + 14 24 + 14 + 3 11 14) */
	assert_int_equal(number(json, "parameters"), 140 + 2 * (28 + 336 + 336 + 336 + 462));
	assert_int_equal(number(json, "bytes"), 4 * facts.parameters - 28);
	assert_int_equal(number(json, "file_bytes"), facts.weight_bytes + 12);
	assert_int_equal(number(json_member(json, "dtypes"), "BF16"), 1);
	assert_int_equal(number(json_member(json, "dtypes"), "F32"), 1 + 2 * 9);
	assert_null(json_member(json_member(json, "dtypes"), "F16"));
	assert_int_equal(cJSON_GetArraySize(json_member(json, "hooks")), 3);
	assert_int_equal(cJSON_GetArraySize(json_member(json, "problems")), 1);
	const cJSON *memory = json_member(json, "memory");
	assert_true(number(memory, "weights") >= (double)facts.weight_bytes);
	assert_int_equal(number(memory, "total"),
			 number(memory, "weights") + number(memory, "cache") + number(memory, "activations"));
	assert_int_equal(number(memory, "cache"), 2 * 2 * 6 * 2 * 1024 * 4);
	cJSON_Delete(json);

	struct strbuf text = {0};
	model_facts_text(&facts, &text);
	assert_true(scratch_says(text.data, "mistral, 3136 parameters"));
	assert_true(scratch_says(text.data, "5 tokens in 2 of 2 layers"));
	assert_true(scratch_says(text.data, "1 tensors in BF16"));
	assert_true(scratch_says(text.data, "note          tensor odd"));
	assert_null(strchr(text.data, '\033'));
	strbuf_done(&text);
	model_facts_done(&facts);
	free(folder);
}

static void notes(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct model_facts facts;
	struct error error;
	tiny_model_plan(&tiny, tiny_configs[2], NULL);
	tiny_model_find(&tiny, "embed_out.weight")->name[0] = '\0';
	char *folder = tiny_model_write(&tiny, "headless", 1);
	assert_int_equal(inspect_model(&facts, folder, &error), STATUS_OK);
	assert_true(facts.tied_by_absence);
	struct strbuf text = {0};
	model_facts_text(&facts, &text);
	assert_true(scratch_says(text.data, "resid_pre, resid_post of layers 0 to 1"));
	assert_true(scratch_says(text.data, "the file has none"));
	strbuf_done(&text);
	model_facts_done(&facts);
	free(folder);

	tiny_model_plan(&tiny, tiny_configs[0], NULL);
	tiny_model_add(&tiny, "lm_head.weight", 2, 23, 21);
	folder = tiny_model_write(&tiny, "two-heads", 1);
	assert_int_equal(inspect_model(&facts, folder, &error), STATUS_OK);
	assert_true(facts.redundant_unembed);
	assert_int_equal(facts.memory_tokens, 19);
	model_facts_done(&facts);
	free(folder);
}

static void bad_folders(void **state)
{
	(void)state;
	struct tiny_model tiny;
	struct model_facts facts;
	struct error error;
	char *folder = scratch_path("absent");
	assert_int_equal(inspect_model(&facts, folder, &error), STATUS_INVALID);
	free(folder);
	tiny_model_plan(&tiny, tiny_configs[0], NULL);
	tiny_model_find(&tiny, "transformer.wpe.weight")->shape[0] = 18;
	folder = tiny_model_write(&tiny, "spoilt", 1);
	assert_int_equal(inspect_model(&facts, folder, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "has shape [18, 21]; the config makes it [19, 21]"));
	free(folder);
}

/* The largest sizes that a config may have do not overflow. */
static void largest_memory(void **state)
{
	(void)state;
	struct arch arch = {.layers = ARCH_MAX_LAYERS,
			    .d = ARCH_MAX_WIDTH,
			    .heads = ARCH_MAX_HEADS,
			    .kv_heads = ARCH_MAX_HEADS,
			    .head_dim = ARCH_MAX_WIDTH / ARCH_MAX_HEADS,
			    .f = ARCH_MAX_F,
			    .vocab = ARCH_MAX_VOCAB,
			    .gated = true};
	struct model_memory memory = model_memory_estimate(&arch, (int64_t)1 << 50, 1 << 20, true);
	assert_true(memory.total > memory.activations && memory.activations > memory.cache && memory.cache > 0);
	struct model_memory less = model_memory_estimate(&arch, (int64_t)1 << 50, 1 << 20, false);
	assert_true(less.total < memory.total && less.activations > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(facts_of_a_model),
		cmocka_unit_test(notes),
		cmocka_unit_test(bad_folders),
		cmocka_unit_test(largest_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
