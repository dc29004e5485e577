/* Private to judge.c: the phrases and bounds it goes by. */
#ifndef REBOUND_JUDGE_LISTS_H
#define REBOUND_JUDGE_LISTS_H

#include "sessions/judge.h"
#include "sessions/judge_text.h"

struct judge_phrases {
	char **texts; /* as given */
	struct codes *folded;
	int count;
};

struct judge_bounds {
	int64_t characters;
	double unique_words, character_share, jaccard, similarity; /* similarity above 1: never */
};

struct judge_lists {
	struct judge_phrases refusals, cues, negations;
	bool refusal_anywhere; /* "contains" */
	struct judge_bounds base_like, strict;
};

#endif
