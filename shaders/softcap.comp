#version 450
// y = cap tanh(x / cap), any shape; an invocation covers one element. y may be x.
#include "elementwise.glsl"
#include "activations.glsl"
layout(binding = 0) buffer Y { float y[]; };
INPUT(1, x);

void main()
{
	const uint i = element();
	if (i < p.count)
		y[i] = p.scale * tanh_of(LOAD(x, i) / p.scale);
}
