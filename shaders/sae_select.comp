#version 450
// The k largest of each row, one workgroup a row: see sae_select.glsl.
#include "sae_select.glsl"

void main()
{
	const uint row = gl_WorkGroupID.x;
	uvec2 state = uvec2(0, p.k);
	for (uint digit = 0; digit < 4; digit++) {
		const uint shift = 24 - 8 * digit;
		count_digits(row, 0, p.n, state.x, shift);
		state = choose_digit(state.x, state.y, shift);
	}
	// Mostly the last of the equals is the one, and any index behind it says so.
	const uint equals = bins[state.x & 255u];
	uint index = p.n - 1;
	if (equals != state.y)
		index = find_equal(row, 0, p.n, state.x, state.y);
	if (gl_LocalInvocationIndex == 0) {
		cut[2 * row] = state.x;
		cut[2 * row + 1] = index;
	}
}
