/* What several tests share: temporary files, and the golden data beside the project. */
#ifndef REBOUND_TESTS_SCRATCH_H
#define REBOUND_TESTS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

/* A path of a file that does not exist yet, in a folder that is removed at exit;
 * a new string. `name` may hold folders, which are made. */
char *scratch_path(const char *name);
/* The same, with the bytes written to it. */
char *scratch_file(const char *name, const void *data, size_t size);

/* "$REBOUND_SHARED/golden/name" (default ../shared); a new string, or NULL if it
 * is not there, in which case the test should be skipped. */
char *scratch_golden(const char *name);

/* True if `text` contains `part`, whatever the case; prints both if not. */
bool scratch_says(const char *text, const char *part);

#endif
