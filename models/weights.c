#include "models/weights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compute/base/mem.h"
#include "models/array_view.h"

/* One tensor on the device and the weights it is made of, row block by row block. */
struct load {
	struct tensor *out;
	const struct weight_place *parts[3];
	int count;
	enum dtype dtype;
	int64_t rows, cols;
};

struct loads {
	struct load *items;
	size_t count, capacity;
};

static bool is_matrix(enum weight_role role)
{
	switch (role) {
	case WEIGHT_WTE:
	case WEIGHT_WPE:
	case WEIGHT_UNEMBED:
	case WEIGHT_Q:
	case WEIGHT_K:
	case WEIGHT_V:
	case WEIGHT_O:
	case WEIGHT_GATE:
	case WEIGHT_UP:
	case WEIGHT_DOWN:
		return true;
	default:
		return false;
	}
}

/* Roles that are put behind another one: k and v behind q, up behind gate. */
static enum weight_role leader_of(enum weight_role role, const struct arch *arch)
{
	switch (role) {
	case WEIGHT_K:
	case WEIGHT_V:
		return WEIGHT_Q;
	case WEIGHT_K_BIAS:
	case WEIGHT_V_BIAS:
		return WEIGHT_Q_BIAS;
	case WEIGHT_UP:
		return arch->gated ? WEIGHT_GATE : role;
	case WEIGHT_UP_BIAS:
		return arch->gated ? WEIGHT_GATE_BIAS : role;
	default:
		return role;
	}
}

/* Plans the tensors of one block (or of the whole model). */
static void plan(struct loads *loads, struct tensor *tensors, const struct weight_place *places,
		 const struct arch *arch)
{
	struct load *by_role[WEIGHT_COUNT] = {0};
	mem_reserve((void **)&loads->items, &loads->capacity, loads->count + WEIGHT_COUNT, sizeof *loads->items);
	for (int role = 0; role < WEIGHT_COUNT; role++) {
		const struct weight_place *place = &places[role];
		if (place->file < 0)
			continue;
		enum weight_role leader = leader_of((enum weight_role)role, arch);
		bool matrix = is_matrix((enum weight_role)role);
		struct load *load = by_role[leader];
		if (!load) {
			load = by_role[leader] = &loads->items[loads->count++];
			*load = (struct load){.out = &tensors[leader],
					      .dtype = matrix ? (enum dtype)place->dtype : DTYPE_F32,
					      .rows = matrix ? 0 : 1,
					      .cols = matrix ? place->cols : 0};
		}
		if (matrix)
			load->rows += place->rows;
		else
			load->cols += place->cols;
		/* Parts of different dtypes meet in float32. */
		if (matrix && (enum dtype)place->dtype != load->dtype)
			load->dtype = DTYPE_F32;
		load->parts[load->count++] = place;
	}
}

static bool can_import(const struct load *load, bool imports)
{
	return imports && load->count == 1 && load->dtype == (enum dtype)load->parts[0]->dtype && load->rows > 1;
}

static bool device_imports(const struct device *device)
{
	const struct device_info *info = device_get_info(device);
	/* Over a bus, reading the host's memory at every step would be slower than a copy. */
	return info->host_import && (info->type == DEVICE_TYPE_CPU || info->type == DEVICE_TYPE_INTEGRATED);
}

static void plan_all(struct loads *loads, struct tensor *model, struct tensor (*layer)[WEIGHT_COUNT],
		     const struct arch *arch, const struct weight_map *map)
{
	struct weight_place places[WEIGHT_COUNT];
	memcpy(places, map->model, sizeof places);
	if (arch->tied)
		places[WEIGHT_UNEMBED].file = -1;
	/* plan() keeps pointers to places: those of the map, not of the copy. */
	size_t first = loads->count;
	plan(loads, model, places, arch);
	for (size_t i = first; i < loads->count; i++)
		for (int part = 0; part < loads->items[i].count; part++)
			loads->items[i].parts[part] = &map->model[loads->items[i].parts[part] - places];
	for (int l = 0; l < arch->layers; l++)
		plan(loads, layer[l], map->layer[l], arch);
}

uint64_t weights_estimate(const struct arch *arch, const struct weight_map *map, bool imports)
{
	struct tensor model[WEIGHT_COUNT];
	struct tensor(*layer)[WEIGHT_COUNT] = mem_alloc((size_t)arch->layers, sizeof *layer);
	struct loads loads = {0};
	plan_all(&loads, model, layer, arch, map);
	uint64_t bytes = 0;
	for (size_t i = 0; i < loads.count; i++) {
		const struct load *load = &loads.items[i];
		if (!can_import(load, imports))
			bytes += (uint64_t)load->rows * (uint64_t)load->cols * dtype_size(load->dtype);
	}
	free(loads.items);
	free(layer);
	return bytes;
}

/* STATUS_NOTHING where this weight can't be used in place. */
static enum status import_weight(struct weights *weights, const struct load *load, const struct weight_files *files,
				 struct error *error)
{
	const unsigned char *data = weight_map_data(files, load->parts[0]);
	uint64_t alignment = device_get_info(weights->device)->host_alignment;
	uint64_t shift = alignment ? (uintptr_t)data % alignment : 1;
	if (shift % 4)
		return STATUS_NOTHING;
	uint64_t bytes = (uint64_t)load->rows * (uint64_t)load->cols * dtype_size(load->dtype);
	struct buffer *buffer;
	enum status status = buffer_import(&buffer, weights->device, data - shift, bytes + shift, "weights", error);
	if (status)
		return status;
	mem_reserve((void **)&weights->imported, &weights->imported_capacity, weights->imported_count + 1,
		    sizeof *weights->imported);
	weights->imported[weights->imported_count++] = buffer;
	*load->out = (struct tensor){buffer, shift, load->rows, load->cols, load->dtype};
	weights->bytes_imported += bytes;
	return STATUS_OK;
}

/* Gives file pages back to the system once they are on the device, so that a large
 * model is not in host memory twice. */
static void drop_pages(const unsigned char *data, size_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = ((uintptr_t)data + page - 1) / page * page;
	uintptr_t end = ((uintptr_t)data + bytes) / page * page;
	if (begin < end)
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static enum status copy_weight(struct weights *weights, const struct load *load, const struct weight_files *files,
			       const struct progress *progress, uint64_t total, struct error *error)
{
	enum { CHUNK = 1 << 20 }; /* elements */
	float *wide = load->dtype == DTYPE_F32 ? mem_alloc(CHUNK, sizeof *wide) : NULL;
	enum status status = STATUS_OK;
	uint64_t at = load->out->offset;
	for (int part = 0; part < load->count && status == STATUS_OK; part++) {
		const struct weight_place *place = load->parts[part];
		const unsigned char *data = weight_map_data(files, place);
		size_t from_size = dtype_size((enum dtype)place->dtype);
		size_t left = (size_t)(place->rows * place->cols);
		while (left > 0 && status == STATUS_OK) {
			size_t n = left < CHUNK ? left : CHUNK;
			const void *bytes = data;
			if (wide && place->dtype != DTYPE_F32) {
				struct array_view view = {
					.data = data,
					.dtype = place->dtype == DTYPE_BF16 ? ST_BF16 : ST_F16,
					.rank = 1,
					.shape = {(int64_t)n},
					.stride = {1},
				};
				array_view_read_float(&view, wide);
				bytes = wide;
			}
			size_t to_bytes = n * dtype_size(load->dtype);
			status = buffer_write(load->out->buffer, at, bytes, to_bytes, error);
			drop_pages(data, n * from_size);
			at += to_bytes;
			data += n * from_size;
			left -= n;
			weights->bytes_copied += to_bytes;
			if (status == STATUS_OK &&
			    !progress_report(progress, "loading weights", weights->bytes_copied, total))
				status = error_set(error, STATUS_CANCELLED, "loading the weights was cancelled");
		}
	}
	free(wide);
	return status;
}

/* The inverse frequencies as float32, as transformers has them. */
static enum status write_rope(struct tensor t, const double *inverse, struct error *error)
{
	assert(inverse); /* the tensor was made because the description has frequencies */
	float *values = mem_alloc((size_t)t.cols, sizeof *values);
	for (int64_t i = 0; i < t.cols; i++)
		values[i] = (float)inverse[i];
	enum status status = tensor_write(t, values, error);
	free(values);
	return status;
}

enum status weights_load(struct weights *weights, struct device *device, const struct arch *arch,
			 const struct weight_files *files, const struct weight_map *map,
			 const struct progress *progress, struct error *error)
{
	*weights = (struct weights){.device = device};
	weights->layer = mem_alloc((size_t)arch->layers, sizeof *weights->layer);
	weights->arena = arena_create(device, BUFFER_DEVICE, "weights");
	struct loads loads = {0};
	plan_all(&loads, weights->model, weights->layer, arch, map);
	bool imports = device_imports(device);
	uint64_t total = 0;
	enum status status = STATUS_OK;
	for (size_t i = 0; i < loads.count && status == STATUS_OK; i++) {
		struct load *load = &loads.items[i];
		status = can_import(load, imports) ? import_weight(weights, load, files, error) : STATUS_NOTHING;
		if (status == STATUS_NOTHING) {
			status = STATUS_OK;
			arena_add(weights->arena, load->out, load->dtype, load->rows, load->cols);
			total += tensor_bytes(*load->out);
		}
	}
	for (int r = 0; r < arch->n_ropes && status == STATUS_OK; r++) {
		if (arch->ropes[r].dims == 0)
			continue;
		arena_add(weights->arena, &weights->rope[r], DTYPE_F32, 1, arch->ropes[r].dims / 2);
		if (arch->ropes[r].inverse_long)
			arena_add(weights->arena, &weights->rope_long[r], DTYPE_F32, 1, arch->ropes[r].dims / 2);
	}
	if (status == STATUS_OK)
		status = arena_allocate(weights->arena, error);
	for (size_t i = 0; i < loads.count && status == STATUS_OK; i++) {
		bool imported = false;
		for (size_t b = 0; b < weights->imported_count && !imported; b++)
			imported = loads.items[i].out->buffer == weights->imported[b];
		if (!imported)
			status = copy_weight(weights, &loads.items[i], files, progress, total, error);
	}
	for (int r = 0; r < arch->n_ropes && status == STATUS_OK; r++) {
		if (tensor_exists(weights->rope[r]))
			status = write_rope(weights->rope[r], arch->ropes[r].inverse, error);
		if (status == STATUS_OK && tensor_exists(weights->rope_long[r]))
			status = write_rope(weights->rope_long[r], arch->ropes[r].inverse_long, error);
	}
	if (arch->tied)
		weights->model[WEIGHT_UNEMBED] = weights->model[WEIGHT_WTE];
	free(loads.items);
	if (status)
		weights_done(weights);
	return status;
}

void weights_done(struct weights *weights)
{
	for (size_t i = 0; i < weights->imported_count; i++)
		buffer_destroy(&weights->imported[i]);
	free(weights->imported);
	arena_destroy(&weights->arena);
	free(weights->layer);
	*weights = (struct weights){0};
}
