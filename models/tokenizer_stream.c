/* Ids back to text: all at once, and as they arrive. */
#include <string.h>

#include "compute/base/mem.h"
#include "models/tokenizer_internal.h"

static const char replacement_character[] = "\xEF\xBF\xBD";

void tokenizer_stream_init(struct tokenizer_stream *stream, const struct tokenizer *t, bool skip_special)
{
	*stream = (struct tokenizer_stream){.tokenizer = t, .skip_special = skip_special};
	stream->to_strip = t->decoder.strip_start;
}

/* Byte-level: appends what the pending bytes and s[0..n) complete, keeps the rest. */
static void push_bytes(struct tokenizer_stream *stream, const char *s, size_t n, struct strbuf *out)
{
	struct strbuf bytes = {0};
	strbuf_add(&bytes, stream->pending, stream->pending_count);
	strbuf_add(&bytes, s, n);
	if (bytes.length == 0)
		return;
	size_t keep = 0;
	for (size_t k = 1; k <= 3 && k <= bytes.length; k++)
		if (utf8_unfinished(bytes.data + bytes.length - k, k))
			keep = k;
	utf8_add_lossy(out, bytes.data, bytes.length - keep);
	memcpy(stream->pending, bytes.data + bytes.length - keep, keep);
	stream->pending_count = keep;
	strbuf_done(&bytes);
}

/* Byte tokens: a byte that cannot belong to a character is U+FFFD on its own. */
static void push_byte(struct tokenizer_stream *stream, unsigned char byte, struct strbuf *out)
{
	stream->pending[stream->pending_count++] = byte;
	while (stream->pending_count > 0) {
		const char *s = (const char *)stream->pending;
		uint32_t code;
		size_t step = utf8_decode(s, stream->pending_count, &code);
		if (step)
			strbuf_add(out, s, step);
		else if (utf8_unfinished(s, stream->pending_count))
			return;
		else
			strbuf_add_string(out, replacement_character);
		step = step ? step : 1;
		stream->pending_count -= step;
		memmove(stream->pending, stream->pending + step, stream->pending_count);
	}
}

/* The pending bytes will not become a character any more. */
static void give_up_pending(struct tokenizer_stream *stream, struct strbuf *out)
{
	for (size_t i = 0; i < stream->pending_count; i++)
		strbuf_add_string(out, replacement_character);
	stream->pending_count = 0;
}

/* Appends s[0..n) without the characters that are to be stripped at the start. */
static void add_stripped(struct tokenizer_stream *stream, const char *s, size_t n, struct strbuf *out)
{
	const struct strbuf *strip = &stream->tokenizer->decoder.strip;
	while (stream->to_strip > 0 && n > 0) {
		if (n < strip->length || memcmp(s, strip->data, strip->length) != 0) {
			stream->to_strip = 0;
			break;
		}
		stream->to_strip--;
		s += strip->length;
		n -= strip->length;
	}
	strbuf_add(out, s, n);
}

/* SentencePiece's own rules. An added token is its name, whether or not it is one
 * of the model's pieces. */
static void push_sentencepiece(struct tokenizer_stream *stream, int32_t id, const char *s, size_t n, bool added,
			       struct strbuf *out)
{
	const struct sentencepiece *model = stream->tokenizer->sentencepiece;
	bool outside = (size_t)id >= sentencepiece_size(model);
	enum piece_kind kind = added ? PIECE_NORMAL : sentencepiece_kind(model, id);
	int byte = byte_token_value(s, n);
	if (kind == PIECE_BYTE && byte >= 0) {
		push_byte(stream, (unsigned char)byte, out);
		return;
	}
	give_up_pending(stream, out);
	bool at_start = !stream->started && !stream->space_dropped && !stream->emitted && out->length == 0;
	stream->started = !at_start;
	stream->space_dropped = false;
	if (kind == PIECE_CONTROL && stream->skip_special)
		return;
	if (kind == PIECE_UNKNOWN) {
		strbuf_add_string(out, sentencepiece_unknown_text(model));
		return;
	}
	if (at_start && !outside && n >= 3 && memcmp(s, "\xE2\x96\x81", 3) == 0 && sentencepiece_drops_space(model)) {
		s += 3;
		n -= 3;
		stream->space_dropped = !sentencepiece_removes_spaces(model);
	}
	decoder_piece(&stream->tokenizer->decoder, s, n, false, out);
}

static void push_name(struct tokenizer_stream *stream, const char *s, size_t n, struct strbuf *out)
{
	const struct decoder *decoder = &stream->tokenizer->decoder;
	if (decoder->kind == DECODER_SPACES) {
		strbuf_add_string(out, stream->started ? " " : "");
		strbuf_add(out, s, n);
		stream->started = true;
		return;
	}
	int byte = decoder->byte_fallback ? byte_token_value(s, n) : -1;
	if (byte >= 0) {
		push_byte(stream, (unsigned char)byte, out);
	} else {
		give_up_pending(stream, out);
		decoder_piece(decoder, s, n, !stream->started, out);
	}
	stream->started = true;
}

void tokenizer_stream_push(struct tokenizer_stream *stream, int32_t id, struct strbuf *out)
{
	const struct tokenizer *t = stream->tokenizer;
	const char *s;
	size_t n;
	const struct added_token *added = added_tokens_get(&t->added, id, &s, &n);
	if ((added && added->special && stream->skip_special) || (!added && !tokenizer_name(t, id, &s, &n)))
		return;
	struct strbuf text = {0};
	if (t->decoder.kind == DECODER_BYTE_LEVEL) {
		struct strbuf bytes = {0};
		byte_level_decode(s, n, &bytes);
		push_bytes(stream, bytes.data ? bytes.data : "", bytes.length, &text);
		strbuf_done(&bytes);
	} else if (t->sentencepiece) {
		push_sentencepiece(stream, id, s, n, added != NULL, &text);
	} else {
		push_name(stream, s, n, &text);
	}
	add_stripped(stream, text.data, text.length, out);
	stream->emitted = stream->emitted || text.length > 0;
	strbuf_done(&text);
}

void tokenizer_stream_end(struct tokenizer_stream *stream, struct strbuf *out)
{
	struct strbuf text = {0};
	if (stream->tokenizer->decoder.kind == DECODER_BYTE_LEVEL) {
		utf8_add_lossy(&text, (const char *)stream->pending, stream->pending_count);
		stream->pending_count = 0;
	} else {
		give_up_pending(stream, &text);
	}
	add_stripped(stream, text.data, text.length, out);
	strbuf_done(&text);
}

/* A run of byte tokens that is not all valid becomes U+FFFD per byte, the valid
 * characters included: so the library, though streaming keeps them. */
static void add_byte_run(struct strbuf *run, struct strbuf *out)
{
	if (run->length == 0)
		return;
	if (utf8_valid(run->data, run->length))
		strbuf_add(out, run->data, run->length);
	else
		for (size_t i = 0; i < run->length; i++)
			strbuf_add_string(out, replacement_character);
	strbuf_clear(run);
}

static void decode_pieces(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
			  struct strbuf *out)
{
	struct strbuf text = {0}, run = {0};
	bool first = true;
	for (size_t i = 0; i < n; i++) {
		const char *s;
		size_t length;
		if (!tokenizer_name(t, ids[i], &s, &length) || (skip_special && tokenizer_is_special(t, ids[i])))
			continue;
		int byte = t->decoder.byte_fallback ? byte_token_value(s, length) : -1;
		if (byte >= 0) {
			strbuf_add_char(&run, (char)byte);
		} else {
			add_byte_run(&run, &text);
			decoder_piece(&t->decoder, s, length, first, &text);
		}
		first = false;
	}
	add_byte_run(&run, &text);
	struct tokenizer_stream stream;
	tokenizer_stream_init(&stream, t, skip_special);
	add_stripped(&stream, text.data, text.length, out);
	strbuf_done(&text);
	strbuf_done(&run);
}

static void decode_byte_level(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
			      struct strbuf *out)
{
	struct strbuf bytes = {0};
	for (size_t i = 0; i < n; i++) {
		const char *s;
		size_t length;
		if (tokenizer_name(t, ids[i], &s, &length) && !(skip_special && tokenizer_is_special(t, ids[i])))
			byte_level_decode(s, length, &bytes);
	}
	utf8_add_lossy(out, bytes.data, bytes.length);
	strbuf_done(&bytes);
}

void tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct strbuf *out)
{
	if (t->decoder.kind == DECODER_BYTE_LEVEL) {
		decode_byte_level(t, ids, n, skip_special, out);
		return;
	}
	if (t->decoder.kind == DECODER_PIECES && !t->sentencepiece) {
		decode_pieces(t, ids, n, skip_special, out);
		return;
	}
	struct tokenizer_stream stream;
	tokenizer_stream_init(&stream, t, skip_special);
	for (size_t i = 0; i < n; i++)
		tokenizer_stream_push(&stream, ids[i], out);
	tokenizer_stream_end(&stream, out);
}
