#version 450
// move[r, i] = clamped(z[r, i]) - z[r, i] on rows that are on, else 0; z, move [R, n], modes
// and values [n], on [R]. each(i) covers one feature.
#include "sae.glsl"
layout(binding = 0) writeonly buffer Move { float move[]; };
INPUT(1, z);
layout(binding = 2) readonly buffer Modes { uint modes[]; };
INPUT(3, values);
layout(binding = 4) readonly buffer On { uint on[]; };

void each(uint i)
{
	const uint f = i % p.n;
	move[i] = on[i / p.n] != 0 ? clamped(modes[f], LOAD(values, f), LOAD(z, i)) - LOAD(z, i) : 0.0;
}

EACH_ELEMENT
