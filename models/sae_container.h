/* Named tensors and values, whatever file they are in: safetensors, npz, torch.
 * Internal to the SAE readers.
 */
#ifndef REBOUND_SAE_CONTAINER_H
#define REBOUND_SAE_CONTAINER_H

#include "models/array_view.h"

enum container_kind {
	CONTAINER_SAFETENSORS,
	CONTAINER_NPZ,
	CONTAINER_TORCH,
};

struct container_entry {
	const char *name;
	bool is_tensor;
	struct array_view shape; /* tensors; `data` is NULL */
	double number;		 /* other values */
	const char *text;	 /* strings, otherwise NULL */
	size_t index;		 /* in the file */
};

struct container;

/* By the ending of the name (.safetensors, .npz, .pt, .pth, .bin). Headers only. */
enum status WARN_UNUSED container_open(struct container **out, const char *path, struct error *error);
void container_close(struct container **container);

const char *container_path(const struct container *container);
enum container_kind container_kind(const struct container *container);
size_t container_count(const struct container *container);
const struct container_entry *container_at(const struct container *container, size_t i);
/* NULL if there is none; an exact match is preferred to one of other case. */
const struct container_entry *container_find(const struct container *container, const char *name);
/* A view of the numbers that lives until closing. */
enum status WARN_UNUSED container_load(struct container *container, const struct container_entry *entry,
				       struct array_view *view, struct error *error);

#endif
