#version 450
// y[g n + i, :] = x[g stride + index[i], :] for n indices and every replica g; each(i)
// covers one element of y.
#include "elementwise.glsl"
layout(binding = 0) writeonly buffer Y { float y[]; };
INPUT(1, x);
layout(binding = 2) readonly buffer Index { uint index[]; };

void each(uint i)
{
	const uint row = i / p.cols;
	y[i] = LOAD(x, (row / p.repeat * p.stride + index[row % p.repeat]) * p.cols + i % p.cols);
}

EACH_ELEMENT
