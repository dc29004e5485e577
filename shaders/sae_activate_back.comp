#version 450
// dh = dz times the slope of sae_activate.comp: 0 for inactive features. For features that
// were chosen among their row's (sae_chosen.comp) h holds their activations, and those that
// are not 0 are active. dh, dz [G*R, n], h [R, n]. each(i) covers one feature of a gradient
// row. dh may be dz.
layout(constant_id = 0) const uint ACT = 0; // enum op_sae_act
#include "sae.glsl"
#include "activations.glsl"
layout(binding = 0) buffer DH { float dh[]; };
INPUT(1, dz);
INPUT(2, h);
INPUT(3, threshold);
INPUT(4, b_gate);
INPUT(5, b_mag);
INPUT(6, mag_scale);

float slope_at(uint i)
{
	const uint f = i % p.n;
	const float v = LOAD(h, i % (p.rows * p.n));
	if (ACT == SAE_CHOSEN)
		return v == 0.0 ? 0.0 : 1.0;
	if (ACT == SAE_GATED) {
		const float scale = LOAD(mag_scale, p.scale_shift + f);
		const float m = v * scale + LOAD(b_mag, p.mag_shift + f);
		return v + LOAD(b_gate, p.gate_shift + f) <= 0.0 || m <= 0.0 ? 0.0 : scale;
	}
	const float least = ACT == SAE_JUMPRELU ? max(LOAD(threshold, p.threshold_shift + f), 0.0) : 0.0;
	if (v <= least)
		return 0.0;
	if (ACT != SAE_TANH_RELU)
		return 1.0;
	const float t = tanh_of(v);
	return 1.0 - t * t;
}

void each(uint i)
{
	dh[i] = LOAD(dz, i) * slope_at(i);
}

EACH_ELEMENT
