#version 450
// dz = dmove (slope of the clamp - 1) on rows that are on, else 0, times the scale of the
// row's reconstruction if it has one; dz, dmove [G*R, n], z [R, n], stats [R, 4]. each(i)
// covers one feature of a gradient row. dz may be dmove.
layout(constant_id = 0) const uint SCALED = 0;
#include "sae.glsl"
layout(binding = 0) buffer DZ { float dz[]; };
INPUT(1, dmove);
INPUT(2, z);
layout(binding = 3) readonly buffer Modes { uint modes[]; };
INPUT(4, values);
layout(binding = 5) readonly buffer On { uint on[]; };
layout(binding = 6) readonly buffer Stats { vec4 stats[]; };

void each(uint i)
{
	const uint f = i % p.n, r = i / p.n % p.rows;
	float slope = clamped_slope(modes[f], LOAD(values, f), LOAD(z, i % (p.rows * p.n))) - 1.0;
	if (SCALED != 0)
		slope *= stats[r].z;
	dz[i] = on[r] != 0 ? LOAD(dmove, i) * slope : 0.0;
}

EACH_ELEMENT
