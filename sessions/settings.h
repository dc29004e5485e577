/* The settings of a recovery (METHOD 4 to 6; CLI.md, `rebound recover`). Plain values
 * with defaults; each can be set by its option's name, from the command line and from
 * the settings form alike. */
#ifndef REBOUND_SETTINGS_H
#define REBOUND_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/ops.h"
#include "sessions/objective.h"

enum project_mode { PROJECT_NONE, PROJECT_ENCODER, PROJECT_JACOBIAN };
enum project_what { PROJECT_GRADIENT, PROJECT_DELTA, PROJECT_BOTH };
enum clamp_order { ORDER_CLAMP_DELTA, ORDER_DELTA_CLAMP };
enum checkpoint_rule { CHECKPOINT_FINAL, CHECKPOINT_DRIFT_CONSTRAINED, CHECKPOINT_PENALTY_SCORE };

/* Which positions of the prompt and its answer something applies to. */
enum position_rule {
	POSITIONS_ALL,
	POSITIONS_PROMPT,
	POSITIONS_GENERATED,
	POSITIONS_LAST,
	POSITIONS_ANSWER,
	POSITIONS_LIST
};
struct positions {
	enum position_rule rule;
	int64_t *list; /* POSITIONS_LIST: distinct, ascending; owned */
	int64_t count;
};

/* An amount, or a percentage of the norm of h_def at the perturbed positions. */
struct amount {
	double value;
	bool percent;
};

enum { PROBES_ALL = -1 };

struct recovery_settings {
	enum project_mode project;
	enum project_what project_what;
	enum clamp_order order;
	int64_t steps;
	struct amount lr, budget;
	double ridge;
	double lambda_act, lambda_decode, lambda_delta;
	enum op_drift_kind act_loss;
	struct answer_limits answer;
	int64_t delta_layers[64]; /* none: the clamp's layers */
	int delta_layer_count;
	struct positions delta_positions; /* last, answer or a list */
	/* METHOD 5 */
	int64_t probes; /* m, or PROBES_ALL: one for each monitored activation */
	bool drift_probe;
	int64_t corrections;
	double correction_lr;
	enum checkpoint_rule checkpoint;
	double drift_threshold;
	char *probes_file; /* owned; NULL: random */
	/* Only kernels whose sums of a row don't depend on how many rows go along
	 * (recorder_set_rows_alike): slower, and the same bits alone and in a batch (batch.h). */
	bool rows_alike;
};

void settings_init(struct recovery_settings *settings);
void settings_done(struct recovery_settings *settings);
enum status WARN_UNUSED settings_copy(struct recovery_settings *to, const struct recovery_settings *from);

/* Sets one by its option's name without dashes ("lambda-act", "budget"). An unknown name
 * is STATUS_NOTHING; a bad value names the option, what was given and what is allowed. */
enum status WARN_UNUSED settings_set(struct recovery_settings *settings, const char *name, const char *value,
				     struct error *error);
/* The options that differ from the defaults, as a command line: "--project none --lr 0.2";
 * a new string. */
char *settings_command(const struct recovery_settings *settings);
/* "encoder lr 0.1 budget 20 steps 100"; a new string. */
char *settings_summary(const struct recovery_settings *settings);

/* The names settings_set accepts, for forms and completion; NULL ends the list. For each
 * the allowed values as text ("none|encoder|jacobian" or "number above 0"). */
struct setting_name {
	const char *name, *allowed, *about;
};
extern const struct setting_name setting_names[];
/* Its values are yes and no: on the command line it is a flag without a value. */
bool setting_is_flag(const char *name);
/* The value of one as settings_set would take it; a new string. */
char *settings_get(const struct recovery_settings *settings, const char *name);

/* "all", "prompt", "generated", "last", "answer", or "3,8,13". */
enum status WARN_UNUSED positions_parse(struct positions *positions, const char *text, const char *option,
					struct error *error);
void positions_done(struct positions *positions);
char *positions_text(const struct positions *positions);
/* Marks on[0..total) for a prompt of `prompt` tokens followed by total - prompt answer
 * tokens. A listed position outside is an error that names it. */
enum status WARN_UNUSED positions_resolve(const struct positions *positions, int64_t prompt, int64_t total, bool *on,
					  struct error *error);

#endif
