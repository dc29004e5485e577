/* Searching a text for many strings at once. Internal to the tokenizers.
 *
 * A trie over bytes, and on top of it the automaton of Aho and Corasick (1975) with
 * leftmost-longest matches: of all matches the one that starts first, and of
 * those the longest. */
#ifndef REBOUND_MODELS_TOKENIZER_TRIE_H
#define REBOUND_MODELS_TOKENIZER_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trie_node {
	int32_t value;	 /* of the string that ends here, or -1 */
	uint32_t length; /* of the path from the root, in bytes */
	/* The rest is set by trie_prepare. */
	uint32_t fail; /* node of the longest proper suffix that may still match; TRIE_DEAD if none may */
	int32_t found; /* value of the longest string that ends here as a suffix, or -1 */
	uint32_t found_length;
};
#define TRIE_DEAD UINT32_MAX

/* Initialise with {0}. */
struct trie {
	struct trie_node *nodes; /* [0] is the root */
	size_t count, capacity;
	struct trie_edge *edges; /* hash table */
	size_t edge_slots;
};

/* Adds a string of at least one byte; if it is there already, the first value
 * stays and false comes back. */
bool trie_add(struct trie *trie, const char *s, size_t n, int32_t value);
/* The node one byte further, or 0 if there is none. */
uint32_t trie_step(const struct trie *trie, uint32_t node, unsigned char byte);
/* The longest string that s[0..n) starts with: its value and length; -1 if none. */
int32_t trie_longest_prefix(const struct trie *trie, const char *s, size_t n, size_t *length);

/* After the last trie_add, before trie_search. */
void trie_prepare(struct trie *trie);
/* The leftmost-longest match in s[from..n): its value, start and end; -1 if none. */
int32_t trie_search(const struct trie *trie, const char *s, size_t n, size_t from, size_t *start, size_t *end);
void trie_done(struct trie *trie);

#endif
