#include "models/tokenizer_decode.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* Length of the longest start of s[0..n) that is the start of a valid sequence
 * (Unicode's "maximal subpart"); at least 1. */
static size_t maximal_subpart(const char *s, size_t n)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t length = u[0] >= 0xF0 ? 4 : u[0] >= 0xE0 ? 3 : 2;
	if (u[0] < 0xC2 || u[0] > 0xF4)
		return 1;
	unsigned least = u[0] == 0xE0 ? 0xA0 : u[0] == 0xF0 ? 0x90 : 0x80;
	unsigned most = u[0] == 0xED ? 0x9F : u[0] == 0xF4 ? 0x8F : 0xBF;
	size_t i = 1;
	for (; i < length && i < n; i++) {
		if (u[i] < least || u[i] > most)
			break;
		least = 0x80;
		most = 0xBF;
	}
	return i;
}

size_t utf8_unfinished(const char *s, size_t n)
{
	if (n == 0 || n > 3 || (unsigned char)s[0] < 0xC2 || (unsigned char)s[0] > 0xF4)
		return 0;
	size_t length = (unsigned char)s[0] >= 0xF0 ? 4 : (unsigned char)s[0] >= 0xE0 ? 3 : 2;
	return n < length && maximal_subpart(s, n) == n ? n : 0;
}

void utf8_add_lossy(struct strbuf *out, const char *s, size_t n)
{
	uint32_t code;
	size_t good = 0;
	for (size_t i = 0; i < n;) {
		size_t step = utf8_decode(s + i, n - i, &code);
		if (step) {
			i += step;
			continue;
		}
		strbuf_add(out, s + good, i - good);
		strbuf_add_string(out, "\xEF\xBF\xBD");
		i += maximal_subpart(s + i, n - i);
		good = i;
	}
	if (n > good)
		strbuf_add(out, s + good, n - good);
}

int byte_token_value(const char *s, size_t n)
{
	if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || !isxdigit((unsigned char)s[3]) ||
	    !isxdigit((unsigned char)s[4]))
		return -1;
	const char digits[3] = {s[3], s[4], '\0'};
	return (int)strtol(digits, NULL, 16);
}

static enum status not_implemented(const struct json_source *source, const char *type, const char *why,
				   struct error *error)
{
	return error_set(error, STATUS_INVALID, "%s: the decoder \"%.60s\" %s is not implemented", source->what, type,
			 why);
}

static enum status load_replace(struct decoder *decoder, const cJSON *component, struct json_source *source,
				struct error *error)
{
	const cJSON *pattern = json_member(component, "pattern");
	const cJSON *from = json_member(pattern, "String"), *to = json_member(component, "content");
	if (!cJSON_IsString(from) || from->valuestring[0] == '\0')
		return not_implemented(source, "Replace", "with a pattern that is not {\"String\": ...}", error);
	if (!cJSON_IsString(to))
		return error_set(error, STATUS_INVALID, "%s: the decoder Replace has no string \"content\"",
				 source->what);
	mem_reserve((void **)&decoder->replacements, &decoder->replacement_capacity, decoder->replacement_count + 1,
		    sizeof *decoder->replacements);
	struct decoder_replacement *replacement = &decoder->replacements[decoder->replacement_count++];
	*replacement = (struct decoder_replacement){0};
	size_t n;
	const char *s = json_source_text(source, from->valuestring, &n);
	strbuf_add(&replacement->from, s, n);
	s = json_source_text(source, to->valuestring, &n);
	strbuf_add(&replacement->to, s, n);
	return STATUS_OK;
}

static enum status load_strip(struct decoder *decoder, const cJSON *component, struct json_source *source,
			      struct error *error)
{
	const char *content = " ";
	int64_t start = 0, stop = 0;
	enum status status = json_get_string(component, "content", &content, source->what, error);
	if (!status)
		status = json_get_int(component, "start", 0, INT32_MAX, &start, source->what, error);
	if (!status)
		status = json_get_int(component, "stop", 0, INT32_MAX, &stop, source->what, error);
	if (status)
		return status;
	uint32_t code;
	size_t n = strlen(content);
	if (n == 0 || utf8_decode(content, n, &code) != n)
		return error_set(error, STATUS_INVALID, "%s: the decoder Strip's \"content\" is not one character",
				 source->what);
	if (stop != 0)
		return not_implemented(source, "Strip", "at the end of the text", error);
	strbuf_add(&decoder->strip, content, n);
	decoder->strip_start = (size_t)start;
	return STATUS_OK;
}

static enum status load_metaspace(struct decoder *decoder, const cJSON *component, struct json_source *source,
				  struct error *error)
{
	const char *replacement = "\xE2\x96\x81", *scheme = "always";
	bool add_prefix_space = true;
	enum status status = json_get_string(component, "replacement", &replacement, source->what, error);
	if (!status)
		status = json_get_string(component, "prepend_scheme", &scheme, source->what, error);
	if (!status)
		status = json_get_bool(component, "add_prefix_space", &add_prefix_space, source->what, error);
	if (status)
		return status;
	if (replacement[0] == '\0')
		return error_set(error, STATUS_INVALID, "%s: the decoder Metaspace's \"replacement\" is empty",
				 source->what);
	strbuf_add_string(&decoder->metaspace, replacement);
	decoder->drop_first = add_prefix_space && strcmp(scheme, "never") != 0;
	return STATUS_OK;
}

/* One step of a chain. `fused` is set once the names have become one text, behind
 * which only Strip makes sense; a chain in another order is refused. */
static enum status load_step(struct decoder *decoder, const cJSON *component, bool *fused, struct json_source *source,
			     struct error *error)
{
	const char *type = json_type(component);
	if (strcmp(type, "Fuse") == 0) {
		*fused = true;
		return STATUS_OK;
	}
	if (strcmp(type, "Strip") == 0) {
		if (!*fused || decoder->strip.length)
			return not_implemented(source, type, "in this place", error);
		return load_strip(decoder, component, source, error);
	}
	bool late = *fused || decoder->metaspace.length;
	if (strcmp(type, "Replace") == 0)
		return late || decoder->byte_fallback ? not_implemented(source, type, "in this place", error)
						      : load_replace(decoder, component, source, error);
	if (strcmp(type, "Metaspace") == 0)
		return late ? not_implemented(source, type, "in this place", error)
			    : load_metaspace(decoder, component, source, error);
	if (strcmp(type, "ByteFallback") == 0) {
		if (late || decoder->byte_fallback)
			return not_implemented(source, type, "in this place", error);
		decoder->byte_fallback = true;
		return STATUS_OK;
	}
	return not_implemented(source, type, "in a sequence", error);
}

enum status decoder_load(struct decoder *decoder, const cJSON *component, struct json_source *source,
			 struct error *error)
{
	*decoder = (struct decoder){.kind = DECODER_SPACES};
	if (!component || cJSON_IsNull(component))
		return STATUS_OK;
	bool sequence = strcmp(json_type(component), "Sequence") == 0, fused = false;
	const cJSON *list = sequence ? json_member(component, "decoders") : NULL;
	if (sequence && !cJSON_IsArray(list))
		return error_set(error, STATUS_INVALID, "%s: the decoder Sequence has no array \"decoders\"",
				 source->what);
	const cJSON *only = !sequence ? component : list->child && !list->child->next ? list->child : NULL;
	if (only && strcmp(json_type(only), "ByteLevel") == 0) {
		decoder->kind = DECODER_BYTE_LEVEL;
		return STATUS_OK;
	}
	decoder->kind = DECODER_PIECES;
	if (!sequence)
		return load_step(decoder, component, &fused, source, error);
	enum status status = STATUS_OK;
	for (const cJSON *item = list->child; item && !status; item = item->next)
		status = load_step(decoder, item, &fused, source, error);
	return status;
}

void decoder_done(struct decoder *decoder)
{
	for (size_t i = 0; i < decoder->replacement_count; i++) {
		strbuf_done(&decoder->replacements[i].from);
		strbuf_done(&decoder->replacements[i].to);
	}
	free(decoder->replacements);
	strbuf_done(&decoder->metaspace);
	strbuf_done(&decoder->strip);
	*decoder = (struct decoder){0};
}

static void replace_all(const char *s, size_t n, const struct strbuf *from, const struct strbuf *to, bool drop,
			struct strbuf *out)
{
	size_t done = 0;
	for (const char *at; n > done && (at = memmem(s + done, n - done, from->data, from->length)) != NULL;) {
		strbuf_add(out, s + done, (size_t)(at - s) - done);
		if (!drop)
			strbuf_add(out, to->data, to->length);
		done = (size_t)(at - s) + from->length;
	}
	if (n > done)
		strbuf_add(out, s + done, n - done);
}

void decoder_piece(const struct decoder *decoder, const char *s, size_t n, bool first, struct strbuf *out)
{
	if (decoder->replacement_count == 1 && decoder->metaspace.length == 0) {
		replace_all(s, n, &decoder->replacements[0].from, &decoder->replacements[0].to, false, out);
		return;
	}
	struct strbuf from = {0}, to = {0};
	strbuf_add(&from, s, n);
	for (size_t i = 0; i < decoder->replacement_count; i++) {
		strbuf_clear(&to);
		replace_all(from.data, from.length, &decoder->replacements[i].from, &decoder->replacements[i].to, false,
			    &to);
		struct strbuf swap = from;
		from = to;
		to = swap;
	}
	if (decoder->metaspace.length) {
		struct strbuf space = {.data = (char[]){" "}, .length = 1};
		replace_all(from.data, from.length, &decoder->metaspace, &space, first && decoder->drop_first, out);
	} else {
		strbuf_add(out, from.data, from.length);
	}
	strbuf_done(&from);
	strbuf_done(&to);
}
