#version 450
// y = a + scale b, b read at row mod its rows; an invocation covers one element. y may be a
// or b.
#include "elementwise.glsl"
layout(binding = 0) buffer Y { float y[]; };
INPUT(1, a);
INPUT(2, b);

void main()
{
	const uint i = element();
	if (i < p.count)
		y[i] = LOAD(a, i) + p.scale * LOAD(b, i % p.repeat);
}
