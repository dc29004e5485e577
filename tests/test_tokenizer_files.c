/* Vocabularies in other files than tokenizer.json: tiktoken's ranks; vocab.json, merges.txt and what
 * stands beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "tests/scratch.h"
#include "tests/small_tokenizer.h"

/* All bytes, then "ab", "abc" and, reachable only as a whole, "xyz". */
static void write_ranks(struct strbuf *file)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (int i = 0; i < 256; i++)
		strbuf_printf(file, "%c%c== %d\n", digits[i >> 2], digits[(i & 3) << 4], i);
	strbuf_add_string(file, "YWI= 256\nYWJj 257\neHl6 258\n");
}

static void tiktoken_ranks(void **state)
{
	(void)state;
	struct strbuf file = {0};
	write_ranks(&file);
	char *path = scratch_file("tiktoken/original/tokenizer.model", file.data, file.length);
	char *folder = scratch_path("tiktoken");
	struct tokenizer *t = load_tokenizer(folder);
	expect_tokens(t, "abc ab", "257 32 256");
	expect_tokens(t, "xyz", "258");
	expect_tokens(t, "xyzx", "120 121 122 120");
	expect_ids(t, "a", 1, (struct tokenizer_options){true, true}, "259 97");
	expect_tokens(t, "<|eot_id|>", "268"); /* the release's own special tokens */
	assert_string_equal(tokenizer_bos_text(t), "<|begin_of_text|>");
	tokenizer_destroy(&t);
	free(folder);
	free(path);
	strbuf_done(&file);
}

static void tiktoken_lines_refused(void **state)
{
	(void)state;
	struct tokenizer *t;
	struct error error = {0};
	struct strbuf file = {0};
	write_ranks(&file);
	memcpy(strstr(file.data, "YWJj"), "YW!j", 4);
	assert_int_equal(small_tokenizer_try(&t, "tiktoken.model", file.data, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "line 258"));
	assert_int_equal(small_tokenizer_try(&t, "tiktoken.model", "AA== 0\nAQ== 99999\n", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "rank 99999"));
	assert_int_equal(small_tokenizer_try(&t, "tiktoken.model", "AA== 0\nAQ== 0\n", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "repeats"));
	assert_int_equal(small_tokenizer_try(&t, "tiktoken.model", "AA== 0\n", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "0x01"));
	strbuf_done(&file);
}

/* A folder as GPT-2's: file, text. */
static const char *const gpt_files[][2] = {
	{"vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}"},
	{"merges.txt", "#version: 0.2\na b\n\n"},
	{"tokenizer_config.json",
	 "{\"tokenizer_class\":\"GPT2TokenizerFast\",\"bos_token\":{\"content\":\"<|endoftext|>\"},"
	 "\"add_bos_token\":true,"
	 "\"added_tokens_decoder\":{\"7\":{\"content\":\"<x>\",\"special\":false}},\"pad_token\":\"<p>\"}"},
	{"added_tokens.json", "{\"<y>\":5}"},
};

static void write_gpt_files(void)
{
	for (size_t i = 0; i < ARRAY_LEN(gpt_files); i++) {
		char *name = path_join("gpt", gpt_files[i][0]);
		free(scratch_file(name, gpt_files[i][1], strlen(gpt_files[i][1])));
		free(name);
	}
}

static void vocab_and_merges(void **state)
{
	(void)state;
	write_gpt_files();
	char *folder = scratch_path("gpt");
	struct tokenizer *t = load_tokenizer(folder);
	struct error error = {0};
	struct strbuf line = {0};
	assert_int_equal(tokenizer_inspect(folder, &line, &error), STATUS_OK);
	assert_string_equal(line.data, "vocab.json, 38 bytes, class GPT2Tokenizer, bos <|endoftext|>");
	strbuf_done(&line);
	expect_ids(t, "ab<x><y><p>", 11, (struct tokenizer_options){true, true}, "3 2 7 5 8");
	expect_ids(t, "<x><|endoftext|>a", 17, (struct tokenizer_options){false, false}, "7 0");
	assert_int_equal(tokenizer_size(t), 9);
	assert_false(tokenizer_has(t, 6));
	assert_true(tokenizer_is_special(t, 8));
	tokenizer_destroy(&t);
	free(folder);
}

/* What is said where one of the files has another text. */
static void vocab_and_merges_refused(void **state)
{
	(void)state;
	char *folder = scratch_path("gpt");
	struct tokenizer *t;
	struct error error = {0};
	static const char *const wrong[][3] = {
		/* file, text, what the error says (NULL: it is taken) */
		{"tokenizer_config.json", "{\"tokenizer_class\":\"CLIPTokenizer\"}", "CLIPTokenizer"},
		{"tokenizer_config.json", "{\"add_bos_token\":true}", NULL},
		{"tokenizer_config.json", "{\"add_eos_token\":true,\"bos_token\":\"a\"}", "add_eos_token"},
		{"tokenizer_config.json", "{\"add_bos_token\":1}", "true or false"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":{\"content\":\"<z>\"}}}", "another token"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\":{\"9\":{\"content\":\"a\"}}}",
		 "0 in the vocabulary"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\":{\"2000000000\":{\"content\":\"<z>\"}}}",
		 "2000000000"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\":{\"-4\":{\"content\":\"<z>\"}}}", "\"-4\""},
		{"tokenizer_config.json", "{\"added_tokens_decoder\":[]}", "not an object"},
		{"tokenizer_config.json", "[", "JSON"},
		{"added_tokens.json", "{\"<y>\":1e9}", "<y>"},
		{"added_tokens.json", "{\"<y>\":5,\"<w>\":5}", "the id 5"},
		{"merges.txt", "a b c\n", "line 1"},
		{"merges.txt", "a\n", "line 1"},
		{"merges.txt", "a b\nb q\n", "\"q\""},
		{"merges.txt", "b a\n", "\"ba\""},
		{"vocab.json", "{\"a\":0,\"a\":1}", "twice"},
		{"vocab.json", "{\"a\":0,\"b\":0}", "another token"},
		{"vocab.json", "{\"a\":-1}", "-1"},
		{"vocab.json", "{\"a\":4000000000}", "4e+09"},
		{"vocab.json", "{\"a\":0.5}", "0.5"},
		{"vocab.json", "{}", "empty"},
		{"vocab.json", "[]", "'{'"},
		{"vocab.json", "", "its end"},
	};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		write_gpt_files();
		char *name = path_join("gpt", wrong[i][0]);
		free(scratch_file(name, wrong[i][1], strlen(wrong[i][1])));
		free(name);
		enum status status = tokenizer_load(&t, folder, &error);
		if (status != (wrong[i][2] ? STATUS_INVALID : STATUS_OK))
			fail_msg("%s: %s", wrong[i][1], status ? error.text : "accepted");
		if (wrong[i][2])
			assert_true(scratch_says(error.text, wrong[i][2]));
		tokenizer_destroy(&t);
	}
	free(folder);
	folder = scratch_path("empty/x");
	assert_int_equal(tokenizer_load(&t, folder, &error), STATUS_INVALID);
	free(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tiktoken_ranks),
		cmocka_unit_test(tiktoken_lines_refused),
		cmocka_unit_test(vocab_and_merges),
		cmocka_unit_test(vocab_and_merges_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
