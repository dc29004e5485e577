/* Weights beyond the device's binding limit: eight bindings, a window of rows each.
 * Before including: WINDOWS_AT, the first binding, and WINDOWS_DTYPE, enum dtype. */
#include "weights.glsl"

layout(binding = WINDOWS_AT + 0) readonly buffer Window0 { uint window0[]; };
layout(binding = WINDOWS_AT + 1) readonly buffer Window1 { uint window1[]; };
layout(binding = WINDOWS_AT + 2) readonly buffer Window2 { uint window2[]; };
layout(binding = WINDOWS_AT + 3) readonly buffer Window3 { uint window3[]; };
layout(binding = WINDOWS_AT + 4) readonly buffer Window4 { uint window4[]; };
layout(binding = WINDOWS_AT + 5) readonly buffer Window5 { uint window5[]; };
layout(binding = WINDOWS_AT + 6) readonly buffer Window6 { uint window6[]; };
layout(binding = WINDOWS_AT + 7) readonly buffer Window7 { uint window7[]; };

uint window_word(uint window, uint i)
{
	switch (window) {
	case 0: return window0[i];
	case 1: return window1[i];
	case 2: return window2[i];
	case 3: return window3[i];
	case 4: return window4[i];
	case 5: return window5[i];
	case 6: return window6[i];
	default: return window7[i];
	}
}

float window_weight(uint window, uint i)
{
	if (WINDOWS_DTYPE == DTYPE_F32)
		return uintBitsToFloat(window_word(window, i));
	return weight_of_half(WINDOWS_DTYPE, window_word(window, i >> 1), i);
}
