#include "compute/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/error.h"

bool size_mul(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

bool size_add(size_t a, size_t b, size_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

void *mem_alloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);
	if (!p)
		fatal("out of memory: %zu x %zu bytes", count, size);
	return p;
}

void *mem_resize(void *old, size_t count, size_t size)
{
	size_t bytes;
	if (!size_mul(count, size, &bytes))
		fatal("out of memory: %zu x %zu bytes", count, size);
	void *p = realloc(old, bytes ? bytes : 1);
	if (!p)
		fatal("out of memory: %zu bytes", bytes);
	return p;
}

void *mem_copy(const void *from, size_t bytes)
{
	void *p = mem_alloc(bytes, 1);
	if (bytes)
		memcpy(p, from, bytes);
	return p;
}

char *mem_strndup(const char *s, size_t n)
{
	char *p = mem_alloc(n + 1, 1);
	if (n)
		memcpy(p, s, n);
	return p;
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *mem_printf(const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		fatal("cannot format '%s'", format);
	char *s = mem_alloc((size_t)n + 1, 1);
	vsnprintf(s, (size_t)n + 1, format, again);
	va_end(again);
	return s;
}

void mem_reserve(void **items, size_t *capacity, size_t need, size_t size)
{
	if (need <= *capacity)
		return;
	size_t next = *capacity ? *capacity + *capacity / 2 : 16;
	if (next < need)
		next = need;
	*items = mem_resize(*items, next, size);
	*capacity = next;
}
