#version 450
// z = relu(h), tanh(relu(h)), h where h > max(threshold, 0), or gated: m = h mag_scale + b_mag
// where h + b_gate > 0 and m > 0; else 0. h, z [R, n], the others [n]. NaN stays NaN. each(i)
// covers one feature.
layout(constant_id = 0) const uint ACT = 0; // enum op_sae_act
#include "sae.glsl"
#include "activations.glsl"
layout(binding = 0) writeonly buffer Z { float z[]; };
INPUT(1, h);
INPUT(2, threshold);
INPUT(3, b_gate);
INPUT(4, b_mag);
INPUT(5, mag_scale);

void each(uint i)
{
	const uint f = i % p.n;
	const float v = LOAD(h, i);
	if (ACT == SAE_GATED) {
		const float m = v * LOAD(mag_scale, p.scale_shift + f) + LOAD(b_mag, p.mag_shift + f);
		z[i] = v + LOAD(b_gate, p.gate_shift + f) <= 0.0 || m <= 0.0 ? 0.0 : m;
		return;
	}
	const float least = ACT == SAE_JUMPRELU ? max(LOAD(threshold, p.threshold_shift + f), 0.0) : 0.0;
	const float on = v <= least ? 0.0 : v;
	z[i] = ACT == SAE_TANH_RELU ? tanh_of(on) : on;
}

EACH_ELEMENT
