/* The worker thread: owns the device, the model and the session; takes commands,
 * publishes snapshots.
 *
 * Commands go in through a bounded queue and never block the caller; snapshots come
 * out by reference. A byte is written to the wake pipe when a new snapshot is there
 * (coalesced: many changes, one byte). Long jobs look at the cancel flag between
 * submissions (within about 50 ms).
 */
#ifndef REBOUND_WORKER_H
#define REBOUND_WORKER_H

#include "compute/base/error.h"
#include "sessions/snapshot.h"

struct worker;

enum command_kind {
	COMMAND_SELECT_PROMPT,	 /* number: index */
	COMMAND_ADD_PROMPT,	 /* text */
	COMMAND_EDIT_PROMPT,	 /* text: replaces the selected prompt's text (a copy is added) */
	COMMAND_IMPORT_PROMPTS,	 /* text: path */
	COMMAND_FIND_FLIPS,	 /* judge the whole set in the background */
	COMMAND_SELECT_TOKEN,	 /* number: position */
	COMMAND_SELECT_SITE,	 /* number: index of the hooked SAE shown */
	COMMAND_DROP_SAES,	 /* take SAEs that are neither shown nor clamped off the device */
	COMMAND_TOGGLE_CLAMP,	 /* number: feature of the shown SAE, with the current mode */
	COMMAND_SET_CLAMP_VALUE, /* number: feature; value: c or m */
	COMMAND_SET_CLAMP_MODE,	 /* text: "set-active:-5": the mode for new clamps; number: feature to change, or -1 */
	COMMAND_CLAMP_TOP,	 /* number: k of the attribution ranking */
	COMMAND_CLEAR_CLAMPS,
	COMMAND_UNDO_CLAMPS,
	COMMAND_CLAMP_POSITIONS, /* text: all, prompt, generated, or a list */
	COMMAND_TOGGLE_DELTA,	 /* number: position */
	COMMAND_DELTA_POSITIONS, /* text: last, answer, or a list */
	COMMAND_SET_ERROR,	 /* text: keep, drop or a number: the clamp's error treatment */
	COMMAND_SET_OBJECTIVE,	 /* text: as --objective */
	COMMAND_SORT,		 /* number: enum feature_sort */
	COMMAND_FILTER,		 /* text: id or part of a label; "" for none */
	COMMAND_FEATURE,	 /* number: feature of the shown SAE for the view of its own; -1: none */
	COMMAND_USAGE,		 /* read the prompt set for the view's examples, or stop that */
	COMMAND_ATTRIBUTE,
	COMMAND_GENERATE,	/* number: new tokens; all states that are known */
	COMMAND_TWO_STAGE,	/* recover a refused answer in two stages */
	COMMAND_SUFFIX,		/* recover it by a trained suffix: a run like COMMAND_RUN's */
	COMMAND_RADIUS,		/* the smallest budget that recovers */
	COMMAND_RUN,		/* start, resume or pause the recovery */
	COMMAND_STEP,		/* one step */
	COMMAND_SCRUB,		/* number: step to show; -1: follow the run */
	COMMAND_FORK,		/* continue from the step shown with the current settings */
	COMMAND_SETTING,	/* text: "lr=0.2" and so on: a recovery setting by its option's name */
	COMMAND_SUFFIX_SETTING, /* the same of the next suffix: "suffix=8" */
	COMMAND_DECOMPOSE,	/* for the step shown */
	COMMAND_EXPORT,		/* text: "FORMAT PATH [redact]" */
	COMMAND_NOTE,		/* text: into the journal */
	COMMAND_SESSIONS,	/* list those on disk */
	COMMAND_COMPARE,	/* text: two of them (desk_compare) */
	COMMAND_LINE,		/* text: a typed command line, as headless: "clamp 2:31=ablate" */
};

struct command {
	enum command_kind kind;
	int64_t number;
	double value;
	char text[1024];
};

struct worker_options {
	const char *model;	 /* folder, NULL: built-in */
	const char *const *saes; /* --sae values; 0: built-in */
	int sae_count;
	const char *prompts;	   /* file, NULL: built-in */
	const char *const *labels; /* --labels values, in the order of the SAEs by layer */
	int label_count;
	const char *device;	 /* selector or NULL */
	const char *journal;	 /* path or NULL for the default */
	const char *judge_lists; /* file, NULL: built in (judge.h) */
	bool no_bos;
	uint64_t seed;
};

/* Starts the thread; loading happens there and shows in the snapshots (JOB_LOADING).
 * The options' strings must outlive the worker. */
enum status WARN_UNUSED worker_start(struct worker **out, const struct worker_options *options, struct error *error);
/* Cancels, joins, closes the journal. */
void worker_stop(struct worker **worker);

/* False if the queue is full or the worker has stopped. */
bool worker_send(struct worker *worker, const struct command *command);
/* Stops the job that is running (not the queue). */
void worker_cancel(struct worker *worker);

/* File descriptor to poll for reading; worker_clear_wake empties it. */
int worker_wake_fd(const struct worker *worker);
void worker_clear_wake(struct worker *worker);

/* The latest snapshot; release it with worker_release. Never NULL. */
const struct snapshot *worker_acquire(struct worker *worker);
void worker_release(struct worker *worker, const struct snapshot *snapshot);

/* A fatal failure (device lost, model unreadable) ends the worker: its status and
 * sentence; STATUS_OK while it runs. */
enum status worker_status(const struct worker *worker, struct error *error);

#endif
