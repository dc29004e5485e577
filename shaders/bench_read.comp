/* Reads a tensor once, for the bench: the rate that the others are compared with.
 * sums[i] = sum of the components that invocation i reads. A workgroup of one subgroup
 * reads a run of COUNT * WIDTH texels from its start to its end. */
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WIDTH = 64;
layout(constant_id = 1) const uint COUNT = 64;
layout(binding = 0) writeonly buffer Out { float sums[]; };
layout(binding = 1) uniform samplerBuffer data;

void main()
{
	uint first = gl_WorkGroupID.x * COUNT * WIDTH + gl_LocalInvocationID.x;
	vec4 sum = vec4(0.0);
	for (uint i = 0; i < COUNT; i++)
		sum += texelFetch(data, int(first + i * WIDTH));
	sums[gl_GlobalInvocationID.x] = sum.x + sum.y + sum.z + sum.w;
}
