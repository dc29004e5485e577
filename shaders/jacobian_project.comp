#version 450
#extension GL_EXT_control_flow_attributes : require
// Projection against the span of the probed rows of the Jacobian (METHOD 5). The gradients
// by delta lie layer by layer, [layers][G][numbers]: replica 0 the behaviour's, 1 the
// penalty's, 2.. the probes' q = J_z^T r. In order, by modified Gram-Schmidt, each q loses
// its part along the basis so far and joins it if more than 1e-7 is left, and more than
// 1e-5 of what it was (in float32 a dependent vector leaves rounding behind). Then
//   raw       = g_J
//   projected = g_J - sum_b (g_J . b) b
//   total     = projected + penalty
// One workgroup; the basis replaces the probes in place. Sums in a fixed order. A dispatch takes
// the replicas [first, end), so that no loop turns too often (README.md).
#define WG 64
layout(local_size_x = WG) in;
#include "push_jacobian.h"
#include "reduce.glsl"
#include "each.glsl"
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
	FOR_EACH(i, 0, n)
		sum += g[place(a, i)] * g[place(b, i)];
	END_EACH
	return reduce_sum(sum);
}

void main()
{
	const uint n = p.layers * p.numbers;
	if (p.first == 2) {
		FOR_EACH(i, 0, n)
			const float x = g[place(0, i)];
			raw[i] = x;
			projected[i] = x;
		END_EACH
	}
	for (uint q = p.first; q < p.end; q++) {
		const float before = sqrt(dot_replicas(q, q, n));
		for (uint b = 2; b < q; b++) {
			const float along = dot_replicas(q, b, n); // dropped vectors are zero
			FOR_EACH(i, 0, n)
				g[place(q, i)] -= along * g[place(b, i)];
			END_EACH
		}
		const float left = sqrt(dot_replicas(q, q, n));
		const bool keep = left > 1e-7 && left > 1e-5 * before;
		FOR_EACH(i, 0, n)
			g[place(q, i)] = keep ? g[place(q, i)] / left : 0;
		END_EACH
		// Every lane works on its own entries only, so no barrier is needed between loops.
		float sum = 0;
		FOR_EACH(i, 0, n)
			sum += projected[i] * g[place(q, i)];
		END_EACH
		const float along = reduce_sum(sum);
		FOR_EACH(i, 0, n)
			projected[i] -= along * g[place(q, i)];
		END_EACH
	}
	if (p.end == p.replicas) {
		FOR_EACH(i, 0, n)
			total[i] = projected[i] + (p.has_penalty != 0 ? g[place(1, i)] : 0);
		END_EACH
	}
}
