// Kernels over single features: `block` of them a workgroup.
#ifdef NARROW
#define WG 8
#else
#define WG 64
#endif
layout(local_size_x = WG) in;
#include "push_sae.h"
#include "grid.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_sae p; };

#define SAE_RELU 0u
#define SAE_TANH_RELU 1u
#define SAE_JUMPRELU 2u
#define SAE_GATED 3u
#define SAE_CHOSEN 4u

#define CLAMP_SET 0u
#define CLAMP_SET_ACTIVE 1u
#define CLAMP_SCALE 2u
#define CLAMP_SCALE_ACTIVE 3u
#define CLAMP_ABLATE 4u
#define CLAMP_FLOOR 5u

// main: each(i) for the `block` elements of this workgroup. A block of WG is an element an
// invocation; CPU devices, where a workgroup costs a microsecond, take larger ones.
#define EACH_ELEMENT \
void main() \
{ \
	const uint first = grid_group() * p.block; \
	const uint end = min(first + p.block, p.count); \
	for (uint i = first + gl_LocalInvocationIndex; i < end; i += WG) \
		each(i); \
}

// The new value of an activation (METHOD 2).
float clamped(uint mode, float value, float a)
{
	switch (mode) {
	case CLAMP_SET:
		return value;
	case CLAMP_SET_ACTIVE:
		return a > 0.0 ? value : a;
	case CLAMP_SCALE:
		return value * a;
	case CLAMP_SCALE_ACTIVE:
		return a > 0.0 ? value * a : a;
	case CLAMP_ABLATE:
		return 0.0;
	default:
		return a < value ? value : a;
	}
}

// Its derivative by the activation.
float clamped_slope(uint mode, float value, float a)
{
	switch (mode) {
	case CLAMP_SET:
	case CLAMP_ABLATE:
		return 0.0;
	case CLAMP_SET_ACTIVE:
		return a > 0.0 ? 0.0 : 1.0;
	case CLAMP_SCALE:
		return value;
	case CLAMP_SCALE_ACTIVE:
		return a > 0.0 ? value : 1.0;
	default:
		return a < value ? 0.0 : 1.0;
	}
}
