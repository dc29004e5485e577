/* The journal: an append-only file of JSON Lines, one event a line.
 *
 * An event is one write, so that a crash loses at most the line being written; a
 * checkpoint brings everything before it to the disk. Arrays lie beside the journal:
 * NAME.jsonl has NAME.delta.npy and so on. What the events are is in record.h and
 * record_write.h. A journal belongs to one thread; every call may block on the disk.
 */
#ifndef REBOUND_JOURNAL_H
#define REBOUND_JOURNAL_H

#include <stdbool.h>

#include <cjson/cJSON.h>

#include "compute/base/error.h"

struct journal;

/* Starts one at `path`. If a file is there already: with `replace` the old one stays as it
 * is until journal_close puts the new one in its place; otherwise it is an error. */
enum status WARN_UNUSED journal_create(struct journal **out, const char *path, bool replace, struct error *error);
/* Starts one at `path`, or, where a file is there already, at NAME-2.jsonl and so on. */
enum status WARN_UNUSED journal_create_beside(struct journal **out, const char *path, struct error *error);
/* Starts one under the user's state folder, named by date, time and `tag`. */
enum status WARN_UNUSED journal_create_default(struct journal **out, const char *tag, struct error *error);
/* Goes on with one; a file that ends within a line is refused. */
enum status WARN_UNUSED journal_append(struct journal **out, const char *path, struct error *error);
/* May a journal be written to `path` (NULL: the state folder) later on? Asked before long
 * work. A file that is there and is no journal must not be replaced. */
enum status WARN_UNUSED journal_check(const char *path, struct error *error);

/* Appends an event and deletes it. After a failed write all later calls return that
 * failure; whole lines stay readable. */
enum status WARN_UNUSED journal_event(struct journal *journal, cJSON *event, struct error *error);
/* Returns once everything so far is on the disk. */
enum status WARN_UNUSED journal_checkpoint(struct journal *journal, struct error *error);
/* Checkpoint and close; the journal is gone whatever is returned. NULL-safe. */
enum status WARN_UNUSED journal_close(struct journal **journal, struct error *error);
/* After a failure: closes and leaves what is on the disk (a file to be replaced stays the
 * old one). NULL-safe. */
void journal_abandon(struct journal **journal);

/* Where it will be once closed; borrowed. */
const char *journal_path(const struct journal *journal);
/* "NAME.kind.npy" of the journal "NAME.jsonl"; a new string. */
char *journal_array_path(const char *path, const char *kind);
/* $XDG_STATE_HOME/rebound/sessions, by default below ~/.local/state; a new string. */
enum status WARN_UNUSED journal_folder(char **out, struct error *error);
/* "$VARIABLE/rebound", or "~/FALLBACK/rebound"; a new string, NULL if there is no home. */
char *user_folder(const char *variable, const char *fallback);

/* Adds a number so that reading gives the same double; null if it is not finite. */
void journal_add_number(cJSON *object, const char *name, double value);
/* The same as text ("0.25"); `text` holds at least 32 bytes. */
void journal_number_text(char text[32], double value);
/* Adds a string; bytes that are no UTF-8 are replaced. NULL adds nothing. */
void journal_add_string(cJSON *object, const char *name, const char *value);

#endif
