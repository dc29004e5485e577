/* The weights of a model on the device.
 *
 * Matrices keep the dtype they have in the file. Where the device works in host
 * memory they are imported from the mapped file without a copy, otherwise uploaded
 * once. Separate q, k, v (and gate, up) matrices are put together, so that every
 * family has one product for them. Vectors become float32.
 */
#ifndef REBOUND_WEIGHTS_H
#define REBOUND_WEIGHTS_H

#include "compute/base/progress.h"
#include "compute/device.h"
#include "compute/tensor.h"
#include "models/arch.h"
#include "models/safetensors.h"
#include "models/weight_map.h"

struct weights {
	struct device *device;
	struct tensor model[WEIGHT_COUNT];    /* WEIGHT_UNEMBED is WEIGHT_WTE where tied */
	struct tensor (*layer)[WEIGHT_COUNT]; /* [layers]; WEIGHT_Q holds q|k|v, WEIGHT_GATE gate|up */
	struct tensor rope[2];		      /* [1, dims/2] inverse frequencies of arch.ropes */
	struct tensor rope_long[2];
	uint64_t bytes_imported, bytes_copied;
	/* private */
	struct arena *arena;
	struct buffer **imported;
	size_t imported_count, imported_capacity;
};

/* Bytes of device memory that weights_load will allocate (imports not counted) for
 * a device that imports or one that doesn't. */
uint64_t weights_estimate(const struct arch *arch, const struct weight_map *map, bool imports);

/* `files` must stay open as long as the weights live. Blocks on disk and device. */
enum status WARN_UNUSED weights_load(struct weights *weights, struct device *device, const struct arch *arch,
				     const struct weight_files *files, const struct weight_map *map,
				     const struct progress *progress, struct error *error);
void weights_done(struct weights *weights);

#endif
