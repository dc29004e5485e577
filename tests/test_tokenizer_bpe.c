/* BPE: which pairs are merged in which order, and what becomes of unknown characters. */
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

static void merges_by_rank_then_position(void **state)
{
	(void)state;
	struct tokenizer *t = small_tokenizer("\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"aa\":5,\"abc\":6,\"aaaa\":7",
					      "\"b c\",\"a b\",\"a a\",\"aa aa\",\"a bc\"", "", "", "");
	expect_tokens(t, "abc", "6"); /* b c first, then a bc */
	expect_tokens(t, "ab", "3");
	expect_tokens(t, "aaa", "5 0"); /* leftmost */
	expect_tokens(t, "aaaaa", "7 0");
	expect_tokens(t, "aab", "0 3");
	expect_tokens(t, "axb", "3"); /* without an unknown token such characters vanish, before merging */
	expect_tokens(t, "", "");
	tokenizer_destroy(&t);
}

/* The plain rule, quadratic: the pair of lowest rank, leftmost, until there is none. */
static size_t merge_plainly(int *symbols, size_t n, const int (*ranks)[8], const int (*results)[8])
{
	for (;;) {
		size_t best = n;
		for (size_t i = 0; i + 1 < n; i++)
			if (ranks[symbols[i]][symbols[i + 1]] >= 0 &&
			    (best == n || ranks[symbols[i]][symbols[i + 1]] < ranks[symbols[best]][symbols[best + 1]]))
				best = i;
		if (best == n)
			return n;
		symbols[best] = results[symbols[best]][symbols[best + 1]];
		memmove(symbols + best + 1, symbols + best + 2, (n - best - 2) * sizeof *symbols);
		n--;
	}
}

static void merges_like_the_plain_rule(void **state)
{
	(void)state;
	/* a b c, then ab bc ca, then abc, then bcabc */
	static const char vocab[] = "\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"ca\":5,\"abc\":6,\"bcabc\":7";
	static const int pairs[][3] = {{2, 0, 5}, {0, 1, 3}, {1, 2, 4}, {3, 2, 6}, {0, 4, 6}, {4, 6, 7}};
	int ranks[8][8], results[8][8];
	memset(ranks, -1, sizeof ranks);
	for (int i = 0; i < 6; i++) {
		ranks[pairs[i][0]][pairs[i][1]] = i;
		results[pairs[i][0]][pairs[i][1]] = pairs[i][2];
	}
	/* Pairs and strings may not stand side by side in the library; here they may. */
	struct tokenizer *t =
		small_tokenizer(vocab, "\"c a\",\"a b\",\"b c\",[\"ab\",\"c\"],\"a bc\",\"bc abc\"", "", "", "");
	uint64_t random = 12345;
	for (int round = 0; round < 2000; round++) {
		char text[80];
		int symbols[80];
		size_t n = 1 + (size_t)(random >> 33) % 79;
		for (size_t i = 0; i < n; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			symbols[i] = (int)((random >> 33) % 3);
			text[i] = (char)('a' + symbols[i]);
		}
		struct token_list ids = {0};
		struct error error = {0};
		assert_int_equal(tokenizer_encode(t, text, n, (struct tokenizer_options){false, false}, &ids, &error),
				 STATUS_OK);
		size_t left = merge_plainly(symbols, n, (const int(*)[8])ranks, (const int(*)[8])results);
		assert_int_equal(ids.count, left);
		for (size_t i = 0; i < left; i++)
			assert_int_equal(ids.ids[i], symbols[i]);
		token_list_done(&ids);
	}
	tokenizer_destroy(&t);
}

static void a_megabyte_is_one_word(void **state)
{
	(void)state;
	struct tokenizer *t = small_tokenizer("\"a\":0,\"aa\":1,\"aaaa\":2", "\"a a\",\"aa aa\"", "", "", "");
	size_t n = (1 << 20) + 3;
	char *text = mem_alloc(n, 1);
	memset(text, 'a', n);
	struct token_list ids = {0};
	struct error error = {0};
	assert_int_equal(tokenizer_encode(t, text, n, (struct tokenizer_options){false, false}, &ids, &error),
			 STATUS_OK);
	assert_int_equal(ids.count, (1 << 18) + 2);
	assert_int_equal(ids.ids[ids.count - 2], 1);
	assert_int_equal(ids.ids[ids.count - 1], 0);
	token_list_done(&ids);
	free(text);
	tokenizer_destroy(&t);
}

static void unknown_characters_are_unk_or_bytes(void **state)
{
	(void)state;
	static const char vocab[] = "\"?\":0,\"a\":1,\"<0xC3>\":2,\"<0xA9>\":3,\"<0xE2>\":4";
	struct tokenizer *t = small_tokenizer(vocab, "", "\"unk_token\":\"?\"", "", "");
	expect_tokens(t, "axya", "1 0 0 1");
	tokenizer_destroy(&t);
	t = small_tokenizer(vocab, "", "\"unk_token\":\"?\",\"fuse_unk\":true,\"byte_fallback\":true", "", "");
	expect_tokens(t, "axya", "1 0 1");
	expect_tokens(t, "a\xC3\xA9", "1 2 3");
	expect_tokens(t, "\xE2\x82\xAC", "0");	 /* two of its three bytes are missing */
	expect_tokens(t, "x\xC3\xA9y", "2 3 0"); /* what is unknown waits for a known character, not for bytes */
	expect_tokens(t, "a\xFF\xFE z", "1 0");	 /* invalid bytes are U+FFFD */
	tokenizer_destroy(&t);
	t = small_tokenizer(vocab, "", "\"unk_token\":\"<gone>\"", "", "");
	struct token_list ids = {0};
	struct error error = {0};
	assert_int_equal(tokenizer_encode(t, "x", 1, (struct tokenizer_options){false, false}, &ids, &error),
			 STATUS_INVALID);
	assert_true(scratch_says(error.text, "<gone>"));
	token_list_done(&ids);
	tokenizer_destroy(&t);
}

static void nul_is_a_character(void **state)
{
	(void)state;
	struct tokenizer *t =
		small_tokenizer("\"a\":0,\"\\u0000\":1,\"a\\u0000\":2,\"\\\\u0000\":3,\"\\ufdd0\":4", "\"a \\u0000\"",
				"", "{\"content\":\"\\u0000\\u0000\",\"special\":true}", "");
	const struct tokenizer_options plain = {false, false}, special = {false, true};
	expect_ids(t, "a\0", 2, plain, "2");
	expect_ids(t, "\0a", 2, plain, "1 0");
	expect_ids(t, "\0\0", 2, special, "5");
	expect_ids(t, "\0\0", 2, plain, "1 1");
	expect_ids(t, "\xEF\xB7\x90", 3, plain, "4"); /* U+FDD0 is not mistaken for it */
	struct strbuf name = {0};
	tokenizer_token_name(t, 2, &name);
	assert_int_equal(name.length, 2);
	assert_memory_equal(name.data, "a\0", 2);
	strbuf_clear(&name);
	tokenizer_token_show(t, 2, &name);
	assert_string_equal(name.data, "a\\x00");
	strbuf_done(&name);
	tokenizer_destroy(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges_by_rank_then_position), cmocka_unit_test(merges_like_the_plain_rule),
		cmocka_unit_test(a_megabyte_is_one_word),	cmocka_unit_test(unknown_characters_are_unk_or_bytes),
		cmocka_unit_test(nul_is_a_character),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
