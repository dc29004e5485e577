#version 450
// y = a + scale b, b read at row mod its rows; each(i) covers one element. y may be a
// or b.
#include "elementwise.glsl"
layout(binding = 0) buffer Y { float y[]; };
INPUT(1, a);
INPUT(2, b);

void each(uint i)
{
	y[i] = LOAD(a, i) + p.scale * LOAD(b, i % p.repeat);
}

EACH_ELEMENT
