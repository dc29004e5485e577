#version 450
// a = act(gate) * up for gate_up [R, 2f] = gate | up; a [R, f]. each(i) covers one
// element of a.
layout(constant_id = 0) const uint ACT = 3; // enum op_act
#include "elementwise.glsl"
#include "activations.glsl"
layout(binding = 0) writeonly buffer A { float a[]; };
INPUT(1, gate_up);

void each(uint i)
{
	const uint gate = i / p.cols * 2 * p.cols + i % p.cols;
	a[i] = activate(ACT, LOAD(gate_up, gate)) * LOAD(gate_up, gate + p.cols);
}

EACH_ELEMENT
