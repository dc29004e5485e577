/* A made-up session for looking at the screens: no model, no device. */
#ifndef REBOUND_TESTS_WORKBENCH_SAMPLE_H
#define REBOUND_TESTS_WORKBENCH_SAMPLE_H

#include "sessions/snapshot.h"
#include "sessions/worker.h"
#include "tui/workbench.h"

enum sample_stage {
	SAMPLE_LOADING,
	SAMPLE_FRESH,	 /* a prompt is selected, its base result known */
	SAMPLE_CLAMPED,	 /* a valid flip */
	SAMPLE_METHOD,	 /* the second of two stages: step 42 of 100 */
	SAMPLE_RUNNING,	 /* step 42 of 100 */
	SAMPLE_SUFFIX,	 /* the same of a suffix that is trained */
	SAMPLE_FINISHED, /* decomposed, texts generated */
};

struct sample {
	struct snapshot snapshot;
	struct command commands[64]; /* what the screens have sent, the last ones */
	int command_count, cancels;
	bool queue_full;
	char copied[256];
};

/* Static storage inside: one sample at a time. */
void sample_init(struct sample *sample, enum sample_stage stage);
void sample_done(struct sample *sample);
/* Its backend answers selections, scrubbing and clamps in the snapshot at once. */
struct workbench_backend sample_backend(struct sample *sample);
/* The last command of a kind, or NULL. */
const struct command *sample_command(const struct sample *sample, enum command_kind kind);

#endif
