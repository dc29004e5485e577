/* Chat templates as a tree, and their evaluation. Only for models/chat*.c. */
#ifndef REBOUND_MODELS_CHAT_TEMPLATE_H
#define REBOUND_MODELS_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"
#include "compute/base/text.h"
#include "models/chat.h"

/* Memory that is freed all at once. Initialise with {0}. */
struct arena {
	void **blocks;
	size_t count, capacity, used, block_size, total;
};
void *arena_alloc(struct arena *arena, size_t bytes);
char *arena_copy(struct arena *arena, const char *s, size_t n);
void arena_done(struct arena *arena);

enum node_kind {
	/* statements; `next` is the one behind */
	NODE_TEXT,   /* s */
	NODE_OUTPUT, /* {{ a }} */
	NODE_IF,     /* if a then b else c */
	NODE_FOR,    /* for names in a: c; names are NODE_NAME from b; d is the condition */
	NODE_SET,    /* set a = b; a is NODE_NAME or NODE_ATTRIBUTE */
	/* expressions; `next` is the next argument or item */
	NODE_STRING,
	NODE_INTEGER,
	NODE_BOOLEAN,
	NODE_NONE,
	NODE_NAME,	/* s */
	NODE_ATTRIBUTE, /* a.s */
	NODE_INDEX,	/* a[b] */
	NODE_SLICE,	/* a[b:c:d], each may be NULL */
	NODE_CALL,	/* a(b...) */
	NODE_FILTER,	/* a | s(b...) */
	NODE_TEST,	/* a is s(b...); number is 1 if negated */
	NODE_NOT,
	NODE_NEGATIVE,
	NODE_BINARY,	  /* a s b */
	NODE_CONDITIONAL, /* a if b else c */
	NODE_LIST,	  /* [b...] */
	NODE_DICT,	  /* {b...}, each NODE_PAIR */
	NODE_PAIR,	  /* a: b */
	NODE_KEYWORD,	  /* s=a, as an argument */
};

struct node {
	enum node_kind kind;
	struct node *a, *b, *c, *d, *next;
	const char *s;
	size_t n;
	int64_t number;
};

/* Parses a template. *out and all it refers to live in the arena. */
enum status WARN_UNUSED template_parse(struct node **out, struct arena *arena, const char *s, size_t n,
				       struct error *error);

enum status WARN_UNUSED template_render(const struct node *root, const struct chat_message *messages, size_t count,
					bool add_generation_prompt, const char *bos, const char *eos,
					struct strbuf *out, struct error *error);

#endif
