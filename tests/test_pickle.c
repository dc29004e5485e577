/* models/pickle.h: what each opcode does, on archives written here; the golden torch
 * files and the malformed ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "models/pickle.h"
#include "tests/golden_saes.h"
#include "tests/scratch.h"

/* Bytes of a string literal, NULs included. */
#define BYTES(literal) (literal), sizeof(literal) - 1

static void put(struct strbuf *b, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		strbuf_add_char(b, (char)(value >> 8 * i));
}

static void add_stored(struct strbuf *file, struct strbuf *directory, const char *name, const void *data, size_t n)
{
	uint32_t crc = (uint32_t)crc32(0, data, (uInt)n);
	size_t offset = file->length;
	strbuf_add(file, "PK\3\4\24\0\0\0\0\0\0\0\0\0", 14);
	strbuf_add(directory, "PK\1\2\24\0\24\0\0\0\0\0\0\0\0\0", 16);
	struct strbuf *both[] = {file, directory};
	for (int i = 0; i < 2; i++) {
		put(both[i], crc, 4);
		put(both[i], n, 4);
		put(both[i], n, 4);
		put(both[i], strlen(name), 2);
		put(both[i], 0, 2);
	}
	put(directory, 0, 6);
	put(directory, 0, 4);
	put(directory, offset, 4);
	strbuf_add_string(file, name);
	strbuf_add_string(directory, name);
	strbuf_add(file, data, n);
}

/* An archive with that pickle, and a storage "0" of six floats 0 to 5. */
static char *write_archive(const void *pickle, size_t n)
{
	static const float numbers[6] = {0, 1, 2, 3, 4, 5};
	struct strbuf file = {0}, directory = {0};
	add_stored(&file, &directory, "x/data.pkl", pickle, n);
	add_stored(&file, &directory, "x/byteorder", "little", 6);
	add_stored(&file, &directory, "x/data/0", numbers, sizeof numbers);
	size_t offset = file.length;
	strbuf_add(&file, directory.data, directory.length);
	strbuf_add(&file, "PK\5\6\0\0\0\0\3\0\3\0", 12);
	put(&file, directory.length, 4);
	put(&file, offset, 4);
	put(&file, 0, 2);
	char *path = scratch_file("a.pt", file.data, file.length);
	strbuf_done(&file);
	strbuf_done(&directory);
	return path;
}

/* torch._utils._rebuild_tensor_v2(("storage", torch.FloatStorage, "0", "cpu", 6), ... without arguments' rest */
#define TENSOR_HEAD                                                                                                    \
	"ctorch._utils\n_rebuild_tensor_v2\n(("                                                                        \
	"X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"                                                              \
	"0X\3\0\0\0cpuK\6tQ"

static void test_good(void **state)
{
	(void)state;
	static const char pickle[] = "\x80\2}q\0("
				     "X\1\0\0\0wq\1" TENSOR_HEAD "K\0K\2K\3\x86K\1K\2\x86\x89"
				     "ccollections\nOrderedDict\n)RtRq\2"
				     "X\1\0\0\0n}(X\1\0\0\0kJ\xfe\xff\xff\xff"
				     "X\1\0\0\0fG?\xe0\0\0\0\0\0\0"
				     "X\1\0\0\0s\x8c\2hi"
				     "X\1\0\0\0t\x88"
				     "X\1\0\0\0zNu"
				     "X\1\0\0\0l\x8a\2\xff\xff"
				     "X\1\0\0\0vctorch._utils\n_rebuild_parameter\nh\2\x88)\x87R"
				     "X\1\0\0\0o](K\1K\2e"
				     "u}b.";
	char *path = write_archive(BYTES(pickle));
	struct torch_file *file;
	struct error error;
	if (torch_file_open(&file, path, &error))
		fail_msg("%s", error.text);
	assert_int_equal(torch_file_count(file), 7);
	const struct torch_entry *w = torch_file_at(file, 0);
	assert_string_equal(w->name, "w");
	assert_true(w->kind == TORCH_TENSOR && w->shape.rank == 2 && w->shape.shape[0] == 2 && w->shape.shape[1] == 3);
	assert_string_equal(torch_file_at(file, 1)->name, "n.k");
	assert_true(torch_file_at(file, 1)->kind == TORCH_INT && torch_file_at(file, 1)->number == -2);
	assert_true(torch_file_at(file, 2)->kind == TORCH_FLOAT && torch_file_at(file, 2)->number == 0.5);
	assert_string_equal(torch_file_at(file, 3)->text, "hi");
	assert_true(torch_file_at(file, 4)->kind == TORCH_BOOL && torch_file_at(file, 4)->number == 1);
	assert_true(torch_file_at(file, 5)->number == -1);
	assert_true(torch_file_at(file, 6)->kind == TORCH_TENSOR);
	struct array_view view;
	float out[6];
	assert_int_equal(torch_file_load(file, 0, &view, &error), STATUS_OK);
	array_view_read_float(&view, out);
	static const float expected[] = {0, 2, 4, 1, 3, 5}; /* strides (1, 2) */
	assert_memory_equal(out, expected, sizeof out);
	torch_file_close(&file);
	free(path);
}

#define BAD(literal, says)                                                                                             \
	{                                                                                                              \
		BYTES(literal), says                                                                                   \
	}
static const struct {
	const char *bytes;
	size_t size;
	const char *says;
} bad_pickles[] = {
	BAD("", "truncated"),
	BAD("\x80\2", "truncated"),
	BAD(".", "bad pickle"),
	BAD("K\1.", "no dictionary"),
	BAD("}}.", "bad pickle"),
	BAD("(.", "bad pickle"),
	BAD("\x80\7}.", "protocol"),
	BAD("cbuiltins\neval\n.", "forbidden global: the pickle names \"builtins.eval\""),
	BAD("cos\nsystem\n(X\2\0\0\0lstR.", "forbidden global"),
	BAD("X\2\0\0\0osX\6\0\0\0system\x93.", "forbidden global"),
	BAD("ctorch._utils\n_rebuild_tensor\n.", "forbidden global"),
	BAD("ctorch\nload\n.", "forbidden global"),
	BAD("ctorch._utils._rebuild_tensor_v2\n", "truncated"),
	BAD("K\1K\1\x93.", "bad pickle"),
	BAD("R.", "REDUCE on an empty stack"),
	BAD(")R.", "REDUCE on an empty stack"),
	BAD("K\1)R.", "bad pickle"),
	BAD("(ios\nsystem\n.", "opcode 0x69"),
	BAD(")\x81.", "opcode 0x81"),
	BAD("o.", "opcode 0x6f"),
	BAD("S'a'\n.", "opcode 0x53"),
	BAD("2.", "opcode 0x32"),
	BAD("h\0.", "never put"),
	BAD("q\0.", "empty stack"),
	BAD("}r\xff\xff\xff\xff.", "out of proportion"),
	BAD("}q\1h\0.", "never put"),
	BAD("\x85.", "short stack"),
	BAD("t.", "without a mark"),
	BAD("(\x85.", "mark inside"),
	BAD("u.", "no container"),
	BAD("K\1(K\1K\2u.", "no container"),
	BAD("}(K\1u.", "without a value"),
	BAD("}K\1s.", "no container"),
	BAD("K\1a.", "no container"),
	BAD("}K\1b.", "BUILD"),
	BAD("X\377\377\377\377a.", "truncated"),
	BAD("\x8a\xffxxxxxxxxxx.", "64 bits"),
	BAD("\x8a\4x", "truncated"),
	BAD("G123", "truncated"),
	BAD("K\1Q.", "no storage"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\0K\2K\4\x86K\4K\1\x86\x89}tRu.", "size mismatch"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\1K\2K\3\x86K\3K\1\x86\x89}tRu.", "size mismatch"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\7K\0\x85K\1\x85\x89}tRu.", "size mismatch"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\0K\7\x85K\0\x85\x89}tRu.", "size mismatch"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\0\x8a\10\0\0\0\0\0\0\0\x40K\2\x86K\1K\1\x86\x89}tRu.", "size mismatch"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\0K\2\x85\x8a\10\377\377\377\377\377\377\377\x7f\x85\x89}tRu.",
	    "size mismatch"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\0J\377\377\377\377\x85K\1\x85\x89}tRu.", "whole numbers"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\0K\2\x85K\1K\1\x86\x89}tRu.", "unexpected arguments"),
	BAD("}(X\1\0\0\0w" TENSOR_HEAD "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1t\x89}tRu.",
	    "too many"),
	BAD("}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
	    "1X\3\0\0\0cpuK\6tQK\0K\6\x85K\1\x85\x89}tRu.",
	    "missing storage"),
	BAD("}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nDoubleStorage\nX\1\0\0\0"
	    "0X\3\0\0\0cpuK\6tQK\0K\6\x85K\1\x85\x89}tRu.",
	    "size mismatch"),
	BAD("}(X\1\0\0\0aK\1X\1\0\0\0aK\2u.", "duplicate"),
	BAD("}q\0(X\1\0\0\0ah\0u.", "nested"),
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_pickles); i++) {
		char *path = write_archive(bad_pickles[i].bytes, bad_pickles[i].size);
		struct torch_file *file;
		struct error error;
		if (torch_file_open(&file, path, &error) != STATUS_INVALID)
			fail_msg("accepted: case %zu, expected \"%s\"", i, bad_pickles[i].says);
		assert_null(file);
		if (!scratch_says(error.text, bad_pickles[i].says) || !scratch_says(error.text, path))
			fail_msg("at case %zu", i);
		free(path);
	}
}

/* Dictionaries that hold each other many times over must not be walked for ever. */
static void test_shared_dictionaries(void **state)
{
	(void)state;
	struct strbuf b = {0};
	char *path;
	struct torch_file *file;
	struct error error;
	strbuf_add(&b, BYTES("}q\0(X\1\0\0\0x}q\1(X\1\0\0\0y}q\2(X\1\0\0\0z}q\3(X\1\0\0\0kK\1u"));
	for (int level = 2; level >= 0; level--) {
		for (int i = 0; i < 200; i++) {
			strbuf_add(&b, BYTES("X\4\0\0\0"));
			put(&b, (uint64_t)(0x61616161 + i), 4);
			strbuf_add_char(&b, 'h');
			put(&b, (uint64_t)level + 1, 1);
		}
		strbuf_add(&b, BYTES("u"));
	}
	strbuf_add(&b, BYTES("."));
	path = write_archive(b.data, b.length);
	assert_int_equal(torch_file_open(&file, path, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "more than 100000 items"));
	free(path);
	strbuf_done(&b);
}

static void test_golden(void **state)
{
	(void)state;
	char *path = scratch_golden("saes/dl_topk/resid_post_layer_3/trainer_0/ae.pt");
	if (!path) {
		print_message("the golden SAEs are not there\n");
		skip();
	}
	struct torch_file *file;
	struct error error;
	if (torch_file_open(&file, path, &error))
		fail_msg("%s", error.text);
	assert_int_equal(torch_file_count(file), 6);
	for (size_t i = 0; i < torch_file_count(file); i++) {
		struct array_view view;
		assert_int_equal(torch_file_load(file, i, &view, &error), STATUS_OK);
		if (strcmp(torch_file_at(file, i)->name, "k") == 0) {
			int64_t k;
			assert_true(array_view_read_int(&view, &k) && k == 9);
		}
		if (strcmp(torch_file_at(file, i)->name, "encoder.weight") == 0)
			assert_true(view.stride[0] == 1 && view.stride[1] == view.shape[0]);
	}
	torch_file_close(&file);
	free(path);
}

static void check_bad(const struct golden_bad *bad)
{
	struct torch_file *file;
	struct error error;
	if (torch_file_open(&file, bad->path, &error) != STATUS_INVALID)
		fail_msg("accepted: %s", bad->name);
	assert_true(scratch_says(error.text, bad->kind));
	assert_true(scratch_says(error.text, bad->path));
}

static void test_golden_bad(void **state)
{
	(void)state;
	assert_true(golden_saes_each_bad("torch pickle", check_bad) >= 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_shared_dictionaries),
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_golden_bad),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
