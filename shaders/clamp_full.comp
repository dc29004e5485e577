#version 450
// z_full[r, index[i]] becomes its clamped value, in place, on rows that are on; z_full
// [R, F], index, modes and values [n], on [R]. each(i) covers one listed feature of a
// row.
#include "sae.glsl"
layout(binding = 0) buffer Z { float z_full[]; };
layout(binding = 1) readonly buffer Index { uint index[]; };
layout(binding = 2) readonly buffer Modes { uint modes[]; };
layout(binding = 3) readonly buffer Values { float values[]; };
layout(binding = 4) readonly buffer On { uint on[]; };

void each(uint i)
{
	if (on[i / p.n] == 0)
		return;
	const uint f = i % p.n;
	const uint at = i / p.n * p.features + index[f];
	z_full[at] = clamped(modes[f], values[f], z_full[at]);
}

EACH_ELEMENT
