#include "tui/text_diff.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

static void split(struct text_diff *out, const char *text)
{
	static const char blanks[] = " \t\r\n";
	out->count = 0;
	for (size_t at = strspn(text, blanks); text[at] && out->count < TEXT_DIFF_WORDS_MAX;) {
		size_t n = strcspn(text + at, blanks);
		out->word[out->count].at = at;
		out->word[out->count].n = n;
		out->word[out->count++].differs = true;
		at += n;
		at += strspn(text + at, blanks);
	}
}

static bool same(const struct text_diff *a, int i, const char *text, const struct text_diff *b, int k, const char *base)
{
	return a->word[i].n == b->word[k].n && memcmp(text + a->word[i].at, base + b->word[k].at, a->word[i].n) == 0;
}

void text_diff(struct text_diff *out, const char *text, const char *base)
{
	enum { SIDE = TEXT_DIFF_WORDS_MAX + 1 };
	struct text_diff *other = mem_alloc(1, sizeof *other);
	uint16_t(*longest)[SIDE] = mem_alloc(SIDE, sizeof *longest); /* common words from i and k on */
	split(out, text);
	split(other, base);
	for (int i = out->count - 1; i >= 0; i--)
		for (int k = other->count - 1; k >= 0; k--)
			if (same(out, i, text, other, k, base))
				longest[i][k] = (uint16_t)(longest[i + 1][k + 1] + 1);
			else
				longest[i][k] =
					longest[i + 1][k] > longest[i][k + 1] ? longest[i + 1][k] : longest[i][k + 1];
	for (int i = 0, k = 0; i < out->count && k < other->count;)
		if (same(out, i, text, other, k, base)) {
			out->word[i++].differs = false;
			k++;
		} else if (longest[i + 1][k] >= longest[i][k + 1]) {
			i++;
		} else {
			k++;
		}
	free(longest);
	free(other);
}
