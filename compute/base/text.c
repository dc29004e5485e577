#include "compute/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/error.h"
#include "compute/base/mem.h"

size_t utf8_decode(const char *s, size_t n, uint32_t *code)
{
	const unsigned char *u = (const unsigned char *)s;
	if (u[0] < 0x80) {
		*code = u[0];
		return 1;
	}
	size_t length = u[0] >= 0xF0 ? 4 : u[0] >= 0xE0 ? 3 : 2;
	if (u[0] < 0xC2 || u[0] > 0xF4 || n < length)
		return 0;
	uint32_t c = u[0] & (0x7Fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((u[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (u[i] & 0x3Fu);
	}
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	if (c < least[length] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
		return 0;
	*code = c;
	return length;
}

size_t utf8_encode(char out[4], uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = length; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3F));
	static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
	out[0] = (char)(lead[length] | c);
	return length;
}

bool utf8_valid(const char *s, size_t n)
{
	uint32_t code;
	for (size_t i = 0, step; i < n; i += step)
		if ((step = utf8_decode(s + i, n - i, &code)) == 0)
			return false;
	return true;
}

bool text_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 || c == 0x061C || c == 0x200E ||
	       c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

size_t text_printable(char *out, size_t size, const char *s, size_t n)
{
	if (size == 0)
		return 0;
	size_t length = 0;
	for (size_t i = 0; i < n;) {
		uint32_t code = 0;
		size_t step = utf8_decode(s + i, n - i, &code);
		const char *from = s + i;
		size_t bytes = step;
		if (step == 0 || text_is_control(code)) {
			from = code == '\n' || code == '\t' ? " " : "?";
			bytes = 1;
		}
		if (length + bytes + 1 > size)
			break;
		memcpy(out + length, from, bytes);
		length += bytes;
		i += step ? step : 1;
	}
	out[length] = '\0';
	return length;
}

void strbuf_add(struct strbuf *b, const void *data, size_t n)
{
	size_t need;
	if (!size_add(b->length, n, &need) || !size_add(need, 1, &need))
		fatal("out of memory: string of %zu bytes", b->length);
	mem_reserve((void **)&b->data, &b->capacity, need, 1);
	if (n)
		memcpy(b->data + b->length, data, n);
	b->length += n;
	b->data[b->length] = '\0';
}

void strbuf_add_char(struct strbuf *b, char c)
{
	strbuf_add(b, &c, 1);
}

void strbuf_add_string(struct strbuf *b, const char *s)
{
	strbuf_add(b, s, strlen(s));
}

void strbuf_add_quoted(struct strbuf *b, const char *s)
{
	strbuf_add_char(b, '\'');
	for (; *s; s++)
		strbuf_add_string(b, *s == '\'' ? "'\\''" : (char[]){*s, '\0'});
	strbuf_add_char(b, '\'');
}

void strbuf_printf(struct strbuf *b, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		fatal("cannot format '%s'", format);
	mem_reserve((void **)&b->data, &b->capacity, b->length + (size_t)n + 1, 1);
	vsnprintf(b->data + b->length, (size_t)n + 1, format, again);
	va_end(again);
	b->length += (size_t)n;
}

void strbuf_clear(struct strbuf *b)
{
	b->length = 0;
	if (b->data)
		b->data[0] = '\0';
}

char *strbuf_take(struct strbuf *b)
{
	char *s = b->data ? b->data : mem_alloc(1, 1);
	*b = (struct strbuf){0};
	return s;
}

void strbuf_done(struct strbuf *b)
{
	free(b->data);
	*b = (struct strbuf){0};
}

bool text_int(const char *s, int64_t *out)
{
	if (!isdigit((unsigned char)s[0]) && !(s[0] == '-' && isdigit((unsigned char)s[1])))
		return false;
	char *end;
	errno = 0;
	intmax_t value = strtoimax(s, &end, 10);
	if (errno || *end || value < INT64_MIN || value > INT64_MAX)
		return false;
	*out = (int64_t)value;
	return true;
}

bool text_double(const char *s, double *out)
{
	if (s[0] == '\0' || isspace((unsigned char)s[0]))
		return false;
	char *end;
	double value = strtod(s, &end);
	if (*end || !isfinite(value))
		return false;
	*out = value;
	return true;
}

const char *text_bytes(char out[TEXT_BYTES_SIZE], uint64_t bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	int unit = 0;
	while (value >= 999.5 && unit < 4) {
		value /= 1000;
		unit++;
	}
	snprintf(out, TEXT_BYTES_SIZE, value < 9.95 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}
