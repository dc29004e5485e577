/* Adds partial sums [parts * rows, n] in their order and does what follows the product.
 * A lane owns one output. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "linear.glsl"

layout(local_size_x = 64) in;

layout(binding = 1) readonly buffer Partial { float partial[]; };

void main()
{
	uint n = gl_GlobalInvocationID.x;
	uint r = gl_WorkGroupID.y;
	if (n >= p.n)
		return;
	float v = 0.0;
	for (uint part = 0; part < p.parts; part++)
		v += partial[(part * p.rows + r) * p.n + n];
	finish(r, n, v);
}
