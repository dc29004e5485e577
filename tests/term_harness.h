/* A program in a real pseudo-terminal: keys in, the screen out as text.
 *
 * The terminal is libvterm's, so what the program writes is interpreted as a
 * terminal would, not compared as bytes. Waiting is for a condition, with a limit
 * that only a hang reaches.
 */
#ifndef REBOUND_TESTS_TERM_HARNESS_H
#define REBOUND_TESTS_TERM_HARNESS_H

#include <stdbool.h>
#include <stddef.h>

struct harness;

struct harness_options {
	int rows, cols;
	const char *term;	/* TERM; NULL: xterm-256color */
	const char *locale;	/* LC_ALL; NULL: C.UTF-8 */
	const char *const *env; /* more "NAME=value", ends with NULL; may be NULL */
	int limit_ms;		/* of each wait; 0: 30,000 */
};

/* Runs argv[0] (a path), or `function` in a forked child that ends with
 * exit(function(context)). Signals are as a fresh program finds them. */
struct harness *harness_start(const struct harness_options *options, char *const argv[]);
struct harness *harness_start_function(const struct harness_options *options, int (*function)(void *), void *context);
/* Kills the program if it still runs. */
void harness_stop(struct harness *h);

/* Characters are typed, and these names in angle brackets are keys: <Up> <Down>
 * <Left> <Right> <Home> <End> <PgUp> <PgDn> <Del> <Enter> <Esc> <Tab> <S-Tab> <BS>
 * <F1> <Space> <C-a> ... <C-z> <lt> (a '<'). */
void harness_type(struct harness *h, const char *keys);
/* Buttons: 1 left, 2 middle, 3 right. A click is a press and a release of the left one
 * at once; wheel: -1 up, 1 down. */
void harness_press(struct harness *h, int row, int col, int button);
void harness_release(struct harness *h, int button);
void harness_click(struct harness *h, int row, int col);
void harness_wheel(struct harness *h, int row, int col, int direction);
void harness_resize(struct harness *h, int rows, int cols);
void harness_signal(struct harness *h, int number);

/* True when `text` is somewhere on the screen (gone: nowhere); on the limit, or if
 * the program ended, false with the screen on standard error. */
bool harness_wait(struct harness *h, const char *text);
bool harness_wait_gone(struct harness *h, const char *text);
/* Types, then the text has to come: fails the test otherwise. */
void harness_expect(struct harness *h, const char *keys, const char *text);
/* Types what ends the program: it has to end with status 0 and leave the terminal as it was. Stops
 * the harness. */
void harness_expect_end(struct harness *h, const char *keys);
/* Until nothing was written for `quiet_ms`. */
void harness_settle(struct harness *h, int quiet_ms);
/* The status as waitpid gives it; -1 if it did not end within the limit. */
int harness_wait_end(struct harness *h);
/* Takes what the program writes for at most `ms`. */
void harness_pump(struct harness *h, int ms);

/* The screen now, rows ending with a newline, trailing blanks cut; valid until the
 * next call. */
const char *harness_screen(struct harness *h);
const char *harness_row(struct harness *h, int row);
/* The same with ANSI colours, for looking at. */
const char *harness_screen_ansi(struct harness *h);
/* True if `text` is on the screen. */
bool harness_shows(struct harness *h, const char *text);
/* Row and column of the first place of `text`; false if nowhere. */
bool harness_find(struct harness *h, const char *text, int *row, int *col);

struct harness_cell {
	bool reverse, bold, underline;
	int color; /* index of the foreground, -1 default, -2 direct colour */
};
struct harness_cell harness_cell(struct harness *h, int row, int col);

/* The terminal is as it was before: main screen, cursor shown, no mouse reports,
 * line discipline cooked with echo. */
bool harness_restored(struct harness *h);
/* All bytes that the program wrote. */
const char *harness_bytes(struct harness *h, size_t *n);

#endif
