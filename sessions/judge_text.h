/* Private to judge.c: texts as characters and words, and how alike two of them are. */
#ifndef REBOUND_JUDGE_TEXT_H
#define REBOUND_JUDGE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Unicode code points; owned. */
struct codes {
	uint32_t *items;
	size_t count;
};
void codes_decode(struct codes *codes, const char *text);
/* Folded as judge.h says. */
void codes_fold(struct codes *codes, const char *text);
void codes_done(struct codes *codes);
/* A part as UTF-8 that can be printed, cut to fit; NUL-terminated. */
void codes_print(char *out, size_t size, const uint32_t *items, size_t count);

bool code_is_word(uint32_t code);
bool code_is_space(uint32_t code);

/* [begin, end) among the characters. */
struct word {
	size_t begin, end;
};
struct words {
	struct word *items;
	size_t count;
};
void words_split(struct words *words, const struct codes *folded);
void words_done(struct words *words);
bool word_equal(const struct codes *a, struct word x, const struct codes *b, struct word y);
/* How many different ones. */
size_t words_different(const struct words *words, const struct codes *text);
/* |A and B| / |A or B|, 0 if both are empty. The first common word's index in *common, or
 * count. */
double words_jaccard(const struct words *a, const struct codes *text_a, const struct words *b,
		     const struct codes *text_b, size_t *common);

/* Ratcliff and Obershelp's 2 M / (|a| + |b|): M sums the longest common run, the earliest in
 * a and then in b of equals, and recursively those to its left and right. 1 if both are empty. */
double codes_similarity(const struct codes *a, const struct codes *b, size_t most);

#endif
