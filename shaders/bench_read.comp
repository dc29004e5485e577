/* Reads a tensor once, for the bench: the rate that the others are compared with.
 * out[i] = sum of the components that invocation i reads. Neighbouring lanes read
 * neighbouring texels; a workgroup of 64 reads COUNT * 64 texels in one run. */
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint COUNT = 64;
layout(binding = 0) writeonly buffer Out { float sums[]; };
layout(binding = 1) uniform samplerBuffer data;

void main()
{
	uint first = gl_WorkGroupID.x * COUNT * 64 + gl_LocalInvocationID.x;
	vec4 sum = vec4(0.0);
	for (uint i = 0; i < COUNT; i++)
		sum += texelFetch(data, int(first + i * 64));
	sums[gl_GlobalInvocationID.x] = sum.x + sum.y + sum.z + sum.w;
}
