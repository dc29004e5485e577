/* Sessions on disk in forms for others.
 *
 * CSV: one table. Column `row` tells what a line is: base, clamped, step, final, component;
 * cells that a line has no value for are empty. JSON: {"format","sessions":[...]}.
 * Markdown, LaTeX and figures: export_report.h, export_figure.h.
 *
 * The redacted form holds identifiers, labels and numbers only: no text of a prompt, an
 * answer or a generation, no tokens (ids stand for text), no paths, folders, commands or
 * notes. Objectives keep their names and weights. */
#ifndef REBOUND_EXPORT_H
#define REBOUND_EXPORT_H

#include <cjson/cJSON.h>

#include "compute/base/text.h"
#include "sessions/record.h"

enum export_format { EXPORT_CSV, EXPORT_JSON, EXPORT_LATEX, EXPORT_SVG, EXPORT_PDF, EXPORT_MD };

/* "csv", "json", "latex", "svg", "pdf", "md". */
enum status WARN_UNUSED export_format_parse(const char *text, enum export_format *format, struct error *error);

/* The readable sessions of a list, all their runs, oldest first. */
void export_csv(struct strbuf *out, const struct record_list *list, bool redact);
cJSON *export_json(const struct record_list *list, bool redact);
/* Any of them, as the bytes of a file. STATUS_NOTHING where there is nothing to draw. */
enum status WARN_UNUSED export_bytes(struct strbuf *out, const struct record_list *list, enum export_format format,
				     bool redact, struct error *error);
/* Reads a session or a folder of them and writes the file `path`. */
enum status WARN_UNUSED export_file(const char *session, enum export_format format, bool redact, const char *path,
				    struct error *error);

/* The name that a redacted export uses for a prompt: its id where that is an identifier
 * (letters, digits, '-', '_', '.'; at most 48), else "prompt"; and "logit_diff*2 + ..." for
 * the objectives. New strings. */
char *export_redacted_prompt(const struct record_run *run);
char *export_redacted_objective(const struct record_run *run);

#endif
