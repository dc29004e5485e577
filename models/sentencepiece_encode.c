/* SentencePiece's two models: BPE by score, and unigram by Viterbi search. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/sentencepiece_internal.h"

/* ---- from pieces to ids -------------------------------------------------- */

/* Ids go out one by one; a run of unknown pieces is one id, or bytes. */
struct output {
	const struct sentencepiece *model;
	struct token_list *ids;
	bool after_unknown;
};

static void put(struct output *o, const char *s, size_t n, int32_t id)
{
	bool unknown = id == o->model->unknown;
	if (unknown && o->model->byte_fallback) {
		for (size_t i = 0; i < n; i++)
			token_list_add(o->ids, o->model->byte_ids[(unsigned char)s[i]]);
	} else if (!unknown || !o->after_unknown) {
		token_list_add(o->ids, id);
	}
	o->after_unknown = unknown;
}

/* ---- BPE ----------------------------------------------------------------- */

struct symbol {
	size_t at, length; /* length 0: merged into its left neighbour */
	int32_t previous, next;
	bool frozen; /* user-defined: takes part in no merge */
};

struct candidate {
	float score;
	int32_t left, right;
	size_t length;
};

struct bpe_run {
	const struct sentencepiece *model;
	const char *text;
	struct symbol *symbols;
	size_t symbol_count, symbol_capacity;
	struct candidate *heap;
	size_t heap_count, heap_capacity;
	size_t *split_at; /* by id of an unused piece: length of the left part it was made from */
};

static bool comes_before(const struct candidate *a, const struct candidate *b)
{
	return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void heap_push(struct bpe_run *run, struct candidate item)
{
	mem_reserve((void **)&run->heap, &run->heap_capacity, run->heap_count + 1, sizeof *run->heap);
	size_t i = run->heap_count++;
	for (; i > 0 && comes_before(&item, &run->heap[(i - 1) / 2]); i = (i - 1) / 2)
		run->heap[i] = run->heap[(i - 1) / 2];
	run->heap[i] = item;
}

static struct candidate heap_pop(struct bpe_run *run)
{
	struct candidate *heap = run->heap;
	struct candidate top = heap[0], last = heap[--run->heap_count];
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < run->heap_count; i = child) {
		if (child + 1 < run->heap_count && comes_before(&heap[child + 1], &heap[child]))
			child++;
		if (!comes_before(&heap[child], &last))
			break;
		heap[i] = heap[child];
	}
	heap[i] = last;
	return top;
}

static void push_pair(struct bpe_run *run, int32_t left, int32_t right)
{
	if (left < 0 || right < 0 || run->symbols[left].frozen || run->symbols[right].frozen)
		return;
	const struct symbol *a = &run->symbols[left], *b = &run->symbols[right];
	size_t length = a->length + b->length;
	int32_t id = vocab_find(&run->model->normal, run->text + a->at, length);
	if (id < 0)
		return;
	heap_push(run, (struct candidate){run->model->scores[id], left, right, length});
	if (run->model->kinds[id] == PIECE_UNUSED)
		run->split_at[id] = a->length;
}

static void split_into_symbols(struct bpe_run *run, size_t n)
{
	for (size_t at = 0, length; at < n; at += length) {
		uint32_t code;
		bool frozen = trie_longest_prefix(&run->model->user_defined, run->text + at, n - at, &length) >= 0;
		if (!frozen)
			length = utf8_decode(run->text + at, n - at, &code);
		if (length == 0)
			length = 1;
		mem_reserve((void **)&run->symbols, &run->symbol_capacity, run->symbol_count + 1, sizeof *run->symbols);
		int32_t index = (int32_t)run->symbol_count++;
		run->symbols[index] = (struct symbol){at, length, index - 1, index + 1, frozen};
	}
	run->symbols[run->symbol_count - 1].next = -1;
}

/* An unused piece is only a step on the way: it is taken apart again. */
static void put_resegmented(struct bpe_run *run, struct output *o, size_t at, size_t length)
{
	int32_t id = sentencepiece_find(run->model, run->text + at, length);
	if (id < 0)
		id = run->model->unknown;
	size_t left = run->model->kinds[id] == PIECE_UNUSED ? run->split_at[id] : 0;
	if (left == 0) {
		put(o, run->text + at, length, id);
		return;
	}
	put_resegmented(run, o, at, left);
	put_resegmented(run, o, at + left, length - left);
}

static void encode_bpe(const struct sentencepiece *model, const char *text, size_t n, struct output *o)
{
	struct bpe_run run = {.model = model, .text = text};
	if (model->has_unused)
		run.split_at = mem_alloc(model->count, sizeof *run.split_at);
	split_into_symbols(&run, n);
	for (size_t i = 1; i < run.symbol_count; i++)
		push_pair(&run, (int32_t)i - 1, (int32_t)i);
	while (run.heap_count > 0) {
		struct candidate top = heap_pop(&run);
		struct symbol *left = &run.symbols[top.left], *right = &run.symbols[top.right];
		if (left->length == 0 || right->length == 0 || left->length + right->length != top.length)
			continue;
		left->length = top.length;
		left->next = right->next;
		if (right->next >= 0)
			run.symbols[right->next].previous = top.left;
		right->length = 0;
		push_pair(&run, left->previous, top.left);
		push_pair(&run, top.left, left->next);
	}
	for (int32_t i = 0; i >= 0; i = run.symbols[i].next)
		put_resegmented(&run, o, run.symbols[i].at, run.symbols[i].length);
	free(run.symbols);
	free(run.heap);
	free(run.split_at);
}

/* ---- unigram ------------------------------------------------------------- */

/* The best way to reach one position of the text. */
struct path {
	float score;
	int32_t id;
	int32_t from; /* where its last piece starts; -1: not reached */
};

static void offer(struct path *path, float score, int32_t id, size_t from)
{
	if (path->from < 0 || score > path->score)
		*path = (struct path){score, id, (int32_t)from};
}

static float piece_score(const struct sentencepiece *model, int32_t id, size_t length)
{
	return model->kinds[id] == PIECE_USER_DEFINED ? 0.1f * (float)(length - 1) : model->scores[id];
}

static void encode_unigram(const struct sentencepiece *model, const char *text, size_t n, struct output *o)
{
	struct path *paths = mem_alloc(n + 1, sizeof *paths);
	const float unknown_score = model->least_score - 10.0f;
	for (size_t i = 0; i <= n; i++)
		paths[i].from = -1;
	uint32_t code;
	for (size_t at = 0, width; at < n; at += width) {
		width = utf8_decode(text + at, n - at, &code);
		width = width ? width : 1;
		float score = paths[at].score;
		bool single = false;
		uint32_t node = 0;
		for (size_t end = at; end < n;) {
			node = trie_step(&model->candidates, node, (unsigned char)text[end++]);
			if (node == 0)
				break;
			int32_t id = model->candidates.nodes[node].value;
			if (id < 0)
				continue;
			offer(&paths[end], score + piece_score(model, id, end - at), id, at);
			single = single || end - at == width;
		}
		if (!single)
			offer(&paths[at + width], score + unknown_score, model->unknown, at);
	}
	/* Backwards to the start, then out in order: `from` becomes the way forward. */
	int32_t *next = mem_alloc(n + 1, sizeof *next);
	for (size_t end = n; end > 0; end = (size_t)paths[end].from)
		next[paths[end].from] = (int32_t)end;
	for (size_t at = 0; at < n; at = (size_t)next[at])
		put(o, text + at, (size_t)next[at] - at, paths[next[at]].id);
	free(next);
	free(paths);
}

enum status sentencepiece_encode(const struct sentencepiece *model, const char *text, size_t n, struct token_list *out,
				 struct error *error)
{
	struct strbuf normal = {0};
	sentencepiece_normalize(model, text, n, &normal);
	enum status status = STATUS_OK;
	struct output o = {.model = model, .ids = out};
	if (normal.length > INT32_MAX - 1)
		status =
			error_set(error, STATUS_INVALID,
				  "the normalised text has %zu bytes; fewer than 2^31 can be tokenized", normal.length);
	else if (normal.length > 0 && model->unigram)
		encode_unigram(model, normal.data, normal.length, &o);
	else if (normal.length > 0)
		encode_bpe(model, normal.data, normal.length, &o);
	strbuf_done(&normal);
	return status;
}
