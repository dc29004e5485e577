#include "sessions/judge_text.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"

void codes_decode(struct codes *codes, const char *text)
{
	size_t n = strlen(text);
	*codes = (struct codes){mem_alloc(n, sizeof *codes->items), 0};
	for (size_t i = 0; i < n;) {
		uint32_t code;
		size_t step = utf8_decode(text + i, n - i, &code);
		codes->items[codes->count++] = step ? code : 0xFFFD;
		i += step ? step : 1;
	}
}

bool code_is_space(uint32_t code)
{
	if (code >= 9 && code <= 13)
		return true;
	utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
	return code == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
	       category == UTF8PROC_CATEGORY_ZP;
}

void codes_fold(struct codes *codes, const char *text)
{
	codes_decode(codes, text);
	size_t kept = 0;
	bool space = false;
	for (size_t i = 0; i < codes->count; i++) {
		uint32_t code = codes->items[i];
		if (code_is_space(code)) {
			space = kept > 0;
			continue;
		}
		/* There is room: a space was there. */
		if (space)
			codes->items[kept++] = ' ';
		space = false;
		if (code == 0x2018 || code == 0x2019 || code == 0x02BC)
			code = '\'';
		codes->items[kept++] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
	}
	codes->count = kept;
}

void codes_done(struct codes *codes)
{
	free(codes->items);
	*codes = (struct codes){0};
}

void codes_print(char *out, size_t size, const uint32_t *items, size_t count)
{
	struct strbuf b = {0};
	for (size_t i = 0; i < count && b.length < size; i++) {
		char bytes[4];
		strbuf_add(&b, bytes, utf8_encode(bytes, items[i]));
	}
	text_printable(out, size, b.data ? b.data : "", b.length);
	strbuf_done(&b);
}

bool code_is_word(uint32_t code)
{
	switch (utf8proc_category((utf8proc_int32_t)code)) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_MN:
	case UTF8PROC_CATEGORY_MC:
	case UTF8PROC_CATEGORY_ME:
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_NO:
		return true;
	default:
		return false;
	}
}

void words_split(struct words *words, const struct codes *text)
{
	*words = (struct words){mem_alloc(text->count / 2 + 1, sizeof *words->items), 0};
	for (size_t i = 0; i < text->count;) {
		size_t begin = i;
		while (i < text->count &&
		       (code_is_word(text->items[i]) || (i > begin && text->items[i] == '\'' && i + 1 < text->count &&
							 code_is_word(text->items[i + 1]))))
			i++;
		if (i > begin)
			words->items[words->count++] = (struct word){begin, i};
		else
			i++;
	}
}

void words_done(struct words *words)
{
	free(words->items);
	*words = (struct words){0};
}

bool word_equal(const struct codes *a, struct word x, const struct codes *b, struct word y)
{
	size_t n = x.end - x.begin;
	return n == y.end - y.begin && memcmp(a->items + x.begin, b->items + y.begin, n * sizeof *a->items) == 0;
}

/* Is words[at] among the first `count` of others? */
static bool occurs(const struct words *words, const struct codes *text, size_t at, const struct words *others,
		   const struct codes *other_text, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (word_equal(text, words->items[at], other_text, others->items[i]))
			return true;
	return false;
}

size_t words_different(const struct words *words, const struct codes *text)
{
	size_t n = 0;
	for (size_t i = 0; i < words->count; i++)
		n += !occurs(words, text, i, words, text, i);
	return n;
}

double words_jaccard(const struct words *a, const struct codes *text_a, const struct words *b,
		     const struct codes *text_b, size_t *common)
{
	size_t both = 0;
	*common = a->count;
	for (size_t i = 0; i < a->count; i++) {
		if (occurs(a, text_a, i, a, text_a, i) || !occurs(a, text_a, i, b, text_b, b->count))
			continue;
		if (both++ == 0)
			*common = i;
	}
	size_t either = words_different(a, text_a) + words_different(b, text_b) - both;
	return either > 0 ? (double)both / (double)either : 0;
}

struct range {
	size_t a, a_end, b, b_end;
};

/* The longest common run of two parts: its length, and where it starts. `lengths` holds
 * b_end + 1 zeros, and does so again afterwards. */
static size_t longest_run(const uint32_t *a, const uint32_t *b, struct range r, size_t *lengths, size_t *at_a,
			  size_t *at_b)
{
	size_t best = 0;
	for (size_t i = r.a; i < r.a_end; i++)
		/* lengths[j + 1]: of the run that ends at a[i - 1], b[j]; backwards, so that it still is. */
		for (size_t j = r.b_end; j-- > r.b;) {
			lengths[j + 1] = a[i] == b[j] ? (j > r.b ? lengths[j] : 0) + 1 : 0;
			/* >= within one i: the smaller j of equals comes last. */
			if (lengths[j + 1] > best || (lengths[j + 1] == best && best > 0 && i + 1 - best == *at_a)) {
				best = lengths[j + 1];
				*at_a = i + 1 - best;
				*at_b = j + 1 - best;
			}
		}
	memset(lengths + r.b, 0, (r.b_end - r.b + 1) * sizeof *lengths);
	return best;
}

double codes_similarity(const struct codes *a, const struct codes *b, size_t most)
{
	size_t n = a->count < most ? a->count : most, m = b->count < most ? b->count : most, matching = 0;
	if (n + m == 0)
		return 1;
	/* Each run found splits a part in two, and every part on the stack is not empty in a. */
	struct range *stack = mem_alloc(n + 2, sizeof *stack);
	size_t *lengths = mem_alloc(m + 1, sizeof *lengths), depth = 0;
	stack[depth++] = (struct range){0, n, 0, m};
	while (depth > 0) {
		struct range r = stack[--depth];
		size_t at_a = 0, at_b = 0, run = longest_run(a->items, b->items, r, lengths, &at_a, &at_b);
		if (run == 0)
			continue;
		matching += run;
		if (at_a > r.a && at_b > r.b)
			stack[depth++] = (struct range){r.a, at_a, r.b, at_b};
		if (at_a + run < r.a_end && at_b + run < r.b_end)
			stack[depth++] = (struct range){at_a + run, r.a_end, at_b + run, r.b_end};
	}
	free(stack);
	free(lengths);
	return 2 * (double)matching / (double)(n + m);
}
