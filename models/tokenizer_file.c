/* Reading tokenizer.json, and vocab.json with merges.txt. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/tokenizer_internal.h"
#include "models/tokenizer_scan.h"

enum { TEXT_LIMIT = 256 << 20 };

/* Where the two tables stand in the text; end 0 if they are not there. */
struct extent {
	size_t start, end;
};
struct tables {
	struct extent vocab, merges;
};

/* About one entry in `bytes_each` bytes: reserving is only to save rehashing. */
static size_t estimate(struct extent extent, size_t bytes_each)
{
	return (extent.end - extent.start) / bytes_each;
}

static enum status add_vocab_entry(struct vocab *vocab, const char *name, size_t n, double id,
				   const struct json_scan *scan, size_t file_size, struct error *error)
{
	/* A real vocabulary has a few bytes of file per id, gaps or not. */
	double limit = file_size < INT32_MAX ? (double)file_size : INT32_MAX;
	bool valid = id >= 0 && id < limit && id == (double)(int32_t)id;
	if (valid && vocab_add(vocab, (int32_t)id, name, n))
		return STATUS_OK;
	char shown[80];
	text_printable(shown, sizeof shown, name, n);
	if (!valid)
		return error_set(
			error, STATUS_INVALID,
			"%s: the token \"%s\" has the id %g, expected a whole number from 0 to %.0f, as a file "
			"of %zu bytes could have",
			scan->what, shown, id, limit - 1, file_size);
	if (vocab_find(vocab, name, n) >= 0)
		return error_set(error, STATUS_INVALID, "%s: the token \"%s\" is in the vocabulary twice", scan->what,
				 shown);
	return error_set(error, STATUS_INVALID, "%s: the token \"%s\" has the id %.0f of another token", scan->what,
			 shown, id);
}

static enum status load_vocab(struct vocab *vocab, const char *text, struct extent extent, const char *what,
			      size_t file_size, struct error *error)
{
	struct json_scan scan;
	json_scan_init(&scan, text + extent.start, extent.end - extent.start, what);
	vocab_reserve(vocab, estimate(extent, 20));
	enum status status = json_scan_expect(&scan, '{', error);
	for (bool first = true, more = true; !status && more;) {
		const char *s;
		size_t n;
		double id;
		status = json_scan_next(&scan, '}', &first, &more, error);
		if (!status && more)
			status = json_scan_key(&scan, &s, &n, error);
		if (status || !more)
			break;
		/* The number does not touch the string. */
		status = json_scan_number(&scan, &id, error);
		if (!status)
			status = add_vocab_entry(vocab, s, n, id, &scan, file_size, error);
	}
	if (!status && vocab->count == 0)
		status = error_set(error, STATUS_INVALID, "%s: the vocabulary is empty", what);
	json_scan_done(&scan);
	return status;
}

/* "left right" */
static enum status load_merge_line(struct bpe *bpe, const char *s, size_t n, uint32_t rank, const char *what,
				   struct error *error)
{
	const char *space = n ? memchr(s, ' ', n) : NULL;
	if (rank == 0 && n >= 8 && memcmp(s, "#version", 8) == 0)
		return STATUS_OK;
	size_t left = space ? (size_t)(space - s) : 0;
	if (!space || left == 0 || left + 1 == n || memchr(space + 1, ' ', n - left - 1))
		return error_set(error, STATUS_INVALID, "%s: merge %u is not two tokens with one space between them",
				 what, rank);
	return bpe_add_merge(bpe, s, left, space + 1, n - left - 1, rank, what, error);
}

/* ["left", "right"]; `left` is working memory. */
static enum status load_merge_pair(struct bpe *bpe, struct json_scan *scan, struct strbuf *left, uint32_t rank,
				   struct error *error)
{
	const char *s;
	size_t n;
	enum status status = json_scan_expect(scan, '[', error);
	if (!status)
		status = json_scan_string(scan, &s, &n, error);
	if (status)
		return status;
	strbuf_clear(left);
	strbuf_add(left, s, n);
	status = json_scan_expect(scan, ',', error);
	if (!status)
		status = json_scan_string(scan, &s, &n, error);
	if (!status)
		status = json_scan_expect(scan, ']', error);
	return status ? status : bpe_add_merge(bpe, left->data, left->length, s, n, rank, scan->what, error);
}

static enum status load_merges(struct bpe *bpe, const char *text, struct extent extent, const char *what,
			       struct error *error)
{
	struct json_scan scan;
	struct strbuf left = {0};
	json_scan_init(&scan, text + extent.start, extent.end - extent.start, what);
	bpe_reserve_merges(bpe, estimate(extent, 16));
	enum status status = json_scan_expect(&scan, '[', error);
	uint32_t rank = 0;
	for (bool first = true, more = true; !status && more; rank++) {
		const char *s;
		size_t n;
		status = json_scan_next(&scan, ']', &first, &more, error);
		if (status || !more)
			break;
		if (json_scan_peek(&scan) == '[') {
			status = load_merge_pair(bpe, &scan, &left, rank, error);
		} else {
			status = json_scan_string(&scan, &s, &n, error);
			if (!status)
				status = load_merge_line(bpe, s, n, rank, what, error);
		}
	}
	strbuf_done(&left);
	json_scan_done(&scan);
	return status;
}

static enum status load_model_flags(struct bpe *bpe, const cJSON *model, struct json_source *source,
				    struct error *error)
{
	const char *unk = NULL, *prefix = "", *suffix = "";
	double dropout = 0;
	const char *what = source->what;
	enum status status = json_get_string(model, "unk_token", &unk, what, error);
	if (!status)
		status = json_get_string(model, "continuing_subword_prefix", &prefix, what, error);
	if (!status)
		status = json_get_string(model, "end_of_word_suffix", &suffix, what, error);
	if (!status)
		status = json_get_double(model, "dropout", &dropout, what, error);
	if (!status)
		status = json_get_bool(model, "fuse_unk", &bpe->fuse_unk, what, error);
	if (!status)
		status = json_get_bool(model, "byte_fallback", &bpe->byte_fallback, what, error);
	if (!status)
		status = json_get_bool(model, "ignore_merges", &bpe->ignore_merges, what, error);
	if (status)
		return status;
	if (prefix[0])
		return error_set(error, STATUS_INVALID, "%s: continuing_subword_prefix \"%.40s\" is not implemented",
				 what, prefix);
	if (suffix[0])
		return error_set(error, STATUS_INVALID, "%s: end_of_word_suffix \"%.40s\" is not implemented", what,
				 suffix);
	if (dropout != 0)
		return error_set(error, STATUS_INVALID, "%s: BPE dropout %g would make the ids random; expected none",
				 what, dropout);
	bpe->unk_token = unk ? mem_strdup(unk) : NULL;
	return STATUS_OK;
}

static enum status load_model(struct bpe *bpe, const cJSON *model, struct json_source *source, const char *text,
			      const struct tables *tables, struct error *error)
{
	const char *type = json_type(model);
	/* Old files name no type; only BPE has merges. */
	if (strcmp(type, "BPE") != 0 && !(type[0] == '\0' && tables->merges.end))
		return error_set(error, STATUS_INVALID, "%s: the model \"%.60s\" is not implemented, only BPE is",
				 source->what, type);
	if (!tables->vocab.end || !tables->merges.end)
		return error_set(error, STATUS_INVALID, "%s: the BPE model has no \"%s\"", source->what,
				 tables->vocab.end ? "merges" : "vocab");
	enum status status = load_vocab(&bpe->vocab, text, tables->vocab, source->what, source->size, error);
	if (!status)
		status = load_model_flags(bpe, model, source, error);
	if (status)
		return status;
	bpe_prepare(bpe);
	return load_merges(bpe, text, tables->merges, source->what, error);
}

/* The library ignores the ids in the file: a token keeps the vocabulary's id, and
 * others get the next free one. */
static enum status load_added_tokens(struct tokenizer *t, const cJSON *list, struct json_source *source,
				     struct error *error)
{
	if (!list || cJSON_IsNull(list))
		return STATUS_OK;
	if (!cJSON_IsArray(list))
		return error_set(error, STATUS_INVALID, "%s: \"added_tokens\" is not an array", source->what);
	int32_t next = (int32_t)t->bpe.vocab.count;
	for (const cJSON *item = list->child; item; item = item->next) {
		const char *content = NULL;
		struct added_token token = {0};
		enum status status = json_get_string(item, "content", &content, source->what, error);
		if (!status)
			status = json_get_bool(item, "single_word", &token.single_word, source->what, error);
		if (!status)
			status = json_get_bool(item, "lstrip", &token.lstrip, source->what, error);
		if (!status)
			status = json_get_bool(item, "rstrip", &token.rstrip, source->what, error);
		if (!status)
			status = json_get_bool(item, "normalized", &token.normalized, source->what, error);
		if (!status)
			status = json_get_bool(item, "special", &token.special, source->what, error);
		if (status)
			return status;
		if (!content)
			return error_set(error, STATUS_INVALID, "%s: an added token has no \"content\"", source->what);
		size_t n;
		const char *s = json_source_text(source, content, &n);
		token.id = tokenizer_named(t, s, n);
		if (token.id < 0)
			token.id = next;
		added_tokens_add(&t->added, token, s, n);
		if (token.id >= next)
			next = token.id + 1;
	}
	return STATUS_OK;
}

/* ---- post-processor ------------------------------------------------------ */

static enum status add_special_ids(struct token_list *out, const cJSON *special_tokens, const char *name,
				   struct json_source *source, struct error *error)
{
	const cJSON *ids = json_member(json_member(special_tokens, name), "ids");
	if (!cJSON_IsArray(ids))
		return error_set(error, STATUS_INVALID,
				 "%s: the template uses \"%.60s\", which its special_tokens do not define",
				 source->what, name);
	for (const cJSON *id = ids->child; id; id = id->next) {
		double value = id->valuedouble;
		if (!cJSON_IsNumber(id) || !(value >= 0) || value > INT32_MAX || value != (double)(int32_t)value)
			return error_set(error, STATUS_INVALID, "%s: an id of the template's \"%.60s\" is not an id",
					 source->what, name);
		token_list_add(out, (int32_t)value);
	}
	return STATUS_OK;
}

/* Puts `more` around the list: in front of a prefix, behind a suffix. */
static void wrap(struct token_list *list, struct token_list *more, bool in_front)
{
	struct token_list joined = {0};
	const struct token_list *first = in_front ? more : list, *second = in_front ? list : more;
	for (size_t i = 0; i < first->count; i++)
		token_list_add(&joined, first->ids[i]);
	for (size_t i = 0; i < second->count; i++)
		token_list_add(&joined, second->ids[i]);
	token_list_done(list);
	token_list_done(more);
	*list = joined;
}

static enum status load_template(struct tokenizer *t, const cJSON *component, struct json_source *source,
				 struct error *error)
{
	const cJSON *single = json_member(component, "single");
	const cJSON *special_tokens = json_member(component, "special_tokens");
	if (!cJSON_IsArray(single))
		return error_set(error, STATUS_INVALID, "%s: TemplateProcessing has no array \"single\"", source->what);
	struct token_list before = {0}, after = {0};
	int sequences = 0;
	enum status status = STATUS_OK;
	for (const cJSON *item = single->child; item && !status; item = item->next) {
		const cJSON *special = json_member(json_member(item, "SpecialToken"), "id");
		const cJSON *sequence = json_member(json_member(item, "Sequence"), "id");
		if (cJSON_IsString(special))
			status = add_special_ids(sequences ? &after : &before, special_tokens, special->valuestring,
						 source, error);
		else if (cJSON_IsString(sequence) && strcmp(sequence->valuestring, "A") == 0)
			sequences++;
		else
			status = error_set(error, STATUS_INVALID,
					   "%s: an item of TemplateProcessing's \"single\" is neither a SpecialToken "
					   "nor the Sequence A",
					   source->what);
	}
	if (!status && sequences != 1)
		status = error_set(error, STATUS_INVALID,
				   "%s: TemplateProcessing's \"single\" has the text %d times, expected once",
				   source->what, sequences);
	if (status) {
		token_list_done(&before);
		token_list_done(&after);
		return status;
	}
	wrap(&t->prefix, &before, true);
	wrap(&t->suffix, &after, false);
	return STATUS_OK;
}

static enum status load_post_processor(struct tokenizer *t, const cJSON *component, struct json_source *source,
				       struct error *error)
{
	if (!component || cJSON_IsNull(component))
		return STATUS_OK;
	const char *type = json_type(component);
	if (strcmp(type, "ByteLevel") == 0) /* trims offsets, changes no id */
		return STATUS_OK;
	if (strcmp(type, "TemplateProcessing") == 0)
		return load_template(t, component, source, error);
	const cJSON *list = strcmp(type, "Sequence") == 0 ? json_member(component, "processors") : NULL;
	if (!cJSON_IsArray(list))
		return error_set(error, STATUS_INVALID, "%s: the post-processor \"%.60s\" is not implemented",
				 source->what, type);
	enum status status = STATUS_OK;
	for (const cJSON *item = list->child; item && !status; item = item->next)
		status = load_post_processor(t, item, source, error);
	return status;
}

static enum status check_template_ids(const struct tokenizer *t, const struct token_list *list,
				      const struct json_source *source, struct error *error)
{
	for (size_t i = 0; i < list->count; i++)
		if (!tokenizer_has(t, list->ids[i]))
			return error_set(error, STATUS_INVALID,
					 "%s: the post-processor adds the id %d, which no token has", source->what,
					 list->ids[i]);
	return STATUS_OK;
}

/* `truncation` and `padding` are left out on purpose: transformers sets both anew
 * for each call, and by default there is neither. */
static enum status load_components(struct tokenizer *t, struct json_source *source, const char *text,
				   const struct tables *tables, struct error *error)
{
	const cJSON *root = source->root;
	const cJSON *model = json_member(root, "model");
	if (!cJSON_IsObject(model))
		return error_set(error, STATUS_INVALID, "%s has no object \"model\", so it is not a tokenizer.json",
				 source->what);
	enum status status = load_model(&t->bpe, model, source, text, tables, error);
	if (!status)
		status = normalizer_load(&t->normalizer, json_member(root, "normalizer"), source, error);
	if (!status)
		status = pretokenizer_load(&t->pretokenizer, json_member(root, "pre_tokenizer"), source, error);
	if (!status)
		status = decoder_load(&t->decoder, json_member(root, "decoder"), source, error);
	if (!status)
		status = load_added_tokens(t, json_member(root, "added_tokens"), source, error);
	if (!status)
		status = load_post_processor(t, json_member(root, "post_processor"), source, error);
	if (!status)
		status = tokenizer_finish(t, error);
	if (!status)
		status = check_template_ids(t, &t->prefix, source, error);
	if (!status)
		status = check_template_ids(t, &t->suffix, source, error);
	return status;
}

static bool is_name(const char *s, size_t n, const char *name)
{
	return n == strlen(name) && memcmp(s, name, n) == 0;
}

/* Skips a value that may stand there once. */
static enum status skip_table(struct json_scan *scan, struct extent *extent, const char *name, struct error *error)
{
	if (extent->end)
		return error_set(error, STATUS_INVALID, "%s has the key \"%s\" twice", scan->what, name);
	json_scan_peek(scan);
	extent->start = scan->at;
	enum status status = json_scan_skip(scan, error);
	extent->end = scan->at;
	return status;
}

static enum status find_tables(struct json_scan *scan, struct tables *tables, struct error *error)
{
	enum status status = json_scan_expect(scan, '{', error);
	for (bool first = true, more = true; !status && more;) {
		const char *s;
		size_t n;
		status = json_scan_next(scan, '}', &first, &more, error);
		if (!status && more)
			status = json_scan_key(scan, &s, &n, error);
		if (status || !more)
			break;
		if (is_name(s, n, "vocab"))
			status = skip_table(scan, &tables->vocab, "vocab", error);
		else if (is_name(s, n, "merges"))
			status = skip_table(scan, &tables->merges, "merges", error);
		else
			status = json_scan_skip(scan, error);
	}
	return status;
}

/* Checks the whole document and finds the tables of its model. */
static enum status scan_document(struct json_scan *scan, struct tables *tables, struct error *error)
{
	bool seen = false;
	enum status status = json_scan_expect(scan, '{', error);
	for (bool first = true, more = true; !status && more;) {
		const char *s;
		size_t n;
		status = json_scan_next(scan, '}', &first, &more, error);
		if (!status && more)
			status = json_scan_key(scan, &s, &n, error);
		if (status || !more)
			break;
		bool model = is_name(s, n, "model");
		if (model && seen)
			return error_set(error, STATUS_INVALID, "%s has the key \"model\" twice", scan->what);
		seen = seen || model;
		status = model && json_scan_peek(scan) == '{' ? find_tables(scan, tables, error)
							      : json_scan_skip(scan, error);
	}
	if (!status && (json_scan_peek(scan) || scan->at < scan->n))
		status = json_scan_fail(scan, "nothing behind the object", error);
	return status;
}

/* The document without its tables, for cJSON. */
static void cut_tables(const char *text, size_t n, const struct tables *tables, struct strbuf *out)
{
	bool vocab_first = tables->vocab.start < tables->merges.start;
	const struct extent cuts[2] = {vocab_first ? tables->vocab : tables->merges,
				       vocab_first ? tables->merges : tables->vocab};
	size_t done = 0;
	for (size_t i = 0; i < 2; i++) {
		if (cuts[i].end == 0)
			continue;
		strbuf_add(out, text + done, cuts[i].start - done);
		strbuf_add_string(out, "0");
		done = cuts[i].end;
	}
	strbuf_add(out, text + done, n - done);
}

enum status tokenizer_parse_json(struct tokenizer *t, const char *text, size_t n, const char *what, struct error *error)
{
	struct json_scan scan;
	struct json_source source = {0};
	struct strbuf rest = {0};
	struct tables tables = {0};
	if (!utf8_valid(text, n))
		return error_set(error, STATUS_INVALID, "%s is not valid UTF-8, so it is not JSON", what);
	json_scan_init(&scan, text, n, what);
	enum status status = scan_document(&scan, &tables, error);
	json_scan_done(&scan);
	if (!status) {
		cut_tables(text, n, &tables, &rest);
		status = json_source_parse(&source, rest.data, rest.length, what, error);
		source.size = n;
	}
	if (!status)
		status = load_components(t, &source, text, &tables, error);
	json_source_done(&source);
	strbuf_done(&rest);
	return status;
}

enum status tokenizer_read_json(struct tokenizer *t, const char *path, struct error *error)
{
	struct file_map map;
	enum status status = file_map_open(&map, path, error);
	if (status)
		return status;
	char *what = mem_printf("'%s'", path);
	if (map.size > TEXT_LIMIT)
		status = error_set(error, STATUS_INVALID, "%s has %zu bytes; at most %d are accepted here", what,
				   map.size, TEXT_LIMIT);
	else
		status = tokenizer_parse_json(t, map.data ? (const char *)map.data : "", map.size, what, error);
	free(what);
	file_map_close(&map);
	return status;
}

enum status tokenizer_parse_vocab(struct bpe *bpe, const char *text, size_t n, const char *what, struct error *error)
{
	struct json_scan scan;
	if (!utf8_valid(text, n))
		return error_set(error, STATUS_INVALID, "%s is not valid UTF-8, so it is not JSON", what);
	json_scan_init(&scan, text, n, what);
	enum status status = json_scan_skip(&scan, error);
	if (!status && (json_scan_peek(&scan) || scan.at < scan.n))
		status = json_scan_fail(&scan, "nothing behind the object", error);
	json_scan_done(&scan);
	if (!status)
		status = load_vocab(&bpe->vocab, text, (struct extent){0, n}, what, n, error);
	if (!status)
		bpe_prepare(bpe);
	return status;
}

enum status tokenizer_read_vocab(struct bpe *bpe, const char *vocab_path, const char *merges_path, struct error *error)
{
	char *text;
	size_t n;
	enum status status = file_read(&text, &n, vocab_path, TEXT_LIMIT, error);
	if (status)
		return status;
	char *what = mem_printf("'%s'", vocab_path);
	status = tokenizer_parse_vocab(bpe, text, n, what, error);
	free(what);
	free(text);
	if (status)
		return status;
	status = file_read(&text, &n, merges_path, TEXT_LIMIT, error);
	if (status)
		return status;
	bpe_reserve_merges(bpe, n / 10);
	what = mem_printf("'%s'", merges_path);
	status = bpe_read_merges(bpe, text, n, what, error);
	free(what);
	free(text);
	return status;
}
