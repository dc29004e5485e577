#include "models/tokenizer_trie.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

struct trie_edge {
	uint64_t key; /* node << 8 | byte, plus 1; 0 is free */
	uint32_t to;
};

static size_t edge_slot(const struct trie *trie, uint64_t key)
{
	size_t mask = trie->edge_slots - 1;
	uint64_t hash = key * 0x9E3779B97F4A7C15u;
	size_t slot = (size_t)(hash >> 29) & mask;
	while (trie->edges[slot].key && trie->edges[slot].key != key)
		slot = (slot + 1) & mask;
	return slot;
}

static uint64_t edge_key(uint32_t node, unsigned char byte)
{
	return ((uint64_t)node << 8 | byte) + 1;
}

uint32_t trie_step(const struct trie *trie, uint32_t node, unsigned char byte)
{
	if (trie->edge_slots == 0)
		return 0;
	const struct trie_edge *edge = &trie->edges[edge_slot(trie, edge_key(node, byte))];
	return edge->key ? edge->to : 0;
}

static void grow_edges(struct trie *trie)
{
	struct trie_edge *old = trie->edges;
	size_t old_slots = trie->edge_slots;
	trie->edge_slots = old_slots ? old_slots * 2 : 64;
	trie->edges = mem_alloc(trie->edge_slots, sizeof *trie->edges);
	for (size_t i = 0; i < old_slots; i++)
		if (old[i].key)
			trie->edges[edge_slot(trie, old[i].key)] = old[i];
	free(old);
}

static uint32_t add_node(struct trie *trie, uint32_t length)
{
	mem_reserve((void **)&trie->nodes, &trie->capacity, trie->count + 1, sizeof *trie->nodes);
	trie->nodes[trie->count] = (struct trie_node){.value = -1, .length = length, .found = -1};
	return (uint32_t)trie->count++;
}

bool trie_add(struct trie *trie, const char *s, size_t n, int32_t value)
{
	if (trie->count == 0)
		add_node(trie, 0);
	uint32_t node = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t next = trie_step(trie, node, (unsigned char)s[i]);
		if (next == 0) {
			if (trie->count * 2 >= trie->edge_slots)
				grow_edges(trie);
			next = add_node(trie, (uint32_t)i + 1);
			uint64_t key = edge_key(node, (unsigned char)s[i]);
			trie->edges[edge_slot(trie, key)] = (struct trie_edge){key, next};
		}
		node = next;
	}
	if (trie->nodes[node].value >= 0)
		return false;
	trie->nodes[node].value = value;
	return true;
}

int32_t trie_longest_prefix(const struct trie *trie, const char *s, size_t n, size_t *length)
{
	int32_t value = -1;
	uint32_t node = 0;
	for (size_t i = 0; i < n && (node = trie_step(trie, node, (unsigned char)s[i])) != 0; i++) {
		if (trie->nodes[node].value >= 0) {
			value = trie->nodes[node].value;
			*length = i + 1;
		}
	}
	return value;
}

/* A node by depth, with the edge that leads to it. */
struct visit {
	uint32_t node, parent;
	unsigned char byte;
};

/* Follows suffixes of `node` until one of them has an edge for `byte`. */
static uint32_t fail_target(const struct trie *trie, uint32_t node, unsigned char byte)
{
	while (node != TRIE_DEAD) {
		uint32_t next = trie_step(trie, node, byte);
		if (next)
			return next;
		if (node == 0)
			return 0;
		node = trie->nodes[node].fail;
	}
	return TRIE_DEAD;
}

void trie_prepare(struct trie *trie)
{
	if (trie->count == 0)
		return;
	/* Breadth first: fail links point to shallower nodes. */
	size_t n = trie->count - 1;
	struct visit *order = mem_alloc(n, sizeof *order);
	size_t *at_depth = NULL, depth_count = 0, depth_capacity = 0, filled = 0;
	for (size_t i = 0; i < trie->edge_slots; i++)
		if (trie->edges[i].key)
			order[filled++] = (struct visit){trie->edges[i].to, (uint32_t)((trie->edges[i].key - 1) >> 8),
							 (unsigned char)(trie->edges[i].key - 1)};
	for (size_t i = 0; i < n; i++) {
		size_t depth = trie->nodes[order[i].node].length;
		if (depth >= depth_count) {
			mem_reserve((void **)&at_depth, &depth_capacity, depth + 2, sizeof *at_depth);
			while (depth_count < depth + 1)
				at_depth[depth_count++] = 0;
		}
		at_depth[depth]++;
	}
	struct visit *sorted = mem_alloc(n, sizeof *sorted);
	for (size_t depth = 0, sum = 0; depth < depth_count; depth++) {
		size_t here = at_depth[depth];
		at_depth[depth] = sum;
		sum += here;
	}
	for (size_t i = 0; i < n; i++)
		sorted[at_depth[trie->nodes[order[i].node].length]++] = order[i];

	/* Below a node where a string ends, no suffix may take over: it would start
	 * later than the match that is already there. */
	bool *under_match = mem_alloc(trie->count, sizeof *under_match);
	for (size_t i = 0; i < n; i++) {
		struct trie_node *node = &trie->nodes[sorted[i].node];
		uint32_t parent = sorted[i].parent;
		under_match[sorted[i].node] = under_match[parent] || node->value >= 0;
		if (under_match[sorted[i].node])
			node->fail = TRIE_DEAD;
		else
			node->fail = parent == 0 ? 0 : fail_target(trie, trie->nodes[parent].fail, sorted[i].byte);
		if (node->value >= 0) {
			node->found = node->value;
			node->found_length = node->length;
		} else if (node->fail != TRIE_DEAD) {
			node->found = trie->nodes[node->fail].found;
			node->found_length = trie->nodes[node->fail].found_length;
		}
	}
	free(under_match);
	free(sorted);
	free(order);
	free(at_depth);
}

int32_t trie_search(const struct trie *trie, const char *s, size_t n, size_t from, size_t *start, size_t *end)
{
	int32_t value = -1;
	if (trie->count == 0)
		return value;
	uint32_t node = 0;
	for (size_t i = from; i < n; i++) {
		node = fail_target(trie, node, (unsigned char)s[i]);
		if (node == TRIE_DEAD || (node == 0 && value >= 0))
			break;
		const struct trie_node *here = &trie->nodes[node];
		if (here->found >= 0) {
			value = here->found;
			*end = i + 1;
			*start = i + 1 - here->found_length;
		}
	}
	return value;
}

void trie_done(struct trie *trie)
{
	free(trie->nodes);
	free(trie->edges);
	*trie = (struct trie){0};
}
