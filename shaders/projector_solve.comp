#version 450
#extension GL_EXT_control_flow_attributes : require
// P [n, d] = -(L L^T)^-1 A^T by forward and backward substitution; L in the lower triangle of
// [n, n], A^T [n, d]. An invocation covers a column of P, which it alone reads and writes. It solves
// BLOCK rows at a time: what the rows before contribute is added up for all of them together, so
// that each earlier value is loaded once a block.
#define WG 8
#define BLOCK 8
layout(local_size_x = WG) in;
#include "push_recover.h"
#include "grid.glsl"
layout(push_constant) uniform Push { push_projector p; };
layout(binding = 0) buffer P { float x[]; };
layout(binding = 1) uniform samplerBuffer a;
layout(binding = 2) uniform samplerBuffer l;

// L[row, col]; rows and columns past the end are those of a unit matrix, so that a last, partial
// block needs no care.
float lower(uint row, uint col)
{
	if (row >= p.n || col >= p.n)
		return row == col ? 1.0 : 0.0;
	return texelFetch(l, int(row * p.n + col)).x;
}

void main()
{
	const uint col = grid_group() * WG + gl_LocalInvocationIndex;
	if (col >= p.d)
		return;
	float sums[BLOCK];
	for (uint first = 0; first < p.n; first += BLOCK) { // L y = -A^T
		[[unroll]] for (uint r = 0; r < BLOCK; r++)
			sums[r] = first + r < p.n ? -texelFetch(a, int((first + r) * p.d + col)).x : 0.0;
		for (uint k = 0; k < first; k++) {
			const float y = x[k * p.d + col];
			[[unroll]] for (uint r = 0; r < BLOCK; r++)
				sums[r] -= lower(first + r, k) * y;
		}
		[[unroll]] for (uint r = 0; r < BLOCK; r++) {
			[[unroll]] for (uint k = 0; k < r; k++)
				sums[r] -= lower(first + r, first + k) * sums[k];
			sums[r] /= lower(first + r, first + r);
			if (first + r < p.n)
				x[(first + r) * p.d + col] = sums[r];
		}
	}
	for (uint end = (p.n + BLOCK - 1) / BLOCK * BLOCK; end > 0; end -= BLOCK) { // L^T x = y
		const uint first = end - BLOCK;
		[[unroll]] for (uint r = 0; r < BLOCK; r++)
			sums[r] = first + r < p.n ? x[(first + r) * p.d + col] : 0.0;
		for (uint k = end; k < p.n; k++) {
			const float y = x[k * p.d + col];
			[[unroll]] for (uint r = 0; r < BLOCK; r++)
				sums[r] -= lower(k, first + r) * y;
		}
		[[unroll]] for (uint s = 0; s < BLOCK; s++) {
			const uint r = BLOCK - 1 - s;
			[[unroll]] for (uint k = r + 1; k < BLOCK; k++)
				sums[r] -= lower(first + k, first + r) * sums[k];
			sums[r] /= lower(first + r, first + r);
			if (first + r < p.n)
				x[(first + r) * p.d + col] = sums[r];
		}
	}
}
