#version 450
// Projection against the span of the probed rows of the Jacobian (METHOD 5). The gradients
// by delta lie layer by layer, [layers][G][numbers]: replica 0 the behaviour's, 1 the
// penalty's, 2.. the probes' q = J_z^T r. In order, by modified Gram-Schmidt, each q loses
// its part along the basis so far and joins it if more than 1e-7 is left, and more than
// 1e-5 of what it was (in float32 a dependent vector leaves rounding behind). Then
//   raw       = g_J
//   projected = g_J - sum_b (g_J . b) b
//   total     = projected + penalty
// One workgroup; the basis replaces the probes in place. Sums in a fixed order.
#define WG 64
layout(local_size_x = WG) in;
#include "push_jacobian.h"
#include "reduce.glsl"
layout(push_constant) uniform Push { push_jacobian_project p; };
layout(binding = 0) buffer G { float g[]; };
layout(binding = 1) writeonly buffer Raw { float raw[]; };
layout(binding = 2) buffer Projected { float projected[]; };
layout(binding = 3) writeonly buffer Total { float total[]; };

uint place(uint replica, uint i)
{
	return ((i / p.numbers) * p.replicas + replica) * p.numbers + i % p.numbers;
}

float dot_replicas(uint a, uint b, uint n)
{
	float sum = 0;
	for (uint i = gl_LocalInvocationIndex; i < n; i += WG)
		sum += g[place(a, i)] * g[place(b, i)];
	return reduce_sum(sum);
}

void main()
{
	const uint lane = gl_LocalInvocationIndex, n = p.layers * p.numbers;
	for (uint i = lane; i < n; i += WG) {
		const float x = g[place(0, i)];
		raw[i] = x;
		projected[i] = x;
	}
	for (uint q = 2; q < p.replicas; q++) {
		const float before = sqrt(dot_replicas(q, q, n));
		for (uint b = 2; b < q; b++) {
			const float along = dot_replicas(q, b, n); // dropped vectors are zero
			for (uint i = lane; i < n; i += WG)
				g[place(q, i)] -= along * g[place(b, i)];
		}
		const float left = sqrt(dot_replicas(q, q, n));
		const bool keep = left > 1e-7 && left > 1e-5 * before;
		for (uint i = lane; i < n; i += WG)
			g[place(q, i)] = keep ? g[place(q, i)] / left : 0;
		// Every lane works on its own entries only, so no barrier is needed between loops.
		float sum = 0;
		for (uint i = lane; i < n; i += WG)
			sum += projected[i] * g[place(q, i)];
		const float along = reduce_sum(sum);
		for (uint i = lane; i < n; i += WG)
			projected[i] -= along * g[place(q, i)];
	}
	for (uint i = lane; i < n; i += WG)
		total[i] = projected[i] + (p.has_penalty != 0 ? g[place(1, i)] : 0);
}
