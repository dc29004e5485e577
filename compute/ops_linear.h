/* How op_linear does its work, for tests and the bench: which kernels there are, and a
 * way to ask for one on a device that would choose another. */
#ifndef REBOUND_OPS_LINEAR_H
#define REBOUND_OPS_LINEAR_H

#include "compute/ops.h"

enum linear_kernel {
	LINEAR_AUTO,  /* what op_linear takes for the device and the shapes */
	LINEAR_PLAIN, /* a column a lane, storage buffers: any device and shape */
	LINEAR_KERNELS,
};
const char *linear_kernel_name(enum linear_kernel kernel);

struct linear_choice {
	enum linear_kernel kernel;
	uint64_t max_binding; /* bytes; 0: the device's limit */
	int k_parts;	      /* into which a dispatch cuts the inner dimension; 0: chosen */
};
/* False if this kernel can't do these shapes, types or alignments on this device. */
bool linear_kernel_fits(enum linear_kernel kernel, const struct device_info *info, struct tensor y, struct tensor x,
			struct tensor w, enum op_layout layout);
/* op_linear with a choice, which must fit. */
void op_linear_chosen(struct recorder *rec, struct tensor y, struct tensor x, struct tensor w, enum op_layout layout,
		      const struct op_linear *extra, const struct linear_choice *choice);

#endif
