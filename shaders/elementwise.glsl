// Kernels over single elements: WG of them a workgroup.
#define WG 64
layout(local_size_x = WG) in;
#include "push_elementwise.h"
#include "grid.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_elementwise p; };

uint element()
{
	return grid_group() * WG + gl_LocalInvocationIndex;
}
