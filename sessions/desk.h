/* What the worker thread keeps: the session and everything that the screens show of it.
 * desk.c opens it and computes what is out of date; desk_commands.c carries commands out;
 * desk_clamps.c those that change clamps; desk_saes.c loads, measures and drops SAEs;
 * desk_run.c owns the recovery; desk_suffix.c one that trains a suffix; desk_feature.c a feature's own view;
 * desk_compare.c two sessions side by side; desk_snapshot.c makes the value that is published. One thread; long work
 * calls desk_pulse now and then, which publishes and says whether to go on.
 */
#ifndef REBOUND_DESK_H
#define REBOUND_DESK_H

#include "compute/base/text.h"
#include "sessions/judge.h"
#include "sessions/attribute.h"
#include "sessions/compare.h"
#include "sessions/decompose.h"
#include "sessions/feature_usage.h"
#include "sessions/feature_view.h"
#include "sessions/journal.h"
#include "sessions/prompts.h"
#include "sessions/recovery.h"
#include "sessions/sae_fit.h"
#include "sessions/selftest.h"
#include "sessions/snapshot.h"
#include "sessions/suffix_baseline.h"
#include "sessions/suffix_tokens.h"
#include "sessions/worker.h"

/* What is known of an SAE. */
struct desk_sae {
	bool known; /* its fit is, on the prompt at hand or, stale, on one before */
	bool stale;
	bool loss_pending; /* the fit's loss is to be measured when nothing else is to be done */
	bool refused;	   /* loading or measuring it failed or was stopped: not tried again unasked */
	struct sae_fit fit;
};

/* The clamps at one moment, for undo. */
struct clamp_state {
	struct layer_rule *rules;
	size_t count;
};

/* What is known of a prompt of the set. */
struct prompt_state {
	enum flip_state state;
	uint64_t clamp_serial; /* under which clamps it was judged */
	bool base, clamped;    /* behaviour present? */
};

/* The current recovery. */
struct desk_run {
	struct recovery *recovery; /* NULL: none */
	bool running, paused, finished;
	double wall_s;
	int64_t journaled; /* steps written */
	struct journal *journal;
	char *path;
	char *verb; /* "recover --steps 20", "recover --suffix 16": what repeats it */
	/* at the step shown */
	int64_t shown;
	bool live, evaluated;
	int64_t show_ms; /* how long showing a state took */
	bool slow;	 /* a step takes so long that the next is not begun before it is known */
	struct recovery_final final;
	float *delta; /* [rows, d] */
};

/* What a run that trains a suffix replaces: the session's objective and settings (its prompt has
 * the suffix behind it) and the scenes, which are the baseline's until the run is forgotten. */
struct desk_aside {
	bool on;
	struct objective objective;
	bool has_objective;
	struct recovery_settings settings;
	struct scene base, clamped;
	int token;
	struct suffix_options options; /* of the suffix that is there */
	bool valid_flip;	       /* by the judges of the base and clamped texts */
	struct suffix_reader *reader;
	struct nearest_token *nearest; /* [session's suffix], at the step shown */
};

/* A feature's own view, and the features over the prompt set. */
struct desk_view {
	bool open, dirty; /* dirty: the activations along the prompt are of an older state */
	int site;
	uint32_t feature;
	struct feature_facts facts;
	float *along[STATE_COUNT];   /* [T]; NULL: unknown */
	int64_t length;		     /* T */
	struct feature_usage *usage; /* NULL: not opened */
	bool reading;		     /* the prompt set is being read */
	bool stopped;		     /* by the user: not begun again on its own */
	struct usage_context contexts[USAGE_EXAMPLES];
	struct usage_example context_of[USAGE_EXAMPLES]; /* whose text each is */
};

struct desk {
	struct session *session;
	struct worker_options options;
	struct prompt_set prompts;
	struct prompt_state *states;
	size_t state_capacity;
	struct self_test self_test;
	bool has_self_test;

	int prompt; /* selected; -1 none */
	int token, site;
	enum feature_sort sort;
	char filter[64];

	struct scene base, clamped;
	bool has_base, has_clamped, clamped_stale;
	struct desk_sae saes[SESSION_MAX_SITES]; /* by site */
	int64_t base_ms;			 /* how long the base run took */
	uint64_t clamp_serial;
	struct clamp_state rules; /* in force, in the order they were set */
	struct clamp_state undo[64];
	int undo_count;
	enum op_clamp_mode mode; /* of new clamps */
	float mode_value;

	struct attribution *ranking; /* of site `ranking_site`, by feature number; NULL: none */
	int64_t ranking_count;
	int ranking_site;
	char *objectives[8];
	int objective_count;

	struct desk_view view;
	struct desk_run run;
	struct suffix_options suffix; /* of the next one */
	struct desk_aside aside;
	struct snapshot_run *earlier;  /* those that it was forked from, the first first */
	int earlier_count, run_begin;  /* snapshot.h */
	struct snapshot_method method; /* what two stages or a search made last; known: it is shown */
	bool flips_running;
	int flips_at;

	struct decomposition parts;
	bool has_parts, parts_stale;
	int64_t parts_step;
	char *texts[STATE_COUNT];
	struct judge_lists *judges;
	char verdicts[STATE_COUNT][160]; /* on texts */
	bool text_stale[STATE_COUNT], text_running[STATE_COUNT];
	int64_t text_step; /* that the recovered text is of */
	bool exported;
	const struct comparison *comparison; /* held; NULL: none */
	uint64_t comparison_serial;
	struct snapshot_session *sessions; /* [session_count], as asked for last */
	int session_count;
	uint64_t sessions_serial;

	/* features of the shown site at the shown token */
	float *z_base, *z_clamped, *z_recovered; /* [F]; NULL: unknown */
	bool features_dirty;

	enum job_kind job;
	char job_text[96];
	double job_done, job_total;
	char loading[96]; /* what is read from files meanwhile, and how much of it; "" nothing */
	struct error error;
	uint64_t error_serial;
	char notice[256];
	struct snapshot_log *log;
	size_t log_count, log_capacity;

	atomic_bool cancel;
	atomic_bool called;		    /* a command or a cancel waits: what is done in idle time gives way */
	void (*publish)(struct desk *desk); /* set by the worker */
	void *publish_context;
	int64_t published_ms;
};

/* Loads everything; the first prompt is selected and its base result computed. */
enum status WARN_UNUSED desk_open(struct desk *desk, const struct worker_options *options, struct error *error);
void desk_close(struct desk *desk);

/* Publishes if the last time is more than a frame ago. False: the work should stop. */
bool desk_pulse(struct desk *desk);
int64_t desk_now_ms(void);
void desk_begin_job(struct desk *desk, enum job_kind job, const char *text);
void desk_end_job(struct desk *desk);
/* Keeps the failure for the status line (an interruption is only a notice). */
void desk_report(struct desk *desk, enum status status, const struct error *error);
void desk_notice(struct desk *desk, const char *format, ...) PRINTF_LIKE(2, 3);
/* Appends to the log: the headless command, and what came out. `command` is the verb with
 * its own options; model, SAEs, prompt, clamps are put around it. */
void desk_log(struct desk *desk, const char *command, bool clamps, const char *format, ...) PRINTF_LIKE(4, 5);
/* "rebound VERB --prompt ... [--clamp ...]"; a new string. */
/* Notes the export of the current run's session. */
void desk_log_export(struct desk *desk, const char *format, bool redact, const char *path);
/* Notes the comparison of two sessions. */
void desk_log_compare(struct desk *desk, const char *a, const char *b, const char *result);
char *desk_command_text(const struct desk *desk, const char *verb, bool clamps);

/* Brings base and clamped runs up to date for the selected prompt. */
enum status WARN_UNUSED desk_refresh(struct desk *desk, struct error *error);
/* Forgets what hangs on the prompt / on the clamps. */
void desk_prompt_changed(struct desk *desk);
void desk_clamps_changed(struct desk *desk);
/* Features of the shown token, if dirty and its SAE is loaded. */
enum status WARN_UNUSED desk_update_features(struct desk *desk, struct error *error);
void desk_forget_features(struct desk *desk);
/* Judges the next prompt of the background search; false when it is through. */
bool desk_judge_next(struct desk *desk);
enum flip_state desk_flip(bool base, bool clamped, bool recovered);

void desk_command(struct desk *desk, const struct command *command);

/* desk_clamps.c: what COMMAND_TOGGLE_CLAMP and those around it do */
typedef enum status desk_handler(struct desk *desk, const struct command *command, struct error *error);
desk_handler desk_toggle_clamp, desk_set_clamp_value, desk_set_clamp_mode, desk_attribute, desk_clamp_top,
	desk_clear_clamps, desk_undo_clamps, desk_clamp_positions, desk_set_error, desk_clamp_line;

/* desk_saes.c */
/* A `struct progress` report: what is said of a load while it lasts. */
bool desk_report_loading(void *context, const char *what, uint64_t done, uint64_t total);
/* Loads the SAE that is shown, and measures the fit of those loaded that it isn't known of. */
enum status WARN_UNUSED desk_update_saes(struct desk *desk, struct error *error);
/* The user wants it: one that was refused may be tried again. */
void desk_ask_for_sae(struct desk *desk, int site);
/* Takes SAEs off the device that are neither shown nor clamped. */
void desk_drop_saes(struct desk *desk);
/* The losses of fits, in idle time: gives way to commands and is begun again then. */
bool desk_loss_pending(const struct desk *desk);
void desk_measure_loss(struct desk *desk);

/* desk_compare.c: both read from the disk. */
enum status WARN_UNUSED desk_sessions(struct desk *desk, struct error *error);
/* "A\nB" or "A B", paths or names of sessions; "B": with the current run; "": none any more. */
enum status WARN_UNUSED desk_compare(struct desk *desk, const char *text, struct error *error);

/* desk_recommend.c. The prompt that the workbench opens on: of the built-in set the one recommended first, else the
 * first. */
int desk_opening_prompt(const struct desk *desk);
/* Sets layer and mode as recommended for the task, where anything is. */
void desk_recommend(struct desk *desk, const char *task);

/* desk_feature.c */
enum status WARN_UNUSED desk_view_open(struct desk *desk, int64_t feature, struct error *error);
/* Brings the activations along the prompt up to date. */
enum status WARN_UNUSED desk_view_update(struct desk *desk, struct error *error);
enum status WARN_UNUSED desk_usage_toggle(struct desk *desk, struct error *error);
/* Reads the next prompt; false when there is none left. */
bool desk_usage_next(struct desk *desk);
/* Stops reading and keeps what was read. */
void desk_usage_stop(struct desk *desk);
/* The prompt set has changed, or the end has come. */
void desk_usage_forget(struct desk *desk);
void desk_view_done(struct desk *desk);

/* A perturbation to start from, and where its rows belong. */
struct desk_start {
	int64_t rows;
	int *layers;
	int64_t *positions;
	float *delta; /* [rows, d] */
};

/* desk_fork.c */
/* A new run from the step shown, with the settings as they are now: what the perturbation
 * has at a layer and position that it may still have is kept, the rest begins at 0. */
enum status WARN_UNUSED desk_fork(struct desk *desk, struct error *error);
void desk_history(struct snapshot_history *out, const struct recovery *recovery);
void desk_earlier_forget(struct desk *desk);

/* desk_run.c */
/* Whether there is something to recover from, resp. also an objective; errors say which key helps. */
enum status WARN_UNUSED desk_check_clamped(const struct desk *desk, struct error *error);
enum status WARN_UNUSED desk_check_ready(const struct desk *desk, struct error *error);
/* Forgets the run before. */
enum status WARN_UNUSED desk_run_start(struct desk *desk, struct error *error);
/* With the session and scenes as they are: a suffix stays. `start` NULL: from 0. */
enum status WARN_UNUSED desk_run_begin(struct desk *desk, const struct desk_start *start, struct error *error);
/* The same as a fork's: with the settings as they are now. */
enum status WARN_UNUSED desk_run_again(struct desk *desk, const struct desk_start *start, struct error *error);
/* Some steps of the running recovery; ends it when it is through. */
void desk_run_slice(struct desk *desk);
/* Interrupted by the user: says where, and shows what was reached. The cancel flag must be
 * clear. */
void desk_run_pause(struct desk *desk);
/* Writes the end of the journal, forgets it; what a suffix replaced is put back. */
void desk_run_stop(struct desk *desk);
enum status WARN_UNUSED desk_run_show(struct desk *desk, int64_t step, struct error *error);
enum status WARN_UNUSED desk_run_decompose(struct desk *desk, struct error *error);
enum status WARN_UNUSED desk_generate(struct desk *desk, int64_t tokens, struct error *error);
/* The recovered text of the step shown, and what the judges say of it. */
enum status WARN_UNUSED desk_generate_recovered(struct desk *desk, int64_t tokens, struct judge_verdict *verdict,
						struct error *error);
/* "FORMAT PATH [redact]": the current run's session as a file (export.h). */
enum status WARN_UNUSED desk_export(struct desk *desk, const char *text, struct error *error);
/* desk_suffix.c */
/* The base and clamped texts, then a run that trains a suffix has begun; blocks until then. */
enum status WARN_UNUSED desk_suffix(struct desk *desk, struct error *error);
/* What the suffix of run.delta reads as. */
enum status WARN_UNUSED desk_suffix_read(struct desk *desk, struct error *error);
/* The steps are made: the recovered text, and a line of the log. */
enum status WARN_UNUSED desk_suffix_finish(struct desk *desk, struct error *error);
void desk_put_back(struct desk *desk);
/* Forgets such a run, for what needs the desk's own input; nothing without one. */
void desk_leave_suffix(struct desk *desk);
/* The settings of the desk's own runs, and the base run of its prompt, also while a suffix is
 * there. */
struct recovery_settings *desk_settings(struct desk *desk);
struct scene *desk_plain_base(struct desk *desk);
/* desk_methods.c: all block; the texts, verdicts and a line of the log are what they leave, and
 * the curves of their steps, until desk_method_forget. */
enum { REFUSAL_NEW_TOKENS = 48 }; /* of each of the three texts of a refused answer */
/* What two stages and a suffix begin with: the prompt's answer and refusals, the judges; an error
 * without clamps. Borrows from the desk. */
enum status WARN_UNUSED desk_refusal_options(struct refusal_options *options, const struct desk *desk,
					     struct error *error);
enum status WARN_UNUSED desk_two_stage(struct desk *desk, struct error *error);
void desk_show_texts(struct desk *desk, const struct refusal *refusal);
void desk_method_forget(struct desk *desk);
enum status WARN_UNUSED desk_radius(struct desk *desk, struct error *error);
enum status WARN_UNUSED desk_note(struct desk *desk, const char *text, struct error *error);

/* desk_snapshot.c: a new value; worker.c owns it from then on. */
struct snapshot *desk_snapshot(const struct desk *desk);

#endif
