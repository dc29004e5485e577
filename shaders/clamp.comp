#version 450
// move[r, i] = clamped(z[r, i]) - z[r, i] on rows that are on, else 0, times the scale of the
// row's reconstruction if it has one; z, move [R, n], modes and values [n], on [R], stats
// [R, 4]. each(i) covers one feature.
layout(constant_id = 0) const uint SCALED = 0;
#include "sae.glsl"
layout(binding = 0) writeonly buffer Move { float move[]; };
INPUT(1, z);
layout(binding = 2) readonly buffer Modes { uint modes[]; };
INPUT(3, values);
layout(binding = 4) readonly buffer On { uint on[]; };
layout(binding = 5) readonly buffer Stats { vec4 stats[]; };

void each(uint i)
{
	const uint f = i % p.n, r = i / p.n;
	float v = on[r] != 0 ? clamped(modes[f], LOAD(values, f), LOAD(z, i)) - LOAD(z, i) : 0.0;
	if (SCALED != 0)
		v *= stats[r].z;
	move[i] = v;
}

EACH_ELEMENT
