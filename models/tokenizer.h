/* Text to token ids and back, for tokenizers as they are published.
 *
 * Read are `tokenizer.json` (byte-level BPE and SentencePiece-style BPE, as the
 * Hugging Face library writes them), `vocab.json` with `merges.txt` (or
 * `encoder.json` with `vocab.bpe`), SentencePiece's `tokenizer.model` (BPE and
 * unigram) and tiktoken's `base64 rank` lines. Ids are exactly those of the
 * library that made the file; whatever would change ids and is not implemented
 * is an error that names it.
 *
 * Texts are (pointer, length): NUL is an ordinary character. A text that is not
 * valid UTF-8 is read as if each maximal broken part were U+FFFD.
 *
 * A loaded tokenizer is never changed: any number of threads may use it at once.
 * Nothing here blocks on anything but reading the files in tokenizer_load.
 */
#ifndef REBOUND_MODELS_TOKENIZER_H
#define REBOUND_MODELS_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/base/text.h"

struct tokenizer;

/* `path` is a folder as downloaded, or one tokenizer.json or tokenizer.model.
 * In a folder the first of these counts: tokenizer.json; vocab.json + merges.txt;
 * encoder.json + vocab.bpe; tokenizer.model; original/tokenizer.model. The files
 * tokenizer_config.json, special_tokens_map.json and added_tokens.json are read
 * beside them. On success the caller owns *out. */
enum status WARN_UNUSED tokenizer_load(struct tokenizer **out, const char *path, struct error *error);
void tokenizer_destroy(struct tokenizer **tokenizer);

/* Appends what a folder's tokenizer is, in one line, without reading the vocabulary:
 * "tokenizer.json, 17209920 bytes, class ..., bos ..., eos ...". STATUS_INVALID if
 * there is none. */
enum status WARN_UNUSED tokenizer_inspect(const char *folder, struct strbuf *out, struct error *error);

/* A growing list of ids. Initialise with {0}; token_list_done frees. */
struct token_list {
	int32_t *ids;
	size_t count, capacity;
};
void token_list_add(struct token_list *list, int32_t id);
void token_list_done(struct token_list *list);

struct tokenizer_options {
	bool add_special; /* what the post-processor adds: BOS in most families */
	/* Special tokens written in the text become their ids. Off for text from
	 * elsewhere: they are then plain characters. Added tokens that are not
	 * special match either way, as in the reference. */
	bool recognise_special;
};

/* Appends the ids of text[0..n) to *out. Fails only for a text of 2^31 bytes or
 * more, a pattern that the regular expression engine gives up on, or an unknown
 * character where the file names an unknown token that it does not have. */
enum status WARN_UNUSED tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t n,
					 struct tokenizer_options options, struct token_list *out, struct error *error);

/* Appends the text of ids[0..n) to *out, always valid UTF-8. Ids that the
 * vocabulary does not have give nothing, as in the reference. */
void tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n, bool skip_special,
		      struct strbuf *out);

/* Decoding as ids arrive. Each push appends the text that no later id can change,
 * so half a character is never seen; tokenizer_stream_end appends what is left.
 * A plain value: no clean-up. A space that the tokenizer puts in front of every
 * text is dropped only at the start of the stream: to print a continuation, push
 * the prompt first and throw its text away. */
struct tokenizer_stream {
	const struct tokenizer *tokenizer;
	bool skip_special;
	bool started;	      /* a token that counts has been seen */
	bool emitted;	      /* some text has been given out */
	bool space_dropped;   /* SentencePiece: the last piece was the dropped leading space */
	size_t to_strip;      /* leading characters still to drop */
	size_t pending_count; /* bytes of an unfinished character */
	unsigned char pending[4];
};
void tokenizer_stream_init(struct tokenizer_stream *stream, const struct tokenizer *tokenizer, bool skip_special);
void tokenizer_stream_push(struct tokenizer_stream *stream, int32_t id, struct strbuf *out);
void tokenizer_stream_end(struct tokenizer_stream *stream, struct strbuf *out);

/* Ids run from 0 to tokenizer_size - 1, perhaps with gaps. */
size_t tokenizer_size(const struct tokenizer *tokenizer);
bool tokenizer_has(const struct tokenizer *tokenizer, int32_t id);
/* Special tokens are not text: skipped on decoding, shown distinctly. */
bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id);
/* -1 if there is none. */
int32_t tokenizer_bos(const struct tokenizer *tokenizer);
int32_t tokenizer_eos(const struct tokenizer *tokenizer);
/* Their text, "" if there is none; borrowed. */
const char *tokenizer_bos_text(const struct tokenizer *tokenizer);
const char *tokenizer_eos_text(const struct tokenizer *tokenizer);
/* True if ids start with two BOS: the text brought one and another was added. */
bool tokenizer_doubled_bos(const struct tokenizer *tokenizer, const int32_t *ids, size_t n);
/* One line for people: kind, size, file. Borrowed. */
const char *tokenizer_describe(const struct tokenizer *tokenizer);

/* The token as the vocabulary spells it, for instance "Ġthe" or "▁the" or "<0x0A>". Nothing is appended for
 * an unknown id. */
void tokenizer_token_name(const struct tokenizer *tokenizer, int32_t id, struct strbuf *out);
/* The bytes of text that the token stands for in the middle of a text, for
 * instance " the"; may be part of a character. */
void tokenizer_token_bytes(const struct tokenizer *tokenizer, int32_t id, struct strbuf *out);
/* The same made visible, always printable: a space is "·", newline, tab and
 * carriage return are \n, \t, \r, other controls and broken characters are \xHH. */
void tokenizer_token_show(const struct tokenizer *tokenizer, int32_t id, struct strbuf *out);

/* The id of the one token that text[0..n) is in the middle of a text (" Mary" is
 * not "Mary"). If it is several, the error shows them. */
enum status WARN_UNUSED tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t n, int32_t *id,
				       struct error *error);

#endif
