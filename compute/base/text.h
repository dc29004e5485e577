/* Text that is safe to show, and strings that grow. */
#ifndef REBOUND_BASE_TEXT_H
#define REBOUND_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one code point of s[0..n). Returns its length in bytes (1 to 4), or 0
 * for an invalid or truncated sequence; n must be at least 1. Overlong forms,
 * surrogates and values over U+10FFFF are invalid. */
size_t utf8_decode(const char *s, size_t n, uint32_t *code);
/* Writes the UTF-8 form (at most 4 bytes, no NUL) and returns its length. */
size_t utf8_encode(char out[4], uint32_t code);
bool utf8_valid(const char *s, size_t n);
/* Characters whose printing could move, hide, reorder or control others: C0 and C1
 * controls, line separators, bidi marks and overrides, the byte order mark. */
bool text_is_control(uint32_t code);

/* Copies s[0..n) to out as printable UTF-8, NUL-terminated, at most `size` bytes
 * and never half a character: newline and tab become a space, other control
 * characters and invalid bytes become '?'. (C1 controls, bidi overrides and
 * U+2028/9 count as control characters.) Returns the length written. */
size_t text_printable(char *out, size_t size, const char *s, size_t n);

/* A growable byte string, NUL-terminated whenever `data` is not NULL.
 * Initialise with {0}; strbuf_done frees. */
struct strbuf {
	char *data;
	size_t length, capacity;
};
void strbuf_add(struct strbuf *b, const void *data, size_t n);
void strbuf_add_char(struct strbuf *b, char c);
void strbuf_add_string(struct strbuf *b, const char *s);
/* As one word of a shell's command line. */
void strbuf_add_quoted(struct strbuf *b, const char *s);
void strbuf_printf(struct strbuf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strbuf_clear(struct strbuf *b);
/* Hands the string over (never NULL) and empties b; free with free(). */
char *strbuf_take(struct strbuf *b);
void strbuf_done(struct strbuf *b);

/* Whole-string numbers: no leading space, no trailing characters, in range;
 * text_double refuses NaN and infinity. */
bool text_int(const char *s, int64_t *out);
bool text_double(const char *s, double *out);

/* "12 MB", of a thousand kilobytes each; returns `out`. */
#define TEXT_BYTES_SIZE 32
const char *text_bytes(char out[TEXT_BYTES_SIZE], uint64_t bytes);

#endif
