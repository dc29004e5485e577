#include "models/half.h"

#include <math.h>
#include <string.h>

#include "compute/base/mem.h"

static const struct {
	const char *name;
	unsigned bits;
} dtypes[ST_DTYPE_COUNT] = {
	[ST_F4] = {"F4", 4},
	[ST_F6_E2M3] = {"F6_E2M3", 6},
	[ST_F6_E3M2] = {"F6_E3M2", 6},
	[ST_BOOL] = {"BOOL", 8},
	[ST_U8] = {"U8", 8},
	[ST_I8] = {"I8", 8},
	[ST_F8_E5M2] = {"F8_E5M2", 8},
	[ST_F8_E4M3] = {"F8_E4M3", 8},
	[ST_F8_E8M0] = {"F8_E8M0", 8},
	[ST_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
	[ST_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
	[ST_I16] = {"I16", 16},
	[ST_U16] = {"U16", 16},
	[ST_F16] = {"F16", 16},
	[ST_BF16] = {"BF16", 16},
	[ST_I32] = {"I32", 32},
	[ST_U32] = {"U32", 32},
	[ST_F32] = {"F32", 32},
	[ST_C64] = {"C64", 64},
	[ST_F64] = {"F64", 64},
	[ST_I64] = {"I64", 64},
	[ST_U64] = {"U64", 64},
};

const char *st_dtype_name(enum st_dtype dtype)
{
	return dtypes[dtype].name;
}

bool st_dtype_parse(const char *name, enum st_dtype *out)
{
	for (int i = 0; i < ST_DTYPE_COUNT; i++) {
		if (strcmp(dtypes[i].name, name) == 0) {
			*out = (enum st_dtype)i;
			return true;
		}
	}
	return false;
}

unsigned st_dtype_bits(enum st_dtype dtype)
{
	return dtypes[dtype].bits;
}

bool st_dtype_is_weight(enum st_dtype dtype)
{
	return dtype == ST_F16 || dtype == ST_BF16 || dtype == ST_F32 || dtype == ST_F64;
}

bool st_dtype_is_number(enum st_dtype dtype)
{
	switch (dtype) {
	case ST_BOOL:
	case ST_U8:
	case ST_I8:
	case ST_I16:
	case ST_U16:
	case ST_I32:
	case ST_U32:
	case ST_I64:
	case ST_U64:
		return true;
	default:
		return st_dtype_is_weight(dtype);
	}
}

static float float_from_bits(uint32_t bits)
{
	float value;
	memcpy(&value, &bits, sizeof value);
	return value;
}

static uint32_t float_bits(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof bits);
	return bits;
}

float half_to_float(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16;
	uint32_t exponent = (half >> 10) & 0x1f;
	uint32_t mantissa = half & 0x3ff;
	if (exponent == 0x1f)
		return float_from_bits(sign | 0x7f800000 | mantissa << 13);
	if (exponent == 0) {
		float magnitude = (float)mantissa * 0x1p-24f;
		return sign ? -magnitude : magnitude;
	}
	return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t half_from_float(float value)
{
	uint32_t bits = float_bits(value);
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
	uint32_t magnitude = bits & 0x7fffffff;
	if (magnitude > 0x7f800000)
		return (uint16_t)(sign | 0x7e00);
	if (magnitude >= 0x47800000) /* 65536 and more, infinity */
		return (uint16_t)(sign | 0x7c00);
	if (magnitude < 0x38800000) { /* below 2^-14: the subnormals are multiples of 2^-24 */
		float scaled = rintf(fabsf(value) * 0x1p24f);
		return (uint16_t)(sign | (uint16_t)scaled);
	}
	uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
	return (uint16_t)(sign | (uint16_t)((rounded >> 13) - (112u << 10)));
}

float bf16_to_float(uint16_t bf16)
{
	return float_from_bits((uint32_t)bf16 << 16);
}

uint16_t bf16_from_float(float value)
{
	uint32_t bits = float_bits(value);
	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* The little-endian value of an element of `bytes` bytes. */
static uint64_t load(const unsigned char *from, unsigned bytes, bool swapped)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | from[swapped ? i : bytes - 1 - i];
	return value;
}

double number_get(const unsigned char *from, enum st_dtype dtype, bool swapped)
{
	uint64_t bits = load(from, st_dtype_bits(dtype) / 8, swapped);
	double value;
	switch (dtype) {
	case ST_F32:
		return float_from_bits((uint32_t)bits);
	case ST_F64:
		memcpy(&value, &bits, sizeof value);
		return value;
	case ST_F16:
		return half_to_float((uint16_t)bits);
	case ST_BF16:
		return bf16_to_float((uint16_t)bits);
	case ST_BOOL:
		return bits != 0;
	case ST_I8:
		return (int8_t)bits;
	case ST_I16:
		return (int16_t)bits;
	case ST_I32:
		return (int32_t)bits;
	case ST_I64:
		return (double)(int64_t)bits;
	case ST_U8:
	case ST_U16:
	case ST_U32:
	case ST_U64:
		return (double)bits;
	default:
		fatal("number_get: dtype %s", st_dtype_name(dtype));
	}
}

void numbers_to_float(float *out, const unsigned char *from, enum st_dtype dtype, size_t n)
{
	uint16_t bits;
	double wide;
	switch (dtype) {
	case ST_F32:
		if (n)
			memcpy(out, from, n * sizeof *out);
		break;
	case ST_BF16:
		for (size_t i = 0; i < n; i++) {
			memcpy(&bits, from + 2 * i, sizeof bits);
			out[i] = bf16_to_float(bits);
		}
		break;
	case ST_F16:
		for (size_t i = 0; i < n; i++) {
			memcpy(&bits, from + 2 * i, sizeof bits);
			out[i] = half_to_float(bits);
		}
		break;
	case ST_F64:
		for (size_t i = 0; i < n; i++) {
			memcpy(&wide, from + 8 * i, sizeof wide);
			out[i] = (float)wide;
		}
		break;
	default:
		for (size_t i = 0; i < n; i++)
			out[i] = (float)number_get(from + i * (st_dtype_bits(dtype) / 8), dtype, false);
	}
}
