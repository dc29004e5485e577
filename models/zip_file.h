/* Zip archives as numpy and torch write them: members stored or deflated, zip64.
 *
 * A reader of its own, stricter than general libraries: the central directory and
 * every local header must agree, members must lie inside the file and not overlap,
 * names must be unique, and a deflated member may not grow past its declared size.
 * Stored members are not copied. Layout: PKWARE APPNOTE 6.3, sections 4.3 and 4.5.
 */
#ifndef REBOUND_ZIP_FILE_H
#define REBOUND_ZIP_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"

struct zip_file;

/* Maps the file and reads its directory, not its members. */
enum status WARN_UNUSED zip_file_open(struct zip_file **out, const char *path, struct error *error);
void zip_file_close(struct zip_file **zip);

const char *zip_file_path(const struct zip_file *zip);
size_t zip_file_count(const struct zip_file *zip);
/* Names may hold any byte but NUL. */
const char *zip_file_name(const struct zip_file *zip, size_t member);
/* Bytes when inflated, as declared (and possible for the compressed size). */
size_t zip_file_size(const struct zip_file *zip, size_t member);
/* False if there is none of that name. */
bool zip_file_find(const struct zip_file *zip, const char *name, size_t *member);

/* All bytes of a member, its CRC-32 checked. Borrowed: in the mapping if stored, else
 * inflated once and kept until closing. Not safe from two threads. */
enum status WARN_UNUSED zip_file_data(struct zip_file *zip, size_t member, const unsigned char **data,
				      struct error *error);
/* At least its first min(want, size) bytes, unchecked and cheap: enough for a look at
 * a header. `want` is at most 64 KiB. The same ownership. */
enum status WARN_UNUSED zip_file_peek(struct zip_file *zip, size_t member, size_t want, const unsigned char **data,
				      size_t *present, struct error *error);

#endif
