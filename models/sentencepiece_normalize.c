/* SentencePiece's normaliser: user-defined pieces as they are, the character map
 * by longest match, then spaces. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/sentencepiece_internal.h"
#include "models/tokenizer_decode.h"

static const char space_symbol[] = "\xE2\x96\x81";
static const char replacement_character[] = "\xEF\xBF\xBD";

static uint32_t little_endian(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;
	return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

enum status sentencepiece_load_map(struct sentencepiece *model, const char *data, size_t n, const char *what,
				   struct error *error)
{
	free(model->map);
	free(model->map_strings);
	model->map = NULL;
	model->map_strings = NULL;
	model->map_count = model->map_strings_size = 0;
	if (n == 0)
		return STATUS_OK;
	size_t bytes = n >= 4 ? little_endian(data) : 0;
	if (n < 4 || bytes == 0 || bytes % 4 != 0 || bytes > n - 4)
		return error_set(
			error, STATUS_INVALID,
			"%s: the character map of %zu bytes does not hold the trie of %zu bytes that it announces",
			what, n, bytes);
	model->map_count = bytes / 4;
	model->map = mem_alloc(model->map_count, sizeof *model->map);
	for (size_t i = 0; i < model->map_count; i++)
		model->map[i] = little_endian(data + 4 + 4 * i);
	model->map_strings_size = n - 4 - bytes;
	model->map_strings = mem_alloc(model->map_strings_size + 1, 1);
	memcpy(model->map_strings, data + 4 + bytes, model->map_strings_size);
	return STATUS_OK;
}

/* The fields of one unit of a darts-clone double array. */
static size_t unit_offset(uint32_t unit)
{
	return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

static uint32_t unit_label(uint32_t unit)
{
	return unit & (1u << 31 | 0xFF);
}

/* The longest prefix that the map knows: its length, and where its replacement
 * starts; 0 if none. */
static size_t map_prefix(const struct sentencepiece *model, const char *s, size_t n, size_t *string)
{
	size_t longest = 0;
	if (model->map_count == 0)
		return 0;
	size_t at = unit_offset(model->map[0]);
	for (size_t i = 0; i < n; i++) {
		at ^= (unsigned char)s[i];
		if (at >= model->map_count || unit_label(model->map[at]) != (unsigned char)s[i])
			break;
		uint32_t unit = model->map[at];
		at ^= unit_offset(unit);
		if (at >= model->map_count)
			break;
		if (unit >> 8 & 1) {
			size_t value = model->map[at] & 0x7FFFFFFF;
			if (value < model->map_strings_size) {
				longest = i + 1;
				*string = value;
			}
		}
	}
	return longest;
}

/* What the start of s[0..n) becomes; returns how much of it that is. */
static size_t normalize_prefix(const struct sentencepiece *model, const char *s, size_t n, const char **to,
			       size_t *to_length)
{
	size_t length, string;
	if (trie_longest_prefix(&model->user_defined, s, n, &length) >= 0) {
		*to = s;
		*to_length = length;
		return length;
	}
	length = map_prefix(model, s, n, &string);
	if (length > 0) {
		*to = model->map_strings + string;
		*to_length = strlen(*to);
		return length;
	}
	uint32_t code;
	length = utf8_decode(s, n, &code);
	*to = length ? s : replacement_character;
	*to_length = length ? length : 3;
	return length ? length : 1;
}

static bool ends_with(const struct strbuf *text, const char *end, size_t n)
{
	return text->length >= n && memcmp(text->data + text->length - n, end, n) == 0;
}

void sentencepiece_normalize(const struct sentencepiece *model, const char *text, size_t n, struct strbuf *result)
{
	const char *space = model->escape_whitespaces ? space_symbol : " ";
	size_t space_length = strlen(space);
	struct strbuf made = {0}, *out = &made;
	const char *to;
	size_t to_length, used;
	while (model->remove_extra_whitespaces && n > 0) {
		used = normalize_prefix(model, text, n, &to, &to_length);
		if (to_length != 1 || *to != ' ')
			break;
		text += used;
		n -= used;
	}
	if (n == 0)
		return;
	if (model->add_dummy_prefix)
		strbuf_add(out, space, space_length);
	bool after_space = model->remove_extra_whitespaces;
	while (n > 0) {
		used = normalize_prefix(model, text, n, &to, &to_length);
		while (after_space && to_length > 0 && *to == ' ') {
			to++;
			to_length--;
		}
		for (size_t i = 0; i < to_length; i++)
			strbuf_add(out, to[i] == ' ' ? space : to + i, to[i] == ' ' ? space_length : 1);
		if (to_length > 0)
			after_space = to[to_length - 1] == ' ';
		if (!model->remove_extra_whitespaces)
			after_space = false;
		text += used;
		n -= used;
	}
	while (model->remove_extra_whitespaces && ends_with(out, space, space_length))
		out->length -= space_length;
	/* A map from a stranger may point into the middle of a character. */
	utf8_add_lossy(result, made.data, made.length);
	strbuf_done(&made);
}
