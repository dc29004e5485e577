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
// the replicas [first, end), so that no loop turns too often (README.md). An entry is a number,
// in the build for CPU devices (-DNARROW) four, in images (README.md); p.numbers counts entries.
#define WG 64
#include "push_jacobian.h"
#include "reduce.glsl"
#include "each.glsl"
layout(push_constant) uniform Push { push_jacobian_project p; };
#ifdef NARROW
#define ENTRY vec4
layout(binding = 0, rgba32f) uniform imageBuffer g;
layout(binding = 1, rgba32f) uniform writeonly imageBuffer raw;
layout(binding = 2, rgba32f) uniform imageBuffer projected;
layout(binding = 3, rgba32f) uniform writeonly imageBuffer total;
#define GET(buffer, i)	       imageLoad(buffer, int(i))
#define PUT(buffer, i, entry) imageStore(buffer, int(i), entry)
#else
#define ENTRY float
layout(binding = 0) buffer G { float g[]; };
layout(binding = 1) writeonly buffer Raw { float raw[]; };
layout(binding = 2) buffer Projected { float projected[]; };
layout(binding = 3) writeonly buffer Total { float total[]; };
#define GET(buffer, i)	       buffer[i]
#define PUT(buffer, i, entry) buffer[i] = entry
#endif

// The place of entry i of a replica in g.
uint place(uint replica, uint i)
{
	return ((i / p.numbers) * p.replicas + replica) * p.numbers + i % p.numbers;
}

float dot_replicas(uint a, uint b, uint n)
{
	float sum = 0;
	FOR_EACH(i, 0, n)
		sum += dot(GET(g, place(a, i)), GET(g, place(b, i)));
	END_EACH
	return reduce_sum(sum);
}

void main()
{
	const uint n = p.layers * p.numbers;
	if (p.first == 2) {
		FOR_EACH(i, 0, n)
			const ENTRY x = GET(g, place(0, i));
			PUT(raw, i, x);
			PUT(projected, i, x);
		END_EACH
	}
	for (uint q = p.first; q < p.end; q++) {
		const float before = sqrt(dot_replicas(q, q, n));
		for (uint b = 2; b < q; b++) {
			const float along = dot_replicas(q, b, n); // dropped vectors are zero
			FOR_EACH(i, 0, n)
				PUT(g, place(q, i), GET(g, place(q, i)) - along * GET(g, place(b, i)));
			END_EACH
		}
		const float left = sqrt(dot_replicas(q, q, n));
		const bool keep = left > 1e-7 && left > 1e-5 * before;
		FOR_EACH(i, 0, n)
			PUT(g, place(q, i), keep ? GET(g, place(q, i)) / left : ENTRY(0));
		END_EACH
		// Every lane works on its own entries only, so no barrier is needed between loops.
		float sum = 0;
		FOR_EACH(i, 0, n)
			sum += dot(GET(projected, i), GET(g, place(q, i)));
		END_EACH
		const float along = reduce_sum(sum);
		FOR_EACH(i, 0, n)
			PUT(projected, i, GET(projected, i) - along * GET(g, place(q, i)));
		END_EACH
	}
	if (p.end == p.replicas) {
		FOR_EACH(i, 0, n)
			PUT(total, i, GET(projected, i) + (p.has_penalty != 0 ? GET(g, place(1, i)) : ENTRY(0)));
		END_EACH
	}
}
