/* Prompt sets: the inputs of experiments and what their tasks know about them.
 *
 * Read from JSON Lines (the built-in set), a JSON array, CSV with a header, or plain text
 * (a prompt a line). Known keys: id, task, text, chat, target, foil (ioi); options, answer,
 * prefix, question, choices, answer_index (choice); answer, refusals, declined (refusal);
 * profession or class (probe). CSV columns named goal, Behavior or prompt count as text. All
 * strings are owned by the set; it does not change while it lives, but for additions.
 */
#ifndef REBOUND_PROMPTS_H
#define REBOUND_PROMPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"

struct prompt {
	char *id, *task, *text; /* never NULL; task "" if none */
	bool chat;
	char *target, *foil; /* logit_diff; NULL if none */
	char **options;	     /* letters of a choice */
	int option_count;
	char *answer; /* right letter, or the answer's text */
	char **refusals;
	int refusal_count;
	bool has_declined, declined;
	char *profession;
	/* parts of a choice, for its other orders */
	char *prefix, *question;
	char **choices;
	int choice_count, answer_index;
};

struct prompt_set {
	struct prompt *items;
	int count;
	size_t capacity;
	char *path; /* NULL for an empty set */
};

enum status WARN_UNUSED prompt_set_load(struct prompt_set *set, const char *path, struct error *error);
void prompt_set_done(struct prompt_set *set);
/* NULL if there is none. */
const struct prompt *prompt_set_find(const struct prompt_set *set, const char *id);
/* Adds a prompt with a fresh id ("mine-1"); returns its index. `like` (NULL: none) gives its
 * task and task fields. */
int prompt_set_add(struct prompt_set *set, const char *text, const struct prompt *like);

/* Objectives that fit the prompt's task, as specifications for objective_parse: the first is
 * the default. New strings in out[0..n), at most `most`; returns n. */
int prompt_objectives(const struct prompt *prompt, char **out, int most);

#endif
