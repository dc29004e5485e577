/* Which files of a folder make its tokenizer, and what they leave unsaid. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/tokenizer_internal.h"

enum { MODEL_LIMIT = 256 << 20 };

/* ---- vocab.json + merges.txt --------------------------------------------- */

struct byte_level_class {
	const char *name, *pattern;
	bool nfc;
};

static const struct byte_level_class byte_level_classes[] = {
	{"GPT2Tokenizer", pretokenize_gpt2_pattern, false},
	{"", pretokenize_gpt2_pattern, false}, /* GPT-2's own release says nothing */
	{"GPTNeoXTokenizer", pretokenize_gpt2_pattern, true},
	{"Qwen2Tokenizer", pretokenize_qwen_pattern, true},
};

/* These families treat it as special even where no file says so. */
static const char end_of_text[] = "<|endoftext|>";

static enum status load_vocab_and_merges(struct tokenizer *t, const char *vocab, const char *merges,
					 struct tokenizer_config *config, struct error *error)
{
	const struct byte_level_class *family = NULL;
	for (size_t i = 0; i < ARRAY_LEN(byte_level_classes); i++)
		if (strcmp(config->class_name, byte_level_classes[i].name) == 0)
			family = &byte_level_classes[i];
	if (!family)
		return error_set(
			error, STATUS_INVALID,
			"'%s': vocab.json with merges.txt for the tokenizer class \"%.60s\" is not implemented", vocab,
			config->class_name);
	enum status status = tokenizer_read_vocab(&t->bpe, vocab, merges, error);
	if (!status)
		status =
			pretokenizer_add_byte_level(&t->pretokenizer, family->pattern, config->add_prefix_space, error);
	if (status)
		return status;
	if (family->nfc)
		normalizer_add_form(&t->normalizer, NORMAL_FORM_NFC);
	t->decoder.kind = DECODER_BYTE_LEVEL;
	status = tokenizer_config_add_tokens(config, t, error);
	int32_t end = vocab_find(&t->bpe.vocab, end_of_text, sizeof end_of_text - 1);
	if (!status && end >= 0)
		added_tokens_add(&t->added, (struct added_token){.id = end, .special = true}, end_of_text,
				 sizeof end_of_text - 1);
	return status ? status : tokenizer_finish(t, error);
}

/* ---- tokenizer.model ----------------------------------------------------- */

/* Llama 3's release keeps these in its code: they follow the ranks. */
static void add_llama3_tokens(struct tokenizer *t)
{
	static const char *const named[] = {
		"<|begin_of_text|>",
		"<|end_of_text|>",
		"<|reserved_special_token_0|>",
		"<|reserved_special_token_1|>",
		"<|finetune_right_pad_id|>",
		"<|reserved_special_token_2|>",
		"<|start_header_id|>",
		"<|end_header_id|>",
		"<|eom_id|>",
		"<|eot_id|>",
		"<|python_tag|>",
	};
	int32_t next = (int32_t)t->bpe.vocab.size;
	for (size_t i = 0; i < 256; i++) {
		char *name = i < ARRAY_LEN(named)
				     ? mem_strdup(named[i])
				     : mem_printf("<|reserved_special_token_%zu|>", i - ARRAY_LEN(named) + 3);
		added_tokens_add(&t->added, (struct added_token){.id = next++, .special = true}, name, strlen(name));
		free(name);
	}
}

static enum status load_tiktoken(struct tokenizer *t, const char *text, size_t n, const char *what,
				 struct tokenizer_config *config, struct error *error)
{
	enum status status = tiktoken_parse(&t->bpe, text, n, what, error);
	if (!status)
		status = pretokenizer_add_byte_level(&t->pretokenizer, pretokenize_llama3_pattern, false, error);
	if (status)
		return status;
	t->decoder.kind = DECODER_BYTE_LEVEL;
	status = tokenizer_config_add_tokens(config, t, error);
	if (!status && t->added.count == 0)
		add_llama3_tokens(t);
	const char *bos = config->bos[0] ? config->bos : "<|begin_of_text|>";
	int32_t id = added_tokens_find(&t->added, bos, strlen(bos));
	if (!status && id >= 0)
		token_list_add(&t->prefix, id);
	return status ? status : tokenizer_finish(t, error);
}

static enum status load_sentencepiece(struct tokenizer *t, const char *data, size_t n, const char *what,
				      struct tokenizer_config *config, struct error *error)
{
	static const char *const classes[] = {"",
					      "LlamaTokenizer",
					      "CodeLlamaTokenizer",
					      "GemmaTokenizer",
					      "PreTrainedTokenizer",
					      "LlamaTokenizerFast",
					      "MistralTokenizer"};
	bool known = false;
	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		known = known || strcmp(config->class_name, classes[i]) == 0;
	if (!known)
		return error_set(error, STATUS_INVALID,
				 "%s: a SentencePiece model for the tokenizer class \"%.60s\" is not implemented", what,
				 config->class_name);
	enum status status = sentencepiece_parse(&t->sentencepiece, data, n, what, error);
	if (!status)
		status = tokenizer_config_add_tokens(config, t, error);
	if (status)
		return status;
	/* What the model calls a space is one in the text. */
	struct decoder_replacement *space = mem_alloc(1, sizeof *space);
	strbuf_add_string(&space->from, "\xE2\x96\x81");
	strbuf_add_string(&space->to, " ");
	t->decoder = (struct decoder){
		.kind = DECODER_PIECES, .replacements = space, .replacement_count = 1, .replacement_capacity = 1};
	int32_t bos = sentencepiece_bos(t->sentencepiece);
	if (bos >= 0)
		token_list_add(&t->prefix, bos);
	return tokenizer_finish(t, error);
}

static enum status load_model_file(struct tokenizer *t, const char *path, struct tokenizer_config *config,
				   struct error *error)
{
	char *data;
	size_t n;
	enum status status = file_read(&data, &n, path, MODEL_LIMIT, error);
	if (status)
		return status;
	char *what = mem_printf("'%s'", path);
	status = tiktoken_recognise(data, n) ? load_tiktoken(t, data, n, what, config, error)
					     : load_sentencepiece(t, data, n, what, config, error);
	free(what);
	free(data);
	return status;
}

/* ---- the folder ---------------------------------------------------------- */

/* BOS and EOS: from the config, else what the model or the post-processor says,
 * else the names that are usual. */
static void choose_bos_and_eos(struct tokenizer *t, const struct tokenizer_config *config)
{
	static const char *const usual_bos[] = {"<|begin_of_text|>", "<bos>", "<s>", end_of_text};
	static const char *const usual_eos[] = {"<|end_of_text|>", "<eos>", "</s>", end_of_text};
	bool silent = config->bos[0] == '\0' && config->eos[0] == '\0';
	t->bos = config->bos[0] ? tokenizer_named(t, config->bos, strlen(config->bos)) : -1;
	t->eos = config->eos[0] ? tokenizer_named(t, config->eos, strlen(config->eos)) : -1;
	if (t->bos < 0 && t->sentencepiece)
		t->bos = sentencepiece_bos(t->sentencepiece);
	if (t->eos < 0 && t->sentencepiece)
		t->eos = sentencepiece_eos(t->sentencepiece);
	if (t->bos < 0 && t->prefix.count > 0)
		t->bos = t->prefix.ids[0];
	for (size_t i = 0; i < ARRAY_LEN(usual_bos) && silent && t->bos < 0; i++)
		t->bos = added_tokens_find(&t->added, usual_bos[i], strlen(usual_bos[i]));
	for (size_t i = 0; i < ARRAY_LEN(usual_eos) && silent && t->eos < 0; i++)
		t->eos = added_tokens_find(&t->added, usual_eos[i], strlen(usual_eos[i]));
	struct strbuf name = {0};
	tokenizer_token_name(t, t->bos, &name);
	t->bos_text = strbuf_take(&name);
	tokenizer_token_name(t, t->eos, &name);
	t->eos_text = strbuf_take(&name);
}

/* add_bos_token and add_eos_token, where given, take the post-processor's place. */
static enum status apply_add_flags(struct tokenizer *t, const struct tokenizer_config *config, struct error *error)
{
	if (config->add_bos < 0 && config->add_eos < 0)
		return STATUS_OK;
	bool add_bos = config->add_bos == 1, add_eos = config->add_eos == 1;
	if (t->sentencepiece && config->add_bos < 0) /* that class adds BOS unless told not to */
		add_bos = t->bos >= 0;
	if ((add_bos && t->bos < 0) || (add_eos && t->eos < 0))
		return error_set(error, STATUS_INVALID, "%s: add_%s_token is true, but there is no such token",
				 config->config.what, add_bos && t->bos < 0 ? "bos" : "eos");
	t->prefix.count = t->suffix.count = 0;
	if (add_bos)
		token_list_add(&t->prefix, t->bos);
	if (add_eos)
		token_list_add(&t->suffix, t->eos);
	return STATUS_OK;
}

struct candidate {
	const char *name, *second; /* the second has to be there as well */
};

static enum status load_candidate(struct tokenizer *t, const char *path, const char *second,
				  struct tokenizer_config *config, struct error *error)
{
	size_t n = strlen(path);
	if (second)
		return load_vocab_and_merges(t, path, second, config, error);
	if (n >= 5 && strcmp(path + n - 5, ".json") == 0)
		return tokenizer_read_json(t, path, error);
	return load_model_file(t, path, config, error);
}

/* The file of a folder that counts, and the one that goes with it; NULL if none. */
static const struct candidate *find_candidate(const char *folder)
{
	static const struct candidate candidates[] = {
		{"tokenizer.json", NULL},     {"20B_tokenizer.json", NULL}, /* the name in GPT-NeoX's own release */
		{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"},
		{"tokenizer.model", NULL},    {"original/tokenizer.model", NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(candidates); i++) {
		const char *other = candidates[i].second;
		char *path = path_join(folder, candidates[i].name);
		char *second = other ? path_join(folder, other) : NULL;
		bool there = file_exists(path) && (!second || file_exists(second));
		free(path);
		free(second);
		if (there)
			return &candidates[i];
	}
	return NULL;
}

static enum status no_tokenizer(const char *folder, struct error *error)
{
	return error_set(
		error, STATUS_INVALID,
		"'%s' has no tokenizer: expected tokenizer.json, vocab.json with merges.txt, or tokenizer.model",
		folder);
}

static enum status load_folder(struct tokenizer *t, const char *folder, struct tokenizer_config *config,
			       struct error *error)
{
	const struct candidate *found = find_candidate(folder);
	if (!found)
		return no_tokenizer(folder, error);
	char *path = path_join(folder, found->name);
	char *second = found->second ? path_join(folder, found->second) : NULL;
	enum status status = load_candidate(t, path, second, config, error);
	if (!status)
		t->description = mem_strdup(found->name);
	free(path);
	free(second);
	return status;
}

enum status tokenizer_inspect(const char *folder, struct strbuf *out, struct error *error)
{
	const struct candidate *found = find_candidate(folder);
	if (!found)
		return no_tokenizer(folder, error);
	struct tokenizer_config config = {.add_bos = -1, .add_eos = -1};
	enum status status = tokenizer_config_read(&config, folder, error);
	if (!status) {
		char shown[80];
		struct file_map map;
		char *path = path_join(folder, found->name);
		status = file_map_open(&map, path, error);
		strbuf_printf(out, "%s, %zu bytes", found->name, map.size);
		file_map_close(&map);
		free(path);
		const char *const parts[][2] = {{"class", config.class_name}, {"bos", config.bos}, {"eos", config.eos}};
		for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
			text_printable(shown, sizeof shown, parts[i][1], strlen(parts[i][1]));
			if (shown[0])
				strbuf_printf(out, ", %s %s", parts[i][0], shown);
		}
	}
	tokenizer_config_done(&config);
	return status;
}

static void describe(struct tokenizer *t)
{
	const char *kind = t->sentencepiece ? sentencepiece_is_unigram(t->sentencepiece) ? "SentencePiece unigram"
											 : "SentencePiece BPE"
			   : t->decoder.kind == DECODER_BYTE_LEVEL ? "byte-level BPE"
			   : t->bpe.byte_fallback		   ? "BPE with byte fallback"
								   : "BPE";
	char *file = t->description;
	t->description = mem_printf("%s, %zu tokens, %zu added, from %s", kind, t->size, t->added.count, file);
	free(file);
}

enum status tokenizer_load(struct tokenizer **out, const char *path, struct error *error)
{
	*out = NULL;
	struct tokenizer *t = mem_alloc(1, sizeof *t);
	struct tokenizer_config config = {.add_bos = -1, .add_eos = -1};
	bool is_folder = file_is_folder(path);
	const char *base = path_base(path);
	char *folder = is_folder     ? mem_strdup(path)
		       : base > path ? mem_strndup(path, (size_t)(base - path))
				     : mem_strdup(".");
	t->bos = t->eos = -1;
	enum status status = tokenizer_config_read(&config, folder, error);
	if (!status && is_folder) {
		status = load_folder(t, folder, &config, error);
	} else if (!status) {
		status = load_candidate(t, path, NULL, &config, error);
		if (!status)
			t->description = mem_strdup(base);
	}
	if (!status) {
		choose_bos_and_eos(t, &config);
		status = apply_add_flags(t, &config, error);
	}
	if (!status)
		describe(t);
	tokenizer_config_done(&config);
	free(folder);
	if (status)
		tokenizer_destroy(&t);
	*out = t;
	return status;
}
