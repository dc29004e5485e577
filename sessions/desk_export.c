/* The current run's session, exported from the screens. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"
#include "sessions/export.h"

/* Takes " redact" off the end of a path; was it there? */
static bool take_redact(char *path)
{
	static const char word[] = " redact";
	size_t n = strlen(path), w = sizeof word - 1;
	if (n <= w || strcmp(path + n - w, word) != 0)
		return false;
	path[n - w] = '\0';
	return true;
}

enum status desk_export(struct desk *desk, const char *text, struct error *error)
{
	size_t n = strcspn(text, " ");
	enum export_format format;
	char *name = mem_strndup(text, n), *path = mem_strdup(text + n + strspn(text + n, " "));
	bool redact = take_redact(path);
	enum status status = STATUS_OK;
	if (!desk->run.path)
		status =
			error_set(error, STATUS_INVALID, "there is no session to export yet: run a recovery first (r)");
	else if (!*path)
		status = error_set(error, STATUS_INVALID, "the export needs a format and a file: FORMAT FILE [redact]");
	if (status == STATUS_OK)
		status = export_format_parse(name, &format, error);
	if (status == STATUS_OK) {
		desk_begin_job(desk, JOB_EXPORT, "exporting");
		/* Every event is in the file as soon as it is written. */
		status = export_file(desk->run.path, format, redact, path, error);
	}
	if (status == STATUS_OK) {
		desk->exported = true;
		desk_log_export(desk, name, redact, path);
	}
	free(name);
	free(path);
	return status;
}
