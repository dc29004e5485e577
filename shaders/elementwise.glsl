// Kernels over single elements: `block` of them a workgroup.
#ifdef NARROW
#define WG 8
#else
#define WG 64
#endif
layout(local_size_x = WG) in;
#include "push_elementwise.h"
#include "grid.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_elementwise p; };

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
