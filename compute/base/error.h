/* Errors as values.
 *
 * A function that can fail returns `enum status` and, through a caller-owned
 * `struct error`, one sentence that a user can act on: what was being done, to
 * which file or device, what was found, what was expected. The status values
 * are the program's exit statuses, so that main() can return them as they are.
 */
#ifndef REBOUND_BASE_ERROR_H
#define REBOUND_BASE_ERROR_H

#include <stdarg.h>

#define WARN_UNUSED			__attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))

enum status {
	STATUS_OK = 0,		/* done */
	STATUS_FAILED = 1,	/* the work failed: device lost, out of memory, diverged */
	STATUS_INVALID = 2,	/* wrong usage or unreadable input */
	STATUS_NOTHING = 3,	/* nothing to do, for instance no valid flip */
	STATUS_CANCELLED = 130, /* interrupted; what was finished is on disk */
};

struct error {
	char text[768]; /* NUL-terminated UTF-8 without control characters; "" if none */
};

/* Fills `error` (may be NULL) and returns `status`, so that a failure reads
 * `return error_set(error, STATUS_INVALID, "...", ...)`. Bytes that are not
 * printable UTF-8 are replaced: text from a stranger's file may be quoted. The
 * arguments may point into `error` itself. */
enum status error_set(struct error *error, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);
enum status error_set_v(struct error *error, enum status status, const char *format, va_list args);

/* Puts "prefix: " in front of what `error` says and returns `status`. */
enum status error_prefix(struct error *error, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);

/* clang-tidy reads one file at a time and does not see that these return the status that they are given. */
#ifdef __clang_analyzer__
#define error_set(error, value, ...)	((void)error_set(error, value, __VA_ARGS__), (enum status)(value))
#define error_prefix(error, value, ...) ((void)error_prefix(error, value, __VA_ARGS__), (enum status)(value))
#endif

/* One of our own mistakes or no memory for small things: calls the hook set by
 * fatal_set_hook (the terminal is restored there), prints, aborts. */
_Noreturn void fatal(const char *format, ...) PRINTF_LIKE(1, 2);
void fatal_set_hook(void (*hook)(void));

#endif
