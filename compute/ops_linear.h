/* How op_linear does its work, for tests and the bench: which kernels there are, and a
 * way to ask for one on a device that would choose another. */
#ifndef REBOUND_OPS_LINEAR_H
#define REBOUND_OPS_LINEAR_H

#include "compute/ops.h"

enum linear_kernel {
	LINEAR_AUTO,	/* what op_linear takes for the device and the shapes */
	LINEAR_PLAIN,	/* a column a lane, storage buffers: any device and shape */
	LINEAR_DOTS,	/* a row of w a workgroup (OUT_IN on GPUs) */
	LINEAR_ROWS,	/* a row of w a lane, texel buffers (OUT_IN on CPU devices) */
	LINEAR_LINES,	/* the same for few rows of x: the lanes side by side in a row of w */
	LINEAR_COLUMNS, /* columns of w a lane, texel buffers (IN_OUT on CPU devices) */
	LINEAR_SLABS,	/* the same for few rows, strips of w */
	LINEAR_KERNELS,
};
const char *linear_kernel_name(enum linear_kernel kernel);

struct linear_choice {
	enum linear_kernel kernel;
	uint64_t max_binding; /* bytes; 0: the device's limit */
	int k_parts;	      /* LINEAR_PLAIN: into which the inner dimension is cut; 0: chosen */
	int w_rows;	      /* LINEAR_ROWS: rows of w a lane, 1, 2 or 4; 0: chosen */
	bool norm_apart;      /* never in the kernel itself */
};
/* False if this kernel can't do these shapes, types or alignments on this device. */
bool linear_kernel_fits(enum linear_kernel kernel, const struct device_info *info, struct tensor y, struct tensor x,
			struct tensor w, enum op_layout layout);
/* op_linear with a choice, which must fit. */
void op_linear_chosen(struct recorder *rec, struct tensor y, struct tensor x, struct tensor w, enum op_layout layout,
		      const struct op_linear *extra, const struct linear_choice *choice);

#endif
