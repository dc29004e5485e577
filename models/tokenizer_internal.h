/* What a loaded tokenizer is made of. Only for models/tokenizer*.c. */
#ifndef REBOUND_MODELS_TOKENIZER_INTERNAL_H
#define REBOUND_MODELS_TOKENIZER_INTERNAL_H

#include "models/added_tokens.h"
#include "models/bpe.h"
#include "models/normalize.h"
#include "models/pretokenize.h"
#include "models/sentencepiece.h"
#include "models/tokenizer.h"
#include "models/tokenizer_decode.h"

struct tokenizer {
	/* A text goes through: added tokens, normalizer, added tokens that are
	 * normalised, pre-tokenizer, model; then prefix and suffix are put around. With a SentencePiece model
	 * normalizer, pre-tokenizer and decoder are empty: it brings its own. */
	struct added_tokens added;
	struct normalizer normalizer;
	struct pretokenizer pretokenizer;
	struct bpe bpe;
	struct sentencepiece *sentencepiece; /* NULL: the model is bpe */
	struct decoder decoder;
	struct token_list prefix, suffix; /* what the post-processor adds */
	int32_t bos, eos;		  /* -1 if there is none */
	size_t size;
	char *bos_text, *eos_text, *description;
};

/* The name of an id, borrowed; false if there is none. */
bool tokenizer_name(const struct tokenizer *t, int32_t id, const char **s, size_t *n);
/* The id of a name, or -1; added tokens first. */
int32_t tokenizer_named(const struct tokenizer *t, const char *s, size_t n);

/* Text in which some special tokens must not be recognised: tokenizer_guard copies
 * s[0..n) with `guard`, a character that occurs nowhere else, inside each special
 * token; tokenizer_encode_guarded recognises all others and leaves the guards out. */
void tokenizer_guard(const struct tokenizer *t, const char *text, size_t n, const char *guard, struct strbuf *out);
enum status WARN_UNUSED tokenizer_encode_guarded(const struct tokenizer *t, const char *text, size_t n,
						 const char *guard, struct token_list *out, struct error *error);

/* Settings from the files beside the vocabulary. Initialise with {.add_bos = -1, .add_eos = -1}. */
struct tokenizer_config {
	struct json_source config, map, added; /* tokenizer_config.json, special_tokens_map.json, added_tokens.json */
	char *class_name;		       /* tokenizer_class without "Fast", or "" */
	char *bos, *eos;		       /* "" if not given */
	int add_bos, add_eos;		       /* -1 if not given */
	bool add_prefix_space;
};
enum status WARN_UNUSED tokenizer_config_read(struct tokenizer_config *config, const char *folder, struct error *error);
void tokenizer_config_done(struct tokenizer_config *config);
/* Adds the tokens that the files name: added_tokens_decoder, added_tokens.json, and
 * the special ones (bos, eos, unk, pad, ...). */
enum status WARN_UNUSED tokenizer_config_add_tokens(const struct tokenizer_config *config, struct tokenizer *t,
						    struct error *error);

/* tokenizer.json: everything but what the config says. */
enum status WARN_UNUSED tokenizer_read_json(struct tokenizer *t, const char *path, struct error *error);
enum status WARN_UNUSED tokenizer_parse_json(struct tokenizer *t, const char *text, size_t n, const char *what,
					     struct error *error);
/* vocab.json, an object of names to ids, and merges.txt. */
enum status WARN_UNUSED tokenizer_read_vocab(struct bpe *bpe, const char *vocab_path, const char *merges_path,
					     struct error *error);
enum status WARN_UNUSED tokenizer_parse_vocab(struct bpe *bpe, const char *text, size_t n, const char *what,
					      struct error *error);
/* "base64 rank" lines. */
bool tiktoken_recognise(const char *text, size_t n);
enum status WARN_UNUSED tiktoken_parse(struct bpe *bpe, const char *text, size_t n, const char *what,
				       struct error *error);
/* Ends loading: tables that depend on everything. */
enum status WARN_UNUSED tokenizer_finish(struct tokenizer *t, struct error *error);

#endif
