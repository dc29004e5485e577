#version 450
// The gradients by one layer's defended activations that a Jacobian step starts from
// (METHOD 5): dz [G*R, K], replica by replica.
//   0         zero: the behaviour's gradient comes from the logits
//   1         the drift penalty's gradient
//   2         the normalised drift, change / ||change|| (zero up to a length of 1e-8)
//   3 + j     probe j of this step: entry(row, k) of it on monitored rows, else zero
// An invocation writes one number.
layout(local_size_x = 64) in;
#include "push_jacobian.h"
#include "grid.glsl"
layout(push_constant) uniform Push { push_probes p; };
layout(binding = 0) writeonly buffer DZ { float dz[]; };
layout(binding = 1) readonly buffer Change { float change[]; };
layout(binding = 2) readonly buffer Penalty { float penalty[]; };
layout(binding = 3) readonly buffer Norm { float drift_norm[]; };
layout(binding = 4) readonly buffer Probes { float probes[]; };
layout(binding = 5) readonly buffer Step { uint step_number[]; };

void main()
{
	const uint i = grid_group() * 64 + gl_LocalInvocationIndex;
	const uint slab = p.rows * p.features;
	if (i >= p.replicas * slab)
		return;
	const uint replica = i / slab, at = i % slab, row = at / p.features, k = at % p.features;
	const bool monitored = row >= p.first_row && row < p.last_row;
	float value = 0;
	if (replica == 1) {
		if (p.has_penalty != 0)
			value = penalty[at];
	} else if (replica == 2) {
		if (p.has_drift != 0 && monitored && drift_norm[0] > 1e-8)
			value = change[at] / drift_norm[0];
	} else if (replica > 2 && monitored) {
		const uint base = (step_number[0] % p.probe_steps) * p.probes * p.entries;
		value = probes[base + (replica - 3) * p.entries + p.entry + row * p.features + k];
	}
	dz[i] = value;
}
