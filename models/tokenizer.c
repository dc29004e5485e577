#include "models/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/tokenizer_internal.h"

void token_list_add(struct token_list *list, int32_t id)
{
	if (list->count == list->capacity)
		mem_reserve((void **)&list->ids, &list->capacity, list->count + 1, sizeof *list->ids);
	list->ids[list->count++] = id;
}

void token_list_done(struct token_list *list)
{
	free(list->ids);
	*list = (struct token_list){0};
}

void tokenizer_destroy(struct tokenizer **tokenizer)
{
	struct tokenizer *t = *tokenizer;
	if (!t)
		return;
	added_tokens_done(&t->added);
	normalizer_done(&t->normalizer);
	pretokenizer_done(&t->pretokenizer);
	bpe_done(&t->bpe);
	sentencepiece_destroy(&t->sentencepiece);
	decoder_done(&t->decoder);
	token_list_done(&t->prefix);
	token_list_done(&t->suffix);
	free(t->bos_text);
	free(t->eos_text);
	free(t->description);
	free(t);
	*tokenizer = NULL;
}

bool tokenizer_name(const struct tokenizer *t, int32_t id, const char **s, size_t *n)
{
	if (added_tokens_get(&t->added, id, s, n))
		return true;
	return t->sentencepiece ? sentencepiece_name(t->sentencepiece, id, s, n) : vocab_get(&t->bpe.vocab, id, s, n);
}

int32_t tokenizer_named(const struct tokenizer *t, const char *s, size_t n)
{
	int32_t id = added_tokens_find(&t->added, s, n);
	if (id >= 0)
		return id;
	return t->sentencepiece ? sentencepiece_find(t->sentencepiece, s, n) : vocab_find(&t->bpe.vocab, s, n);
}

enum status tokenizer_finish(struct tokenizer *t, struct error *error)
{
	enum status status = added_tokens_prepare(&t->added, &t->normalizer, error);
	t->size = t->sentencepiece ? sentencepiece_size(t->sentencepiece) : t->bpe.vocab.size;
	if (t->added.by_id_size > t->size)
		t->size = t->added.by_id_size;
	return status;
}

size_t tokenizer_size(const struct tokenizer *t)
{
	return t->size;
}

bool tokenizer_has(const struct tokenizer *t, int32_t id)
{
	const char *s;
	size_t n;
	return tokenizer_name(t, id, &s, &n);
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
	const char *s;
	size_t n;
	const struct added_token *token = added_tokens_get(&t->added, id, &s, &n);
	if (token)
		return token->special;
	if (!t->sentencepiece || id < 0 || (size_t)id >= sentencepiece_size(t->sentencepiece))
		return false;
	enum piece_kind kind = sentencepiece_kind(t->sentencepiece, id);
	return kind == PIECE_CONTROL || kind == PIECE_UNKNOWN;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
	return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
	return t->eos;
}

const char *tokenizer_bos_text(const struct tokenizer *t)
{
	return t->bos_text;
}

const char *tokenizer_eos_text(const struct tokenizer *t)
{
	return t->eos_text;
}

const char *tokenizer_describe(const struct tokenizer *t)
{
	return t->description;
}

bool tokenizer_doubled_bos(const struct tokenizer *t, const int32_t *ids, size_t n)
{
	return t->bos >= 0 && n >= 2 && ids[0] == t->bos && ids[1] == t->bos;
}

/* ---- encoding ------------------------------------------------------------ */

/* What one encoding needs while it runs. */
struct encoding {
	const struct tokenizer *t;
	bool recognise_special;
	const char *guard; /* see tokenizer_encode_guarded; NULL if there is none */
	struct strbuf unguarded;
	struct regex_scratch regex;
	struct bpe_scratch bpe;
	struct word_list words, spare;
	struct strbuf normal;
	struct span_list raw_spans, normal_spans;
	struct token_list *out;
};

static void encoding_done(struct encoding *e)
{
	regex_scratch_done(&e->regex);
	bpe_scratch_done(&e->bpe);
	word_list_done(&e->words);
	word_list_done(&e->spare);
	strbuf_done(&e->normal);
	strbuf_done(&e->unguarded);
	span_list_done(&e->raw_spans);
	span_list_done(&e->normal_spans);
}

/* Text without added tokens, normalised. */
static enum status encode_words(struct encoding *e, const char *s, size_t n, bool at_start, struct error *error)
{
	word_list_clear(&e->words);
	strbuf_add(&e->words.text, s, n);
	word_list_add(&e->words, 0, n, at_start);
	enum status status = pretokenizer_apply(&e->t->pretokenizer, &e->regex, &e->words, &e->spare, error);
	for (size_t i = 0; i < e->words.count && !status; i++) {
		struct word word = e->words.words[i];
		if (word.length > INT32_MAX)
			return error_set(error, STATUS_INVALID,
					 "a word of the text has %zu bytes; fewer than 2^31 are possible", word.length);
		status = bpe_encode(&e->t->bpe, &e->bpe, e->words.text.data + word.at, word.length, e->out, error);
	}
	return status;
}

/* Text without raw added tokens. */
static enum status encode_segment(struct encoding *e, const char *s, size_t n, bool at_start, struct error *error)
{
	if (e->t->sentencepiece)
		return sentencepiece_encode(e->t->sentencepiece, s, n, e->out, error);
	if (e->t->normalizer.count > 0) {
		strbuf_clear(&e->normal);
		enum status status = normalizer_apply(&e->t->normalizer, &e->regex, s, n, &e->normal, error);
		if (status)
			return status;
		s = e->normal.data;
		n = e->normal.length;
	}
	if (e->t->added.normalised.count == 0)
		return encode_words(e, s, n, at_start, error);
	added_tokens_split(&e->t->added, true, e->recognise_special, s, n, &e->normal_spans);
	for (size_t i = 0; i < e->normal_spans.count; i++) {
		struct text_span span = e->normal_spans.spans[i];
		if (span.id >= 0) {
			token_list_add(e->out, span.id);
			continue;
		}
		enum status status =
			encode_words(e, s + span.start, span.end - span.start, at_start && span.start == 0, error);
		if (status)
			return status;
	}
	return STATUS_OK;
}

/* Takes the guards out of a segment that may have some. */
static enum status encode_guarded(struct encoding *e, const char *s, size_t n, bool at_start, struct error *error)
{
	size_t width = e->guard ? strlen(e->guard) : 0;
	const char *at = e->guard ? memmem(s, n, e->guard, width) : NULL;
	if (!at)
		return encode_segment(e, s, n, at_start, error);
	strbuf_clear(&e->unguarded);
	for (; at; at = memmem(s, n, e->guard, width)) {
		size_t before = (size_t)(at - s);
		strbuf_add(&e->unguarded, s, before);
		s += before + width;
		n -= before + width;
	}
	strbuf_add(&e->unguarded, s, n);
	bool recognise = e->recognise_special;
	e->recognise_special = false;
	enum status status = encode_segment(e, e->unguarded.data, e->unguarded.length, at_start, error);
	e->recognise_special = recognise;
	return status;
}

static enum status encode_text(struct encoding *e, const char *s, size_t n, struct error *error)
{
	added_tokens_split(&e->t->added, false, e->recognise_special, s, n, &e->raw_spans);
	for (size_t i = 0; i < e->raw_spans.count; i++) {
		struct text_span span = e->raw_spans.spans[i];
		if (span.id >= 0) {
			token_list_add(e->out, span.id);
			continue;
		}
		enum status status = encode_guarded(e, s + span.start, span.end - span.start, span.start == 0, error);
		if (status)
			return status;
	}
	return STATUS_OK;
}

static enum status encode(const struct tokenizer *t, const char *text, size_t n, struct tokenizer_options options,
			  const char *guard, struct token_list *out, struct error *error)
{
	if (n > INT32_MAX)
		return error_set(error, STATUS_INVALID, "the text has %zu bytes; fewer than 2^31 can be tokenized", n);
	struct encoding e = {.t = t, .recognise_special = options.recognise_special, .guard = guard, .out = out};
	struct strbuf repaired = {0};
	if (n > 0 && !utf8_valid(text, n)) {
		utf8_add_lossy(&repaired, text, n);
		text = repaired.data;
		n = repaired.length;
	}
	for (size_t i = 0; options.add_special && i < t->prefix.count; i++)
		token_list_add(out, t->prefix.ids[i]);
	enum status status = n > 0 ? encode_text(&e, text, n, error) : STATUS_OK;
	for (size_t i = 0; !status && options.add_special && i < t->suffix.count; i++)
		token_list_add(out, t->suffix.ids[i]);
	strbuf_done(&repaired);
	encoding_done(&e);
	return status;
}

enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, struct tokenizer_options options,
			     struct token_list *out, struct error *error)
{
	return encode(t, text, n, options, NULL, out, error);
}

enum status tokenizer_encode_guarded(const struct tokenizer *t, const char *text, size_t n, const char *guard,
				     struct token_list *out, struct error *error)
{
	return encode(t, text, n, (struct tokenizer_options){.recognise_special = true}, guard, out, error);
}

/* Puts the guard behind the first character of each special token of one kind. */
static void guard_matches(const struct tokenizer *t, const struct trie *trie, const char *text, size_t n,
			  const char *guard, struct strbuf *out)
{
	size_t done = 0, start, end;
	int32_t index;
	for (size_t from = 0; (index = trie_search(trie, text, n, from, &start, &end)) >= 0; from = end) {
		if (!t->added.tokens[index].special)
			continue;
		size_t cut = start + 1;
		while (cut < end && ((unsigned char)text[cut] & 0xC0) == 0x80)
			cut++;
		strbuf_add(out, text + done, cut - done);
		strbuf_add_string(out, guard);
		done = cut;
	}
	strbuf_add(out, text + done, n - done);
}

void tokenizer_guard(const struct tokenizer *t, const char *text, size_t n, const char *guard, struct strbuf *out)
{
	struct strbuf once = {0};
	guard_matches(t, &t->added.raw, text, n, guard, &once);
	guard_matches(t, &t->added.normalised, once.data, once.length, guard, out);
	strbuf_done(&once);
}

/* ---- single tokens ------------------------------------------------------- */

void tokenizer_token_name(const struct tokenizer *t, int32_t id, struct strbuf *out)
{
	const char *s;
	size_t n;
	if (tokenizer_name(t, id, &s, &n))
		strbuf_add(out, s, n);
}

static void add_pieces_text(const struct tokenizer *t, int32_t id, const char *s, size_t n, struct strbuf *out)
{
	int byte = byte_token_value(s, n);
	bool is_byte = t->sentencepiece ? (size_t)id < sentencepiece_size(t->sentencepiece) &&
						  sentencepiece_kind(t->sentencepiece, id) == PIECE_BYTE
					: t->decoder.byte_fallback;
	if (byte >= 0 && is_byte) {
		strbuf_add_char(out, (char)byte);
		return;
	}
	decoder_piece(&t->decoder, s, n, false, out);
}

void tokenizer_token_bytes(const struct tokenizer *t, int32_t id, struct strbuf *out)
{
	const char *s;
	size_t n;
	if (!tokenizer_name(t, id, &s, &n))
		return;
	if (added_tokens_get(&t->added, id, &s, &n))
		strbuf_add(out, s, n);
	else if (t->decoder.kind == DECODER_BYTE_LEVEL)
		byte_level_decode(s, n, out);
	else
		add_pieces_text(t, id, s, n, out);
}

void tokenizer_token_show(const struct tokenizer *t, int32_t id, struct strbuf *out)
{
	struct strbuf bytes = {0};
	tokenizer_token_bytes(t, id, &bytes);
	uint32_t code;
	for (size_t i = 0, step; i < bytes.length; i += step) {
		const char *s = bytes.data + i;
		char shown[16];
		step = utf8_decode(s, bytes.length - i, &code);
		if (step == 0)
			step = 1;
		size_t n = text_printable(shown, sizeof shown, s, step);
		bool printable = n == step && memcmp(shown, s, n) == 0;
		if (*s == ' ')
			strbuf_add_string(out, "\xC2\xB7");
		else if (*s == '\n' || *s == '\t' || *s == '\r')
			strbuf_printf(out, "\\%c", *s == '\n' ? 'n' : *s == '\t' ? 't' : 'r');
		else if (printable)
			strbuf_add(out, s, step);
		else
			for (size_t k = 0; k < step; k++)
				strbuf_printf(out, "\\x%02X", (unsigned)(unsigned char)s[k]);
	}
	strbuf_done(&bytes);
}

/* The name that stands for the text in the middle of a text. */
static void spell(const struct tokenizer *t, const char *text, size_t n, struct strbuf *out)
{
	if (t->decoder.kind == DECODER_BYTE_LEVEL) {
		byte_level_encode(text, n, out);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (text[i] == ' ' && t->decoder.kind == DECODER_PIECES)
			strbuf_add_string(out, "\xE2\x96\x81");
		else
			strbuf_add_char(out, text[i]);
	}
}

enum status tokenizer_find(const struct tokenizer *t, const char *text, size_t n, int32_t *id, struct error *error)
{
	*id = added_tokens_find(&t->added, text, n);
	struct strbuf name = {0};
	if (*id < 0) {
		spell(t, text, n, &name);
		*id = tokenizer_named(t, name.data ? name.data : "", name.length);
	}
	strbuf_done(&name);
	if (*id >= 0)
		return STATUS_OK;
	struct token_list ids = {0};
	enum status status = tokenizer_encode(t, text, n, (struct tokenizer_options){false, true}, &ids, error);
	if (!status && ids.count == 1) {
		*id = ids.ids[0];
	} else if (!status) {
		struct strbuf shown = {0};
		for (size_t i = 0; i < ids.count && i < 12; i++) {
			strbuf_add_string(&shown, i ? " | " : "");
			tokenizer_token_show(t, ids.ids[i], &shown);
		}
		char quoted[100];
		text_printable(quoted, sizeof quoted, text, n);
		status = error_set(error, STATUS_INVALID, "\"%s\" is %zu tokens (%s%s), expected one", quoted,
				   ids.count, shown.data ? shown.data : "none", ids.count > 12 ? " | ..." : "");
		strbuf_done(&shown);
	}
	token_list_done(&ids);
	return status;
}
