/* Which files an experiment rests on, told apart by their SHA-256. Sums of large files are
 * kept in the user's cache folder, by path, size and time of change. Blocks on the disk. */
#ifndef REBOUND_RECORD_FILES_H
#define REBOUND_RECORD_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/base/error.h"

struct record_file {
	char *name; /* below the folder it was taken from */
	int64_t bytes;
	char sha256[65];
};
struct record_files {
	struct record_file *items;
	int count;
};
void record_files_done(struct record_files *files);

enum status WARN_UNUSED record_file_sum(char sha256[65], int64_t *bytes, const char *path, struct error *error);
/* What counts of a model folder: configuration, tokenizer, probes, weights. */
enum status WARN_UNUSED record_files_of_model(struct record_files *files, const char *folder, struct error *error);
/* Of an SAE folder or file: weights and configuration. */
enum status WARN_UNUSED record_files_of_sae(struct record_files *files, const char *path, struct error *error);
/* One file, named by its last part. */
enum status WARN_UNUSED record_files_of_file(struct record_files *files, const char *path, struct error *error);

/* Are the recorded files, looked up below `path` (a folder, or the one file itself), what
 * they were? The error names the first that isn't. */
enum status WARN_UNUSED record_files_check(const struct record_files *files, const char *path, const char *session,
					   struct error *error);

#endif
