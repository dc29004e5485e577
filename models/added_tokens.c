#include "models/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

bool added_tokens_add(struct added_tokens *added, struct added_token token, const char *s, size_t n)
{
	if (n == 0)
		return false;
	int32_t index = vocab_find(&added->names, s, n);
	if (index >= 0) {
		if (added->tokens[index].id == token.id)
			added->tokens[index] = token;
		return false;
	}
	mem_reserve((void **)&added->tokens, &added->capacity, added->count + 1, sizeof *added->tokens);
	if (!vocab_add(&added->names, (int32_t)added->count, s, n))
		return false;
	added->tokens[added->count++] = token;
	if ((size_t)token.id + 1 > added->next_id)
		added->next_id = (size_t)token.id + 1;
	return true;
}

enum status added_tokens_prepare(struct added_tokens *added, const struct normalizer *normalizer, struct error *error)
{
	size_t size = added->next_id;
	added->by_id = mem_alloc(size, sizeof *added->by_id);
	added->by_id_size = size;
	for (size_t i = 0; i < size; i++)
		added->by_id[i] = -1;
	struct regex_scratch scratch = {0};
	struct strbuf form = {0};
	enum status status = STATUS_OK;
	/* Of two tokens with one form the first counts, and special ones come first. */
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < added->count && !status; i++) {
			const char *s;
			size_t n;
			if (added->tokens[i].special != (pass == 0) || !vocab_get(&added->names, (int32_t)i, &s, &n))
				continue;
			if (added->by_id[added->tokens[i].id] >= 0)
				status = error_set(error, STATUS_INVALID, "two added tokens have the id %d",
						   added->tokens[i].id);
			added->by_id[added->tokens[i].id] = (int32_t)i;
			if (!added->tokens[i].normalized) {
				trie_add(&added->raw, s, n, (int32_t)i);
				continue;
			}
			strbuf_clear(&form);
			if (normalizer->count == 0)
				strbuf_add(&form, s, n);
			else
				status = normalizer_apply(normalizer, &scratch, s, n, &form, error);
			if (!status && form.length > 0)
				trie_add(&added->normalised, form.data, form.length, (int32_t)i);
		}
	}
	strbuf_done(&form);
	regex_scratch_done(&scratch);
	trie_prepare(&added->raw);
	trie_prepare(&added->normalised);
	return status;
}

const struct added_token *added_tokens_get(const struct added_tokens *added, int32_t id, const char **s, size_t *n)
{
	if (id < 0 || (size_t)id >= added->by_id_size || added->by_id[id] < 0)
		return NULL;
	const struct added_token *token = &added->tokens[added->by_id[id]];
	return vocab_get(&added->names, added->by_id[id], s, n) ? token : NULL;
}

int32_t added_tokens_find(const struct added_tokens *added, const char *s, size_t n)
{
	int32_t index = vocab_find(&added->names, s, n);
	return index < 0 ? -1 : added->tokens[index].id;
}

void added_tokens_done(struct added_tokens *added)
{
	free(added->tokens);
	free(added->by_id);
	vocab_done(&added->names);
	trie_done(&added->raw);
	trie_done(&added->normalised);
	*added = (struct added_tokens){0};
}

void span_list_done(struct span_list *list)
{
	free(list->spans);
	*list = (struct span_list){0};
}

static void add_span(struct span_list *list, int32_t id, size_t start, size_t end)
{
	mem_reserve((void **)&list->spans, &list->capacity, list->count + 1, sizeof *list->spans);
	list->spans[list->count++] = (struct text_span){id, start, end};
}

/* The character before s[end]; its start. */
static size_t previous_character(const char *s, size_t end, uint32_t *code)
{
	size_t at = end - 1;
	while (at > 0 && end - at < 4 && ((unsigned char)s[at] & 0xC0) == 0x80)
		at--;
	if (utf8_decode(s + at, end - at, code) == 0)
		*code = 0xFFFD;
	return at;
}

static bool is_word_at(const char *s, size_t n, size_t at)
{
	uint32_t code;
	return at < n && utf8_decode(s + at, n - at, &code) && unicode_is_word(code);
}

static bool stands_alone(const char *s, size_t n, size_t start, size_t end)
{
	uint32_t code = 0;
	if (start > 0) {
		previous_character(s, start, &code);
		if (unicode_is_word(code))
			return false;
	}
	return !is_word_at(s, n, end);
}

static size_t spaces_before(const char *s, size_t start, size_t least)
{
	uint32_t code;
	while (start > least) {
		size_t at = previous_character(s, start, &code);
		if (at < least || !unicode_is_space(code))
			break;
		start = at;
	}
	return start;
}

static size_t spaces_after(const char *s, size_t n, size_t end)
{
	uint32_t code;
	while (end < n) {
		size_t step = utf8_decode(s + end, n - end, &code);
		if (step == 0 || !unicode_is_space(code))
			break;
		end += step;
	}
	return end;
}

void added_tokens_split(const struct added_tokens *added, bool normalised, bool recognise_special, const char *s,
			size_t n, struct span_list *out)
{
	const struct trie *trie = normalised ? &added->normalised : &added->raw;
	size_t done = 0; /* the text up to here has been handed out */
	size_t start = 0, end = 0;
	int32_t index;
	out->count = 0;
	/* A match that does not count is passed over all the same, and the search goes
	 * on where the bare match ended even if white space behind it was taken in. */
	for (size_t from = 0; (index = trie_search(trie, s, n, from, &start, &end)) >= 0; from = end) {
		const struct added_token *token = &added->tokens[index];
		size_t first = start, last = end;
		if (token->special && !recognise_special)
			continue;
		if (token->single_word && !stands_alone(s, n, start, end))
			continue;
		if (token->lstrip && first > done)
			first = spaces_before(s, first, done);
		if (token->lstrip && first < done)
			first = done;
		if (token->rstrip)
			last = spaces_after(s, n, last);
		if (first >= last) /* all of it was white space that the token before took in */
			continue;
		if (done < first)
			add_span(out, -1, done, first);
		add_span(out, token->id, first, last);
		done = last;
	}
	if (done < n)
		add_span(out, -1, done, n);
}
