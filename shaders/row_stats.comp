/* stats [R, 2] of x [R, K]: mean and 1 / sqrt(var + eps) (layer norm), or 0 and
 * 1 / sqrt(mean x^2 + eps). A workgroup takes a row; two passes, so that a large mean
 * costs no digits of the variance. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "push_linear.h"

layout(local_size_x = 64) in;

layout(constant_id = 0) const uint LAYER = 0; /* 1: subtract the mean */

layout(push_constant) uniform Push { push_row_stats p; };
layout(binding = 0) writeonly buffer Stats { float stats[]; };
layout(binding = 1) readonly buffer X { float x[]; };

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
	uint lane = gl_LocalInvocationID.x;
	for (uint r = gl_WorkGroupID.x; r < p.rows; r += gl_NumWorkGroups.x) {
		float mean = 0.0;
		if (LAYER != 0) {
			float v = 0.0;
			for (uint k = lane; k < p.k; k += 64)
				v += x[r * p.k + k];
			mean = total(v) / float(p.k);
		}
		float v = 0.0;
		for (uint k = lane; k < p.k; k += 64) {
			float d = x[r * p.k + k] - mean;
			v += d * d;
		}
		float scale = inversesqrt(total(v) / float(p.k) + p.eps);
		if (lane == 0) {
			stats[2 * r] = mean;
			stats[2 * r + 1] = scale;
		}
	}
}
