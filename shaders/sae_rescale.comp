#version 450
// y[r, :] = w[r, :] s + o of row r mod R: a reconstruction's way back, or with OFFSET 0 its
// gradient. y, w [G*R, n], stats [R, 4]. each(i) covers one element. y may be w.
layout(constant_id = 0) const uint OFFSET = 1;
#include "sae.glsl"
layout(binding = 0) buffer Y { float y[]; };
INPUT(1, w);
layout(binding = 2) readonly buffer Stats { vec4 stats[]; };

void each(uint i)
{
	const vec4 of = stats[i / p.n % p.rows];
	y[i] = OFFSET != 0 ? LOAD(w, i) * of.z + of.w : LOAD(w, i) * of.z;
}

EACH_ELEMENT
