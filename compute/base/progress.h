/* How far a long piece of work is, told to whoever waits for it. */
#ifndef REBOUND_BASE_PROGRESS_H
#define REBOUND_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Called now and then with what is being done and how much of it is, in any unit;
 * returning false cancels the work (STATUS_CANCELLED). */
struct progress {
	bool (*report)(void *context, const char *what, uint64_t done, uint64_t total);
	void *context;
};
/* False if the work should stop. `progress` may be NULL. */
bool progress_report(const struct progress *progress, const char *what, uint64_t done, uint64_t total);

#endif
