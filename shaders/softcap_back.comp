#version 450
// dx = dy (1 - (y / cap)^2), y [R, n] read at row mod R; each(i) covers one element.
// dx may be dy.
#include "elementwise.glsl"
layout(binding = 0) buffer DX { float dx[]; };
INPUT(1, dy);
INPUT(2, y);

void each(uint i)
{
	const float t = LOAD(y, i % p.repeat) / p.scale;
	dx[i] = LOAD(dy, i) * (1.0 - t * t);
}

EACH_ELEMENT
