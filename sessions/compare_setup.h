/* Private to compare.c: what differs in how two recoveries were made. */
#ifndef REBOUND_COMPARE_SETUP_H
#define REBOUND_COMPARE_SETUP_H

#include "sessions/compare.h"

/* Fills differences, cautions, same_prompt and alike from the records and runs. */
void comparison_add_setup(struct comparison *comparison);

/* Tokens of a run's prompt, without a suffix behind it. */
int64_t comparison_prompt_length(const struct record_run *run);

#endif
