#version 450
#extension GL_EXT_control_flow_attributes : require
// The Cholesky factor L of G [n, n], in place in its lower triangle, column after column:
//   L[j, j] = sqrt(G[j, j] - sum_k<j L[j, k]^2)
//   L[i, j] = (G[i, j] - sum_k<j L[i, k] L[j, k]) / L[j, j]
// A pivot that is not positive makes it NaN. Sums are sums of parts of 8 terms, unrolled (see
// README.md about the length of loops). One workgroup covers it all;
// an invocation computes rows j + lane, j + lane + WG, ... of a column.
#define WG 128
#define PART 8
layout(local_size_x = WG) in;
#include "push_recover.h"
layout(push_constant) uniform Push { push_projector p; };
layout(binding = 0) coherent buffer G { float g[]; };

shared float pivot;

void main()
{
	const uint lane = gl_LocalInvocationIndex;
	for (uint j = 0; j < p.n; j++) {
		for (uint i = j + lane; i < p.n; i += WG) {
			float sum = g[i * p.n + j];
			for (uint first = 0; first < j; first += PART) {
				float part = 0;
				[[unroll]] for (uint u = 0; u < PART; u++)
					if (first + u < j)
						part += g[i * p.n + first + u] * g[j * p.n + first + u];
				sum -= part;
			}
			if (i == j) // that is lane 0
				pivot = sum > 0 ? sqrt(sum) : uintBitsToFloat(0x7fc00000u);
			g[i * p.n + j] = sum;
		}
		barrier();
		for (uint i = j + lane; i < p.n; i += WG)
			g[i * p.n + j] = i == j ? pivot : g[i * p.n + j] / pivot;
		memoryBarrierBuffer();
		barrier();
	}
}
