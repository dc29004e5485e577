// The rank of a number in a choice: unsigned integers in the order of the floats, resp. of
// their magnitudes. -0 ranks as 0, NaN above everything.
uint select_key(uint magnitude, float value)
{
	const uint bits = floatBitsToUint(value), size = bits & 0x7fffffffu;
	if (size > 0x7f800000u)
		return 0xffffffffu;
	if (magnitude != 0)
		return size;
	return bits > 0x80000000u ? ~bits : size | 0x80000000u;
}
