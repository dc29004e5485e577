/* Host memory for small things. Running out of it is fatal (see error.h); what
 * a stranger's file sizes is checked against that file before it gets here. */
#ifndef REBOUND_BASE_MEM_H
#define REBOUND_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed; the product is checked for overflow. A size of 0 gives a pointer that
 * can be freed. Free with free(). */
void *mem_alloc(size_t count, size_t size);
/* `old` may be NULL. New bytes are not zeroed. */
void *mem_resize(void *old, size_t count, size_t size);
void *mem_copy(const void *from, size_t bytes);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
/* A new string. */
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* False if the result does not fit; *out is set otherwise. */
bool size_mul(size_t a, size_t b, size_t *out);
bool size_add(size_t a, size_t b, size_t *out);

/* Grows *items (of `size` bytes each, *capacity of them) so that `need` fit. */
void mem_reserve(void **items, size_t *capacity, size_t need, size_t size);

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
