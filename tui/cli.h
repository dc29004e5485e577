/* The headless commands (CLI.md). Each is a function from options to a status, which is
 * the exit status; results go to stdout, one JSON document with --json. */
#ifndef REBOUND_CLI_H
#define REBOUND_CLI_H

#include <cjson/cJSON.h>

#include "compute/base/error.h"
#include "sessions/judge.h"
#include "sessions/experiment.h"
#include "sessions/recovery.h"
#include "sessions/sae_fit.h"
#include "tui/options.h"

struct cli {
	struct options options;
	int argc;
	char *const *argv;
	atomic_bool *cancel; /* set by an interrupt */
};

struct cli_command {
	const char *name;
	enum status (*run)(const struct cli *cli, struct error *error);
	const char *usage; /* arguments and main options */
	const char *about;
};
/* NULL name ends. */
extern const struct cli_command cli_commands[];
const struct cli_command *cli_find(const char *name);

/* Prints a JSON document on one line (--json) and deletes it. A number that is not
 * finite is a failure, since JSON has none. */
enum status WARN_UNUSED cli_print_json(cJSON *json, struct error *error);
/* {"id","piece","logit","probability"} of the k best of logits[V]. */
cJSON *cli_top_json(const struct session *session, const float *logits, int k);
/* The token as people see it, quoted; a new string. */
char *cli_piece(const struct session *session, int32_t id);
cJSON *cli_ids_json(const int32_t *ids, size_t count);
cJSON *cli_floats_json(const float *values, size_t count);
/* Opens the session as options_open does, with the interrupt's cancel flag. */
enum status WARN_UNUSED cli_open(struct opened *opened, const struct cli *cli, int needs, struct error *error);

/* cli_judge.c: {"refusal":{"verdict","rule","words"},...,"characters",...}, and a line each. */
cJSON *cli_judge_json(const struct judge_verdict *verdict);
void cli_judge_print(const struct judge_verdict *verdict);
/* cli_model.c: generated ids as text, special tokens left out; a new string. */
char *cli_text(const struct session *session, const struct token_list *ids);

/* cli_model.c */
enum status cli_tokens(const struct cli *cli, struct error *error);
enum status cli_logits(const struct cli *cli, struct error *error);
enum status cli_residual(const struct cli *cli, struct error *error);
enum status cli_gradient(const struct cli *cli, struct error *error);
enum status cli_generate(const struct cli *cli, struct error *error);
enum status cli_devices(const struct cli *cli, struct error *error);
/* cli_encode.c */
enum status cli_encode(const struct cli *cli, struct error *error);
/* cli_sae.c */
enum status cli_features(const struct cli *cli, struct error *error);
enum status cli_attribute(const struct cli *cli, struct error *error);
/* The site a command means: the highest, or that of --layer. */
enum status WARN_UNUSED cli_choose_site(const struct session *session, const struct options *o, int *site,
					struct error *error);
/* {"fvu","explained_variance","l0","cosine","dead","positions","loss_recovered","cross_entropy":{"tokens",
 * "clean","spliced","zeroed"}}; the last two null where unknown. */
cJSON *cli_fit_json(const struct sae_fit *fit);
void cli_fit_print(const struct sae_fit *fit);
/* cli_select.c: attribute over sets of prompts; --clamp-top, on the opened session. */
enum status cli_select(const struct cli *cli, struct error *error);
enum status WARN_UNUSED cli_clamp_top(struct session *session, const struct options *o, struct error *error);
/* cli_feature.c */
enum status cli_feature(const struct cli *cli, struct error *error);
/* cli_inspect.c */
enum status cli_inspect(const struct cli *cli, struct error *error);
/* cli_compare.c */
enum status cli_compare(const struct cli *cli, struct error *error);
/* cli_demo.c */
enum status cli_demo(const struct cli *cli, struct error *error);
/* cli_recover.c */
enum status cli_recover(const struct cli *cli, struct error *error);
/* cli_recover_set.c: recover without an input, over a prompt set */
enum status cli_recover_set(const struct cli *cli, struct error *error);
/* What --json prints of a recovery (CLI.md), the session having its input. */
cJSON *cli_recovery_json(const struct experiment *x);
/* {"objective","present","top"}; the history and the final state of a recovery. */
cJSON *cli_state_json(const struct session *session, double J, bool present, const float *logits);
cJSON *cli_history_json(const struct recovery *recovery);
cJSON *cli_final_json(const struct recovery_final *final);
/* cli_refusal.c: recover --stages 2, recover --suffix N */
enum status cli_refusal(const struct cli *cli, struct error *error);
/* cli_radius.c */
enum status cli_radius(const struct cli *cli, struct error *error);
/* cli_session.c */
enum status cli_decompose(const struct cli *cli, struct error *error);
enum status cli_replay(const struct cli *cli, struct error *error);
enum status cli_list(const struct cli *cli, struct error *error);
enum status cli_export(const struct cli *cli, struct error *error);

#endif
