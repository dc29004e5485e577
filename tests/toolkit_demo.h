/* A small program of the toolkit's parts, for tests of them: a list, a line of input, a
 * form, a popup. */
#ifndef REBOUND_TESTS_TOOLKIT_DEMO_H
#define REBOUND_TESTS_TOOLKIT_DEMO_H

#include "tests/term_harness.h"
#include "tui/form.h"

/* 24 x 80, as its tests run it. */
extern const struct harness_options demo_terminal;

/* The program, for harness_start_function: a list of 100 items with the keys of the
 * features pane. ":" types a line, "?" shows the keys, "S" the form, "x" copies, "q" asks
 * and quits; what was typed or said stands in the last row but one. */
int demo_main(void *context);

/* What it is made of. */

/* Takes the terminal; a message on standard error and its status if that fails. */
int demo_open_terminal(void);
/* Completes a word of a line to red, green or grey. */
void demo_complete(void *context, const char *line, size_t at, size_t *start, struct strbuf *matches);
/* Opens a form of steps (10, checked), budget (6%) and project (none, encoder or jacobian). */
void demo_open_form(struct form *form);

/* What is on a screen in memory, rows ending with a newline; valid until the next call. */
const char *screen_text(struct screen *screen);

#endif
