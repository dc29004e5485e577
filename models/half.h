/* Numbers as weight files store them, and their way to float and double.
 *
 * Pointers into files are never assumed to be aligned: safetensors data may start
 * at an odd offset, zip members anywhere.
 */
#ifndef REBOUND_HALF_H
#define REBOUND_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/base/error.h"

/* Element types at the level of files, by their safetensors names. */
enum st_dtype {
	ST_F4,
	ST_F6_E2M3,
	ST_F6_E3M2,
	ST_BOOL,
	ST_U8,
	ST_I8,
	ST_F8_E5M2,
	ST_F8_E4M3,
	ST_F8_E8M0,
	ST_F8_E4M3FNUZ,
	ST_F8_E5M2FNUZ,
	ST_I16,
	ST_U16,
	ST_F16,
	ST_BF16,
	ST_I32,
	ST_U32,
	ST_F32,
	ST_C64,
	ST_F64,
	ST_I64,
	ST_U64,
	ST_DTYPE_COUNT,
};

/* "F32" and so on; static. */
const char *st_dtype_name(enum st_dtype dtype);
bool st_dtype_parse(const char *name, enum st_dtype *out);
/* Bits per element: 4, 6, 8, 16, 32 or 64. */
unsigned st_dtype_bits(enum st_dtype dtype);
/* F16, BF16, F32 or F64: what weights may be stored as. */
bool st_dtype_is_weight(enum st_dtype dtype);
/* Those, BOOL and the integers of 8 to 64 bits: what number_get understands. */
bool st_dtype_is_number(enum st_dtype dtype);

float half_to_float(uint16_t half);
/* Rounds to nearest, ties to even; overflow gives infinity. */
uint16_t half_from_float(float value);
float bf16_to_float(uint16_t bf16);
/* Rounds to nearest, ties to even; NaN stays NaN. */
uint16_t bf16_from_float(float value);

/* One element at `from` (any alignment); `swapped` reverses its bytes first. The
 * dtype must satisfy st_dtype_is_number. 64-bit integers lose what a double cannot
 * hold. */
double number_get(const unsigned char *from, enum st_dtype dtype, bool swapped);
/* n consecutive elements; float64 and integers are rounded to nearest. */
void numbers_to_float(float *out, const unsigned char *from, enum st_dtype dtype, size_t n);

#endif
