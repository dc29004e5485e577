#include "models/tokenizer_vocab.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

uint64_t bytes_hash(const char *s, size_t n)
{
	uint64_t hash = 0x9E3779B97F4A7C15u ^ n;
	while (n >= 8) {
		uint64_t word;
		memcpy(&word, s, 8);
		hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
		hash ^= hash >> 32;
		s += 8;
		n -= 8;
	}
	uint64_t tail = 0;
	if (n)
		memcpy(&tail, s, n);
	hash = (hash ^ tail) * 0xD6E8FEB86659FD93u;
	hash ^= hash >> 32;
	hash *= 0xD6E8FEB86659FD93u;
	return hash ^ hash >> 32;
}

/* A slot holds id + 1 and, above it, bits of the hash that save most comparisons. */
static uint64_t slot_tag(uint64_t hash)
{
	return hash & 0xFFFFFFFF00000000u;
}

static size_t find_slot(const struct vocab *vocab, const char *s, size_t n, uint64_t hash)
{
	size_t mask = vocab->slot_count - 1;
	size_t slot = (size_t)hash & mask;
	for (; vocab->slots[slot]; slot = (slot + 1) & mask) {
		if (slot_tag(vocab->slots[slot]) != slot_tag(hash))
			continue;
		const struct vocab_entry *e = &vocab->entries[(uint32_t)vocab->slots[slot] - 1];
		if (e->length == n && (n == 0 || memcmp(vocab->bytes.data + e->at, s, n) == 0))
			break;
	}
	return slot;
}

void vocab_reserve(struct vocab *vocab, size_t count)
{
	size_t want = 64;
	while (want < count * 2)
		want *= 2;
	if (want <= vocab->slot_count)
		return;
	free(vocab->slots);
	vocab->slots = mem_alloc(want, sizeof *vocab->slots);
	vocab->slot_count = want;
	for (size_t id = 0; id < vocab->size; id++) {
		const struct vocab_entry *e = &vocab->entries[id];
		if (!e->present)
			continue;
		uint64_t hash = bytes_hash(vocab->bytes.data + e->at, e->length);
		vocab->slots[find_slot(vocab, vocab->bytes.data + e->at, e->length, hash)] =
			slot_tag(hash) | ((uint32_t)id + 1);
	}
}

bool vocab_add(struct vocab *vocab, int32_t id, const char *s, size_t n)
{
	size_t index = (size_t)id;
	if (index < vocab->size && vocab->entries[index].present)
		return false;
	vocab_reserve(vocab, vocab->count + 1);
	uint64_t hash = bytes_hash(s, n);
	size_t slot = find_slot(vocab, s, n, hash);
	if (vocab->slots[slot])
		return false;
	if (index >= vocab->size) {
		mem_reserve((void **)&vocab->entries, &vocab->capacity, index + 1, sizeof *vocab->entries);
		memset(vocab->entries + vocab->size, 0, (index + 1 - vocab->size) * sizeof *vocab->entries);
		vocab->size = index + 1;
	}
	vocab->entries[index] = (struct vocab_entry){vocab->bytes.length, n, true};
	strbuf_add(&vocab->bytes, s, n);
	vocab->slots[slot] = slot_tag(hash) | ((uint32_t)id + 1);
	vocab->count++;
	if (n > vocab->longest)
		vocab->longest = n;
	return true;
}

int32_t vocab_find(const struct vocab *vocab, const char *s, size_t n)
{
	if (vocab->slot_count == 0 || n > vocab->longest)
		return -1;
	return (int32_t)(uint32_t)vocab->slots[find_slot(vocab, s, n, bytes_hash(s, n))] - 1;
}

bool vocab_get(const struct vocab *vocab, int32_t id, const char **s, size_t *n)
{
	if (id < 0 || (size_t)id >= vocab->size || !vocab->entries[id].present)
		return false;
	*s = vocab->bytes.data + vocab->entries[id].at;
	*n = vocab->entries[id].length;
	return true;
}

void vocab_done(struct vocab *vocab)
{
	strbuf_done(&vocab->bytes);
	free(vocab->entries);
	free(vocab->slots);
	*vocab = (struct vocab){0};
}
