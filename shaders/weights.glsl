/* Reading weights of three types out of 32-bit words. Bit patterns of enum dtype. */
#define DTYPE_F32  0
#define DTYPE_BF16 1
#define DTYPE_F16  2

/* Element i of a 2-byte type, given the word that holds it (words[i / 2]). */
float weight_of_half(uint dtype, uint word, uint i)
{
	uint bits = (i & 1u) != 0 ? word >> 16 : word & 0xffffu;
	return dtype == DTYPE_BF16 ? uintBitsToFloat(bits << 16) : unpackHalf2x16(bits).x;
}
