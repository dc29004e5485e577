// Finding the k largest of a row by its digits, from the top (radix selection). Numbers are
// compared by keys, whose order as unsigned integers is theirs as floats (or as
// magnitudes); NaN is the largest, so that it is chosen and shows. `cut` [rows, 2] ends as
// the key of the k-th largest number and the index of the last one taken among its equals.
#ifdef NARROW
#define WG 8
#else
#define WG 64
#endif
#define DIGITS 256
layout(local_size_x = WG) in;
layout(constant_id = 0) const uint MAGNITUDE = 0;
#include "push_sae.h"
#include "sae_key.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_sae_select p; };
layout(binding = 0) buffer Cut { uint cut[]; };
INPUT(1, h);

shared uint bins[DIGITS];
shared uint lanes[WG];
shared uvec2 chosen;

uint key_at(uint row, uint i)
{
	return select_key(MAGNITUDE, LOAD(h, row * p.n + i));
}

// bins = how often each digit occurs in elements [first, last) of the row whose key agrees with
// `prefix` above the digit. Uniform control flow.
void count_digits(uint row, uint first, uint last, uint prefix, uint shift)
{
	const uint lane = gl_LocalInvocationIndex;
	for (uint i = lane; i < DIGITS; i += WG)
		bins[i] = 0;
	barrier();
	for (uint i = first + lane; i < last; i += WG) {
		const uint key = key_at(row, i);
		if (shift == 24 || (key ^ prefix) >> (shift + 8) == 0)
			atomicAdd(bins[key >> shift & 255u], 1u);
	}
	barrier();
}

// {prefix with one digit more, how many of its elements are still wanted}, from bins.
uvec2 choose_digit(uint prefix, uint wanted, uint shift)
{
	if (gl_LocalInvocationIndex == 0) {
		uint digit = DIGITS - 1;
		while (digit > 0 && bins[digit] < wanted)
			wanted -= bins[digit--];
		chosen = uvec2(prefix | digit << shift, wanted);
	}
	barrier();
	const uvec2 result = chosen;
	barrier();
	return result;
}

// The index of the `wanted`-th (from 1) element of [first, last) whose key is `key`. Each
// invocation looks through a stretch of its own.
uint find_equal(uint row, uint first, uint last, uint key, uint wanted)
{
	const uint lane = gl_LocalInvocationIndex, stretch = (last - first + WG - 1) / WG;
	const uint begin = min(first + lane * stretch, last), end = min(begin + stretch, last);
	uint count = 0;
	for (uint i = begin; i < end; i++)
		count += key_at(row, i) == key ? 1 : 0;
	lanes[lane] = count;
	if (lane == 0)
		chosen.x = last - 1;
	barrier();
	uint before = 0;
	for (uint i = 0; i < lane; i++)
		before += lanes[i];
	if (before < wanted && wanted <= before + count)
		for (uint i = begin; i < end; i++) {
			before += key_at(row, i) == key ? 1 : 0;
			if (before == wanted) {
				chosen.x = i;
				break;
			}
		}
	barrier();
	return chosen.x;
}
