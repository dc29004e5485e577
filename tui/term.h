/* The terminal: opened once, shown frames, read for keys, and given back as it
 * was on every way out.
 *
 * Restored are: the line discipline, the alternate screen, the cursor, the mouse,
 * colours and standard error, which is kept in a buffer meanwhile so that a driver's
 * messages do not land on the screen (they are printed when the terminal closes).
 * That happens at term_close, exit(), fatal(), SIGSEGV, SIGBUS, SIGFPE, SIGILL and
 * SIGABRT, in a child of fork() never. SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP
 * and SIGCONT only set flags that term_read reports; a second SIGINT, SIGTERM or
 * SIGHUP before the first was read restores the terminal and ends the program.
 *
 * One terminal per process; all functions belong to the thread that opened it.
 */
#ifndef REBOUND_TUI_TERM_H
#define REBOUND_TUI_TERM_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"
#include "tui/canvas.h"

enum term_choice { TERM_AUTO, TERM_NO, TERM_YES };

struct term_options {
	bool no_color;		  /* also NO_COLOR in the environment */
	bool no_mouse;		  /* leaves clicks and selection to the terminal */
	enum term_choice unicode; /* TERM_AUTO: what the locale says */
};

/* STATUS_INVALID with a sentence if standard input or output is no terminal, TERM
 * is unset, dumb or unknown: for saying so before anything is loaded. */
enum status WARN_UNUSED term_check(struct error *error);
/* Checks as term_check does. */
enum status WARN_UNUSED term_open(const struct term_options *options, struct error *error);
/* Does nothing if it is not open. */
void term_close(void);

bool term_is_ascii(void);
int term_colors(void); /* 0, 8 or 256 */
int term_rows(void);
int term_cols(void);

/* Writes what changed since the frame before. */
void term_present(const struct screen *screen);
/* The next frame is written whole: after a resize, or when something else wrote. */
void term_redraw(void);
/* Stops the process as Ctrl-Z does; returns when it goes on. */
void term_suspend(void);
/* Puts text on the clipboard of the terminal (OSC 52), however far away it runs.
 * False if it is over 74,994 bytes, which terminals cut. */
bool term_copy(const char *text, size_t n);

enum term_event_kind {
	TERM_NONE,
	TERM_KEY,	/* key: a code point or enum keycode */
	TERM_CLICK,	/* row, col */
	TERM_WHEEL,	/* row, col; key: -1 up, 1 down */
	TERM_RESIZE,	/* term_rows() and term_cols() have changed */
	TERM_CONTINUED, /* after a stop: redraw */
	TERM_STOP,	/* Ctrl-Z or SIGTSTP: call term_suspend */
	TERM_INTERRUPT, /* SIGINT */
	TERM_QUIT,	/* SIGTERM, SIGHUP or the terminal is gone */
};

struct term_event {
	enum term_event_kind kind;
	int key, row, col;
};

/* The next event, TERM_NONE if there is none now; never blocks. */
struct term_event term_read(void);
/* Sleeps until there may be an event, `wake_fd` (-1: none) is readable or
 * `timeout_ms` has passed (-1: never). True if wake_fd is readable. */
bool term_wait(int wake_fd, int timeout_ms);

#endif
