#include "models/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

struct bpe_symbol {
	int32_t id;
	int32_t previous, next; /* -1 at the ends */
	bool dead;		/* merged into its left neighbour */
};

/* A pair that may be merged: the symbol at `at` with its right neighbour. */
struct bpe_candidate {
	uint32_t rank;
	int32_t at, id;
};

/* Words repeat: their ids are kept for the length of one text. */
enum { CACHE_SLOTS = 4096, CACHED_WORD = 64, CACHED_TOTAL = 1 << 20 };
struct bpe_cached {
	uint64_t hash;
	size_t text_at, text_length; /* length 0: free */
	size_t ids_at, ids_count;
};

static uint64_t pair_key(int32_t left, int32_t right)
{
	return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

static size_t merge_slot(const struct bpe *bpe, uint64_t key)
{
	size_t mask = bpe->merge_slots - 1;
	uint64_t hash = key * 0xD6E8FEB86659FD93u;
	size_t slot = (size_t)(hash ^ hash >> 32) & mask;
	while (bpe->merges[slot].pair && bpe->merges[slot].pair != key)
		slot = (slot + 1) & mask;
	return slot;
}

static const struct bpe_merge *find_merge(const struct bpe *bpe, int32_t left, int32_t right)
{
	if (bpe->merge_slots == 0)
		return NULL;
	const struct bpe_merge *merge = &bpe->merges[merge_slot(bpe, pair_key(left, right))];
	return merge->pair ? merge : NULL;
}

void bpe_reserve_merges(struct bpe *bpe, size_t count)
{
	size_t want = 64;
	while (want < count * 2)
		want *= 2;
	if (want <= bpe->merge_slots)
		return;
	struct bpe_merge *old = bpe->merges;
	size_t old_slots = bpe->merge_slots;
	bpe->merges = mem_alloc(want, sizeof *bpe->merges);
	bpe->merge_slots = want;
	for (size_t i = 0; i < old_slots; i++)
		if (old[i].pair)
			bpe->merges[merge_slot(bpe, old[i].pair)] = old[i];
	free(old);
}

static void set_merge(struct bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
	bpe_reserve_merges(bpe, bpe->merge_count + 1);
	uint64_t key = pair_key(left, right);
	struct bpe_merge *merge = &bpe->merges[merge_slot(bpe, key)];
	if (!merge->pair)
		bpe->merge_count++;
	*merge = (struct bpe_merge){key, rank, id};
}

static enum status unknown_part(const char *s, size_t n, uint32_t rank, const char *what, struct error *error)
{
	char shown[100];
	text_printable(shown, sizeof shown, s, n);
	return error_set(error, STATUS_INVALID,
			 "%s: merge %u needs the token \"%s\", which the vocabulary does not have", what, rank, shown);
}

enum status bpe_add_merge(struct bpe *bpe, const char *left, size_t left_n, const char *right, size_t right_n,
			  uint32_t rank, const char *what, struct error *error)
{
	int32_t a = vocab_find(&bpe->vocab, left, left_n);
	if (a < 0)
		return unknown_part(left, left_n, rank, what, error);
	int32_t b = vocab_find(&bpe->vocab, right, right_n);
	if (b < 0)
		return unknown_part(right, right_n, rank, what, error);
	/* Both parts are tokens, so the sum is small unless the file has huge tokens. */
	char small[256];
	size_t n = left_n + right_n;
	char *joined = n <= sizeof small ? small : mem_alloc(n, 1);
	if (left_n)
		memcpy(joined, left, left_n);
	if (right_n)
		memcpy(joined + left_n, right, right_n);
	int32_t id = vocab_find(&bpe->vocab, joined, n);
	enum status status = STATUS_OK;
	if (id < 0)
		status = unknown_part(joined, n, rank, what, error);
	else
		set_merge(bpe, a, b, rank, id);
	if (joined != small)
		free(joined);
	return status;
}

void bpe_add_all_splits(struct bpe *bpe)
{
	for (size_t i = 0; i < bpe->vocab.size; i++) {
		const char *s;
		size_t n;
		if (!vocab_get(&bpe->vocab, (int32_t)i, &s, &n))
			continue;
		for (size_t k = 1; k < n; k++) {
			if (((unsigned char)s[k] & 0xC0) == 0x80)
				continue;
			int32_t left = vocab_find(&bpe->vocab, s, k);
			int32_t right = left < 0 ? -1 : vocab_find(&bpe->vocab, s + k, n - k);
			if (right >= 0)
				set_merge(bpe, left, right, (uint32_t)i, (int32_t)i);
		}
	}
}

enum status bpe_read_merges(struct bpe *bpe, const char *text, size_t n, const char *what, struct error *error)
{
	uint32_t rank = 0;
	size_t line = 0;
	for (size_t at = 0; at < n;) {
		const char *start = text + at;
		const char *newline = memchr(start, '\n', n - at);
		size_t length = newline ? (size_t)(newline - start) : n - at;
		at += length + 1;
		line++;
		if (length > 0 && start[length - 1] == '\r')
			length--;
		if (length == 0 || (line == 1 && length >= 8 && memcmp(start, "#version", 8) == 0))
			continue;
		const char *space = memchr(start, ' ', length);
		size_t left = space ? (size_t)(space - start) : 0;
		if (!space || left == 0 || left + 1 == length || memchr(space + 1, ' ', length - left - 1))
			return error_set(error, STATUS_INVALID,
					 "%s: line %zu is not two tokens with one space between them", what, line);
		enum status status = bpe_add_merge(bpe, start, left, space + 1, length - left - 1, rank++, what, error);
		if (status)
			return status;
	}
	return STATUS_OK;
}

void bpe_prepare(struct bpe *bpe)
{
	for (unsigned i = 0; i < 256; i++) {
		char name[8];
		snprintf(name, sizeof name, "<0x%02X>", i);
		bpe->byte_ids[i] = vocab_find(&bpe->vocab, name, 6);
	}
	bpe->unk = bpe->unk_token ? vocab_find(&bpe->vocab, bpe->unk_token, strlen(bpe->unk_token)) : -1;
}

void bpe_done(struct bpe *bpe)
{
	vocab_done(&bpe->vocab);
	free(bpe->merges);
	free(bpe->unk_token);
	*bpe = (struct bpe){0};
}

void bpe_scratch_done(struct bpe_scratch *scratch)
{
	free(scratch->symbols);
	free(scratch->heap);
	free(scratch->cache);
	strbuf_done(&scratch->cached_text);
	token_list_done(&scratch->cached_ids);
	*scratch = (struct bpe_scratch){0};
}

static bool comes_before(const struct bpe_candidate *a, const struct bpe_candidate *b)
{
	return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void heap_push(struct bpe_scratch *scratch, size_t *count, struct bpe_candidate item)
{
	mem_reserve((void **)&scratch->heap, &scratch->heap_capacity, *count + 1, sizeof *scratch->heap);
	struct bpe_candidate *heap = scratch->heap;
	size_t i = (*count)++;
	for (; i > 0 && comes_before(&item, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = item;
}

static struct bpe_candidate heap_pop(struct bpe_scratch *scratch, size_t *count)
{
	struct bpe_candidate *heap = scratch->heap;
	struct bpe_candidate top = heap[0], last = heap[--*count];
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < *count; i = child) {
		if (child + 1 < *count && comes_before(&heap[child + 1], &heap[child]))
			child++;
		if (!comes_before(&heap[child], &last))
			break;
		heap[i] = heap[child];
	}
	heap[i] = last;
	return top;
}

static void add_symbol(struct bpe_scratch *scratch, size_t *count, int32_t id)
{
	mem_reserve((void **)&scratch->symbols, &scratch->symbol_capacity, *count + 1, sizeof *scratch->symbols);
	int32_t at = (int32_t)*count;
	scratch->symbols[at] = (struct bpe_symbol){.id = id, .previous = at - 1, .next = at + 1};
	(*count)++;
}

/* All bytes of the character as <0xHH>, or nothing if one of them is missing. */
static bool add_bytes(const struct bpe *bpe, struct bpe_scratch *scratch, size_t *count, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bpe->byte_ids[(unsigned char)s[i]] < 0)
			return false;
	for (size_t i = 0; i < n; i++)
		add_symbol(scratch, count, bpe->byte_ids[(unsigned char)s[i]]);
	return true;
}

/* The word as symbols, one per character. Unknown characters that are pending are
 * written before the next known one and not before bytes: the library does so. */
static enum status add_characters(const struct bpe *bpe, struct bpe_scratch *scratch, size_t *count, const char *s,
				  size_t n, struct error *error)
{
	bool pending = false;
	uint32_t code;
	for (size_t i = 0, step; i < n; i += step) {
		step = utf8_decode(s + i, n - i, &code);
		if (step == 0)
			step = 1;
		int32_t id = vocab_find(&bpe->vocab, s + i, step);
		if (id >= 0) {
			if (pending)
				add_symbol(scratch, count, bpe->unk);
			pending = false;
			add_symbol(scratch, count, id);
			continue;
		}
		if (bpe->byte_fallback && add_bytes(bpe, scratch, count, s + i, step))
			continue;
		if (!bpe->unk_token)
			continue;
		if (bpe->unk < 0)
			return error_set(error, STATUS_INVALID,
					 "the text has a character that the tokenizer does not know, and its unknown "
					 "token \"%s\" is not in its vocabulary",
					 bpe->unk_token);
		if (pending && !bpe->fuse_unk)
			add_symbol(scratch, count, bpe->unk);
		pending = true;
	}
	if (pending)
		add_symbol(scratch, count, bpe->unk);
	return STATUS_OK;
}

static void push_pair(const struct bpe *bpe, struct bpe_scratch *scratch, size_t *count, int32_t left, int32_t right)
{
	const struct bpe_merge *merge = find_merge(bpe, scratch->symbols[left].id, scratch->symbols[right].id);
	if (merge)
		heap_push(scratch, count, (struct bpe_candidate){merge->rank, left, merge->id});
}

static void merge_symbols(const struct bpe *bpe, struct bpe_scratch *scratch, size_t symbol_count)
{
	struct bpe_symbol *symbols = scratch->symbols;
	size_t heap_count = 0;
	for (size_t i = 0; i + 1 < symbol_count; i++)
		push_pair(bpe, scratch, &heap_count, (int32_t)i, (int32_t)i + 1);
	while (heap_count > 0) {
		struct bpe_candidate top = heap_pop(scratch, &heap_count);
		struct bpe_symbol *left = &symbols[top.at];
		if (left->dead || left->next < 0)
			continue;
		int32_t right_at = left->next;
		struct bpe_symbol *right = &symbols[right_at];
		/* An entry is stale if its pair has become another one since. */
		const struct bpe_merge *now = find_merge(bpe, left->id, right->id);
		if (!now || now->id != top.id)
			continue;
		left->id = top.id;
		left->next = right->next;
		right->dead = true;
		if (right->next >= 0)
			symbols[right->next].previous = top.at;
		if (left->previous >= 0)
			push_pair(bpe, scratch, &heap_count, left->previous, top.at);
		if (left->next >= 0)
			push_pair(bpe, scratch, &heap_count, top.at, left->next);
	}
}

static bool from_cache(struct bpe_scratch *scratch, uint64_t hash, const char *s, size_t n, struct token_list *out)
{
	if (!scratch->cache)
		return false;
	const struct bpe_cached *entry = &scratch->cache[hash % CACHE_SLOTS];
	if (entry->hash != hash || entry->text_length != n ||
	    memcmp(scratch->cached_text.data + entry->text_at, s, n) != 0)
		return false;
	for (size_t i = 0; i < entry->ids_count; i++)
		token_list_add(out, scratch->cached_ids.ids[entry->ids_at + i]);
	return true;
}

static void to_cache(struct bpe_scratch *scratch, uint64_t hash, const char *s, size_t n, const int32_t *ids,
		     size_t count)
{
	if (!scratch->cache)
		scratch->cache = mem_alloc(CACHE_SLOTS, sizeof *scratch->cache);
	if (scratch->cached_text.length > CACHED_TOTAL) {
		memset(scratch->cache, 0, CACHE_SLOTS * sizeof *scratch->cache);
		strbuf_clear(&scratch->cached_text);
		scratch->cached_ids.count = 0;
	}
	scratch->cache[hash % CACHE_SLOTS] =
		(struct bpe_cached){hash, scratch->cached_text.length, n, scratch->cached_ids.count, count};
	strbuf_add(&scratch->cached_text, s, n);
	for (size_t i = 0; i < count; i++)
		token_list_add(&scratch->cached_ids, ids[i]);
}

enum status bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *s, size_t n,
		       struct token_list *out, struct error *error)
{
	if (n == 0)
		return STATUS_OK;
	if (bpe->ignore_merges) {
		int32_t whole = vocab_find(&bpe->vocab, s, n);
		if (whole >= 0) {
			token_list_add(out, whole);
			return STATUS_OK;
		}
	}
	bool cacheable = n <= CACHED_WORD;
	uint64_t hash = cacheable ? bytes_hash(s, n) : 0;
	if (cacheable && from_cache(scratch, hash, s, n, out))
		return STATUS_OK;
	size_t count = 0;
	enum status status = add_characters(bpe, scratch, &count, s, n, error);
	if (status)
		return status;
	if (count == 0)
		return STATUS_OK;
	scratch->symbols[count - 1].next = -1;
	merge_symbols(bpe, scratch, count);
	size_t before = out->count;
	for (int32_t i = 0; i >= 0; i = scratch->symbols[i].next)
		token_list_add(out, scratch->symbols[i].id);
	if (cacheable)
		to_cache(scratch, hash, s, n, out->ids + before, out->count - before);
	return STATUS_OK;
}
