/* models/safetensors.h, models/half.h: every rejection rule on files written here,
 * what a good file gives, and the golden folder of malformed files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/safetensors.h"
#include "tests/golden_saes.h"
#include "tests/scratch.h"
#include "tests/st_writer.h"

/* A file with that header and `data_size` bytes 0, 1, 2, ... of data. */
static char *write_st(const char *name, const char *header, size_t data_size)
{
	unsigned char data[16];
	assert_true(data_size <= sizeof data);
	for (size_t i = 0; i < data_size; i++)
		data[i] = (unsigned char)i;
	return st_write(name, header, data, data_size);
}

static void test_good_file(void **state)
{
	(void)state;
	/* Odd length of header: data are unaligned. b is written before a; c is empty, d a scalar. */
	char *path = write_st("good.safetensors",
			      "{\"b\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]},"
			      "\"__metadata__\":{\"format\":\"pt\"},"
			      "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[12,15]},"
			      "\"c\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[12,12]},"
			      "\"d\":{\"shape\":[],\"dtype\":\"F32\",\"data_offsets\":[8,12]}}   ",
			      15);
	struct error error;
	struct safetensors *file;
	assert_int_equal(safetensors_open(&file, path, &error), STATUS_OK);
	assert_int_equal(safetensors_count(file), 4);
	assert_string_equal(safetensors_at(file, 0)->name, "b");
	assert_string_equal(safetensors_metadata(file, "format"), "pt");
	assert_null(safetensors_metadata(file, "x"));
	assert_null(safetensors_find(file, "__metadata__"));
	assert_null(safetensors_find(file, "e"));
	const struct st_tensor *a = safetensors_find(file, "a");
	assert_int_equal(a->rank, 1);
	assert_int_equal(a->shape[0], 3);
	assert_int_equal(a->data[0], 12);
	const struct st_tensor *b = safetensors_find(file, "b");
	float row[2];
	assert_int_equal(st_tensor_copy_rows(b, 1, 1, row, path, &error), STATUS_OK);
	assert_true(row[0] == half_to_float(0x0504) && row[1] == half_to_float(0x0706));
	assert_int_equal(st_tensor_copy_rows(b, 1, 2, row, path, &error), STATUS_INVALID);
	assert_int_equal(st_tensor_copy_rows(b, -1, 1, row, path, &error), STATUS_INVALID);
	assert_int_equal(st_tensor_copy_rows(a, 0, 1, row, path, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "unsupported dtype"));
	const struct st_tensor *d = safetensors_find(file, "d");
	assert_int_equal(d->rank, 0);
	assert_int_equal(st_tensor_count(d), 1);
	assert_int_equal(st_tensor_count(safetensors_find(file, "c")), 0);
	safetensors_close(&file);
	assert_null(file);
	free(path);
}

static const struct {
	const char *header;
	size_t data;
	const char *says;
} bad_headers[] = {
	{"", 0, "bad header"},
	{"[]", 0, "bad header"},
	{" {}", 0, "bad header"},
	{"{", 0, "bad header"},
	{"{} x", 0, "bad header"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 4, "bad header"},
	{"{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "bad header"},
	{"{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "bad header"},
	{"{\"a\":3}", 0, "bad header"},
	{"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
	{"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	 "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
	 8, "duplicate"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"shape\":[1]}}", 4, "duplicate"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":3,\"data_offsets\":[0,4]}}", 4, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[0.5],\"data_offsets\":[0,4]}}", 4, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]}}", 4, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[576460752303423488],\"data_offsets\":[0,0]}}", 0, "bad shape"},
	{"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, "bad shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "bad offsets"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "bad offsets"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "bad offsets"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "bad offsets"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "size mismatch"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "bad offsets"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	 "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
	 6, "overlap"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	 "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
	 4, "overlap"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "truncated"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "belong to none"},
	{"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__"},
	{"{\"__metadata__\":[]}", 0, "__metadata__"},
};

static void test_bad_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_headers); i++) {
		char *path = write_st("bad.safetensors", bad_headers[i].header, bad_headers[i].data);
		struct safetensors *file;
		struct error error;
		if (safetensors_open(&file, path, &error) != STATUS_INVALID)
			fail_msg("accepted: %s", bad_headers[i].header);
		assert_null(file);
		if (!scratch_says(error.text, bad_headers[i].says))
			fail_msg("at: %s", bad_headers[i].header);
		assert_true(scratch_says(error.text, path));
		free(path);
	}
}

static void test_bad_lengths(void **state)
{
	(void)state;
	static const struct {
		unsigned char bytes[10];
		size_t size;
		const char *says;
	} cases[] = {
		{{0}, 0, "truncated"},
		{{2, 0, 0, 0, 0, 0, 0}, 7, "truncated"},
		{{3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, "truncated"},
		{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'}, 10, "header too large"},
		{{1, 0xe1, 0xf5, 5, 0, 0, 0, 0, '{', '}'}, 10, "header too large"}, /* 100,000,001 */
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *path = scratch_file("short.safetensors", cases[i].bytes, cases[i].size);
		struct safetensors *file;
		struct error error;
		assert_int_equal(safetensors_open(&file, path, &error), STATUS_INVALID);
		assert_true(scratch_says(error.text, cases[i].says));
		free(path);
	}
}

static enum status open_shards(struct weight_files **files, const char *index, struct error *error)
{
	free(write_st("m/one.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3));
	free(write_st("m/two.safetensors", "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2));
	free(write_st("m/twice.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2));
	free(scratch_file("m/model.safetensors.index.json", index, strlen(index)));
	char *folder = scratch_path("m");
	enum status status = weight_files_open(files, folder, error);
	free(folder);
	return status;
}

static void test_shards(void **state)
{
	(void)state;
	struct weight_files *files;
	struct error error;
	assert_int_equal(open_shards(&files,
				     "{\"metadata\":{\"total_size\":9},"
				     "\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}",
				     &error),
			 STATUS_OK);
	assert_int_equal(weight_files_shards(files), 2);
	assert_int_equal(weight_files_count(files), 2);
	assert_int_equal(weight_files_bytes(files), 5);
	int shard = -1;
	const struct st_tensor *b = weight_files_find(files, "b", &shard);
	assert_int_equal(shard, 1);
	assert_ptr_equal(b, safetensors_find(weight_files_shard(files, 1), "b"));
	assert_null(weight_files_find(files, "c", NULL));
	weight_files_close(&files);

	static const struct {
		const char *index, *says;
	} bad[] = {
		{"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"twice.safetensors\"}}", "duplicate"},
		{"{\"weight_map\":{\"a\":\"two.safetensors\"}}", "does not hold"},
		{"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}", "does not hold"},
		{"{\"weight_map\":{\"a\":\"../m/one.safetensors\"}}", "plain file name"},
		{"{\"weight_map\":{\"a\":\"..\"}}", "plain file name"},
		{"{\"weight_map\":{\"a\":3}}", "plain file name"},
		{"{\"weight_map\":{\"a\":\"three.safetensors\"}}", "three.safetensors"},
		{"{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", "twice"},
		{"{\"weight_map\":{}}", "weight_map"},
		{"{}", "weight_map"},
		{"[", "JSON"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(open_shards(&files, bad[i].index, &error), STATUS_INVALID);
		assert_null(files);
		assert_true(scratch_says(error.text, bad[i].says));
	}
	assert_int_equal(weight_files_open(&files, "/nonexistent", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "/nonexistent"));
}

static void test_half(void **state)
{
	(void)state;
	for (uint32_t bits = 0; bits < 0x10000; bits++) {
		uint16_t h = (uint16_t)bits;
		uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
		float f = half_to_float(h), b = bf16_to_float(h);
		double expected = exponent == 31  ? (mantissa ? NAN : INFINITY)
				  : exponent == 0 ? ldexp(mantissa, -24)
						  : ldexp(1024 + mantissa, (int)exponent - 25);
		if (h & 0x8000)
			expected = -expected;
		if (isnan(expected)) {
			assert_true(isnan(f) && isnan(half_to_float(half_from_float(f))));
		} else {
			assert_true((double)f == expected && !signbit(f) == !signbit(expected));
			assert_int_equal(half_from_float(f), h);
		}
		if (isnan(b))
			assert_true(isnan(bf16_to_float(bf16_from_float(b))));
		else
			assert_int_equal(bf16_from_float(b), h);
	}
	/* Ties to even, the largest half, and what overflows. */
	assert_int_equal(half_from_float(1.0f + 0x1p-11f), 0x3c00);
	assert_int_equal(half_from_float(1.0f + 3 * 0x1p-11f), 0x3c02);
	assert_int_equal(half_from_float(65519.0f), 0x7bff);
	assert_int_equal(half_from_float(65520.0f), 0x7c00);
	assert_int_equal(half_from_float(0x1p-25f), 0);
	assert_int_equal(half_from_float(0x1.1p-25f), 1);
	assert_int_equal(bf16_from_float(1.0f + 0x1p-8f), 0x3f80);
	assert_int_equal(bf16_from_float(1.0f + 3 * 0x1p-8f), 0x3f82);
}

static void check_bad(const struct golden_bad *bad)
{
	struct safetensors *file;
	struct error error;
	if (safetensors_open(&file, bad->path, &error) != STATUS_INVALID)
		fail_msg("accepted: %s", bad->name);
	assert_true(scratch_says(error.text, bad->kind));
	assert_null(strchr(error.text, 27));
}

static void test_golden_bad(void **state)
{
	(void)state;
	assert_true(golden_saes_each_bad("safetensors", check_bad) >= 21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_file),   cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_bad_lengths), cmocka_unit_test(test_shards),
		cmocka_unit_test(test_half),	    cmocka_unit_test(test_golden_bad),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
