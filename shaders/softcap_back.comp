#version 450
// dx = dy (1 - (y / cap)^2), y [R, n] read at row mod R; an invocation covers one element.
// dx may be dy.
#include "elementwise.glsl"
layout(binding = 0) buffer DX { float dx[]; };
layout(binding = 1) buffer DY { float dy[]; };
layout(binding = 2) readonly buffer Y { float y[]; };

void main()
{
	const uint i = element();
	if (i >= p.count)
		return;
	const float t = y[i % p.repeat] / p.scale;
	dx[i] = dy[i] * (1.0 - t * t);
}
