#version 450
// z = relu(h), tanh(relu(h)), or h where h > max(threshold, 0), else 0; h, z [R, n],
// threshold [n]. NaN stays NaN. each(i) covers one feature.
layout(constant_id = 0) const uint ACT = 0; // enum op_sae_act
#include "sae.glsl"
#include "activations.glsl"
layout(binding = 0) writeonly buffer Z { float z[]; };
INPUT(1, h);
INPUT(2, threshold);

void each(uint i)
{
	const float least = ACT == SAE_JUMPRELU ? max(LOAD(threshold, p.threshold_shift + i % p.n), 0.0) : 0.0;
	const float v = LOAD(h, i) <= least ? 0.0 : LOAD(h, i);
	z[i] = ACT == SAE_TANH_RELU ? tanh_of(v) : v;
}

EACH_ELEMENT
