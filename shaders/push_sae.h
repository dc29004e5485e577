#ifndef REBOUND_PUSH_SAE_H
#define REBOUND_PUSH_SAE_H
#include "push.h"

/* Elements of [rows, n] features; a gradient has G times the rows of what it belongs to. */
struct push_sae {
	uint count;	  /* elements of the result */
	uint block;	  /* of them a workgroup */
	uint n;		  /* features of a row */
	uint rows;	  /* R, forward rows */
	uint threshold_shift; /* elements before threshold[0] in its binding */
	uint features;	  /* op_clamp_full: F, the width of z_full */
};
PUSH_ASSERT(push_sae)

#endif
