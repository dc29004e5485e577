/* tiktoken's vocabularies, as in Llama 3's own release: "base64 rank" lines. */
#include <stdlib.h>
#include <string.h>

#include "models/tokenizer_internal.h"

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* False if s[0..n) is not base64 of at least one byte. */
static bool base64_decode(const char *s, size_t n, struct strbuf *out)
{
	if (n == 0 || n % 4 != 0)
		return false;
	for (size_t i = 0; i < n; i += 4) {
		uint32_t bits = 0;
		int padding = 0;
		for (size_t k = 0; k < 4; k++) {
			int digit = base64_digit(s[i + k]);
			if (s[i + k] == '=' && i + 4 == n && k >= 2) {
				padding++;
				digit = 0;
			} else if (digit < 0 || padding) {
				return false;
			}
			bits = bits << 6 | (uint32_t)digit;
		}
		const char bytes[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
		strbuf_add(out, bytes, 3 - (size_t)padding);
	}
	return true;
}

/* "base64 rank" of one line; false if it is not that. */
static bool tiktoken_line(const char *s, size_t n, struct strbuf *bytes, int64_t *rank)
{
	const char *space = n ? memchr(s, ' ', n) : NULL;
	char digits[24];
	strbuf_clear(bytes);
	if (!space || !base64_decode(s, (size_t)(space - s), bytes))
		return false;
	size_t length = n - (size_t)(space - s) - 1;
	if (length >= sizeof digits)
		return false;
	memcpy(digits, space + 1, length);
	digits[length] = '\0';
	return text_int(digits, rank);
}

static size_t line_length(const char *s, size_t n, size_t *next)
{
	const char *newline = memchr(s, '\n', n);
	size_t length = newline ? (size_t)(newline - s) : n;
	*next = length + (newline ? 1 : 0);
	return length > 0 && s[length - 1] == '\r' ? length - 1 : length;
}

bool tiktoken_recognise(const char *text, size_t n)
{
	struct strbuf bytes = {0};
	size_t next;
	int64_t rank;
	bool yes = n > 0 && tiktoken_line(text, line_length(text, n, &next), &bytes, &rank);
	strbuf_done(&bytes);
	return yes;
}

enum status tiktoken_parse(struct bpe *bpe, const char *text, size_t n, const char *what, struct error *error)
{
	struct strbuf bytes = {0}, name = {0};
	enum status status = STATUS_OK;
	size_t line = 0, next;
	for (size_t at = 0; at < n && !status; at += next) {
		size_t length = line_length(text + at, n - at, &next);
		int64_t rank;
		line++;
		if (length == 0)
			continue;
		if (!tiktoken_line(text + at, length, &bytes, &rank)) {
			status = error_set(error, STATUS_INVALID, "%s: line %zu is not \"base64 rank\"", what, line);
		} else if (rank < 0 || (uint64_t)rank >= n) {
			status = error_set(error, STATUS_INVALID, "%s: line %zu has the rank %lld, expected 0 to %zu",
					   what, line, (long long)rank, n - 1);
		} else {
			strbuf_clear(&name);
			byte_level_encode(bytes.data, bytes.length, &name);
			if (!vocab_add(&bpe->vocab, (int32_t)rank, name.data, name.length))
				status = error_set(error, STATUS_INVALID,
						   "%s: line %zu repeats a token or a rank of an earlier line", what,
						   line);
		}
	}
	for (unsigned i = 0; i < 256 && !status; i++) {
		char byte = (char)i;
		strbuf_clear(&name);
		byte_level_encode(&byte, 1, &name);
		if (vocab_find(&bpe->vocab, name.data, name.length) < 0)
			status = error_set(error, STATUS_INVALID, "%s: no token for the single byte 0x%02X", what, i);
	}
	strbuf_done(&bytes);
	strbuf_done(&name);
	if (status)
		return status;
	bpe->ignore_merges = true; /* a piece that is a token is taken whole */
	bpe_prepare(bpe);
	bpe_add_all_splits(bpe);
	return STATUS_OK;
}
