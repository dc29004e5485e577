// A workgroup of WG invocations and its sums and maxima, the same for all of them, in a fixed
// order. In the build for CPU devices (-DNARROW) the workgroup is one subgroup, without barriers or
// shared memory. Otherwise 8 invocations add WG/8 values each, then everyone adds those 8: two
// barriers, so call from uniform control flow only. WG is 64 unless the kernel says otherwise (a
// multiple of 8).
#ifdef NARROW
#extension GL_KHR_shader_subgroup_arithmetic : require
#undef WG
#define WG 8
layout(local_size_x = WG) in;

vec2 reduce_sum2(vec2 value)
{
	return subgroupAdd(value);
}

float reduce_sum(float value)
{
	return subgroupAdd(value);
}

float reduce_max(float value)
{
	return subgroupMax(value);
}
#else
#ifndef WG
#define WG 64
#endif
layout(local_size_x = WG) in;
shared vec2 reduce_all[WG];
shared vec2 reduce_few[8];

vec2 reduce_sum2(vec2 value)
{
	const uint lane = gl_LocalInvocationIndex;
	reduce_all[lane] = value;
	barrier();
	if (lane < 8) {
		vec2 sum = vec2(0);
		for (uint i = 0; i < WG / 8; i++)
			sum += reduce_all[i * 8 + lane];
		reduce_few[lane] = sum;
	}
	barrier();
	return ((reduce_few[0] + reduce_few[1]) + (reduce_few[2] + reduce_few[3])) +
	       ((reduce_few[4] + reduce_few[5]) + (reduce_few[6] + reduce_few[7]));
}

float reduce_sum(float value)
{
	return reduce_sum2(vec2(value, 0)).x;
}

float reduce_max(float value)
{
	const uint lane = gl_LocalInvocationIndex;
	reduce_all[lane].x = value;
	barrier();
	if (lane < 8) {
		float most = reduce_all[lane].x;
		for (uint i = 1; i < WG / 8; i++)
			most = max(most, reduce_all[i * 8 + lane].x);
		reduce_few[lane].x = most;
	}
	barrier();
	return max(max(max(reduce_few[0].x, reduce_few[1].x), max(reduce_few[2].x, reduce_few[3].x)),
		   max(max(reduce_few[4].x, reduce_few[5].x), max(reduce_few[6].x, reduce_few[7].x)));
}
#endif
