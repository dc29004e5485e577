/* A session as it lies on disk, read back.
 *
 * The journal (journal.h) holds one JSON object a line, told apart by "event":
 *   session        format, version, created, folder, command; model, saes, prompts, labels with
 *                  the SHA-256 of their files; device; seed
 *   setup          a run begins: ids, text, prompt, clamps, objectives, settings, frozen rows,
 *                  suffix (the last of the ids)
 *   base, clamped  objective, present, top
 *   recovery       the rows of delta (layer -1: token embeddings), d, budget, reference_norm
 *   step           step i's metrics, before its update; with a suffix also monitor_relative
 *   end            outcome, result_step, final, present, top, wall_s, the arrays beside it
 *   decomposition  components, identity_error
 *   generation, note
 * Unknown events and keys are passed over. Numbers read back as the same doubles; one that
 * was not finite is null and reads as NaN.
 *
 * Reading needs no device. Strings are valid UTF-8 and may hold anything else: they are
 * shown through text_printable. A record does not change once read.
 */
#ifndef REBOUND_SESSIONS_RECORD_H
#define REBOUND_SESSIONS_RECORD_H

#include "sessions/record_files.h"
#include "sessions/recovery.h"

enum { RECORD_FORMAT = 1, RECORD_TOP = 10, RECORD_COMPONENTS = 8 };

/* A named double inside a struct. */
struct record_field {
	const char *name;
	size_t offset;
};
/* Of struct recovery_metrics and struct recovery_final, without what only a suffix has; a NULL
 * name ends the list. */
extern const struct record_field record_step_fields[], record_final_fields[];
double record_field_get(const struct record_field *field, const void *object);

/* A model, an SAE, a prompt set, labels. */
struct record_source {
	char *path;  /* absolute where it could be told */
	char *below; /* the part below the model's folder; NULL if it lies elsewhere */
	int layer;   /* SAEs and labels */
	char *hook;
	struct record_files files;
};

struct record_clamp {
	int layer;
	uint32_t feature;
	char *mode; /* "set-active" */
	double value;
};

struct record_top {
	int32_t id;
	char *piece; /* NULL if the model had no tokenizer */
	double logit, probability;
};
struct record_state {
	bool known, present;
	double objective;
	struct record_top top[RECORD_TOP];
	int top_count;
};

struct record_row {
	int layer;
	int64_t position;
};

struct record_component {
	char *name;
	double norm, cosine, objective, drift_l2, drift_relative_l2;
	bool recovered, has_knockout, knockout_recovered;
	double knockout_objective;
};
struct record_decomposition {
	bool known, clamped_run;
	int64_t top_k, step;
	struct record_component components[RECORD_COMPONENTS];
	int count;
	double identity_error;
};

enum record_outcome { RECORD_OPEN, RECORD_COMPLETE, RECORD_INTERRUPTED, RECORD_FAILED };

/* One recovery. */
struct record_run {
	/* setup */
	struct token_list ids;
	char *text, *prompt; /* NULL if there is none */
	bool chat;
	struct record_clamp *clamps;
	int64_t clamp_count;
	char *clamp_positions;
	double error_alpha;
	char *objectives[OBJECTIVE_MAX_TERMS];
	int objective_count;
	struct recovery_settings settings;
	struct suffix suffix;
	char probes_sha256[65]; /* of settings.probes_file */
	char *start;		/* array that delta starts from; NULL: zero */
	char start_sha256[65];
	struct record_row *frozen_rows; /* of delta, kept from an earlier run */
	int64_t frozen_count;
	char *frozen; /* their values; NULL: none */
	char frozen_sha256[65];

	struct record_state base, clamped, recovered;
	bool has_recovery;
	struct record_row *rows;
	int64_t row_count, d;
	double budget, reference_norm;
	struct recovery_metrics *history; /* [steps] */
	int64_t steps;

	enum record_outcome outcome; /* RECORD_OPEN: the journal stops before the end */
	int64_t result_step;
	struct recovery_final final; /* where `recovered` is known */
	double wall_s;
	char *delta_file, *result_file; /* names beside the journal; NULL if there are none */
	char delta_sha256[65], result_sha256[65];
	struct record_decomposition decomposition; /* the last one */
};

struct record {
	char *path;
	bool cut; /* the last line is broken off: a crash, or it is being written */
	char *version, *created, *folder, *command;
	struct record_source model;
	struct record_source *saes;
	int sae_count;
	bool has_prompts;
	struct record_source prompts;
	struct record_source *labels;
	int label_count;
	char *device, *driver, *api;
	uint64_t seed;
	struct record_run *runs;
	int run_count;
	char **notes;
	int note_count;
};

/* The path that an argument means: a file, or the name of a session in the user's folder, with
 * or without its ending; the argument itself if there is neither. A new string. */
char *record_find(const char *argument);
enum status WARN_UNUSED record_load(struct record *record, const char *path, struct error *error);
void record_done(struct record *record);

/* The last run that has an end, else the last; NULL if there is none. */
const struct record_run *record_main_run(const struct record *record);
/* The run of the same record whose result a run's frozen rows are; NULL if there is none. */
const struct record_run *record_earlier_stage(const struct record *record, const struct record_run *run);
/* "valid flip, recovered" and so on; static. */
const char *record_verdict(const struct record_run *run);
const char *record_outcome_name(enum record_outcome outcome);
/* "encoder lr 0.1 ...", "trained suffix of 16 tokens, lr 0.01 ..."; a new string. */
char *record_method(const struct record_run *run);
/* The objectives as a sum, and the name of the prompt ("text", "tokens" where there is no
 * id); new strings. */
char *record_objective(const struct record_run *run);
char *record_prompt(const struct record_run *run);

/* The arrays: delta before each step [steps, rows, d]; the result [rows, d]. Checked
 * against the recorded shape and SHA-256; free() them. */
enum status WARN_UNUSED record_read_delta(const struct record *record, const struct record_run *run, float **out,
					  struct error *error);
enum status WARN_UNUSED record_read_result(const struct record *record, const struct record_run *run, float **out,
					   struct error *error);
/* NULL in *out where delta started from zero. */
enum status WARN_UNUSED record_read_start(const struct record *record, const struct record_run *run, float **out,
					  struct error *error);

/* Values of the frozen rows [frozen_count, d]. NULL in *out where there are none. */
enum status WARN_UNUSED record_read_frozen(const struct record *record, const struct record_run *run, int64_t d,
					   float **out, struct error *error);

/* All sessions of a folder, the newest first, or the one session that `path` is. Files
 * that can't be read as sessions are listed with the reason. */
struct record_list {
	struct record_entry {
		char *path;
		bool good;
		struct record record;
		struct error error;
	} * items;
	int count;
};
enum status WARN_UNUSED record_list_load(struct record_list *list, const char *path, struct error *error);
void record_list_done(struct record_list *list);

/* What may stand in for what a record names; NULL and 0: what it names. */
struct record_overrides {
	const char *model, *device;
	const char *const *saes;
	int sae_count;
	bool validation;
	struct progress progress;
};
/* Opens the session that a run was made with: model and SAEs (their files must have the
 * recorded sums), input, clamps, objective, settings. Blocks. */
enum status WARN_UNUSED record_apply(struct session **out, const struct record *record, const struct record_run *run,
				     const struct record_overrides *overrides, struct error *error);

#endif
