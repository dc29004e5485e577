/* Numbers as the screens show them: short, and never a blank for unknown. */
#ifndef REBOUND_TUI_FORMAT_H
#define REBOUND_TUI_FORMAT_H

#include <stdint.h>

#define FORMAT_SIZE 24

/* About three significant digits without a leading zero: ".81", "3.2", "120",
 * ".00040", "2e-7"; at most six characters, or seven with a sign. NaN, which stands for
 * unknown, is "·". Each returns `out`. */
const char *format_number(char out[FORMAT_SIZE], double value);
/* The same with a sign: "+2.2", "-2.8", "0". */
const char *format_signed(char out[FORMAT_SIZE], double value);
/* "1.2 s", "340 ms", "2 min 5 s" */
const char *format_duration(char out[FORMAT_SIZE], double seconds);
/* A share as "1 in 3,000" (two digits), "always" or "never". */
const char *format_rate(char out[FORMAT_SIZE], double share);
/* The same of an SAE's training data, in words: "fires on 1 in 3,000 tokens of its training data",
 * "never fired on its training data". */
#define FORMAT_TRAINING_SIZE 64
const char *format_training(char out[FORMAT_TRAINING_SIZE], double share);

#endif
