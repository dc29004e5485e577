#version 450
// z = h where the latent was chosen (and h > 0 unless KIND is the choice by magnitude), else 0.
// h [R, F]; z [R, n] holds all F, or with INDEXED those in index; row r of h is row first_row
// + r of z. cut as sae_select.glsl resp. sae_groupmax.comp leave it. `kept` receives the same
// as z and may be h. each(i) covers one element of z.
#ifdef NARROW
#define WG 8
#else
#define WG 64
#endif
layout(local_size_x = WG) in;
layout(constant_id = 0) const uint KIND = 0; // enum op_sae_choice
layout(constant_id = 1) const uint INDEXED = 0;
#include "push_sae.h"
#include "grid.glsl"
#include "sae_key.glsl"
#include "input.glsl"
layout(push_constant) uniform Push { push_sae_chosen p; };
layout(binding = 0) writeonly buffer Z { float z[]; };
layout(binding = 1) buffer Kept { float kept[]; };
INPUT(2, h);
layout(binding = 3) readonly buffer Cut { uint cut[]; };
layout(binding = 4) readonly buffer Index { uint index[]; };
#define CHOICE_LARGEST   0
#define CHOICE_MAGNITUDE 1
#define CHOICE_GROUPS    2

bool is_chosen(uint row, uint f, float value)
{
	if (KIND == CHOICE_GROUPS)
		return cut[row * p.groups + f / (p.features / p.groups)] == f;
	const uint key = select_key(KIND == CHOICE_MAGNITUDE ? 1 : 0, value), least = cut[2 * row];
	return key > least || (key == least && f <= cut[2 * row + 1]);
}

void each(uint i)
{
	const uint row = i / p.n, f = INDEXED != 0 ? index[i % p.n] : i % p.n;
	const float value = LOAD(h, row * p.features + f);
	const bool off = KIND != CHOICE_MAGNITUDE && value <= 0.0;
	const float result = off || !is_chosen(row, f, value) ? 0.0 : value;
	const uint at = (p.first_row + row) * p.n + i % p.n;
	z[at] = result;
	kept[at] = result;
}

void main()
{
	const uint first = grid_group() * p.block, end = min(first + p.block, p.count);
	for (uint i = first + gl_LocalInvocationIndex; i < end; i += WG)
		each(i);
}
