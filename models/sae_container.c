#include "models/sae_container.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "compute/base/mem.h"
#include "models/npz.h"
#include "models/pickle.h"
#include "models/safetensors.h"

struct container {
	char *path;
	enum container_kind kind;
	struct safetensors *safetensors;
	struct npz *npz;
	struct torch_file *torch;
	size_t count;
	struct container_entry *entries;
};

static const struct {
	const char *ending;
	enum container_kind kind;
} endings[] = {
	{".safetensors", CONTAINER_SAFETENSORS},
	{".npz", CONTAINER_NPZ},
	{".pt", CONTAINER_TORCH},
	{".pth", CONTAINER_TORCH},
	{".bin", CONTAINER_TORCH},
};

static enum status find_kind(enum container_kind *kind, const char *path, struct error *error)
{
	size_t n = strlen(path);
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		size_t m = strlen(endings[i].ending);
		if (n > m && strcasecmp(path + n - m, endings[i].ending) == 0) {
			*kind = endings[i].kind;
			return STATUS_OK;
		}
	}
	return error_set(error, STATUS_INVALID,
			 "'%s' is of no kind that holds an SAE: .safetensors, .npz, .pt, .pth or .bin was expected",
			 path);
}

static enum status open_safetensors(struct container *c, struct error *error)
{
	enum status status = safetensors_open(&c->safetensors, c->path, error);
	if (status)
		return status;
	c->count = safetensors_count(c->safetensors);
	c->entries = mem_alloc(c->count, sizeof *c->entries);
	for (size_t i = 0; i < c->count; i++) {
		const struct st_tensor *tensor = safetensors_at(c->safetensors, i);
		c->entries[i] = (struct container_entry){
			.name = tensor->name, .is_tensor = true, .shape = st_tensor_view(tensor), .index = i};
	}
	return STATUS_OK;
}

static enum status open_npz(struct container *c, struct error *error)
{
	enum status status = npz_open(&c->npz, c->path, error);
	if (status)
		return status;
	c->count = npz_count(c->npz);
	c->entries = mem_alloc(c->count, sizeof *c->entries);
	for (size_t i = 0; i < c->count; i++)
		c->entries[i] = (struct container_entry){
			.name = npz_name(c->npz, i), .is_tensor = true, .shape = *npz_shape(c->npz, i), .index = i};
	return STATUS_OK;
}

static enum status open_torch(struct container *c, struct error *error)
{
	enum status status = torch_file_open(&c->torch, c->path, error);
	if (status)
		return status;
	c->count = torch_file_count(c->torch);
	c->entries = mem_alloc(c->count, sizeof *c->entries);
	for (size_t i = 0; i < c->count; i++) {
		const struct torch_entry *entry = torch_file_at(c->torch, i);
		c->entries[i] = (struct container_entry){.name = entry->name,
							 .is_tensor = entry->kind == TORCH_TENSOR,
							 .shape = entry->shape,
							 .number = entry->number,
							 .text = entry->text,
							 .index = i};
	}
	return STATUS_OK;
}

enum status container_open(struct container **out, const char *path, struct error *error)
{
	struct container *c = mem_alloc(1, sizeof *c);
	c->path = mem_strdup(path);
	enum status status = find_kind(&c->kind, path, error);
	if (status == STATUS_OK) {
		switch (c->kind) {
		case CONTAINER_SAFETENSORS:
			status = open_safetensors(c, error);
			break;
		case CONTAINER_NPZ:
			status = open_npz(c, error);
			break;
		case CONTAINER_TORCH:
			status = open_torch(c, error);
			break;
		}
	}
	if (status)
		container_close(&c);
	*out = c;
	return status;
}

void container_close(struct container **pointer)
{
	struct container *c = *pointer;
	*pointer = NULL;
	if (!c)
		return;
	safetensors_close(&c->safetensors);
	npz_close(&c->npz);
	torch_file_close(&c->torch);
	free(c->entries);
	free(c->path);
	free(c);
}

const char *container_path(const struct container *c)
{
	return c->path;
}

enum container_kind container_kind(const struct container *c)
{
	return c->kind;
}

size_t container_count(const struct container *c)
{
	return c->count;
}

const struct container_entry *container_at(const struct container *c, size_t i)
{
	return &c->entries[i];
}

const struct container_entry *container_find(const struct container *c, const char *name)
{
	const struct container_entry *other_case = NULL;
	for (size_t i = 0; i < c->count; i++) {
		if (strcmp(c->entries[i].name, name) == 0)
			return &c->entries[i];
		if (strcasecmp(c->entries[i].name, name) == 0)
			other_case = &c->entries[i];
	}
	return other_case;
}

enum status container_load(struct container *c, const struct container_entry *entry, struct array_view *view,
			   struct error *error)
{
	switch (c->kind) {
	case CONTAINER_SAFETENSORS:
		*view = st_tensor_view(safetensors_at(c->safetensors, entry->index));
		return STATUS_OK;
	case CONTAINER_NPZ:
		return npz_load(c->npz, entry->index, view, error);
	case CONTAINER_TORCH:
		return torch_file_load(c->torch, entry->index, view, error);
	}
	fatal("container_load: kind %d", (int)c->kind);
}
