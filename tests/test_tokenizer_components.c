/* The components of a tokenizer.json around its model: normalizers, pre-tokenizers, decoders and
 * added tokens, on the texts and ids of a whole tokenizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "tests/scratch.h"
#include "tests/small_tokenizer.h"

#define LEGACY                                                                                                         \
	"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" LOWER_BLOCK      \
	"\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" LOWER_BLOCK                          \
	"\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"        \
	"\"" LOWER_BLOCK                                                                                               \
	"\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "   \
	"\",\"start\":1}]}"

/* G-breve (U+0120) is the space, A-tilde and (c) the two bytes of e-acute. */
static struct tokenizer *byte_level_tokenizer(void)
{
	return small_tokenizer("\"a\":0,\"\\u0120\":1,\"\\u0120a\":2,\"\\u00c3\":3,\"\\u00a9\":4,\"!\":5,\"\\u010a\":6",
			       "\"\\u0120 a\"", "", "{\"content\":\"<e>\",\"special\":true}", BYTE_LEVEL);
}

static void byte_level_spells_bytes(void **state)
{
	(void)state;
	struct tokenizer *t = byte_level_tokenizer();
	expect_tokens(t, "a a!", "0 2 5");
	expect_tokens(t, "  a\n", "1 2 6");
	expect_tokens(t, "\xC3\xA9", "3 4");
	expect_tokens(t, "a<e>a", "0 7 0");
	expect_ids(t, "a<e>a", 5, (struct tokenizer_options){false, false}, "0 0");
	expect_decoded(t, (const int32_t[]){2, 7, 3, 4, 3, 5, 99, -1}, 8, true, " a\xC3\xA9\xEF\xBF\xBD!");
	expect_decoded(t, (const int32_t[]){7, 0}, 2, false, "<e>a");
	tokenizer_destroy(&t);
}

static void byte_level_streams_whole_characters(void **state)
{
	(void)state;
	struct tokenizer *t = byte_level_tokenizer();
	struct tokenizer_stream stream;
	struct strbuf out = {0};
	tokenizer_stream_init(&stream, t, true);
	tokenizer_stream_push(&stream, 3, &out);
	assert_int_equal(out.length, 0); /* half a character */
	tokenizer_stream_push(&stream, 4, &out);
	assert_string_equal(out.data, "\xC3\xA9");
	tokenizer_stream_push(&stream, 3, &out);
	tokenizer_stream_end(&stream, &out);
	assert_string_equal(out.data, "\xC3\xA9\xEF\xBF\xBD");
	strbuf_done(&out);
	tokenizer_destroy(&t);
}

static void byte_level_describes_its_ids(void **state)
{
	(void)state;
	struct tokenizer *t = byte_level_tokenizer();
	struct strbuf out = {0};
	for (int32_t id = 1; id <= 6; id++)
		tokenizer_token_show(t, id, &out);
	assert_string_equal(out.data, "\xC2\xB7\xC2\xB7"
				      "a\\xC3\\xA9!\\n");
	strbuf_done(&out);

	assert_int_equal(tokenizer_size(t), 8);
	assert_true(tokenizer_has(t, 7));
	assert_false(tokenizer_has(t, 8));
	assert_true(tokenizer_is_special(t, 7));
	assert_false(tokenizer_is_special(t, 0));
	int32_t id;
	struct error error = {0};
	assert_int_equal(tokenizer_find(t, " a", 2, &id, &error), STATUS_OK);
	assert_int_equal(id, 2);
	assert_int_equal(tokenizer_find(t, "a a", 3, &id, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "\"a a\" is 2 tokens (a | \xC2\xB7"
					     "a), expected one"));
	tokenizer_destroy(&t);
}

static struct tokenizer *legacy_tokenizer(void)
{
	static const char vocab[] =
		"\"<unk>\":0,\"<s>\":1,\"" LOWER_BLOCK "\":2,\"a\":3,\"" LOWER_BLOCK "a\":4,\"<0xC3>\":5,\"<0xA9>\":6";
	static const char template[] = "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
				       "\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
				       "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{"
				       "\"id\":\"<s>\",\"ids\":[1]}}}," LEGACY;
	return small_tokenizer(vocab, "\"" LOWER_BLOCK " a\"", "\"unk_token\":\"<unk>\",\"byte_fallback\":true",
			       "{\"content\":\"<s>\",\"special\":true}", template);
}

static void legacy_space_before_each_segment(void **state)
{
	(void)state;
	struct tokenizer *t = legacy_tokenizer();
	const struct tokenizer_options whole = {true, true};
	expect_ids(t, "a a", 3, whole, "1 4 4");
	expect_ids(t, "", 0, whole, "1");
	expect_ids(t, "a<s>a", 5, whole, "1 4 1 4"); /* the space comes in front of every segment */
	expect_decoded(t, (const int32_t[]){1, 4, 4}, 3, true, "a a");
	expect_decoded(t, (const int32_t[]){1, 4, 4}, 3, false, "<s> a a");
	assert_int_equal(tokenizer_bos(t), 1);
	assert_true(tokenizer_doubled_bos(t, (const int32_t[]){1, 1, 4}, 3));
	assert_false(tokenizer_doubled_bos(t, (const int32_t[]){1, 4, 1}, 3));
	int32_t id;
	struct error error = {0};
	assert_int_equal(tokenizer_find(t, " a", 2, &id, &error), STATUS_OK);
	assert_int_equal(id, 4);
	assert_int_equal(tokenizer_find(t, "a", 1, &id, &error), STATUS_OK);
	assert_int_equal(id, 3);
	tokenizer_destroy(&t);
}

static void legacy_decoding_of_bad_bytes(void **state)
{
	(void)state;
	struct tokenizer *t = legacy_tokenizer();
	/* Whole: one bad byte spoils its run. Streaming keeps the character. */
	expect_decoded(t, (const int32_t[]){3, 5, 6, 5}, 4, true, "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
	struct tokenizer_stream stream;
	struct strbuf out = {0};
	tokenizer_stream_init(&stream, t, true);
	for (int i = 0; i < 4; i++)
		tokenizer_stream_push(&stream, ((const int32_t[]){4, 5, 6, 5})[i], &out);
	assert_string_equal(out.data, "a\xC3\xA9");
	tokenizer_stream_end(&stream, &out);
	assert_string_equal(out.data, "a\xC3\xA9\xEF\xBF\xBD");
	strbuf_done(&out);
	tokenizer_destroy(&t);
}

/* Every behaviour of Split, on the pattern "-". */
static void split_behaviours(void **state)
{
	(void)state;
	static const struct {
		const char *behaviour, *want;
		bool invert;
	} cases[] = {
		/* a=0 -=1 --=2 a-=3 -a=4 a--=5 --a=6; a merge needs its word whole */
		{"Isolated", "0 1 1 0", false},		{"Removed", "0 0", false},
		{"MergedWithPrevious", "3 1 0", false}, {"MergedWithNext", "0 1 4", false},
		{"Contiguous", "0 2 0", false},		{"Removed", "1 1", true},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *component = mem_printf("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},"
					     "\"behavior\":\"%s\",\"invert\":%s}",
					     cases[i].behaviour, cases[i].invert ? "true" : "false");
		struct tokenizer *t = small_tokenizer("\"a\":0,\"-\":1,\"--\":2,\"a-\":3,\"-a\":4",
						      "\"- -\",\"a -\",\"- a\"", "", "", component);
		expect_tokens(t, "a--a", cases[i].want);
		tokenizer_destroy(&t);
		free(component);
	}
}

/* White space that one token takes in is not there for the next. */
static void added_tokens_swallow_space(void **state)
{
	(void)state;
	struct tokenizer *t =
		small_tokenizer("\"a\":0", "", "",
				"{\"content\":\"<r>\",\"rstrip\":true},{\"content\":\" \",\"lstrip\":true},"
				"{\"content\":\"\\n\"},{\"content\":\"<w>\",\"single_word\":true,\"lstrip\":true}",
				"");
	expect_tokens(t, "a<r>  a", "0 1 0");
	expect_tokens(t, "a<r>\na", "0 1 3 0"); /* without lstrip the match counts, as in the library */
	expect_tokens(t, "a  a", "0 2 2 0");
	expect_tokens(t, "a\t <w>", "0 2 4");
	expect_tokens(t, "a<w>", "0");
	tokenizer_destroy(&t);
}

/* Empty matches cut too, but not where the last match ended. */
static void empty_matches_cut(void **state)
{
	(void)state;
	struct tokenizer *t =
		small_tokenizer("\"a\":0,\"b\":1,\"bb\":2,\"aa\":3", "\"b b\",\"a a\"", "", "",
				"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a*\"},\"behavior\":"
				"\"Isolated\",\"invert\":false}");
	expect_tokens(t, "bbaabb", "1 1 3 1 1");
	tokenizer_destroy(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(byte_level_spells_bytes),	cmocka_unit_test(byte_level_streams_whole_characters),
		cmocka_unit_test(byte_level_describes_its_ids), cmocka_unit_test(legacy_space_before_each_segment),
		cmocka_unit_test(legacy_decoding_of_bad_bytes), cmocka_unit_test(split_behaviours),
		cmocka_unit_test(added_tokens_swallow_space),	cmocka_unit_test(empty_matches_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
