#version 450
// y = a + scale b, b read at row mod its rows; an invocation covers one element. y may be a
// or b.
#include "elementwise.glsl"
layout(binding = 0) buffer Y { float y[]; };
layout(binding = 1) buffer A { float a[]; };
layout(binding = 2) buffer B { float b[]; };

void main()
{
	const uint i = element();
	if (i < p.count)
		y[i] = a[i] + p.scale * b[i % p.repeat];
}
