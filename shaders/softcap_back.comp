#version 450
// dx = dy (1 - (y / cap)^2), y [R, n] read at row mod R; an invocation covers one element.
// dx may be dy.
#include "elementwise.glsl"
layout(binding = 0) buffer DX { float dx[]; };
INPUT(1, dy);
INPUT(2, y);

void main()
{
	const uint i = element();
	if (i >= p.count)
		return;
	const float t = LOAD(y, i % p.repeat) / p.scale;
	dx[i] = LOAD(dy, i) * (1.0 - t * t);
}
