/* Sessions as a vector figure: curves of objective, drift and norm over the steps, and,
 * where a decomposition is recorded, the parts of delta as signed bars with what their
 * replays gave. All runs of a list are overlaid; base and clamped objectives and the bars are
 * those of the newest run. */
#ifndef REBOUND_EXPORT_FIGURE_H
#define REBOUND_EXPORT_FIGURE_H

#include "compute/base/text.h"
#include "sessions/record.h"

enum figure_format { FIGURE_SVG, FIGURE_PDF };

/* Appends the file's bytes. STATUS_NOTHING if no run has steps. */
enum status WARN_UNUSED export_figure(struct strbuf *out, const struct record_list *list, enum figure_format format,
				      bool redact, struct error *error);

#endif
