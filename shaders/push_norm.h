#ifndef REBOUND_SHADERS_PUSH_NORM_H
#define REBOUND_SHADERS_PUSH_NORM_H
#include "push.h"

struct push_norm {
	uint rows;	   // of y, resp. of the gradient (G*R)
	uint forward_rows; // R
	uint d;
	float eps;
	uint has_bias;	   // forward: b; backward: the residual
	uint w_shift, b_shift; // elements before w[0] and b[0] in their bindings
};
PUSH_ASSERT(push_norm)

#endif
