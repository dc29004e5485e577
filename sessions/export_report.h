/* Sessions as a Markdown report and as LaTeX tables (booktabs). */
#ifndef REBOUND_EXPORT_REPORT_H
#define REBOUND_EXPORT_REPORT_H

#include "compute/base/text.h"
#include "sessions/record.h"

void export_markdown(struct strbuf *out, const struct record_list *list, bool redact);
void export_latex(struct strbuf *out, const struct record_list *list, bool redact);

/* What the program's results can't show (METHOD 13); one paragraph. */
extern const char export_limits[];

#endif
