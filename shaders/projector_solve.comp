#version 450
#extension GL_EXT_control_flow_attributes : require
// P [n, d] = -(L L^T)^-1 A^T by forward and backward substitution; L in the lower triangle of
// [n, n], A^T [n, d]. Sums as in cholesky.comp. An invocation covers a column of P, which it alone
// reads and writes.
#define WG 32
#define PART 8
layout(local_size_x = WG) in;
#include "push_recover.h"
#include "grid.glsl"
layout(push_constant) uniform Push { push_projector p; };
layout(binding = 0) buffer P { float x[]; };
layout(binding = 1) uniform samplerBuffer a;
layout(binding = 2) uniform samplerBuffer l;

void main()
{
	const uint col = grid_group() * WG + gl_LocalInvocationIndex;
	if (col >= p.d)
		return;
	for (uint i = 0; i < p.n; i++) {
		float sum = -texelFetch(a, int(i * p.d + col)).x;
		for (uint first = 0; first < i; first += PART) {
			float part = 0;
			[[unroll]] for (uint u = 0; u < PART; u++)
				if (first + u < i)
					part += texelFetch(l, int(i * p.n + first + u)).x * x[(first + u) * p.d + col];
			sum -= part;
		}
		x[i * p.d + col] = sum / texelFetch(l, int(i * p.n + i)).x;
	}
	for (uint i = p.n; i-- > 0;) {
		float sum = x[i * p.d + col];
		for (uint first = i + 1; first < p.n; first += PART) {
			float part = 0;
			[[unroll]] for (uint u = 0; u < PART; u++)
				if (first + u < p.n)
					part += texelFetch(l, int((first + u) * p.n + i)).x * x[(first + u) * p.d + col];
			sum -= part;
		}
		x[i * p.d + col] = sum / texelFetch(l, int(i * p.n + i)).x;
	}
}
