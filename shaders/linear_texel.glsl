/* What the kernels for CPU devices share. There a workgroup is one subgroup of SUBGROUP
 * lanes (vector code of one thread), loads from images are the fast ones, for llvmpipe
 * compiles them in line (a fetch from a sampler is a call), and a shuffle by a uniform index
 * is one instruction; see the measurements in compute/ops_linear.c. x and the norm's weights
 * are read as texels of 4 floats (K is a multiple of 4), w as texels of PER_TEXEL elements.
 * w may start SHIFT elements behind a texel's start. */
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_control_flow_attributes : require
#include "linear.glsl"
#include "norms.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint SUBGROUP = 8;
layout(constant_id = 7) const uint SHIFT = 0;

#ifndef X_FORMAT
#define X_FORMAT rgba32f
#endif
layout(binding = 1, X_FORMAT) uniform readonly imageBuffer x;
#include "weights_texel.glsl"
layout(binding = 7, rgba32f) uniform readonly imageBuffer norm_w;
layout(binding = 8, rgba32f) uniform readonly imageBuffer norm_b;

#define lane gl_SubgroupInvocationID

/* Mean and 1 / deviation of the row measured last; kernels with a norm and a product have
 * only one row. */
float norm_mean = 0.0, norm_scale = 1.0;

float subgroup_total(float v)
{
	float sum = 0.0;
	UNROLL for (uint i = 0; i < SUBGROUP; i++)
		sum += subgroupShuffle(v, i);
	return sum;
}

void measure_row(uint r)
{
	if (NORM == NORM_NONE)
		return;
	uint quads = p.k / 4;
	if (NORM == NORM_LAYER) {
		vec4 sum = vec4(0.0);
		for (uint q = lane; q < quads; q += SUBGROUP)
			sum += imageLoad(x, int(r * quads + q));
		norm_mean = subgroup_total(sum.x + sum.y + sum.z + sum.w) / float(p.k);
	}
	vec4 sum = vec4(0.0);
	for (uint q = lane; q < quads; q += SUBGROUP) {
		vec4 d = imageLoad(x, int(r * quads + q)) - norm_mean;
		sum += d * d;
	}
	norm_scale = inversesqrt(subgroup_total(sum.x + sum.y + sum.z + sum.w) / float(p.k) + p.norm_eps);
}

/* Elements 4q to 4q+3 of row r of x, normalised; 0 outside. */
vec4 fetch_x(uint r, uint q)
{
	uint quads = p.k / 4;
	uint inside = min(q, quads - 1); /* q may also have wrapped below 0 */
	vec4 v = imageLoad(x, int(r * quads + inside));
	if (NORM != NORM_NONE) {
		vec4 weights = imageLoad(norm_w, int(inside));
		if (NORM == NORM_RMS_PLUS)
			weights += 1.0;
		v = (v - norm_mean) * norm_scale * weights;
		if ((STEPS & STEP_NORM_B) != 0)
			v += imageLoad(norm_b, int(inside));
	}
	return q < quads ? v : vec4(0.0);
}

/* For OUT_IN. */

/* The quads of x that meet texel c + lane of a row of w. */
void fetch_chunk(out vec4 quads[QUADS], uint r, uint c)
{
	uint element = (c + lane) * PER_TEXEL - SHIFT; /* wraps below 0 for the first texel */
	if (SHIFT % 4 == 0) {
		UNROLL for (uint i = 0; i < QUADS; i++)
			quads[i] = fetch_x(r, uint(int(element) >> 2) + i);
		return;
	}
	uint q = uint(int(element) >> 2);
	vec4 low = fetch_x(r, q);
	UNROLL for (uint i = 0; i < QUADS; i++) {
		vec4 high = fetch_x(r, q + i + 1);
		switch (SHIFT % 4) {
		case 1: quads[i] = vec4(low.w, high.xyz); break;
		case 2: quads[i] = vec4(low.zw, high.xy); break;
		default: quads[i] = vec4(low.yzw, high.x); break;
		}
		low = high;
	}
}

float dot_ordered(vec4 a, vec4 b, float sum)
{
	sum += a.x * b.x;
	sum += a.y * b.y;
	sum += a.z * b.z;
	sum += a.w * b.w;
	return sum;
}
