#version 450
// For long rows: chooses a digit from what sae_select_count.comp counted and, once all are
// known, finds the last element taken. cut holds {known digits, still wanted} meanwhile. A
// workgroup covers a row.
#include "sae_select.glsl"
layout(binding = 2) readonly buffer Counts { uint counts[]; };
shared uvec2 place; // slice of the last element, its number there

void main()
{
	const uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationIndex;
	uvec2 state = p.shift == 24 ? uvec2(0, p.k) : uvec2(cut[2 * row], cut[2 * row + 1]);
	for (uint i = lane; i < DIGITS; i += WG) {
		uint sum = 0;
		for (uint slice = 0; slice < p.slices; slice++)
			sum += counts[(row * p.slices + slice) * DIGITS + i];
		bins[i] = sum;
	}
	barrier();
	state = choose_digit(state.x, state.y, p.shift);
	if (p.shift == 0) {
		if (lane == 0) {
			const uint digit = state.x & 255u;
			uint slice = 0, wanted = state.y;
			for (; slice + 1 < p.slices; slice++) {
				const uint here = counts[(row * p.slices + slice) * DIGITS + digit];
				if (wanted <= here)
					break;
				wanted -= here;
			}
			place = uvec2(slice, wanted);
		}
		barrier();
		const uint first = place.x * p.slice;
		state.y = find_equal(row, first, min(first + p.slice, p.n), state.x, place.y);
	}
	if (lane == 0) {
		cut[2 * row] = state.x;
		cut[2 * row + 1] = state.y;
	}
}
