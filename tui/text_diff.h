/* Which words of a text differ from another's. */
#ifndef REBOUND_TUI_TEXT_DIFF_H
#define REBOUND_TUI_TEXT_DIFF_H

#include <stdbool.h>
#include <stddef.h>

enum { TEXT_DIFF_WORDS_MAX = 256 };

struct text_diff {
	int count; /* words of `text`; those over the most are left out */
	struct {
		size_t at, n; /* bytes */
		bool differs;
	} word[TEXT_DIFF_WORDS_MAX];
};

/* Words are separated by white space. Marks those of `text` that are not in the
 * longest common subsequence with `base`. */
void text_diff(struct text_diff *out, const char *text, const char *base);

#endif
