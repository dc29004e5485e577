/* The workbench: one struct that holds what the screens need beyond the snapshot,
 * and one table per view.
 *
 * Input, update, draw: workbench_event turns keys into actions, actions into commands
 * for the worker (or changes of the view alone); workbench_update takes a new
 * snapshot; workbench_draw draws both. The session is reached only through
 * `struct workbench_backend`, so tests can stand in for it. UI thread only; nothing
 * blocks.
 */
#ifndef REBOUND_TUI_WORKBENCH_H
#define REBOUND_TUI_WORKBENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "sessions/snapshot.h"
#include "sessions/worker.h"
#include "tui/canvas.h"
#include "tui/chooser.h"
#include "tui/form.h"
#include "tui/input.h"
#include "tui/keys.h"
#include "tui/layout.h"
#include "tui/list.h"
#include "tui/page.h"
#include "tui/popup.h"
#include "tui/term.h"

/* A form's fields, in the order of snapshot.settings_of; the check may be called at any time. */
struct workbench_settings {
	const struct form_field *fields;
	int count;
	form_check *check;
};

struct workbench_backend {
	void *context;
	bool (*send)(void *context, const struct command *command); /* false: the queue is full */
	void (*cancel)(void *context);
	bool (*copy)(const char *text, size_t n); /* to the clipboard */
	struct workbench_settings settings[SETTINGS_OF_COUNT];
};

/* A choice that is shown at once and holds until the worker has followed. */
struct want {
	int value;
	bool pending, sent;
};

/* What the line at the bottom is asking for. */
enum ask {
	ASK_NONE,
	ASK_COMMAND,
	ASK_PROMPT_FILTER,
	ASK_FEATURE_FILTER,
	ASK_VALUE,
	ASK_TOP,
	ASK_ADD,
	ASK_EDIT,
	ASK_IMPORT,
	ASK_NOTE,
	ASK_EXPORT,
	ASK_COUNT
};

/* What the chooser is open for. */
enum choice {
	CHOICE_MODE,
	CHOICE_OBJECTIVE,
	CHOICE_DELTA,
	CHOICE_POSITIONS,
	CHOICE_EXPORT,
	CHOICE_SESSION,
	CHOICE_SAE
};

struct workbench {
	struct workbench_backend backend;
	const struct snapshot *s; /* borrowed from workbench_update */
	int64_t now_ms;		  /* of the event or drawing being handled */

	struct layout layout;
	enum pane focus;
	bool zoom, hints, finished;

	struct list prompts, features, parts, log, steps;
	int *prompt_rows; /* indices into s->prompts that pass the filter */
	size_t prompt_rows_capacity;
	char prompt_filter[64];
	int64_t feature_at; /* the feature the user went to, which the cursor stays on; -1 none */
	int last_top;	    /* the k of the last "clamp the top k" */

	struct want prompt, token, step;
	struct {
		bool open;
		int layer;
		uint32_t feature;
		struct page page;
	} view; /* a feature's own, over the panes */

	struct {
		bool open, waiting;		/* waiting: for the list of sessions */
		uint64_t seen, sessions_seen;	/* serials of what was shown */
		char first[200];		/* the session chosen first; "": the current run */
		int offered[CHOOSER_ITEMS_MAX]; /* the session that each item of the chooser is */
		int64_t step;			/* at the cursor of the table */
		struct page page;
		int table, table_end; /* rows of the table among all rows */
	} compare;		      /* two sessions side by side, over the panes */

	struct popup popup;
	bool popup_quits; /* it asks whether to quit */
	struct form settings;
	enum settings_of settings_of;
	struct chooser chooser;
	enum choice choice;
	char sae_title[80];
	enum ask ask;
	struct input input;
	struct input_history history[ASK_COUNT];
	char export_format[32];

	char message[768];  /* of the screens themselves, the last one; "" none */
	bool message_shown; /* until the next key */
	uint64_t error_seen;
	char notice_seen[256];
	enum job_kind job;
	int64_t job_since_ms;
};

/* `first` is borrowed until the first update; the backend is copied. */
void workbench_init(struct workbench *wb, const struct workbench_backend *backend, const struct snapshot *first,
		    int64_t now_ms);
void workbench_done(struct workbench *wb);
void workbench_event(struct workbench *wb, const struct term_event *event, int64_t now_ms);
/* The snapshot is borrowed until the next update. */
void workbench_update(struct workbench *wb, const struct snapshot *snapshot, int64_t now_ms);
void workbench_draw(struct workbench *wb, struct screen *screen, int64_t now_ms);
/* Milliseconds until a spinner turns, or -1. */
int workbench_idle_ms(const struct workbench *wb);

/* The screens on a running worker, until the user quits. The terminal is opened and
 * closed here; `hints`: whether the footer begins with next steps. Returns the worker's failure if it ended by one. */
enum status WARN_UNUSED workbench_run(struct worker *worker, const struct term_options *options, bool hints,
				      struct error *error);

/* ---- between the files of the workbench ---- */

/* One row per view: how it is drawn, what its keys do. */
struct view {
	/* Appends what stands behind the name in the title. */
	void (*title)(const struct workbench *wb, struct strbuf *out);
	void (*draw)(struct workbench *wb, const struct canvas *c); /* without the title's row */
	bool (*action)(struct workbench *wb, enum action action);   /* false: not its own */
	void (*click)(struct workbench *wb, int row, int col);	    /* within the canvas; NULL: none */
	void (*wheel)(struct workbench *wb, int direction);
};
extern const struct view view_prompts, view_features, view_behaviour, view_recovery, view_decomposition, view_log,
	view_strip;
extern const struct view *const views[PANE_STRIP + 1];

/* Sends; a full queue is told to the user. `text` may be NULL. */
bool workbench_send(struct workbench *wb, enum command_kind kind, int64_t number, const char *text);
bool workbench_send_value(struct workbench *wb, enum command_kind kind, int64_t number, double value);
/* Shows `value` at once and sends it as soon as the queue takes it. */
void workbench_want(struct workbench *wb, struct want *want, int value);
/* A sentence in the status line, until the next key. */
void workbench_say(struct workbench *wb, const char *format, ...) __attribute__((format(printf, 2, 3)));
void workbench_go(struct workbench *wb, enum pane pane);
/* The pane whose keys hold now. */
enum pane workbench_where(const struct workbench *wb);
/* Actions that are the same in every pane; false if `action` is none of them. */
bool workbench_global_action(struct workbench *wb, enum action action);

/* The feature at the cursor, or NULL. */
const struct snapshot_feature *workbench_feature(const struct workbench *wb);
/* Token and step as the user sees them now. */
int workbench_token(const struct workbench *wb);
int workbench_step(const struct workbench *wb);
/* Index of the prompt at the cursor, -1 if there is none. */
int workbench_prompt(const struct workbench *wb);
/* Nothing if it is selected already or -1; refused while a recovery runs. */
void workbench_select_prompt(struct workbench *wb, int prompt);
/* Recomputes the filtered rows. */
void workbench_filter_prompts(struct workbench *wb);

/* ask.c: the line at the bottom, and the choosers */
void ask_open(struct workbench *wb, enum ask ask, const char *text);
void ask_key(struct workbench *wb, int key);
void ask_draw(struct workbench *wb, const struct canvas *footer);
void choose_open(struct workbench *wb, enum choice choice);
void choose_done(struct workbench *wb);

/* feature_view.c: a feature's own view, which takes the place of the panes */
void feature_view_open(struct workbench *wb, int64_t feature); /* of the SAE shown */
bool feature_view_action(struct workbench *wb, enum action action);
void feature_view_wheel(struct workbench *wb, int direction);
void feature_view_draw(struct workbench *wb, const struct canvas *c);

/* compare_view.c: two sessions side by side, in place of the panes */
void compare_choose(struct workbench *wb); /* asks for the sessions on disk */
void compare_offer(struct workbench *wb);  /* opens the chooser on them */
void compare_chosen(struct workbench *wb);
void compare_update(struct workbench *wb); /* after a new snapshot */
bool compare_view_action(struct workbench *wb, enum action action);
void compare_view_wheel(struct workbench *wb, int direction);
void compare_view_draw(struct workbench *wb, const struct canvas *c);

/* sae_list.c: the SAEs, one a row of the chooser */
void sae_list_offer(struct workbench *wb);
bool sae_list_key(struct workbench *wb, int key); /* false: the chooser's */
void sae_list_update(struct workbench *wb);	  /* after a new snapshot, while it is open */
void sae_list_chosen(struct workbench *wb);

/* command_line.c */
void command_line_run(struct workbench *wb, const char *line);
void command_line_complete(void *workbench, const char *line, size_t at, size_t *start, struct strbuf *matches);

/* settings.c */
void settings_open(struct workbench *wb, enum settings_of of);
void settings_key(struct workbench *wb, int key);

/* status.c */
void status_draw(struct workbench *wb, const struct canvas *c);
void footer_draw(struct workbench *wb, const struct canvas *c);

/* The turning sign of what is running, and for how long it has been. */
const char *status_spinner(const struct workbench *wb, bool ascii);
int64_t status_job_ms(const struct workbench *wb);

/* Style of a state's numbers, dimmed if stale. */
unsigned state_style(const struct snapshot_state *state, int which);

#endif
