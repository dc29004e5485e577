#version 450
// G = A^T A + ridge I, [n, n], for A^T given as rows [n, d]. Each entry is a sum of sums of 32
// terms, so that rounding grows with the root of the number of parts only. A workgroup covers WG
// entries of one row of G; an invocation an entry.
#define WG 32
#define PART 32
layout(local_size_x = WG) in;
#include "push_recover.h"
#include "grid.glsl"
layout(push_constant) uniform Push { push_projector p; };
layout(binding = 0) writeonly buffer G { float gram[]; };
layout(binding = 1) uniform samplerBuffer a;

void main()
{
	const uint blocks = (p.n + WG - 1) / WG;
	const uint row = grid_group() / blocks;
	const uint col = grid_group() % blocks * WG + gl_LocalInvocationIndex;
	if (row >= p.n || col >= p.n)
		return;
	// The smaller index first: G is symmetric to the bit.
	const uint left = min(row, col) * p.d, right = max(row, col) * p.d;
	float sum = row == col ? p.ridge : 0.0;
	for (uint first = 0; first < p.d; first += PART) {
		const uint end = min(first + PART, p.d);
		float part = 0;
		for (uint i = first; i < end; i++)
			part += texelFetch(a, int(left + i)).x * texelFetch(a, int(right + i)).x;
		sum += part;
	}
	gram[row * p.n + col] = sum;
}
