#version 450
// dh = dz times the slope of sae_activate.comp: 0 for inactive features. dh, dz [G*R, n],
// h [R, n]. each(i) covers one feature of a gradient row. dh may be dz.
layout(constant_id = 0) const uint ACT = 0; // enum op_sae_act
#include "sae.glsl"
#include "activations.glsl"
layout(binding = 0) buffer DH { float dh[]; };
INPUT(1, dz);
INPUT(2, h);
INPUT(3, threshold);

void each(uint i)
{
	const float least = ACT == SAE_JUMPRELU ? max(LOAD(threshold, p.threshold_shift + i % p.n), 0.0) : 0.0;
	const float v = LOAD(h, i % (p.rows * p.n));
	float slope = v <= least ? 0.0 : 1.0;
	if (ACT == SAE_TANH_RELU) {
		const float t = tanh_of(v);
		slope *= 1.0 - t * t;
	}
	dh[i] = LOAD(dz, i) * slope;
}

EACH_ELEMENT
