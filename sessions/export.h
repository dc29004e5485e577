/* Sessions on disk in forms for others.
 *
 * CSV: one table. Column `row` tells what a line is: base, clamped, step, final, component;
 * cells that a line has no value for are empty. JSON: {"format","sessions":[...]}.
 *
 * The redacted form holds identifiers, labels and numbers only: no text of a prompt, an
 * answer or a generation, no tokens (ids stand for text), no paths, folders, commands or
 * notes. Objectives keep their names and weights. */
#ifndef REBOUND_EXPORT_H
#define REBOUND_EXPORT_H

#include <cjson/cJSON.h>

#include "compute/base/text.h"
#include "sessions/record.h"

enum export_format { EXPORT_CSV, EXPORT_JSON };

/* "csv", "json"; those that CLI.md promises for later are said to be. */
enum status WARN_UNUSED export_format_parse(const char *text, enum export_format *format, struct error *error);

/* The readable sessions of a list, all their runs, oldest first. */
void export_csv(struct strbuf *out, const struct record_list *list, bool redact);
cJSON *export_json(const struct record_list *list, bool redact);
/* Either as text. */
void export_text(struct strbuf *out, const struct record_list *list, enum export_format format, bool redact);

/* The name that a redacted export uses for a prompt: its id where that is an identifier
 * (letters, digits, '-', '_', '.'; at most 48), else "prompt"; and "logit_diff*2 + ..." for
 * the objectives. New strings. */
char *export_redacted_prompt(const struct record_run *run);
char *export_redacted_objective(const struct record_run *run);

#endif
