/* What the tokenizers are made of, each alone: normal forms, regular expressions, the search for many
 * strings at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "models/normalize.h"
#include "models/tokenizer_regex.h"
#include "models/tokenizer_trie.h"
#include "tests/scratch.h"

static void normal_forms(void **state)
{
	(void)state;
	struct strbuf out = {0};
	static const char marks[] = "a\xCC\x81\xCC\xA3"; /* acute, dot below: the dot comes first */
	normal_form_apply(NORMAL_FORM_NFD, marks, 5, &out);
	assert_string_equal(out.data, "a\xCC\xA3\xCC\x81");
	strbuf_clear(&out);
	normal_form_apply(NORMAL_FORM_NFC, marks, 5, &out);
	assert_string_equal(out.data, "\xE1\xBA\xA1\xCC\x81");
	strbuf_clear(&out);
	normal_form_apply(NORMAL_FORM_NFKC, "\xEF\xAC\x81\xC2\xB2", 5, &out); /* fi, squared */
	assert_string_equal(out.data, "fi2");
	strbuf_clear(&out);
	normal_form_apply(NORMAL_FORM_NFC, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", 9, &out); /* Hangul */
	assert_string_equal(out.data, "\xEA\xB0\x81");
	strbuf_clear(&out);
	/* A megabyte of marks in the wrong order would cost a square by swapping. */
	struct strbuf many = {0};
	for (int i = 0; i < 200000; i++)
		strbuf_add_string(&many, i % 2 ? "\xCC\xA3" : "\xCC\x81");
	normal_form_apply(NORMAL_FORM_NFD, many.data, many.length, &out);
	assert_int_equal(out.length, many.length);
	assert_memory_equal(out.data, "\xCC\xA3\xCC\xA3", 4);
	strbuf_done(&many);
	strbuf_done(&out);
}

static void patterns_match_or_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *text;
		size_t start, end; /* end 0: no match */
	} cases[] = {
		{"\\s", "a\xE1\xA0\x8E", 0, 0}, /* U+180E is not White_Space */
		{"\\S", "\xE1\xA0\x8E", 0, 3},
		{"[^\\s]", "\xC2\x85\xE2\x80\xA8\xE1\xA0\x8E", 5, 8},
		{"[\\S]", "\xE3\x80\x80 x", 4, 5},
		{"\\W", "a\xE2\x80\x8D", 1, 4},		/* a joiner is none */
		{"\\w+", "-\xC3\xA9_1\xCC\x81-", 1, 7}, /* a mark is a word character */
		{"\\p{Han}+", "a\xE6\xBC\xA2\xE3\x80\x85", 1, 7},
		{"(?i:'s)", "x'\xC5\xBF", 1, 4}, /* long s */
		{"\\s+(?!\\S)", "   a", 0, 2},
		{"^b$", "a\nb\nc", 2, 3},
		{"\\u00e9", "\xC3\xA9", 0, 2},
	};
	static const char *const refused[] = {"\\h", "\\bx",  "[[:alpha:]]", "[a&&b]", "(?1)", "(*UTF)",
					      "a(",  "[\\W]", "\\Kx",	     "\\1",    "[]a]"};
	struct error error = {0};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct regex *regex;
		struct regex_scratch scratch = {0};
		bool found;
		size_t start = 0, end = 0;
		if (regex_compile(&regex, cases[i].pattern, strlen(cases[i].pattern), "test", &error))
			fail_msg("%s", error.text);
		assert_int_equal(regex_search(regex, &scratch, cases[i].text, strlen(cases[i].text), 0, &found, &start,
					      &end, &error),
				 STATUS_OK);
		if (found != (cases[i].end > 0) || (found && (start != cases[i].start || end != cases[i].end)))
			fail_msg("%s: %d %zu-%zu", cases[i].pattern, found, start, end);
		regex_scratch_done(&scratch);
		regex_destroy(&regex);
	}
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct regex *regex;
		if (regex_compile(&regex, refused[i], strlen(refused[i]), "test", &error) != STATUS_INVALID)
			fail_msg("%s: not refused", refused[i]);
		assert_true(scratch_says(error.text, "regular expression"));
	}
}

static void trie_finds_the_leftmost_longest(void **state)
{
	(void)state;
	/* Against trying every string at every place. */
	static const char *const words[] = {"ab", "abcd", "bcab", "c", "cabab", "dd", "bcd"};
	struct trie trie = {0};
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		assert_true(trie_add(&trie, words[i], strlen(words[i]), (int32_t)i));
	assert_false(trie_add(&trie, "ab", 2, 99));
	trie_prepare(&trie);
	uint64_t random = 7;
	for (int round = 0; round < 20000; round++) {
		char text[24];
		size_t n = (size_t)(random >> 40) % 24;
		for (size_t i = 0; i < n; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			text[i] = (char)('a' + (random >> 33) % 4);
		}
		size_t want_start = 0, want_end = 0, start = 0, end = 0;
		int32_t want = -1;
		for (size_t i = 0; i < n && want < 0; i++) {
			for (size_t w = 0; w < ARRAY_LEN(words); w++) {
				size_t length = strlen(words[w]);
				if (i + length <= n && memcmp(text + i, words[w], length) == 0 &&
				    i + length > want_end) {
					want = (int32_t)w;
					want_start = i;
					want_end = i + length;
				}
			}
		}
		assert_int_equal(trie_search(&trie, text, n, 0, &start, &end), want);
		if (want >= 0) {
			assert_int_equal(start, want_start);
			assert_int_equal(end, want_end);
		}
	}
	trie_done(&trie);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normal_forms),
		cmocka_unit_test(patterns_match_or_are_refused),
		cmocka_unit_test(trie_finds_the_leftmost_longest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
