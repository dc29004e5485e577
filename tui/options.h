/* The command line: one table of options for all commands (CLI.md), and opening a session
 * as they ask. */
#ifndef REBOUND_OPTIONS_H
#define REBOUND_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "sessions/prompts.h"
#include "sessions/session.h"

enum { OPTIONS_MAX_LIST = 128 };

/* A repeatable option's values; borrowed from argv. */
struct option_list {
	const char *items[OPTIONS_MAX_LIST];
	int count;
};

struct options {
	const char *command; /* NULL: the workbench */
	struct option_list arguments;

	const char *model, *device, *text, *tokens, *prompt, *prompts, *seed;
	struct option_list saes, labels, clamps, objectives, anchor;
	bool chat, no_bos, special, json, quiet, verbose, no_color, help, version, ascii;
	const char *clamp_positions, *error;
	/* settings of a recovery: name, value pairs in order */
	struct {
		const char *name, *value;
	} settings[OPTIONS_MAX_LIST];
	int setting_count;

	const char *layer, *hook, *positions, *position, *top, *npy, *max_new, *temperature, *top_k, *top_p, *delta,
		*out, *save_delta, *save_state, *reference, *format, *input, *grad_recon, *grad_features, *tokenizer,
		*batch, *clamp_top, *judge_lists, *stages, *suffix, *suffix_token, *target, *tolerance, *trials,
		*method, *retain, *retain_task, *retain_threshold, *task;
	bool ignore_eos, redact, no_hints, judge;
};

/* Reads argv; the strings are borrowed. An unknown option, a missing value, an option
 * given twice that can't be repeated: STATUS_INVALID. */
enum status WARN_UNUSED options_parse(struct options *options, int argc, char *const *argv, struct error *error);

/* The names of all options with a word on their value, for completion; NULL ends. */
struct option_name {
	const char *name;  /* without dashes */
	const char *value; /* NULL: a flag */
};
const struct option_name *options_names(void);

/* A whole number of an option (NULL: `fallback`), within bounds. */
enum status WARN_UNUSED options_int(const char *value, const char *name, int64_t least, int64_t most, int64_t fallback,
				    int64_t *out, struct error *error);
enum status WARN_UNUSED options_double(const char *value, const char *name, double fallback, double *out,
				       struct error *error);

/* What a command may need of a session. */
enum {
	NEED_INPUT = 1,	  /* --text, --tokens or --prompt is required */
	NEED_SAES = 2,	  /* SAEs are loaded even where none is named */
	NEED_PROMPTS = 4, /* a prompt set: --prompts, or the built-in model's */
	WANT_PROMPTS = 8, /* the same, but there may be none */
};
struct opened {
	struct session *session;
	struct prompt_set prompts;
	const struct prompt *entry; /* --prompt */
};
/* Opens device, model and SAEs, sets input, clamps, objective (the prompt's own where none
 * is given) and settings. */
enum status WARN_UNUSED options_open(struct opened *opened, const struct options *options, int needs,
				     struct error *error);
void options_close(struct opened *opened);

/* The command line that repeats what these options say, quoted for a shell; a new string. */
char *options_command(int argc, char *const *argv);

#endif
