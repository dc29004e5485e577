/* out [R, K] = norm(x), what op_linear multiplies where its kernel does not normalise by
 * itself. A workgroup takes a row; two passes, so that a large mean costs no digits of
 * the variance. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define WG 64
#include "each.glsl"
#include "push_linear.h"
#include "norms.glsl"

layout(local_size_x = WG) in;

layout(constant_id = 0) const uint NORM = NORM_LAYER;
layout(constant_id = 1) const uint HAS_B = 0;

layout(push_constant) uniform Push { push_linear_norm p; };
layout(binding = 0) writeonly buffer Out { float result[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer NormW { float norm_w[]; };
layout(binding = 3) readonly buffer NormB { float norm_b[]; };

shared float sums[64];

float total(float v)
{
	uint lane = gl_LocalInvocationID.x;
	barrier();
	sums[lane] = v;
	barrier();
	for (uint step = 32; step > 0; step >>= 1) {
		if (lane < step)
			sums[lane] += sums[lane + step];
		barrier();
	}
	return sums[0];
}

void main()
{
	for (uint r = gl_WorkGroupID.x; r < p.rows; r += gl_NumWorkGroups.x) {
		float mean = 0.0;
		if (NORM == NORM_LAYER) {
			float v = 0.0;
			FOR_EACH(k, 0, p.k)
				v += x[r * p.k + k];
			END_EACH
			mean = total(v) / float(p.k);
		}
		float v = 0.0;
		FOR_EACH(k, 0, p.k)
			float d = x[r * p.k + k] - mean;
			v += d * d;
		END_EACH
		float scale = inversesqrt(total(v) / float(p.k) + p.eps);
		FOR_EACH(k, 0, p.k)
			float w = norm_w[p.w_shift + k];
			if (NORM == NORM_RMS_PLUS)
				w += 1.0;
			float y = (x[r * p.k + k] - mean) * scale * w;
			result[r * p.k + k] = HAS_B != 0 ? y + norm_b[p.b_shift + k] : y;
		END_EACH
	}
}
