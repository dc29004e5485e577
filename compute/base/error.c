#include "compute/base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/text.h"

#undef error_set
#undef error_prefix

enum status error_set_v(struct error *error, enum status status, const char *format, va_list args)
{
	if (!error)
		return status;
	/* Formatted apart first, since an argument may be error->text. */
	char raw[sizeof error->text * 2];
	vsnprintf(raw, sizeof raw, format, args);
	text_printable(error->text, sizeof error->text, raw, strlen(raw));
	return status;
}

enum status error_set(struct error *error, enum status status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	error_set_v(error, status, format, args);
	va_end(args);
	return status;
}

enum status error_prefix(struct error *error, enum status status, const char *format, ...)
{
	if (!error)
		return status;
	char prefix[sizeof error->text];
	va_list args;
	va_start(args, format);
	vsnprintf(prefix, sizeof prefix, format, args);
	va_end(args);
	return error_set(error, status, "%s: %s", prefix, error->text);
}

static void (*fatal_hook)(void);

void fatal_set_hook(void (*hook)(void))
{
	fatal_hook = hook;
}

void fatal(const char *format, ...)
{
	if (fatal_hook)
		fatal_hook();
	va_list args;
	va_start(args, format);
	fputs("rebound: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}
