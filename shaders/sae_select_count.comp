#version 450
// For long rows: counts one digit in a slice of a row, into counts [rows * slices, 256]. Group
// (slice, row). cut holds the digits known so far.
#include "sae_select.glsl"
layout(binding = 2) writeonly buffer Counts { uint counts[]; };

void main()
{
	const uint slice = gl_WorkGroupID.x, row = gl_WorkGroupID.y;
	const uint first = slice * p.slice, last = min(first + p.slice, p.n);
	count_digits(row, first, last, p.shift == 24 ? 0 : cut[2 * row], p.shift);
	for (uint i = gl_LocalInvocationIndex; i < DIGITS; i += WG)
		counts[(row * p.slices + slice) * DIGITS + i] = bins[i];
}
