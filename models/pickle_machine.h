/* The pickle interpreter behind pickle.h: turns bytes into a graph of plain values. */
#ifndef REBOUND_PICKLE_MACHINE_H
#define REBOUND_PICKLE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#include "models/array_view.h"

enum pickle_kind {
	PICKLE_NONE,
	PICKLE_BOOL,
	PICKLE_INT,
	PICKLE_FLOAT,
	PICKLE_STRING,
	PICKLE_TUPLE,
	PICKLE_LIST,
	PICKLE_DICT, /* items are key, value, key, value, ... */
	PICKLE_GLOBAL,
	PICKLE_STORAGE,
	PICKLE_TENSOR,
	PICKLE_MARK,
};

enum pickle_global {
	GLOBAL_REBUILD_TENSOR,
	GLOBAL_REBUILD_PARAMETER,
	GLOBAL_ORDERED_DICT,
	GLOBAL_SIZE,
	GLOBAL_STORAGE, /* `dtype` says of what */
};

struct pickle_value {
	enum pickle_kind kind;
	enum pickle_global global;
	int64_t integer;  /* BOOL, INT */
	double real;	  /* FLOAT */
	const char *text; /* STRING; STORAGE: its key. In the pickle, not NUL-terminated */
	size_t length;
	struct pickle_value **items; /* TUPLE, LIST, DICT */
	size_t count, capacity;
	enum st_dtype dtype;		    /* STORAGE, and GLOBAL_STORAGE */
	int64_t elements;		    /* STORAGE: as claimed */
	const struct pickle_value *storage; /* TENSOR */
	int64_t offset;			    /* TENSOR: of its first element in the storage */
	struct array_view *shape;	    /* TENSOR: owned; checked against the claimed storage; `data` NULL */
};

/* All values, freed together. */
struct pickle_machine {
	const char *what; /* names the source in errors */
	const unsigned char *bytes;
	size_t size, at;
	struct pickle_value **values;
	size_t count, capacity;
	struct pickle_value **stack;
	size_t depth, stack_capacity;
	struct pickle_value **memo;
	size_t memo_size;
};

/* Runs to the STOP opcode; *root is the one value left. `bytes` must outlive it. */
enum status WARN_UNUSED pickle_run(struct pickle_machine *machine, const struct pickle_value **root, const char *what,
				   const unsigned char *bytes, size_t size, struct error *error);
void pickle_machine_done(struct pickle_machine *machine);

#endif
