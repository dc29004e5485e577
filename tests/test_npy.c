/* models/npy.h, models/npz.h, models/zip_file.h on files written here, and the golden
 * malformed archives. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "models/npy.h"
#include "models/npz.h"
#include "models/zip_file.h"
#include "tests/golden_saes.h"
#include "tests/scratch.h"

/* An image of that version with `header` as it stands and the data behind it. */
static void image_add(struct strbuf *b, int version, const char *header, const void *data, size_t size)
{
	size_t n = strlen(header);
	strbuf_add(b, "\x93NUMPY", 6);
	const char bytes[6] = {(char)version, 0, (char)(n & 0xff), (char)(n >> 8), 0, 0};
	strbuf_add(b, bytes, version == 1 ? 4 : 6);
	strbuf_add(b, header, n);
	strbuf_add(b, data, size);
}

static char *write_npy(int version, const char *header, const void *data, size_t size)
{
	struct strbuf b = {0};
	image_add(&b, version, header, data, size);
	char *path = scratch_file("a.npy", b.data, b.length);
	strbuf_done(&b);
	return path;
}

static void test_read(void **state)
{
	(void)state;
	static const unsigned char big[] = {0x3f, 0x80, 0, 0, 0x40, 0,	  0, 0, 0x40, 0x40, 0, 0,
					    0x40, 0x80, 0, 0, 0x40, 0xa0, 0, 0, 0x40, 0xc0, 0, 0};
	static const float little[] = {1, 4, 2, 5, 3, 6};
	static const uint16_t halves[] = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};
	static const double wide[] = {1, 2, 3, 4, 5, 6};
	static const int64_t longs[] = {1, 2, 3, 4, 5, 6};
	static const unsigned char bytes[] = {1, 2, 3, 4, 5, 6};
	static const unsigned char shorts[] = {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6};
	static const struct {
		int version;
		const char *header;
		const void *data;
		size_t size;
	} cases[] = {
		{1, "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }\n", big, sizeof big},
		{1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }     \n", little, sizeof little},
		{2, "{'shape': (2L, 3L), 'descr': '<f2', 'fortran_order': False}", halves, sizeof halves},
		{3, "{\"fortran_order\": False, 'descr': \"<f8\", 'shape': (2,3,)}", wide, sizeof wide},
		{1, "{'descr':'<i8','fortran_order':False,'shape':(2,3)}", longs, sizeof longs},
		{1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", bytes, sizeof bytes},
		{1, "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3), }", shorts, sizeof shorts},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *path = write_npy(cases[i].version, cases[i].header, cases[i].data, cases[i].size);
		float *f;
		double *d;
		int64_t *whole;
		size_t count;
		struct array_view view;
		struct error error;
		assert_int_equal(npy_read_float(path, &f, &count, &view, &error), STATUS_OK);
		assert_int_equal(count, 6);
		assert_int_equal(view.rank, 2);
		assert_true(view.shape[0] == 2 && view.shape[1] == 3);
		assert_int_equal(npy_read_double(path, &d, &count, NULL, &error), STATUS_OK);
		assert_int_equal(npy_read_int(path, &whole, &count, NULL, &error), STATUS_OK);
		for (int j = 0; j < 6; j++) {
			assert_true(f[j] == (float)(j + 1) && d[j] == j + 1);
			assert_int_equal(whole[j], j + 1);
		}
		free(f);
		free(d);
		free(whole);
		free(path);
	}
}

static void test_scalar_empty_and_fractions(void **state)
{
	(void)state;
	static const float half = 0.5f;
	char *path = write_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", &half, sizeof half);
	double *d;
	int64_t *whole;
	size_t count;
	struct array_view view;
	struct error error;
	assert_int_equal(npy_read_double(path, &d, &count, &view, &error), STATUS_OK);
	assert_true(count == 1 && view.rank == 0 && d[0] == 0.5);
	assert_int_equal(npy_read_int(path, &whole, &count, NULL, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "not whole"));
	free(d);
	free(path);
	path = write_npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3), }", &half, 0);
	assert_int_equal(npy_read_double(path, &d, &count, &view, &error), STATUS_OK);
	assert_true(count == 0 && view.rank == 2);
	free(d);
	free(path);
}

static void test_bad(void **state)
{
	(void)state;
	static const struct {
		int version;
		const char *header, *says;
	} cases[] = {
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", "size mismatch"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", "size mismatch"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6), }", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3], }", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,6), }", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776), }",
		 "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1099511627776, 1099511627776, 0), }",
		 "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, }", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", "bad npy header"},
		{1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x", "bad npy header"},
		{1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)", "bad npy header"},
		{1, "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 3)}", "unsupported dtype"},
		{1, "", "bad npy header"},
		{1, "{", "bad npy header"},
		{1, "print('x')", "bad npy header"},
		{4, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", "bad npy header"},
		{0, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", "bad npy header"},
		{1, "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", "unsupported dtype"},
		{1, "{'descr': '|f4', 'fortran_order': False, 'shape': (2, 3), }", "unsupported dtype"},
		{1, "{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", "unsupported dtype"},
		{1, "{'descr': '|V2', 'fortran_order': False, 'shape': (12,), }", "unsupported dtype"},
		{1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }", "unsupported dtype"},
	};
	static const float data[6] = {0};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *path = write_npy(cases[i].version, cases[i].header, data, sizeof data);
		float *f;
		size_t count;
		struct error error;
		if (npy_read_float(path, &f, &count, NULL, &error) != STATUS_INVALID)
			fail_msg("accepted: %s", cases[i].header);
		assert_null(f);
		if (!scratch_says(error.text, cases[i].says))
			fail_msg("at: %s", cases[i].header);
		assert_true(scratch_says(error.text, path));
		free(path);
	}
	/* Every prefix of a good file is refused. */
	struct strbuf b = {0};
	image_add(&b, 2, cases[1].header, data, 16);
	for (size_t n = 0; n < b.length; n++) {
		char *path = scratch_file("a.npy", b.data, n);
		float *f;
		size_t count;
		assert_int_equal(npy_read_float(path, &f, &count, NULL, NULL), STATUS_INVALID);
		free(path);
	}
	strbuf_done(&b);
}

static void test_write(void **state)
{
	(void)state;
	static const float data[] = {1.5f, -2, 3, 4, 5, 1e-40f};
	static const double wide[] = {0.1, -0.2, 1e300};
	char *path = scratch_path("w.npy");
	float *f;
	double *d;
	size_t count, size;
	struct array_view view;
	struct error error;
	assert_int_equal(npy_write_float(path, data, 3, (const int64_t[]){3, 1, 2}, &error), STATUS_OK);
	assert_int_equal(npy_read_float(path, &f, &count, &view, &error), STATUS_OK);
	assert_true(view.rank == 3 && view.shape[0] == 3 && view.shape[1] == 1 && view.shape[2] == 2);
	assert_memory_equal(f, data, sizeof data);
	free(f);
	assert_int_equal(npy_write_double(path, wide, 1, (const int64_t[]){3}, &error), STATUS_OK);
	assert_int_equal(npy_read_double(path, &d, &count, &view, &error), STATUS_OK);
	assert_true(view.rank == 1 && view.dtype == ST_F64);
	assert_memory_equal(d, wide, sizeof wide);
	free(d);
	char *bytes;
	assert_int_equal(file_read(&bytes, &size, path, 1000, &error), STATUS_OK);
	assert_int_equal(size, 128 + sizeof wide);
	assert_memory_equal(bytes + 10, "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", 56);
	assert_int_equal(bytes[127], '\n');
	free(bytes);
	assert_int_equal(npy_write_double(path, wide, 0, NULL, &error), STATUS_OK);
	assert_int_equal(npy_read_double(path, &d, &count, &view, &error), STATUS_OK);
	assert_true(view.rank == 0 && count == 1);
	free(d);
	free(path);
}

/* A zip archive in the making. */
struct archive {
	struct strbuf bytes, directory;
	int count;
};

static void put(struct strbuf *b, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		strbuf_add_char(b, (char)(value >> 8 * i));
}

static void archive_add(struct archive *a, const char *name, const struct strbuf *content, bool deflated)
{
	unsigned char packed[4096];
	size_t n = content->length;
	memcpy(packed, content->data, n);
	if (deflated) {
		z_stream stream = {0};
		assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
		stream.next_in = (Bytef *)content->data;
		stream.avail_in = (uInt)content->length;
		stream.next_out = packed;
		stream.avail_out = sizeof packed;
		assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
		n = sizeof packed - stream.avail_out;
		deflateEnd(&stream);
	}
	uint32_t crc = (uint32_t)crc32(0, (const Bytef *)content->data, (uInt)content->length);
	size_t offset = a->bytes.length;
	struct strbuf *b = &a->bytes;
	strbuf_add(b, "PK\3\4\24\0\0\0", 8);
	put(b, deflated ? 8 : 0, 2);
	put(b, 0, 4);
	put(b, crc, 4);
	put(b, n, 4);
	put(b, content->length, 4);
	put(b, strlen(name), 2);
	put(b, 0, 2);
	strbuf_add_string(b, name);
	strbuf_add(b, packed, n);
	struct strbuf *d = &a->directory;
	strbuf_add(d, "PK\1\2\24\0\24\0\0\0", 10);
	put(d, deflated ? 8 : 0, 2);
	put(d, 0, 4);
	put(d, crc, 4);
	put(d, n, 4);
	put(d, content->length, 4);
	put(d, strlen(name), 2);
	put(d, 0, 6);
	put(d, 0, 6);
	put(d, offset, 4);
	strbuf_add_string(d, name);
	a->count++;
}

static void archive_end(struct archive *a)
{
	size_t offset = a->bytes.length, size = a->directory.length;
	strbuf_add(&a->bytes, a->directory.data, size);
	strbuf_add(&a->bytes, "PK\5\6\0\0\0\0", 8);
	put(&a->bytes, (uint64_t)a->count, 2);
	put(&a->bytes, (uint64_t)a->count, 2);
	put(&a->bytes, size, 4);
	put(&a->bytes, offset, 4);
	put(&a->bytes, 0, 2);
	strbuf_done(&a->directory);
}

static void make_archive(struct archive *a)
{
	static const float data[] = {1, 2, 3, 4, 5, 6};
	struct strbuf one = {0};
	image_add(&one, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", data, sizeof data);
	archive_add(a, "a.npy", &one, false);
	archive_add(a, "b.npy", &one, true);
	archive_end(a);
	strbuf_done(&one);
}

static enum status load_all(const char *path, struct error *error)
{
	struct npz *npz;
	enum status status = npz_open(&npz, path, error);
	for (size_t i = 0; status == STATUS_OK && i < npz_count(npz); i++) {
		struct array_view view;
		status = npz_load(npz, i, &view, error);
		if (status == STATUS_OK) {
			float *copy = mem_alloc(array_view_count(&view), sizeof *copy);
			array_view_read_float(&view, copy);
			free(copy);
		}
	}
	npz_close(&npz);
	return status;
}

static void test_npz(void **state)
{
	(void)state;
	struct archive a = {0};
	make_archive(&a);
	char *path = scratch_file("a.npz", a.bytes.data, a.bytes.length);
	struct npz *npz;
	struct error error;
	assert_int_equal(npz_open(&npz, path, &error), STATUS_OK);
	assert_int_equal(npz_count(npz), 2);
	assert_string_equal(npz_name(npz, 1), "b");
	assert_int_equal(npz_shape(npz, 1)->shape[1], 3);
	for (size_t i = 0; i < 2; i++) {
		struct array_view view;
		float data[6];
		assert_int_equal(npz_load(npz, i, &view, &error), STATUS_OK);
		array_view_read_float(&view, data);
		for (int j = 0; j < 6; j++)
			assert_true(data[j] == (float)(j + 1));
	}
	npz_close(&npz);
	free(path);

	/* No single wrong byte passes or does harm (but for times, versions and attributes). */
	size_t accepted = 0;
	for (size_t i = 0; i < a.bytes.length; i++) {
		a.bytes.data[i] = (char)(a.bytes.data[i] ^ 0x41);
		path = scratch_file("b.npz", a.bytes.data, a.bytes.length);
		accepted += load_all(path, &error) == STATUS_OK;
		free(path);
		a.bytes.data[i] = (char)(a.bytes.data[i] ^ 0x41);
	}
	/* Unchecked: 8 + 4 bytes of version, time and flags a local header, and 22 an entry. */
	if (accepted > 2 * (14 + 24))
		fail_msg("%zu flipped bytes went unnoticed", accepted);
	for (size_t n = 0; n < a.bytes.length; n++) {
		path = scratch_file("b.npz", a.bytes.data, n);
		assert_int_equal(load_all(path, &error), STATUS_INVALID);
		free(path);
	}
	strbuf_done(&a.bytes);
}

/* One stored member with all sizes and offsets in zip64 fields, as files over 4 GiB
 * have them. `wrong` (if not 0) is added to the size in the directory. */
static char *write_zip64(uint64_t wrong)
{
	static const float data[] = {7, 8};
	struct strbuf content = {0}, b = {0};
	image_add(&content, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", data, sizeof data);
	uint32_t crc = (uint32_t)crc32(0, (const Bytef *)content.data, (uInt)content.length);
	for (int entry = 0; entry < 2; entry++) {
		if (entry)
			strbuf_add(&b, "PK\1\2\55\0\55\0\0\0\0\0\0\0\0\0", 16);
		else
			strbuf_add(&b, "PK\3\4\55\0\0\0\0\0\0\0\0\0", 14);
		put(&b, crc, 4);
		put(&b, 0xffffffffffffffff, 8);
		put(&b, 5, 2);
		put(&b, entry ? 28 : 20, 2);
		if (entry) {
			put(&b, 0, 8);
			put(&b, 0, 2);
			put(&b, 0xffffffff, 4);
		}
		strbuf_add_string(&b, "w.npy");
		put(&b, 1, 2);
		put(&b, entry ? 24 : 16, 2);
		put(&b, content.length + (entry ? wrong : 0), 8);
		put(&b, content.length + (entry ? wrong : 0), 8);
		if (entry)
			put(&b, 0, 8);
		else
			strbuf_add(&b, content.data, content.length);
	}
	size_t directory = 30 + 5 + 20 + content.length, end64 = b.length;
	strbuf_add(&b, "PK\6\6", 4);
	put(&b, 44, 8);
	put(&b, 0x2d002d, 4);
	put(&b, 0, 8);
	put(&b, 1, 8);
	put(&b, 1, 8);
	put(&b, end64 - directory, 8);
	put(&b, directory, 8);
	strbuf_add(&b, "PK\6\7\0\0\0\0", 8);
	put(&b, end64, 8);
	put(&b, 1, 4);
	strbuf_add(&b, "PK\5\6\0\0\0\0", 8);
	put(&b, 0xffffffffffffffff, 8);
	put(&b, 0xffffffff, 4);
	put(&b, 0, 2);
	char *path = scratch_file("64.npz", b.data, b.length);
	strbuf_done(&content);
	strbuf_done(&b);
	return path;
}

static void test_zip64(void **state)
{
	(void)state;
	char *path = write_zip64(0);
	struct npz *npz;
	struct array_view view;
	struct error error;
	if (npz_open(&npz, path, &error) || npz_load(npz, 0, &view, &error))
		fail_msg("%s", error.text);
	float out[2];
	array_view_read_float(&view, out);
	assert_true(out[0] == 7 && out[1] == 8);
	npz_close(&npz);
	free(path);
	static const uint64_t wrongs[] = {1, 1000000, 0x7fffffffffffff00, 0xffffffffffffff00};
	for (size_t i = 0; i < ARRAY_LEN(wrongs); i++) {
		path = write_zip64(wrongs[i]);
		assert_int_equal(load_all(path, &error), STATUS_INVALID);
		assert_true(scratch_says(error.text, "size mismatch"));
		free(path);
	}
}

static void check_bad(const struct golden_bad *bad)
{
	struct error error;
	if (load_all(bad->path, &error) != STATUS_INVALID)
		fail_msg("accepted: %s", bad->name);
	assert_true(scratch_says(error.text, bad->kind));
	assert_true(scratch_says(error.text, bad->path));
}

static void test_golden_bad(void **state)
{
	(void)state;
	assert_true(golden_saes_each_bad("npz", check_bad) >= 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),	   cmocka_unit_test(test_scalar_empty_and_fractions),
		cmocka_unit_test(test_bad),	   cmocka_unit_test(test_write),
		cmocka_unit_test(test_npz),	   cmocka_unit_test(test_zip64),
		cmocka_unit_test(test_golden_bad),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
