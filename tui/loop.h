/* Input, update, draw: the loop that a screen program runs in.
 *
 * It sleeps in poll() on the keyboard, the signals and the worker's wake pipe.
 * What a key changed is drawn at once; what the worker changed at most 30 times a
 * second, and shortly after a key more often, so that its answer isn't kept
 * waiting. The client's functions must not block.
 */
#ifndef REBOUND_TUI_LOOP_H
#define REBOUND_TUI_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "tui/canvas.h"
#include "tui/term.h"

struct loop_client {
	void *context;
	int wake_fd; /* readable when the worker has news; -1: none */
	/* A key, click, wheel, interrupt (Ctrl-C) or quit request. */
	void (*event)(void *context, const struct term_event *event);
	/* Reads wake_fd empty and takes the news. */
	void (*woken)(void *context);
	/* Milliseconds until the picture changes by itself (a spinner), -1: never. */
	int (*idle_ms)(void *context);
	void (*draw)(void *context, struct screen *screen);
	bool (*finished)(void *context);
};

/* The terminal must be open. Returns when finished() says so. */
void loop_run(const struct loop_client *client);

/* Milliseconds of a clock that never goes back. */
int64_t loop_now_ms(void);

#endif
