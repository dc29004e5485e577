/* The `:` line: a verb and its argument. What a key does has a verb; what is not known
 * here goes to the worker as it is, where the headless commands' words are read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/workbench.h"

enum argument { NO_ARGUMENT, SOME_TEXT, A_NUMBER };

/* Verbs that are one command of the worker. */
static const struct verb {
	const char *name;
	enum argument argument;
	enum command_kind kind;
	const char *help;
} verbs[] = {
	{"add", SOME_TEXT, COMMAND_ADD_PROMPT, "TEXT: add a prompt"},
	{"edit", SOME_TEXT, COMMAND_EDIT_PROMPT, "TEXT: a changed copy of this prompt"},
	{"import", SOME_TEXT, COMMAND_IMPORT_PROMPTS, "FILE: import a prompt set"},
	{"flips", NO_ARGUMENT, COMMAND_FIND_FLIPS, "find the valid flips of the whole set"},
	{"token", A_NUMBER, COMMAND_SELECT_TOKEN, "N: list the features of this token"},
	{"mode", SOME_TEXT, COMMAND_SET_CLAMP_MODE, "MODE: of the clamps to come"},
	{"top", A_NUMBER, COMMAND_CLAMP_TOP, "K: clamp the top ranked features"},
	{"clear", NO_ARGUMENT, COMMAND_CLEAR_CLAMPS, "release all clamps"},
	{"drop", NO_ARGUMENT, COMMAND_DROP_SAES, "take the SAEs not in use off the device"},
	{"undo", NO_ARGUMENT, COMMAND_UNDO_CLAMPS, "undo the last change of the clamps"},
	{"clamp-positions", SOME_TEXT, COMMAND_CLAMP_POSITIONS, "all, prompt, generated or N,N"},
	{"delta-positions", SOME_TEXT, COMMAND_DELTA_POSITIONS, "last, answer or N,N"},
	{"error", SOME_TEXT, COMMAND_SET_ERROR, "keep, drop or a factor of the SAE error"},
	{"objective", SOME_TEXT, COMMAND_SET_OBJECTIVE, "as --objective"},
	{"filter", SOME_TEXT, COMMAND_FILTER, "features by number or label"},
	{"rank", NO_ARGUMENT, COMMAND_ATTRIBUTE, "rank features by attribution"},
	{"generate", A_NUMBER, COMMAND_GENERATE, "N: new tokens in each state"},
	{"stages", NO_ARGUMENT, COMMAND_TWO_STAGE, "recover a refused answer in two stages"},
	{"set-suffix", SOME_TEXT, COMMAND_SUFFIX_SETTING, "NAME=VALUE: a setting of the suffix"},
	{"suffix", NO_ARGUMENT, COMMAND_SUFFIX, "recover a refused answer by a trained suffix"},
	{"radius", NO_ARGUMENT, COMMAND_RADIUS, "the smallest budget that recovers"},
	{"run", NO_ARGUMENT, COMMAND_RUN, "run the recovery, or pause it"},
	{"step", NO_ARGUMENT, COMMAND_STEP, "one iteration"},
	{"scrub", A_NUMBER, COMMAND_SCRUB, "N: show this iteration"},
	{"fork", NO_ARGUMENT, COMMAND_FORK, "continue from the step shown"},
	{"set", SOME_TEXT, COMMAND_SETTING, "NAME=VALUE: a setting of the recovery"},
	{"decompose", NO_ARGUMENT, COMMAND_DECOMPOSE, "the parts of the perturbation"},
	{"export", SOME_TEXT, COMMAND_EXPORT, "FORMAT FILE [redact]"},
	{"compare", SOME_TEXT, COMMAND_COMPARE, "SESSION [SESSION]: this run, or the first, beside the other"},
	{"note", SOME_TEXT, COMMAND_NOTE, "TEXT: into the journal"},
};

/* Verbs of the screens, and "clamp", which the worker reads. */
static const char *const other_verbs[] = {"clamp", "prompt", "layer", "saes", "feature", "help", "quit"};

static void select_prompt(struct workbench *wb, const char *id)
{
	for (int i = 0; i < wb->s->prompt_count; i++)
		if (strcmp(wb->s->prompts[i].id, id) == 0) {
			wb->prompt_filter[0] = '\0';
			workbench_select_prompt(wb, i);
			return;
		}
	workbench_say(wb, "there is no prompt \"%s\" in the set: Tab completes identifiers", id);
}

static void select_layer(struct workbench *wb, const char *text)
{
	int64_t layer;
	for (int i = 0; text_int(text, &layer) && i < wb->s->site_count; i++)
		if (wb->s->sites[i].layer == layer) {
			workbench_send(wb, COMMAND_SELECT_SITE, i, NULL);
			return;
		}
	workbench_say(wb, "no SAE is attached at layer \"%s\"", text);
}

static void open_feature(struct workbench *wb, const char *text)
{
	int64_t feature;
	if (!text_int(text, &feature) || feature < 0)
		workbench_say(wb, ":feature needs the number of a feature, found \"%s\"", text);
	else
		feature_view_open(wb, feature);
}

static void run_verb(struct workbench *wb, const struct verb *verb, const char *argument)
{
	int64_t number = 0;
	if (verb->argument == NO_ARGUMENT && argument[0])
		workbench_say(wb, ":%s takes no argument, found \"%s\"", verb->name, argument);
	else if (verb->argument == SOME_TEXT && !argument[0] && verb->kind != COMMAND_FILTER)
		workbench_say(wb, ":%s needs an argument: %s", verb->name, verb->help);
	else if (verb->argument == A_NUMBER && !text_int(argument, &number))
		workbench_say(wb, ":%s needs a whole number, found \"%s\"", verb->name, argument);
	else
		workbench_send(wb, verb->kind, verb->kind == COMMAND_SET_CLAMP_MODE ? -1 : number, argument);
}

void command_line_run(struct workbench *wb, const char *line)
{
	char word[32];
	line += strspn(line, " ");
	size_t n = strcspn(line, " ");
	if (n == 0)
		return;
	snprintf(word, sizeof word, "%.*s", n < sizeof word ? (int)n : 0, line);
	char *argument = mem_strdup(line + n + strspn(line + n, " "));
	for (size_t end = strlen(argument); end > 0 && argument[end - 1] == ' ';)
		argument[--end] = '\0';
	const struct verb *verb = NULL;
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i].name, word) == 0)
			verb = &verbs[i];
	if (verb)
		run_verb(wb, verb, argument);
	else if (strcmp(word, "q") == 0 || strcmp(word, "quit") == 0)
		workbench_global_action(wb, ACTION_QUIT);
	else if (strcmp(word, "help") == 0)
		workbench_global_action(wb, ACTION_HELP);
	else if (strcmp(word, "prompt") == 0)
		select_prompt(wb, argument);
	else if (strcmp(word, "layer") == 0)
		select_layer(wb, argument);
	else if (strcmp(word, "saes") == 0)
		workbench_global_action(wb, ACTION_SAES);
	else if (strcmp(word, "feature") == 0)
		open_feature(wb, argument);
	else
		workbench_send(wb, COMMAND_LINE, 0, line);
	free(argument);
}

/* ---- completion ---- */

static void offer(struct strbuf *matches, const char *candidate, const char *word, size_t n)
{
	if (strncmp(candidate, word, n) == 0)
		strbuf_printf(matches, "%s\n", candidate);
}

static void offer_all(struct strbuf *matches, const char *const *candidates, const char *word, size_t n)
{
	for (; *candidates; candidates++)
		offer(matches, *candidates, word, n);
}

static void offer_settings(const struct workbench_settings *settings, const char *word, size_t n,
			   struct strbuf *matches)
{
	for (int i = 0; i < settings->count; i++) {
		char text[64];
		snprintf(text, sizeof text, "%s=", settings->fields[i].name);
		offer(matches, text, word, n);
	}
}

static void offer_arguments(const struct workbench *wb, const char *verb, const char *word, size_t n,
			    struct strbuf *matches)
{
	static const char *const modes[] = {"set:", "set-active:", "scale:", "scale-active:", "ablate", "floor:", NULL};
	static const char *const formats[] = {"json", "csv", "md", "latex", "svg", "pdf", "redact", NULL};
	static const char *const treatments[] = {"keep", "drop", NULL};
	static const char *const clamp_at[] = {"all", "prompt", "generated", NULL};
	static const char *const delta_at[] = {"last", "answer", NULL};
	const struct snapshot *s = wb->s;
	if (strcmp(verb, "prompt") == 0) {
		for (int i = 0; i < s->prompt_count; i++)
			offer(matches, s->prompts[i].id, word, n);
	} else if (strcmp(verb, "objective") == 0) {
		for (int i = 0; i < s->objective_choice_count; i++)
			offer(matches, s->objective_choices[i], word, n);
	} else if (strcmp(verb, "set") == 0) {
		offer_settings(&wb->backend.settings[SETTINGS_OF_RECOVERY], word, n, matches);
	} else if (strcmp(verb, "set-suffix") == 0) {
		offer_settings(&wb->backend.settings[SETTINGS_OF_SUFFIX], word, n, matches);
	} else if (strcmp(verb, "compare") == 0) {
		for (int i = 0; i < s->session_count; i++)
			offer(matches, s->sessions[i].name, word, n);
	} else if (strcmp(verb, "mode") == 0) {
		offer_all(matches, modes, word, n);
	} else if (strcmp(verb, "export") == 0) {
		offer_all(matches, formats, word, n);
	} else if (strcmp(verb, "error") == 0) {
		offer_all(matches, treatments, word, n);
	} else if (strcmp(verb, "clamp-positions") == 0) {
		offer_all(matches, clamp_at, word, n);
	} else if (strcmp(verb, "delta-positions") == 0) {
		offer_all(matches, delta_at, word, n);
	}
}

void command_line_complete(void *workbench, const char *line, size_t at, size_t *start, struct strbuf *matches)
{
	const struct workbench *wb = workbench;
	size_t verb_at = strspn(line, " "), verb_n = strcspn(line + verb_at, " ");
	if (at <= verb_at + verb_n) { /* in the verb itself */
		*start = verb_at < at ? verb_at : at;
		for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
			offer(matches, verbs[i].name, line + *start, at - *start);
		for (size_t i = 0; i < ARRAY_LEN(other_verbs); i++)
			offer(matches, other_verbs[i], line + *start, at - *start);
		return;
	}
	char verb[32];
	snprintf(verb, sizeof verb, "%.*s", verb_n < sizeof verb ? (int)verb_n : 0, line + verb_at);
	*start = at;
	if (strcmp(verb, "objective") == 0) /* its tokens may hold blanks */
		*start = verb_at + verb_n + strspn(line + verb_at + verb_n, " ");
	else
		while (*start > verb_at + verb_n && line[*start - 1] != ' ')
			(*start)--;
	offer_arguments(wb, verb, line + *start, at - *start, matches);
}
