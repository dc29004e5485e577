#version 450
// y = cap tanh(x / cap), any shape; each(i) covers one element. y may be x.
#include "elementwise.glsl"
#include "activations.glsl"
layout(binding = 0) buffer Y { float y[]; };
INPUT(1, x);

void each(uint i)
{
	y[i] = p.scale * tanh_of(LOAD(x, i) / p.scale);
}

EACH_ELEMENT
