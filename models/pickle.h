/* Dictionaries of tensors saved by torch.save: a zip archive with a pickle in it.
 *
 * The pickle is interpreted, never executed: only the opcodes that torch writes for
 * dicts, lists, tuples, strings and numbers, and only the handful of global names
 * that rebuild tensors (table in pickle.c). Anything else is refused by name. Every
 * tensor is checked against the storage that it claims to be in.
 */
#ifndef REBOUND_PICKLE_H
#define REBOUND_PICKLE_H

#include "models/array_view.h"

struct torch_file;

enum torch_kind {
	TORCH_TENSOR,
	TORCH_INT,
	TORCH_FLOAT,
	TORCH_BOOL,
	TORCH_STRING,
};

/* One leaf of the dictionary. Nested dictionaries are flattened with dots
 * ("activation_state_dict.k"); None, lists and tuples are left out. */
struct torch_entry {
	char *name;
	enum torch_kind kind;
	double number;		 /* INT, FLOAT, BOOL (0 or 1); an integer beyond 2^53 is rounded */
	char *text;		 /* STRING, NUL-terminated (cut at a NUL), otherwise NULL */
	struct array_view shape; /* TENSOR; `data` is NULL */
};

/* Reads the pickle, not the numbers. The top level must be a dictionary. */
enum status WARN_UNUSED torch_file_open(struct torch_file **out, const char *path, struct error *error);
void torch_file_close(struct torch_file **file);

size_t torch_file_count(const struct torch_file *file);
/* In the order of the pickle; borrowed. */
const struct torch_entry *torch_file_at(const struct torch_file *file, size_t i);
/* A tensor's numbers, with its strides, after the checksum of its storage: borrowed
 * until closing. Entry i must be a tensor. Not safe from two threads. */
enum status WARN_UNUSED torch_file_load(struct torch_file *file, size_t i, struct array_view *view,
					struct error *error);

#endif
