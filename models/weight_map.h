/* Where each weight of a model stands in its files.
 *
 * Built from the config and the headers of the weight files: every weight that the
 * config implies must be there with the shape and a dtype that fit; what else is in
 * the files is listed, not refused (buffers and vision towers that the families are
 * known to carry are not even listed).
 */
#ifndef REBOUND_WEIGHT_MAP_H
#define REBOUND_WEIGHT_MAP_H

#include "models/arch.h"
#include "models/safetensors.h"

struct weight_map {
	struct arch_layout layout;
	struct weight_place model[WEIGHT_COUNT];    /* the roles of the whole model */
	struct weight_place (*layer)[WEIGHT_COUNT]; /* [layers]: the roles of a block */
	int layers;
	int64_t parameters; /* numbers in all of these weights */
	int64_t bytes;	    /* what they take in the files */
	char **extra;	    /* names of tensors that are in the files but not used; printable */
	size_t n_extra;
	bool redundant_unembed; /* an output matrix is in the file though the model is tied */
	/* private */
	enum arch_family family;
	char prefix[32];
};

/* arch->tied becomes true where an untied model's file has no output matrix, and,
 * with `look_at_data`, false where a tied model's file has one that differs from the
 * embedding (as transformers 5 decides). Nothing else reads tensor data; without
 * `look_at_data` only headers are touched. On failure *map needs no done. */
enum status WARN_UNUSED weight_map_build(struct weight_map *map, struct arch *arch, const struct weight_files *files,
					 bool look_at_data, struct error *error);
void weight_map_done(struct weight_map *map);

/* The place of a role; `layer` is -1 for those of the whole model. */
const struct weight_place *weight_map_place(const struct weight_map *map, int layer, enum weight_role role);
/* The first byte of a weight that exists; any alignment. */
const unsigned char *weight_map_data(const struct weight_files *files, const struct weight_place *place);

/* The name that a weight has, or would have, in the file; "" for a role that the
 * family lacks. `out` needs no more than 128 bytes. */
void weight_map_name(const struct weight_map *map, int layer, enum weight_role role, char *out, size_t size);

/* The same from the pieces, for what writes model files. */
void weight_role_name(enum arch_family family, const char *prefix, int layer, enum weight_role role, char *out,
		      size_t size);
bool weight_role_is_layer(enum weight_role role);
struct arch_layout arch_layout_of(enum arch_family family);
/* Shape of a weight as the file holds it: *rank is 1 (cols) or 2 (rows, cols). False
 * if the config implies no such weight. */
bool weight_role_shape(const struct arch *arch, enum weight_role role, int *rank, int64_t *rows, int64_t *cols);

#endif
