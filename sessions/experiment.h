/* One recovery from end to end: base run, clamped run, recovery, final state; and its
 * record on disk.
 *
 * The record (a "session" in the commands) is an append-only JSON Lines journal, one
 * event a line, with .npy arrays beside it: NAME.jsonl and NAME.delta.npy (every step's
 * delta), NAME.result.npy. It holds the hashes of model, SAE and prompt files, device and
 * driver, seed, version, the command that reproduces it, and every number. See journal.h.
 */
#ifndef REBOUND_EXPERIMENT_H
#define REBOUND_EXPERIMENT_H

#include "sessions/recovery.h"

struct experiment {
	struct session *session; /* borrowed */
	struct scene base, clamped;
	struct recovery *recovery;
	float *delta; /* the result, [rows, d] */
	int64_t result_step;
	struct recovery_final final;
	double wall_s;	    /* of the optimisation alone */
	bool complete;	    /* all planned steps were made and the final state evaluated */
	char *journal_path; /* once written */
};

/* Runs all of it with the session's input, clamps, objective and settings; blocks. After
 * STATUS_CANCELLED or a divergence, x->recovery holds the finished steps (complete is
 * false); experiment_done is needed in any case. */
enum status WARN_UNUSED experiment_run(struct experiment *x, struct session *session, struct error *error);
/* The same, told of the recovery every few steps. */
struct experiment_watch {
	void (*on_steps)(void *context, const struct recovery *recovery); /* NULL: nothing is told */
	void *context;
};
enum status WARN_UNUSED experiment_run_watched(struct experiment *x, struct session *session,
					       const struct experiment_watch *watch, struct error *error);
/* The same in parts: everything before the first step; and, once the steps are made, the result
 * and its state. The session has the same input in both; between them it may have others. */
enum status WARN_UNUSED experiment_prepare(struct experiment *x, struct session *session, struct error *error);
enum status WARN_UNUSED experiment_conclude(struct experiment *x, struct error *error);
void experiment_done(struct experiment *x);
/* Seconds of a clock that only goes forward, for wall_s. */
double experiment_seconds(void);

/* Writes the record to `path` (NULL: a fresh name under the XDG state folder) and sets
 * journal_path. `command` reproduces it. */
enum status WARN_UNUSED experiment_write(struct experiment *x, const char *path, const char *command,
					 struct error *error);

/* The same in parts, for several runs in one record: opens the journal and writes its first
 * event, then writes a finished run (arrays are named with the prefix, see record_write.h)
 * while the session still has that run's input, objective, settings and frozen rows. */
struct journal;
enum status WARN_UNUSED experiment_open_journal(struct journal **out, const struct session *session, const char *path,
						const char *command, struct error *error);
enum status WARN_UNUSED experiment_write_run(struct experiment *x, struct journal *journal, const char *prefix,
					     struct error *error);

#endif
