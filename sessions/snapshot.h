/* What the worker publishes and the screens draw: one immutable value.
 *
 * The worker builds a new snapshot whenever something changed (at most about 30 times
 * a second while optimising) and hands it over; the screens hold a reference to the
 * latest and only read it. All strings are printable UTF-8 (text_printable). Unknown is
 * said by a flag, never by 0. "Stale" values belong to an older state than the one
 * shown (the clamp or prompt has changed since) and are drawn dimmed.
 */
#ifndef REBOUND_SNAPSHOT_H
#define REBOUND_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flip_state {
	FLIP_UNKNOWN,	/* · not computed */
	FLIP_NO_BASE,	/* the base model lacks the behaviour: nothing to suppress */
	FLIP_KEPT,	/* base has it, the clamp does not remove it */
	FLIP_VALID,	/* base has it, gone under the clamp: recovery can be measured */
	FLIP_RECOVERED, /* a valid flip that was recovered in this session */
	FLIP_ADDED,	/* absent in the base, present under the clamp */
};

struct snapshot_prompt {
	char id[48];
	char task[24];
	char text[256]; /* cut to fit, end kept */
	enum flip_state state;
	bool state_stale; /* judged under other clamps */
};

struct snapshot_token {
	uint32_t id;
	char piece[32]; /* the token's text, spaces visible as they are, controls as \n and so on */
	bool special;
	bool generated; /* not part of the prompt */
	bool clamped, perturbed, readout, monitored;
	bool trained;	  /* of a suffix: id and piece are of the nearest token, */
	float nearness;	  /* by this cosine; 0: unknown */
	float delta_norm; /* of the perturbation at this position; 0 if none */
};

struct snapshot_read {
	uint32_t id;
	char piece[32];
	float logit, probability;
};

/* One of the three states: base, clamped, recovered. */
enum { STATE_BASE, STATE_CLAMPED, STATE_RECOVERED, STATE_COUNT };
struct snapshot_state {
	bool known, stale;
	bool has_objective;
	double objective;
	bool has_verdict, verdict; /* is the behaviour present? */
	int top_count;
	struct snapshot_read top[10]; /* best next tokens at the readout position */
	int read_count;
	struct snapshot_read reads[10];		 /* the objective's own tokens, in order */
	bool has_text, text_running, text_stale; /* stale: of another step than the one shown */
	char *text;				 /* generated continuation; NULL if none */
	char judge[160];			 /* which rule of which judge fired on which words; "" if none */
};

struct snapshot_feature {
	int layer; /* of the SAE shown */
	uint32_t feature;
	float activation; /* at the selected token, base or clamped run as `state` says */
	bool clamped;
	char clamp[24]; /* "set -5", "ablate"; "" if not clamped */
	bool has_held;
	float held; /* activation re-encoded from the clamped state */
	bool has_attribution;
	float attribution;
	bool has_change;
	float change;	 /* recovered minus clamped, at the step shown */
	char label[120]; /* "" if none */
};

/* A hooked SAE. */
struct snapshot_site {
	int layer;
	char hook[16];
	char act[16]; /* its activation: "jumprelu" */
	int64_t features;
	int clamped;		 /* features clamped there */
	uint64_t bytes;		 /* of device memory that it takes when it is loaded */
	bool loaded, refused;	 /* refused: loading it failed or was stopped */
	bool has_fit, fit_stale; /* stale: on another prompt */
	float fvu, l0;
};

enum feature_sort { SORT_ACTIVATION, SORT_ATTRIBUTION, SORT_CHANGE, SORT_ID, SORT_COUNT };

/* A feature's own view. */
struct snapshot_score {
	uint32_t id;	/* of a token or a feature */
	char text[120]; /* the token's piece; the feature's label */
	float score;
};
struct snapshot_example {
	char prompt[48];
	int position;
	float activation;
	char before[160], token[48], after[80];
};
struct snapshot_view {
	int layer;
	char hook[16];
	uint32_t feature;
	int64_t features; /* of the SAE */
	int label_count;
	char **labels;
	char page[256]; /* "" where no page is known */
	double encoder_norm, decoder_norm;
	bool has_alignment;
	double alignment;
	bool has_training_rate;
	double training_rate; /* share of the tokens of its training data that activate it */
	int promoted_count, demoted_count, near_count;
	struct snapshot_score promoted[12], demoted[12], near[12];
	/* Activation at each token of the prompt; NULL: that state is unknown. */
	int token_count;
	float *along[STATE_COUNT];
	/* Over the prompt set. */
	bool has_usage, reading; /* something is known; more is being read */
	int prompts, prompts_done, prompts_skipped, active_prompts;
	int64_t tokens, active_tokens;
	int example_count;
	struct snapshot_example examples[6];
};

/* Whose settings: a form for each. */
enum settings_of { SETTINGS_OF_RECOVERY, SETTINGS_OF_SUFFIX, SETTINGS_OF_COUNT };

/* A metric of every step made so far: curves. */
struct snapshot_history {
	int steps, planned; /* made; asked for */
	float *objective, *loss, *drift, *drift_relative, *decode_drift, *delta_norm, *cosine, *gradient, *projected,
		*monitor; /* [steps]; the monitor of a suffix, against its value at the start */
};

/* What a method of several recoveries (two stages, the search for a radius) makes or made of its
 * steps, until another recovery is shown. */
struct snapshot_method {
	bool known;
	char title[96]; /* "two stages: stage 1: the anchor" */
	double budget;
	struct snapshot_history history;
};

/* A run that another was forked from. */
struct snapshot_run {
	int begin; /* its step 0 on the axis of the first run, which all share */
	struct snapshot_history history;
};

struct snapshot_component {
	char name[32]; /* full, clamped_features, non_clamped_features, top_k_non_clamped, sae_residual, top_k_knockout
			*/
	double norm, cosine;
	bool has_replay;
	double replay_objective;
	bool replay_recovered;
	bool has_knockout;
	double knockout_objective;
	bool knockout_recovered; /* still recovered without it */
	int top_count;
	struct {
		int layer;
		uint32_t feature;
		float change;
		char label[64];
	} top[12]; /* features that make it up, largest first */
	int token_count;
	float *per_token; /* its norm at each token of the strip; NULL if none */
};

enum job_kind {
	JOB_NONE,
	JOB_LOADING,
	JOB_PROMPT,
	JOB_CLAMP,
	JOB_ATTRIBUTE,
	JOB_FLIPS,
	JOB_RECOVER,
	JOB_DECOMPOSE,
	JOB_GENERATE,
	JOB_EXPORT,
	JOB_FEATURE, /* a feature's own view */
	JOB_USAGE,   /* features over the prompt set */
	JOB_COMPARE, /* sessions on disk */
	JOB_LOSS,    /* the SAE's loss recovered, in idle time */
};

/* A session on disk: its name in the user's folder, and what it is. */
enum { SESSIONS_LISTED = 32 };
struct snapshot_session {
	char name[200];
	char summary[96];
};

struct snapshot_log {
	char *command; /* headless command that repeats it */
	char *result;  /* one line: what came out */
};

struct comparison; /* compare.h */

struct snapshot {
	uint64_t serial; /* grows with every snapshot */

	/* status line */
	char model[96];	    /* "demo 4x128" */
	char sae[96];	    /* "1/4x1024": loaded of those attached and their features, if they agree; "none" */
	uint64_t sae_bytes; /* of device memory that those loaded take */
	char device[96];
	bool has_self_test, self_test_ok;
	float self_test_error;
	bool has_fvu;
	float fvu, l0; /* of the SAE shown, on the current prompt (sae_fit.h); and the next ones */
	float fit_cosine, fit_dead;
	bool has_loss; /* loss recovered is known */
	float loss_recovered;

	/* what is going on */
	enum job_kind job;
	char job_text[96];	    /* "ranking features" */
	double job_done, job_total; /* total 0: unknown */
	char error[768];	    /* last failure, one sentence; "" if none */
	uint64_t error_serial;	    /* grows with each failure */
	char notice[256];	    /* last thing worth saying that is no failure */

	/* prompts */
	int prompt_count, prompt_selected;
	struct snapshot_prompt *prompts;
	int flips_done, flips_total; /* background search for valid flips */
	int cells[2][2];	     /* [base has it][clamped has it], over the judged prompts */

	/* the selected prompt */
	char task[24];
	char objective[160]; /* as --objective writes it, tokens shown by piece */
	int objective_choice_count;
	char (*objective_choices)[96]; /* specs that fit this prompt */
	int token_count, token_selected;
	struct snapshot_token *tokens;
	char clamp_positions[24], delta_positions[24];

	struct snapshot_state state[STATE_COUNT];
	enum flip_state flip;

	/* features */
	int site_count, site_selected; /* hooked SAEs; the features pane shows one */
	struct snapshot_site sites[64];
	enum feature_sort sort;
	char filter[64];
	int feature_count; /* rows below */
	int feature_total; /* active (or matching) in all */
	struct snapshot_feature *features;
	float feature_scale;	    /* largest |activation| for the bars */
	char clamp_mode[24];	    /* mode that space would set: "set-active -5" */
	struct snapshot_view *view; /* of the feature asked for; NULL: none */

	/* recovery */
	char settings[200]; /* one line: "encoder lr 0.1 budget 20" */
	/* As many as setting_names and suffix_setting_name have, in that order. */
	struct {
		int count;
		char (*values)[64];
	} settings_of[SETTINGS_OF_COUNT];
	bool suffix;		  /* the run trains a suffix; base and clamped are without it */
	char suffix_summary[200]; /* "suffix of 16 tokens lr 0.01 budget 40 steps 120" */
	bool recovery_running, recovery_paused;
	struct snapshot_history history;
	int step_shown;								  /* 0..steps; -1: no run */
	bool step_live;								  /* the view follows the run */
	double delta_norm, budget, drift, drift_relative, cosine, step_objective; /* at step_shown */
	double step_loss, monitor;						  /* of a suffix, at step_shown */
	bool recovered;								  /* at step_shown */
	int run_count, run_selected;  /* with the runs that this one was forked from; it is the last */
	struct snapshot_run *earlier; /* [run_count - 1] */
	int run_begin;		      /* as snapshot_run.begin, of this one */
	struct snapshot_method method;

	/* decomposition at step_shown */
	bool has_decomposition, decomposition_stale;
	bool decomposition_of_suffix; /* of the change that it makes at this layer where the answer is read */
	int decomposition_layer;
	int decomposition_step;
	int component_count;
	struct snapshot_component *components;
	double identity_error;

	/* sessions on disk, the newest first, as listed last; and two of them side by side */
	char session[200]; /* of the current run: its name; "" none */
	int session_count;
	struct snapshot_session *sessions;
	const struct comparison *comparison; /* NULL: none */
	uint64_t sessions_serial, comparison_serial;

	/* log, oldest first */
	int log_count;
	struct snapshot_log *log;

	/* the next step in plain words for the footer: SCREENS, the first minute */
	enum { HINT_RANK, HINT_CLAMP, HINT_OTHER_CLAMP, HINT_RECOVER, HINT_DECOMPOSE, HINT_EXPORT, HINT_NONE } hint;
};

void snapshot_free(struct snapshot *snapshot);
void snapshot_history_copy(struct snapshot_history *out, const struct snapshot_history *history);
void snapshot_history_done(struct snapshot_history *history);

#endif
