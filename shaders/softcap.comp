#version 450
// y = cap tanh(x / cap), any shape; an invocation covers one element. y may be x.
#include "elementwise.glsl"
#include "activations.glsl"
layout(binding = 0) buffer Y { float y[]; };
layout(binding = 1) buffer X { float x[]; };

void main()
{
	const uint i = element();
	if (i < p.count)
		y[i] = p.scale * tanh_of(x[i] / p.scale);
}
