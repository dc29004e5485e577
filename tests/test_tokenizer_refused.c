/* What is refused of a tokenizer.json, and the sentence that says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "tests/scratch.h"
#include "tests/small_tokenizer.h"

/* One thing wrong in a file that is sound otherwise. */
static void parts_refused(void **state)
{
	(void)state;
	static const struct {
		const char *vocab, *merges, *flags, *added, *components, *says;
	} cases[] = {
		{"\"a\":0", "", "\"dropout\":0.1", "", "", "dropout"},
		{"\"a\":0", "", "\"continuing_subword_prefix\":\"##\"", "", "", "continuing_subword_prefix"},
		{"\"a\":0", "", "\"end_of_word_suffix\":\"</w>\"", "", "", "end_of_word_suffix"},
		{"\"a\":0", "", "\"fuse_unk\":1", "", "", "fuse_unk"},
		{"\"a\":0", "", "", "", "\"normalizer\":{\"type\":\"Lowercase\"}",
		 "normalizer \"Lowercase\" is not implemented"},
		{"\"a\":0", "", "", "", "\"normalizer\":{\"type\":\"Replace\",\"content\":\"\"}", "pattern"},
		{"\"a\":0", "", "", "", "\"normalizer\":{\"type\":\"Sequence\"}", "normalizers"},
		{"\"a\":0", "", "", "", "\"normalizer\":[]", "normalizer \"\""},
		{"\"a\":0", "", "", "", "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}", "BertPreTokenizer"},
		{"\"a\":0", "", "", "",
		 "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}",
		 "refused"},
		{"\"a\":0", "", "", "",
		 "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Odd\"}", "Odd"},
		{"\"a\":0", "", "", "", "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"maybe\"}",
		 "maybe"},
		{"\"a\":0", "", "", "", "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}",
		 "one character"},
		{"\"a\":0", "", "", "", "\"post_processor\":{\"type\":\"BertProcessing\"}", "BertProcessing"},
		{"\"a\":0", "", "", "", "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}",
		 "0 times"},
		{"\"a\":0", "", "", "",
		 "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]}",
		 "\"x\""},
		{"\"a\":0", "", "", "",
		 "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},{"
		 "\"Sequence\":"
		 "{\"id\":\"A\"}}],\"special_tokens\":{\"x\":{\"ids\":[77]}}}",
		 "77"},
		{"\"a\":0", "", "", "", "\"decoder\":{\"type\":\"WordPiece\"}", "WordPiece"},
		{"\"a\":0", "", "", "", "\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}",
		 "Strip"},
		{"\"a\":0", "", "", "{\"id\":0}", "", "content"},
		{"\"a\":0", "\"a\"", "", "", "", "merge 0"},
		{"\"a\":0", "\"a a a\"", "", "", "", "merge 0"},
		{"\"a\":0", "\" a\"", "", "", "", "merge 0"},
		{"\"a\":0", "[\"a\"]", "", "", "", "expected ','"},
		{"\"a\":0", "[\"a\",\"b\"]", "", "", "", "\"b\""},
		{"\"a\":0", "[\"a\",\"a\"]", "", "", "", "\"aa\""},
		{"\"a\":0", "7", "", "", "", "a string"},
		{"\"a\":\"x\"", "", "", "", "", "a number"},
		{"\"a\":123456789", "", "", "", "", "bytes could have"},
	};
	struct tokenizer *t;
	struct error error = {0};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *json = small_tokenizer_json(cases[i].vocab, cases[i].merges, cases[i].flags, cases[i].added,
						  cases[i].components);
		if (small_tokenizer_try(&t, "bad/tokenizer.json", json, &error) != STATUS_INVALID)
			fail_msg("accepted: %s", json);
		assert_null(t);
		assert_true(scratch_says(error.text, cases[i].says));
		free(json);
	}
}

/* Texts that are not a tokenizer, or not JSON. */
static void texts_refused(void **state)
{
	(void)state;
	struct tokenizer *t;
	struct error error = {0};
	static const char *const texts[][2] = {
		{"", "its end"},
		{"[]", "'{'"},
		{"{}", "model"},
		{"{\"model\":7}", "model"},
		{"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1.0]]}}", "model \"Unigram\" is not implemented"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "merges"},
		{"{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", "vocab"},
		{"{\"model\":{\"merges\":[],\"merges\":[]}}", "twice"},
		{"{\"model\":{},\"model\":{}}", "twice"},
		{"{\"model\":{}} x", "nothing behind"},
		{"{\"a\":\"\x01\"}", "end of a string"},
		{"{\"a\":\"\\ud800\"}", "surrogate"},
		{"{\"a\":\"\\x\"}", "escape"},
		{"{\"a\":01}", "number"},
		{"{\"a\":nul}", "value"},
		{"{\"a\" 1}", "':'"},
		{"{\"a\":1,}", "string"},
		{"\xFF", "UTF-8"},
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (small_tokenizer_try(&t, "bad/tokenizer.json", texts[i][0], &error) != STATUS_INVALID)
			fail_msg("accepted: %s", texts[i][0]);
		assert_true(scratch_says(error.text, texts[i][1]));
	}
}

static void nesting_is_limited(void **state)
{
	(void)state;
	struct tokenizer *t;
	struct error error = {0};
	struct strbuf deep = {0};
	strbuf_add_string(&deep, "{\"a\":");
	for (int i = 0; i < 100000; i++)
		strbuf_add_char(&deep, '[');
	assert_int_equal(small_tokenizer_try(&t, "bad/tokenizer.json", deep.data, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "100 levels"));
	strbuf_done(&deep);
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	char *json = small_tokenizer_json("\"a\":0,\"b\\u00e9\":1,\"ab\\u00e9\":2,\"\\u0120\":3", "\"a b\\u00e9\"",
					  "\"unk_token\":\"a\"",
					  "{\"content\":\"<x>\",\"special\":true,\"lstrip\":true}", BYTE_LEVEL);
	struct tokenizer *t;
	struct error error = {0};
	for (size_t n = 0; n < strlen(json); n++) {
		char *path = scratch_file("cut/tokenizer.json", json, n);
		assert_int_equal(tokenizer_load(&t, path, &error), STATUS_INVALID);
		assert_true(error.text[0] != '\0');
		free(path);
	}
	free(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_refused),
		cmocka_unit_test(texts_refused),
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(every_truncation_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
