/* What the kernels of op_linear share: bindings, the norm before and the steps after the
 * product (see struct op_linear in compute/ops.h). */
#include "push_linear.h"
#include "weights.glsl"

layout(constant_id = 1) const uint DTYPE = 0;	 /* of w, enum dtype */
layout(constant_id = 2) const uint NORM = 0;	 /* enum op_norm, if the kernel does it */
layout(constant_id = 3) const uint ACT = 0;	 /* enum op_act */
layout(constant_id = 4) const uint BACK_ACT = 0; /* enum op_act */
layout(constant_id = 5) const uint STEPS = 0;	 /* the bits below */
layout(constant_id = 6) const uint TILE = 1;	 /* rows a lane computes at once */

#define STEP_BIAS     1u
#define STEP_PRE      2u
#define STEP_BACK     4u
#define STEP_RESIDUAL 8u
#define STEP_NORM_B   16u
#define STEP_CACHE    64u /* the last columns are keys and values */
#define STEP_PARTIAL  32u /* y is the tensor of partial sums, nothing else is done */

#include "activations.glsl"

layout(push_constant) uniform Push { push_linear p; };

layout(binding = 0) buffer Y { float y[]; };
layout(binding = 3) readonly buffer Bias { float bias[]; };
layout(binding = 4) writeonly buffer Pre { float pre[]; };
layout(binding = 5) readonly buffer BackPre { float back_pre[]; };
layout(binding = 6) readonly buffer Residual { float residual[]; };
layout(binding = 9) writeonly buffer KCache { float k_cache[]; };
layout(binding = 10) writeonly buffer VCache { float v_cache[]; };
layout(binding = 11) readonly buffer Rows { uvec2 rows[]; };
/* Everything after the product, for output [r, n]. */
void finish(uint r, uint n, float v)
{
	uint at = r * p.n + n;
	if ((STEPS & STEP_BIAS) != 0)
		v += bias[p.bias_shift + n];
	if ((STEPS & STEP_PRE) != 0)
		pre[at] = v;
	v = activate(ACT, v);
	if ((STEPS & STEP_BACK) != 0)
		v *= activate_slope(BACK_ACT, back_pre[(p.row_first + r) % p.back_rows * p.n + n]);
	if ((STEPS & STEP_RESIDUAL) != 0)
		v += residual[at];
	if ((STEPS & STEP_CACHE) != 0) {
		uint width = p.n - 2 * p.cache_width;
		if (n < width) {
			y[r * width + n] = v;
			return;
		}
		uint column = (n - width) % p.cache_width;
		uint to = (rows[r].x * p.context + rows[r].y) * p.cache_width + column;
		if (n - width < p.cache_width)
			k_cache[to] = v;
		else
			v_cache[to] = v;
		return;
	}
	y[at] = v;
}

/* A finished or a partial sum. */
void leave(uint r, uint n, float v, uint part)
{
	if ((STEPS & STEP_PARTIAL) != 0)
		y[(part * p.rows + r) * p.n + n] = v;
	else
		finish(r, n, v);
}
