/* A desk on the built-in model, driven by commands as the screens send them, without a worker thread. Its journal
 * and caches are in the test's own folder. */
#ifndef REBOUND_TESTS_DESK_DRIVER_H
#define REBOUND_TESTS_DESK_DRIVER_H

#include "sessions/desk.h"

struct desk *drive_open(void);
void drive_close(struct desk *desk);

/* A command, which must not fail. */
void drive(struct desk *desk, enum command_kind kind, int64_t number, const char *text);
/* One that must; returns the sentence. */
const char *drive_refused(struct desk *desk, enum command_kind kind, int64_t number, const char *text);

/* All steps of the run. */
void drive_finish(struct desk *desk);
/* The first prompt, its top eight features clamped, a recovery of 20 steps. */
void drive_recovery(struct desk *desk);
/* The task's recommended prompt under the clamp that suppresses it. */
void drive_flip(struct desk *desk, const char *task);

#endif
