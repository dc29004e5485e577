/* JSON from strangers, read through cJSON: size and depth are bounded, duplicate
 * keys are refused where a format forbids them, types are checked on access. */
#ifndef REBOUND_BASE_JSON_H
#define REBOUND_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "compute/base/error.h"

/* clang-tidy does not see that these refuse NULL. */
#ifdef __clang_analyzer__
#define cJSON_IsString(value) ((value) && (cJSON_IsString)(value))
#define cJSON_IsNumber(value) ((value) && (cJSON_IsNumber)(value))
#define cJSON_IsArray(value)  ((value) && (cJSON_IsArray)(value))
#define cJSON_IsObject(value) ((value) && (cJSON_IsObject)(value))
#endif

/* Parses exactly text[0..n) (white space may surround the value). Nesting deeper
 * than 100 and invalid UTF-8 are refused. `what` names the source in errors. Free
 * with cJSON_Delete. Note that cJSON cuts strings at \u0000: callers for whom that
 * matters look at the raw text. */
enum status WARN_UNUSED json_parse(cJSON **out, const char *text, size_t n, const char *what, struct error *error);
/* The same for a file of at most `limit` bytes. */
enum status WARN_UNUSED json_read(cJSON **out, const char *path, size_t limit, struct error *error);

/* Refuses an object with the same key twice, at any depth. */
enum status WARN_UNUSED json_check_duplicates(const cJSON *value, const char *what, struct error *error);

/* Members of an object. A missing key or null leaves *out untouched (so it keeps
 * its default) and is no error; another type, a non-integer or a value outside
 * [least, most] is one, which names the key, the file (`what`) and what was found. */
enum status WARN_UNUSED json_get_int(const cJSON *object, const char *key, int64_t least, int64_t most, int64_t *out,
				     const char *what, struct error *error);
enum status WARN_UNUSED json_get_double(const cJSON *object, const char *key, double *out, const char *what,
					struct error *error);
enum status WARN_UNUSED json_get_bool(const cJSON *object, const char *key, bool *out, const char *what,
				      struct error *error);
/* Borrowed from the document. */
enum status WARN_UNUSED json_get_string(const cJSON *object, const char *key, const char **out, const char *what,
					struct error *error);
/* The member, or NULL if it is absent or null. Case-sensitive. */
const cJSON *json_member(const cJSON *object, const char *key);
/* True if the key is there, even as null. */
bool json_has(const cJSON *object, const char *key);

#endif
