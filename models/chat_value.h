/* Values of the template language. Only for models/chat*.c. */
#ifndef REBOUND_MODELS_CHAT_VALUE_H
#define REBOUND_MODELS_CHAT_VALUE_H

#include "models/chat_template.h"

enum value_kind {
	VALUE_UNDEFINED,
	VALUE_NONE,
	VALUE_BOOLEAN,
	VALUE_INTEGER,
	VALUE_STRING,
	VALUE_LIST,
	VALUE_MAP,	/* message, dict, namespace or loop */
	VALUE_FUNCTION, /* s is its name */
};

struct value {
	enum value_kind kind;
	int64_t number;
	const char *s; /* strings and functions; not NUL-terminated */
	size_t n;
	struct value *items; /* lists: n of them; maps: see entries */
	struct value_map *map;
};

struct value_entry {
	const char *key;
	size_t key_length;
	struct value value;
	struct value_entry *next;
};
struct value_map {
	struct value_entry *first;
};

/* One rendering. */
struct evaluation {
	struct arena arena;
	struct variable *variables; /* innermost last */
	size_t variable_count, variable_capacity;
	size_t frame; /* where the innermost scope starts */
	struct strbuf *out;
	size_t steps;
	int depth;
	struct error *error;
	enum status status;
};

/* Fails the evaluation; returns false. */
bool evaluation_fail(struct evaluation *e, const char *format, ...) PRINTF_LIKE(2, 3);

struct value value_string(const char *s, size_t n);
struct value value_integer(int64_t number);
struct value value_boolean(bool b);
bool value_is(const struct value *v, const char *text);
bool value_truth(const struct value *v);
bool value_equal(const struct value *a, const struct value *b);
/* Appends the value as {{ }} prints it. */
bool value_print(struct evaluation *e, const struct value *v, struct strbuf *out);
struct value value_list(struct evaluation *e, size_t n);
struct value value_new_map(struct evaluation *e);
void map_set(struct evaluation *e, struct value *map, const char *key, size_t n, struct value v);
/* Undefined if it is not there. */
struct value map_get(const struct value *map, const char *key, size_t n);

/* Text taken over from a growable string, which is emptied. */
struct value value_take(struct evaluation *e, struct strbuf *text);

/* value | name(arguments), value is name, value.name(arguments), name(arguments). An unknown name fails. */
bool apply_filter(struct evaluation *e, const struct node *node, struct value v, const struct value *args, size_t n,
		  struct value *out);
bool apply_test(struct evaluation *e, const struct node *node, const struct value *v, const struct value *args,
		size_t n, bool *out);
bool apply_method(struct evaluation *e, const struct node *node, const struct value *v, const struct value *args,
		  size_t n, struct value *out);
bool apply_function(struct evaluation *e, const struct value *function, const struct value *args, size_t n,
		    struct value *out);

#endif
