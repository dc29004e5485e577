#version 450
// dz = dmove (slope of the clamp - 1) on rows that are on, else 0; dz, dmove [G*R, n], z
// [R, n]. each(i) covers one feature of a gradient row. dz may be dmove.
#include "sae.glsl"
layout(binding = 0) buffer DZ { float dz[]; };
INPUT(1, dmove);
INPUT(2, z);
layout(binding = 3) readonly buffer Modes { uint modes[]; };
INPUT(4, values);
layout(binding = 5) readonly buffer On { uint on[]; };

void each(uint i)
{
	const uint f = i % p.n;
	const float slope = clamped_slope(modes[f], LOAD(values, f), LOAD(z, i % (p.rows * p.n)));
	dz[i] = on[i / p.n % p.rows] != 0 ? LOAD(dmove, i) * (slope - 1.0) : 0.0;
}

EACH_ELEMENT
