#version 450
// y[g stride + index[i], :] += x[g n + i, :] for n distinct indices and every replica g; each(i)
// covers one element of x.
#include "elementwise.glsl"
layout(binding = 0) buffer Y { float y[]; };
INPUT(1, x);
layout(binding = 2) readonly buffer Index { uint index[]; };

void each(uint i)
{
	const uint row = i / p.cols;
	y[(row / p.repeat * p.stride + index[row % p.repeat]) * p.cols + i % p.cols] += LOAD(x, i);
}

EACH_ELEMENT
