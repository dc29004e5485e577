/* One experiment: a model with its SAEs, an input, clamps, an objective, and what came
 * out of them. The commands and the screens drive this same interface.
 *
 * A session belongs to one thread (the worker, or main() in a command). Setters only
 * note what changed; the functions of scene.h, attribute.h, recovery.h, decompose.h and
 * generate.h compute. Positions count from 0 and include BOS. T is the prompt's length,
 * A the answer's (teacher-forced behind the prompt where the objective has one).
 */
#ifndef REBOUND_SESSION_H
#define REBOUND_SESSION_H

#include <stdatomic.h>

#include "compute/device.h"
#include "models/model.h"
#include "models/sae.h"
#include "sessions/objective.h"
#include "sessions/settings.h"

enum { SESSION_MAX_SITES = 64 };

/* An SAE hooked into the residual stream, and the clamp there. What it is and where is known
 * from the start; its tensors are there once session_sae (hooked_sae.h) was asked for them. */
struct site {
	struct sae sae;
	struct sae_spec spec;	  /* its file, opened; path NULL: it came from none and can't come again */
	int point;		  /* of the residual stream */
	bool shown;		  /* the screens show it: kept, though nothing is clamped */
	struct labels *labels;	  /* NULL: none (labels.h) */
	char *labels_path;	  /* the file they came from; NULL */
	struct clamp_rule *rules; /* the clamp: count 0 is none */
	int64_t rule_count;
	struct clamp clamp; /* built from the rules when needed */
	bool clamp_ready;
};

/* Rows of a perturbation: each is added at a layer's SAE and a position. */
struct delta_rows {
	int64_t count;
	int *layers;
	int64_t *positions;
	float *values; /* [count, d] */
};
void delta_rows_done(struct delta_rows *rows);
/* Appends copies. */
void delta_rows_add(struct delta_rows *rows, int64_t count, int64_t d, const int *layers, const int64_t *positions,
		    const float *values);

/* Layer of a row of delta that is added to a token's embedding. */
enum { LAYER_EMBEDDING = -1 };

/* A trained suffix (METHOD 11, suffix.h): the prompt's last `count` tokens are placeholders, and
 * delta is added to their embeddings. count 0: there is none. */
struct suffix {
	int64_t count;
	double monitor_weight; /* of monitor / initial monitor in the loss */
};

struct session {
	struct device *device; /* owned */
	struct model model;
	struct site sites[SESSION_MAX_SITES]; /* by point, ascending */
	int site_count;

	/* input */
	struct token_list prompt; /* T ids, a suffix's included */
	struct suffix suffix;
	char *prompt_text;  /* as given; NULL for --tokens */
	char *prompt_id;    /* of the prompt set; NULL */
	char *prompts_path; /* the prompt set's file; NULL */
	bool chat;

	/* the defence */
	struct positions clamp_positions; /* default all */
	double error_alpha;		  /* 1 keep, 0 drop */

	struct objective objective; /* count 0: none */
	bool has_objective;
	struct recovery_settings settings;
	struct delta_rows frozen; /* of an earlier stage (METHOD 5); count 0: none */
	uint64_t seed;

	atomic_bool *cancel; /* borrowed; NULL: never */
	struct progress progress;
};

struct session_options {
	const char *model;	 /* folder; NULL: built-in */
	const char *const *saes; /* --sae values: PATH or LAYER:HOOK=PATH */
	int sae_count;		 /* 0: the built-in SAEs with the built-in model, else none */
	bool no_saes;
	const char *device; /* selector; NULL: default */
	bool validation;
	uint64_t seed;
	struct progress progress;
};

/* Opens device, model and SAEs, the tensors of these left in their files; blocks. */
enum status WARN_UNUSED session_open(struct session **out, const struct session_options *options, struct error *error);
void session_close(struct session **session);

/* STATUS_CANCELLED if the cancel flag is set. */
enum status WARN_UNUSED session_check_cancel(const struct session *session, struct error *error);

/* The input. `ids` are used as they are; a text is encoded (with BOS unless no_bos, special
 * tokens in it recognised only with `special`), wrapped in the model's chat form with
 * `chat`. Ids outside the vocabulary and inputs longer than the context are errors. */
enum status WARN_UNUSED session_set_tokens(struct session *session, const int32_t *ids, size_t count,
					   struct error *error);
enum status WARN_UNUSED session_set_text(struct session *session, const char *text, size_t n, bool chat, bool no_bos,
					 bool special, struct error *error);

/* The input and objective, put aside while the session runs another prompt; after
 * session_keep_input it has none. */
struct kept_input {
	struct token_list prompt;
	struct suffix suffix;
	char *text, *id;
	bool chat, has_objective;
	struct objective objective;
};
void session_keep_input(struct session *session, struct kept_input *kept);
/* Whatever the session has by then is freed. */
void session_restore_input(struct session *session, struct kept_input *kept);

/* Replaces all clamps, resp. says whether they could be. A rule names its layer: that of exactly one of the SAEs. */
struct layer_rule {
	int layer;
	struct clamp_rule rule;
};
enum status WARN_UNUSED session_check_clamps(const struct session *session, const struct layer_rule *rules,
					     int64_t count, struct error *error);
enum status WARN_UNUSED session_set_clamps(struct session *session, const struct layer_rule *rules, int64_t count,
					   struct error *error);
/* One --clamp value "LAYER:F[,F...]=MODE" or "@FILE" (a line each), appended to a list. */
enum status WARN_UNUSED clamp_rules_parse(struct layer_rule **rules, size_t *count, size_t *capacity, const char *text,
					  struct error *error);
/* "set:C", "ablate" and so on. */
enum status WARN_UNUSED clamp_mode_parse(const char *text, enum op_clamp_mode *mode, float *value, struct error *error);
/* The same as text; a new string. And all clamps as --clamp options. */
char *clamp_mode_text(enum op_clamp_mode mode, float value);
char *session_clamps_command(const struct session *session);
bool session_has_clamps(const struct session *session);

enum status WARN_UNUSED session_set_objective(struct session *session, const char *const *specs, int count,
					      struct error *error);
/* "keep", "drop" or a number. */
enum status WARN_UNUSED session_set_error_treatment(struct session *session, const char *text, struct error *error);

/* Rows of delta found before, which stay while others are optimised: clamped scenes and the
 * recoveries that start from them add them behind the clamp. What drift is measured against
 * remains the clamped run without any delta (scene.h). NULL or count 0: none. Copies. */
enum status WARN_UNUSED session_set_frozen(struct session *session, const struct delta_rows *rows, struct error *error);

/* Site of a layer, -1 if there is none. */
int session_site_of_layer(const struct session *session, int layer);

/* Answer tokens that are teacher-forced behind the prompt, and T + A. */
int64_t session_answer_length(const struct session *session);
int64_t session_total_length(const struct session *session);
/* The monitored positions: those of the answer (up to its limit) if there is one, else
 * all; [*first, *first + *count). */
void session_monitored(const struct session *session, int64_t *first, int64_t *count);

/* Says which rows of a pass over positions [first, total) an edit's clamp acts on. */
enum status WARN_UNUSED session_write_clamp_rows(const struct session *session, struct clamp_edit *edit, int64_t first,
						 int64_t total, struct error *error);

/* Builds the device side of the clamps that changed. */
enum status WARN_UNUSED session_prepare_clamps(struct session *session, struct error *error);

#endif
