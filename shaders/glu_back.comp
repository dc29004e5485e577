#version 450
// dgate = da * up * act'(gate), dup = da * act(gate); da [G*R, f], gate_up [R, 2f] = gate |
// up, dgate_up [G*R, 2f]. each(i) covers one element of da.
layout(constant_id = 0) const uint ACT = 3; // enum op_act
#include "elementwise.glsl"
#include "activations.glsl"
layout(binding = 0) writeonly buffer DGateUp { float dgate_up[]; };
INPUT(1, da);
INPUT(2, gate_up);

void each(uint i)
{
	const uint to = i / p.cols * 2 * p.cols + i % p.cols;
	const uint gate = to % p.repeat;
	dgate_up[to] = LOAD(da, i) * LOAD(gate_up, gate + p.cols) * activate_slope(ACT, LOAD(gate_up, gate));
	dgate_up[to + p.cols] = LOAD(da, i) * activate(ACT, LOAD(gate_up, gate));
}

EACH_ELEMENT
