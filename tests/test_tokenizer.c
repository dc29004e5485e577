/* Tokenizers on small files made here, on the built-in model's, and on broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/normalize.h"
#include "models/tokenizer.h"
#include "models/tokenizer_regex.h"
#include "models/tokenizer_trie.h"
#include "tests/scratch.h"

#define LOWER_BLOCK "\xE2\x96\x81" /* U+2581 */

/* A tokenizer.json of the given parts; each may be "". */
static char *tokenizer_json(const char *vocab, const char *merges, const char *flags, const char *added,
			    const char *components)
{
	return mem_printf(
		"{\"version\":\"1.0\",\"added_tokens\":[%s]%s%s,\"model\":{\"type\":\"BPE\"%s%s,\"vocab\":{%s},"
		"\"merges\":[%s]}}",
		added, components[0] ? "," : "", components, flags[0] ? "," : "", flags, vocab, merges);
}

static enum status load_text(struct tokenizer **t, const char *name, const char *text, struct error *error)
{
	char *path = scratch_file(name, text, strlen(text));
	enum status status = tokenizer_load(t, path, error);
	remove(path);
	free(path);
	return status;
}

static struct tokenizer *load(const char *text)
{
	struct tokenizer *t;
	struct error error = {0};
	if (load_text(&t, "tokenizer.json", text, &error))
		fail_msg("%s", error.text);
	return t;
}

/* `want` is ids with spaces between them. */
static void expect_ids(const struct tokenizer *t, const char *text, size_t n, struct tokenizer_options options,
		       const char *want)
{
	struct token_list ids = {0};
	struct error error = {0};
	struct strbuf got = {0};
	if (tokenizer_encode(t, text, n, options, &ids, &error))
		fail_msg("%s", error.text);
	strbuf_add(&got, "", 0);
	for (size_t i = 0; i < ids.count; i++)
		strbuf_printf(&got, "%s%d", i ? " " : "", ids.ids[i]);
	if (strcmp(got.data, want) != 0)
		fail_msg("\"%s\": got ids %s, expected %s", text, got.data, want);
	strbuf_done(&got);
	token_list_done(&ids);
}

static void expect(const struct tokenizer *t, const char *text, const char *want)
{
	expect_ids(t, text, strlen(text), (struct tokenizer_options){false, true}, want);
}

static void expect_decoded(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip, const char *want)
{
	struct strbuf got = {0};
	strbuf_add(&got, "", 0);
	tokenizer_decode(t, ids, n, skip, &got);
	assert_string_equal(got.data, want);
	strbuf_done(&got);
}

/* ---- merging ------------------------------------------------------------- */

static void merges_by_rank_then_position(void **state)
{
	(void)state;
	char *text = tokenizer_json("\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"aa\":5,\"abc\":6,\"aaaa\":7",
				    "\"b c\",\"a b\",\"a a\",\"aa aa\",\"a bc\"", "", "", "");
	struct tokenizer *t = load(text);
	expect(t, "abc", "6"); /* b c first, then a bc */
	expect(t, "ab", "3");
	expect(t, "aaa", "5 0"); /* leftmost */
	expect(t, "aaaaa", "7 0");
	expect(t, "aab", "0 3");
	expect(t, "axb", "3"); /* without an unknown token such characters vanish, before merging */
	expect(t, "", "");
	tokenizer_destroy(&t);
	free(text);
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
	char *json = tokenizer_json(vocab, "\"c a\",\"a b\",\"b c\",[\"ab\",\"c\"],\"a bc\",\"bc abc\"", "", "", "");
	/* Pairs and strings may not stand side by side in the library; here they may. */
	struct tokenizer *t = load(json);
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
	free(json);
}

static void a_megabyte_is_one_word(void **state)
{
	(void)state;
	char *json = tokenizer_json("\"a\":0,\"aa\":1,\"aaaa\":2", "\"a a\",\"aa aa\"", "", "", "");
	struct tokenizer *t = load(json);
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
	free(json);
}

static void unknown_characters(void **state)
{
	(void)state;
	static const char vocab[] = "\"?\":0,\"a\":1,\"<0xC3>\":2,\"<0xA9>\":3,\"<0xE2>\":4";
	char *one = tokenizer_json(vocab, "", "\"unk_token\":\"?\"", "", "");
	struct tokenizer *t = load(one);
	expect(t, "axya", "1 0 0 1");
	tokenizer_destroy(&t);
	free(one);
	char *fused = tokenizer_json(vocab, "", "\"unk_token\":\"?\",\"fuse_unk\":true,\"byte_fallback\":true", "", "");
	t = load(fused);
	expect(t, "axya", "1 0 1");
	expect(t, "a\xC3\xA9", "1 2 3");
	expect(t, "\xE2\x82\xAC", "0");	  /* two of its three bytes are missing */
	expect(t, "x\xC3\xA9y", "2 3 0"); /* what is unknown waits for a known character, not for bytes */
	expect(t, "a\xFF\xFE z", "1 0");  /* invalid bytes are U+FFFD */
	tokenizer_destroy(&t);
	free(fused);
	char *missing = tokenizer_json(vocab, "", "\"unk_token\":\"<gone>\"", "", "");
	t = load(missing);
	struct token_list ids = {0};
	struct error error = {0};
	assert_int_equal(tokenizer_encode(t, "x", 1, (struct tokenizer_options){false, false}, &ids, &error),
			 STATUS_INVALID);
	assert_true(scratch_says(error.text, "<gone>"));
	token_list_done(&ids);
	tokenizer_destroy(&t);
	free(missing);
}

/* ---- NUL and other bytes ------------------------------------------------- */

static void nul_is_a_character(void **state)
{
	(void)state;
	char *json = tokenizer_json("\"a\":0,\"\\u0000\":1,\"a\\u0000\":2,\"\\\\u0000\":3,\"\\ufdd0\":4",
				    "\"a \\u0000\"", "", "{\"content\":\"\\u0000\\u0000\",\"special\":true}", "");
	struct tokenizer *t = load(json);
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
	free(json);
}

/* ---- components ---------------------------------------------------------- */

#define BYTE_LEVEL                                                                                                     \
	"\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"}"
#define LEGACY                                                                                                         \
	"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" LOWER_BLOCK      \
	"\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" LOWER_BLOCK                          \
	"\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"        \
	"\"" LOWER_BLOCK                                                                                               \
	"\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "   \
	"\",\"start\":1}]}"

static void byte_level(void **state)
{
	(void)state;
	/* G-breve (U+0120) is the space, A-tilde and (c) the two bytes of e-acute. */
	static const char vocab[] =
		"\"a\":0,\"\\u0120\":1,\"\\u0120a\":2,\"\\u00c3\":3,\"\\u00a9\":4,\"!\":5,\"\\u010a\":6";
	char *json = tokenizer_json(vocab, "\"\\u0120 a\"", "", "{\"content\":\"<e>\",\"special\":true}", BYTE_LEVEL);
	struct tokenizer *t = load(json);
	expect(t, "a a!", "0 2 5");
	expect(t, "  a\n", "1 2 6");
	expect(t, "\xC3\xA9", "3 4");
	expect(t, "a<e>a", "0 7 0");
	expect_ids(t, "a<e>a", 5, (struct tokenizer_options){false, false}, "0 0");
	expect_decoded(t, (const int32_t[]){2, 7, 3, 4, 3, 5, 99, -1}, 8, true, " a\xC3\xA9\xEF\xBF\xBD!");
	expect_decoded(t, (const int32_t[]){7, 0}, 2, false, "<e>a");

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
	strbuf_clear(&out);
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
	free(json);
}

static void legacy_spaces(void **state)
{
	(void)state;
	static const char vocab[] =
		"\"<unk>\":0,\"<s>\":1,\"" LOWER_BLOCK "\":2,\"a\":3,\"" LOWER_BLOCK "a\":4,\"<0xC3>\":5,\"<0xA9>\":6";
	static const char template[] = "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
				       "\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
				       "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{"
				       "\"id\":\"<s>\",\"ids\":[1]}}}," LEGACY;
	char *json = tokenizer_json(vocab, "\"" LOWER_BLOCK " a\"", "\"unk_token\":\"<unk>\",\"byte_fallback\":true",
				    "{\"content\":\"<s>\",\"special\":true}", template);
	struct tokenizer *t = load(json);
	const struct tokenizer_options whole = {true, true};
	expect_ids(t, "a a", 3, whole, "1 4 4");
	expect_ids(t, "", 0, whole, "1");
	expect_ids(t, "a<s>a", 5, whole, "1 4 1 4"); /* the space comes in front of every segment */
	expect_decoded(t, (const int32_t[]){1, 4, 4}, 3, true, "a a");
	expect_decoded(t, (const int32_t[]){1, 4, 4}, 3, false, "<s> a a");
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
	free(json);
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
		char *json = tokenizer_json("\"a\":0,\"-\":1,\"--\":2,\"a-\":3,\"-a\":4", "\"- -\",\"a -\",\"- a\"", "",
					    "", component);
		struct tokenizer *t = load(json);
		expect(t, "a--a", cases[i].want);
		tokenizer_destroy(&t);
		free(json);
		free(component);
	}
}

/* White space that one token takes in is not there for the next. */
static void swallowed_space(void **state)
{
	(void)state;
	char *json = tokenizer_json("\"a\":0", "", "",
				    "{\"content\":\"<r>\",\"rstrip\":true},{\"content\":\" \",\"lstrip\":true},"
				    "{\"content\":\"\\n\"},{\"content\":\"<w>\",\"single_word\":true,\"lstrip\":true}",
				    "");
	struct tokenizer *t = load(json);
	expect(t, "a<r>  a", "0 1 0");
	expect(t, "a<r>\na", "0 1 3 0"); /* without lstrip the match counts, as in the library */
	expect(t, "a  a", "0 2 2 0");
	expect(t, "a\t <w>", "0 2 4");
	expect(t, "a<w>", "0");
	tokenizer_destroy(&t);
	free(json);
}

/* Empty matches cut too, but not where the last match ended. */
static void empty_matches(void **state)
{
	(void)state;
	char *json = tokenizer_json("\"a\":0,\"b\":1,\"bb\":2,\"aa\":3", "\"b b\",\"a a\"", "", "",
				    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a*\"},\"behavior\":"
				    "\"Isolated\",\"invert\":false}");
	struct tokenizer *t = load(json);
	expect(t, "bbaabb", "1 1 3 1 1");
	tokenizer_destroy(&t);
	free(json);
}

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

static void patterns(void **state)
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

static void search_leftmost_longest(void **state)
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

/* ---- other files --------------------------------------------------------- */

static void tiktoken_lines(void **state)
{
	(void)state;
	/* All bytes, then "ab", "abc" and, reachable only as a whole, "xyz". */
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct strbuf file = {0};
	for (int i = 0; i < 256; i++)
		strbuf_printf(&file, "%c%c== %d\n", digits[i >> 2], digits[(i & 3) << 4], i);
	strbuf_add_string(&file, "YWI= 256\nYWJj 257\neHl6 258\n");
	char *path = scratch_file("tiktoken/original/tokenizer.model", file.data, file.length);
	char *folder = scratch_path("tiktoken");
	struct tokenizer *t;
	struct error error = {0};
	if (tokenizer_load(&t, folder, &error))
		fail_msg("%s", error.text);
	expect(t, "abc ab", "257 32 256");
	expect(t, "xyz", "258");
	expect(t, "xyzx", "120 121 122 120");
	expect_ids(t, "a", 1, (struct tokenizer_options){true, true}, "259 97");
	expect(t, "<|eot_id|>", "268"); /* the release's own special tokens */
	assert_string_equal(tokenizer_bos_text(t), "<|begin_of_text|>");
	tokenizer_destroy(&t);
	char *broken = mem_strdup(file.data);
	memcpy(strstr(broken, "YWJj"), "YW!j", 4);
	assert_int_equal(load_text(&t, "tiktoken.model", broken, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "line 258"));
	assert_int_equal(load_text(&t, "tiktoken.model", "AA== 0\nAQ== 99999\n", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "rank 99999"));
	assert_int_equal(load_text(&t, "tiktoken.model", "AA== 0\nAQ== 0\n", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "repeats"));
	assert_int_equal(load_text(&t, "tiktoken.model", "AA== 0\n", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "0x01"));
	free(broken);
	free(folder);
	free(path);
	strbuf_done(&file);
}

static void write_folder(const char *folder, const char *const (*files)[2])
{
	for (size_t i = 0; files[i][0]; i++) {
		char *name = path_join(folder, files[i][0]);
		free(scratch_file(name, files[i][1], strlen(files[i][1])));
		free(name);
	}
}

static void vocab_and_merges(void **state)
{
	(void)state;
	static const char *const files[][2] = {
		{"vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}"},
		{"merges.txt", "#version: 0.2\na b\n\n"},
		{"tokenizer_config.json",
		 "{\"tokenizer_class\":\"GPT2TokenizerFast\",\"bos_token\":{\"content\":\"<|endoftext|>\"},\"add_bos_"
		 "token\":true,"
		 "\"added_tokens_decoder\":{\"7\":{\"content\":\"<x>\",\"special\":false}},\"pad_token\":\"<p>\"}"},
		{"added_tokens.json", "{\"<y>\":5}"},
		{NULL, NULL},
	};
	write_folder("gpt", files);
	char *folder = scratch_path("gpt");
	struct tokenizer *t;
	struct error error = {0};
	if (tokenizer_load(&t, folder, &error))
		fail_msg("%s", error.text);
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

	static const char *const wrong[][4] = {
		/* file, text, what the error says */
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
		write_folder("gpt", files);
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

/* ---- SentencePiece ------------------------------------------------------- */

static void add_varint(struct strbuf *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		strbuf_add_char(out, (char)(value | 0x80));
	strbuf_add_char(out, (char)value);
}

static void add_field(struct strbuf *out, int field, const char *bytes, size_t n)
{
	add_varint(out, (uint64_t)field << 3 | 2);
	add_varint(out, n);
	strbuf_add(out, bytes, n);
}

static void add_number(struct strbuf *out, int field, uint64_t value)
{
	add_varint(out, (uint64_t)field << 3);
	add_varint(out, value);
}

static void add_piece(struct strbuf *out, const char *name, float score, int kind)
{
	struct strbuf piece = {0};
	add_field(&piece, 1, name, strlen(name));
	strbuf_add_char(&piece, 2 << 3 | 5);
	strbuf_add(&piece, &score, 4);
	add_number(&piece, 3, (uint64_t)kind);
	add_field(out, 1, piece.data, piece.length);
	strbuf_done(&piece);
}

/* Unknown, control, user-defined, unused and normal pieces; no byte fallback. */
static void small_model(struct strbuf *out, int model_type)
{
	struct strbuf trainer = {0}, normalizer = {0};
	static const struct {
		const char *name;
		float score;
		int kind;
	} pieces[] = {{"<unk>", 0, 2}, {"<s>", 0, 3},  {"</s>", 0, 3},	{"<u>", 0, 4},	      {LOWER_BLOCK "a", -1, 1},
		      {"ab", -2, 1},   {"abb", -3, 5}, {"abbb", -4, 1}, {LOWER_BLOCK, -5, 1}, {"a", -6, 1},
		      {"b", -7, 1},    {"ca", -2, 1},  {"c", -8, 1}};
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
		add_piece(out, pieces[i].name, pieces[i].score, pieces[i].kind);
	add_number(&trainer, 3, (uint64_t)model_type);
	add_number(&trainer, 43, UINT64_MAX); /* -1, ten bytes */
	add_field(out, 2, trainer.data, trainer.length);
	add_number(&normalizer, 4, 0);
	add_field(out, 3, normalizer.data, normalizer.length);
	strbuf_done(&trainer);
	strbuf_done(&normalizer);
}

static struct tokenizer *load_bytes(const struct strbuf *bytes)
{
	struct tokenizer *t;
	struct error error = {0};
	char *path = scratch_file("tokenizer.model", bytes->data, bytes->length);
	if (tokenizer_load(&t, path, &error))
		fail_msg("%s", error.text);
	free(path);
	return t;
}

static void sentencepiece_bpe(void **state)
{
	(void)state;
	struct strbuf file = {0};
	small_model(&file, 2);
	struct tokenizer *t = load_bytes(&file);
	expect_ids(t, "a", 1, (struct tokenizer_options){true, true}, "1 4");
	expect(t, "ab", "4 10");	 /* the best score, not the longest */
	expect(t, "bcab", "8 10 11 10"); /* leftmost of two with one score */
	expect(t, "bab", "8 10 5");
	expect(t, "babb", "8 10 5 10"); /* unused: taken apart again */
	expect(t, "babbb", "8 10 7");	/* but a step on the way */
	expect(t, "b<u>a", "8 10 3 9");
	expect(t, "<s>", "8 0"); /* control pieces are plain text; what is unknown is one id */
	expect(t, "xyb", "8 0 10");
	expect(t, "", "");
	expect_decoded(t, (const int32_t[]){1, 8, 10, 0, 4, 2}, 6, true, "b \xE2\x81\x87  a");
	expect_decoded(t, (const int32_t[]){4, 4}, 2, true, "a a");
	assert_int_equal(tokenizer_bos(t), 1);
	assert_int_equal(tokenizer_eos(t), 2);
	tokenizer_destroy(&t);
	strbuf_done(&file);
}

static void sentencepiece_unigram(void **state)
{
	(void)state;
	struct strbuf file = {0};
	small_model(&file, 1);
	struct tokenizer *t = load_bytes(&file);
	expect(t, "ab", "8 5");	    /* -5 - 2 beats -1 - 7 */
	expect(t, "abb", "8 5 10"); /* -14 beats -15 */
	expect(t, "abbb", "8 7");
	expect(t, "b<u>xxb", "8 10 3 0 10");
	tokenizer_destroy(&t);
	strbuf_done(&file);
}

static void broken_models(void **state)
{
	(void)state;
	struct strbuf good = {0};
	small_model(&good, 2);
	struct tokenizer *t;
	struct error error = {0};
	/* Every truncation is refused or, at a boundary of fields, still a model. */
	for (size_t n = 0; n < good.length; n++) {
		char *path = scratch_file("cut.model", good.data, n);
		enum status status = tokenizer_load(&t, path, &error);
		assert_true(status == STATUS_OK || (status == STATUS_INVALID && error.text[0]));
		tokenizer_destroy(&t);
		free(path);
	}
	/* And every change of a byte. */
	for (size_t i = 0; i < good.length; i++) {
		char kept = good.data[i];
		good.data[i] = (char)(kept ^ 0x55);
		char *path = scratch_file("changed.model", good.data, good.length);
		if (tokenizer_load(&t, path, &error) == STATUS_OK) {
			struct token_list ids = {0};
			if (tokenizer_encode(t, "ab <u>x", 7, (struct tokenizer_options){true, true}, &ids, &error))
				fail_msg("%s", error.text);
			struct strbuf out = {0};
			tokenizer_decode(t, ids.ids, ids.count, true, &out);
			assert_true(utf8_valid(out.data ? out.data : "", out.length));
			strbuf_done(&out);
			token_list_done(&ids);
		}
		tokenizer_destroy(&t);
		free(path);
		good.data[i] = kept;
	}
	strbuf_done(&good);
	static const struct {
		const char *bytes;
		size_t n;
		const char *says;
	} cases[] = {
		{"\x0A\xFF\xFF\xFF\xFF\x7F", 6, "broken field"},
		{"\x0A\x03\x0A\x01\xFF", 5, "UTF-8"},
		{"\x0A\x02\x18\x63", 4, "piece 0 is empty"},
		{"\x08\x01", 2, "wire type"},
		{"\x0B", 1, "broken field"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *path = scratch_file("broken.model", cases[i].bytes, cases[i].n);
		assert_int_equal(tokenizer_load(&t, path, &error), STATUS_INVALID);
		assert_true(scratch_says(error.text, cases[i].says));
		free(path);
	}
}

/* ---- what is refused ----------------------------------------------------- */

static void refused_json(void **state)
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
		char *json = tokenizer_json(cases[i].vocab, cases[i].merges, cases[i].flags, cases[i].added,
					    cases[i].components);
		if (load_text(&t, "bad/tokenizer.json", json, &error) != STATUS_INVALID)
			fail_msg("accepted: %s", json);
		assert_null(t);
		assert_true(scratch_says(error.text, cases[i].says));
		free(json);
	}
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
		if (load_text(&t, "bad/tokenizer.json", texts[i][0], &error) != STATUS_INVALID)
			fail_msg("accepted: %s", texts[i][0]);
		assert_true(scratch_says(error.text, texts[i][1]));
	}
	struct strbuf deep = {0};
	strbuf_add_string(&deep, "{\"a\":");
	for (int i = 0; i < 100000; i++)
		strbuf_add_char(&deep, '[');
	assert_int_equal(load_text(&t, "bad/tokenizer.json", deep.data, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "100 levels"));
	strbuf_done(&deep);
}

/* Every truncation of a whole file. */
static void truncated_json(void **state)
{
	(void)state;
	char *json = tokenizer_json("\"a\":0,\"b\\u00e9\":1,\"ab\\u00e9\":2,\"\\u0120\":3", "\"a b\\u00e9\"",
				    "\"unk_token\":\"a\"", "{\"content\":\"<x>\",\"special\":true,\"lstrip\":true}",
				    BYTE_LEVEL);
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

/* ---- the built-in model -------------------------------------------------- */

static void built_in(void **state)
{
	(void)state;
	struct tokenizer *t;
	struct error error = {0};
	if (!file_exists("models/demo/tokenizer.json")) {
		print_message("skipped: no models/demo/tokenizer.json\n");
		skip();
	}
	if (tokenizer_load(&t, "models/demo", &error))
		fail_msg("%s", error.text);
	static const char text[] =
		"When Mary and John went to the store,\n\tJohn gave a na\xC3\xAFve \xF0\x9F\x99\x82 drink to Mary";
	struct token_list ids = {0};
	struct strbuf whole = {0}, streamed = {0};
	assert_int_equal(
		tokenizer_encode(t, text, sizeof text - 1, (struct tokenizer_options){true, true}, &ids, &error),
		STATUS_OK);
	assert_int_equal(ids.ids[0], tokenizer_bos(t));
	assert_true(tokenizer_is_special(t, ids.ids[0]));
	tokenizer_decode(t, ids.ids, ids.count, true, &whole);
	assert_string_equal(whole.data, text);
	struct tokenizer_stream stream;
	tokenizer_stream_init(&stream, t, true);
	for (size_t i = 0; i < ids.count; i++) {
		tokenizer_stream_push(&stream, ids.ids[i], &streamed);
		assert_true(utf8_valid(streamed.data ? streamed.data : "", streamed.length));
	}
	tokenizer_stream_end(&stream, &streamed);
	assert_string_equal(streamed.data, text);
	int32_t id;
	assert_int_equal(tokenizer_find(t, " Mary", 5, &id, &error), STATUS_OK);
	assert_int_equal(id, ids.ids[ids.count - 1]);
	expect_ids(t, "<|user|>", 8, (struct tokenizer_options){false, true}, "1");
	strbuf_done(&whole);
	strbuf_done(&streamed);
	token_list_done(&ids);
	tokenizer_destroy(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges_by_rank_then_position),
		cmocka_unit_test(merges_like_the_plain_rule),
		cmocka_unit_test(a_megabyte_is_one_word),
		cmocka_unit_test(unknown_characters),
		cmocka_unit_test(nul_is_a_character),
		cmocka_unit_test(byte_level),
		cmocka_unit_test(legacy_spaces),
		cmocka_unit_test(split_behaviours),
		cmocka_unit_test(swallowed_space),
		cmocka_unit_test(empty_matches),
		cmocka_unit_test(normal_forms),
		cmocka_unit_test(patterns),
		cmocka_unit_test(search_leftmost_longest),
		cmocka_unit_test(tiktoken_lines),
		cmocka_unit_test(vocab_and_merges),
		cmocka_unit_test(sentencepiece_bpe),
		cmocka_unit_test(sentencepiece_unigram),
		cmocka_unit_test(broken_models),
		cmocka_unit_test(refused_json),
		cmocka_unit_test(truncated_json),
		cmocka_unit_test(built_in),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
