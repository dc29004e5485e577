#version 450
// y[r, :] = on[r mod R0] ? alpha a[r, :] + (1 - alpha) b[r, :] : a[r, :]; without b, b counts
// as zero. each(i) covers one element. y may be a.
layout(constant_id = 0) const uint HAS_B = 1;
#include "elementwise.glsl"
layout(binding = 0) buffer Y { float y[]; };
INPUT(1, a);
INPUT(2, b);
layout(binding = 3) readonly buffer On { uint on[]; };

void each(uint i)
{
	float v = LOAD(a, i);
	if (on[i / p.cols % p.repeat] != 0) {
		v *= p.scale;
		if (HAS_B != 0)
			v += (1.0 - p.scale) * LOAD(b, i);
	}
	y[i] = v;
}

EACH_ELEMENT
