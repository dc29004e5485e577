/* A weight matrix as texels of PER_TEXEL elements, binding 2, for CPU devices: an image, whose
 * loads llvmpipe compiles in line (a fetch from a sampler is a call). Before including:
 * weights.glsl, and DTYPE, the enum dtype that tells the 2-byte types apart. */
#ifdef HALF
layout(binding = 2, rgba32ui) uniform readonly uimageBuffer w;
#define PER_TEXEL 8u
#define QUADS	  2u /* groups of 4 elements in a texel */
#else
layout(binding = 2, rgba32f) uniform readonly imageBuffer w;
#define PER_TEXEL 4u
#define QUADS	  1u
#endif

/* Arrays stay in registers only if the loops over them are unrolled. */
#define UNROLL [[unroll]]

void fetch_weights(out vec4 quads[QUADS], uint texel)
{
#ifdef HALF
	uvec4 t = imageLoad(w, int(texel));
	if (DTYPE == DTYPE_BF16) {
		uvec4 even = t << 16, odd = t & 0xffff0000u;
		quads[0] = uintBitsToFloat(uvec4(even.x, odd.x, even.y, odd.y));
		quads[1] = uintBitsToFloat(uvec4(even.z, odd.z, even.w, odd.w));
	} else {
		quads[0] = vec4(unpackHalf2x16(t.x), unpackHalf2x16(t.y));
		quads[1] = vec4(unpackHalf2x16(t.z), unpackHalf2x16(t.w));
	}
#else
	quads[0] = imageLoad(w, int(texel));
#endif
}
