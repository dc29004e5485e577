/* sessions/journal.h, sessions/record_files.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "sessions/journal.h"
#include "sessions/record_files.h"
#include "tests/expect.h"
#include "tests/scratch.h"

static cJSON *numbered(const char *name, int n)
{
	cJSON *json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "event", name);
	cJSON_AddNumberToObject(json, "n", n);
	return json;
}

static char *read_text(const char *path)
{
	struct error error;
	char *text;
	size_t n;
	if (file_read(&text, &n, path, 1 << 20, &error))
		fail_msg("%s", error.text);
	return text;
}

static void expect_text(const char *path, const char *expected)
{
	char *text = read_text(path);
	assert_string_equal(text, expected);
	free(text);
}

static void test_append_only(void **state)
{
	(void)state;
	struct error error = {0};
	struct journal *journal;
	char *path = scratch_path("append/a.jsonl");
	expect_ok(journal_create(&journal, path, false, &error), &error);
	expect_ok(journal_event(journal, numbered("session", 1), &error), &error);
	/* Each line is in the file before the next. */
	expect_text(path, "{\"event\":\"session\",\"n\":1}\n");
	expect_ok(journal_event(journal, numbered("step", 2), &error), &error);
	expect_ok(journal_checkpoint(journal, &error), &error);
	expect_ok(journal_close(&journal, &error), &error);
	assert_null(journal);
	expect_text(path, "{\"event\":\"session\",\"n\":1}\n{\"event\":\"step\",\"n\":2}\n");
	/* A second one does not take its place. */
	assert_int_equal(journal_create(&journal, path, false, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "a.jsonl"));
	/* It can be gone on with. */
	expect_ok(journal_append(&journal, path, &error), &error);
	expect_ok(journal_event(journal, numbered("note", 3), &error), &error);
	expect_ok(journal_close(&journal, &error), &error);
	expect_text(path,
		    "{\"event\":\"session\",\"n\":1}\n{\"event\":\"step\",\"n\":2}\n{\"event\":\"note\",\"n\":3}\n");
	free(path);
	path = scratch_file("append/cut.jsonl", "{\"event\":", 9);
	assert_int_equal(journal_append(&journal, path, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "ends within a line"));
	free(path);
}

static void test_replace(void **state)
{
	(void)state;
	struct error error = {0};
	struct journal *journal;
	static const char old[] = "{\"event\":\"session\",\"n\":0}\n";
	char *path = scratch_file("replace/a.jsonl", old, sizeof old - 1);
	expect_ok(journal_check(path, &error), &error);
	expect_ok(journal_create(&journal, path, true, &error), &error);
	expect_ok(journal_event(journal, numbered("session", 9), &error), &error);
	expect_text(path, old);
	expect_ok(journal_close(&journal, &error), &error);
	expect_text(path, "{\"event\":\"session\",\"n\":9}\n");
	/* Abandoned, the old one stays. */
	expect_ok(journal_create(&journal, path, true, &error), &error);
	expect_ok(journal_event(journal, numbered("session", 10), &error), &error);
	journal_abandon(&journal);
	expect_text(path, "{\"event\":\"session\",\"n\":9}\n");
	free(path);
}

static void test_beside(void **state)
{
	(void)state;
	struct error error = {0};
	struct journal *a, *b;
	char *path = scratch_path("beside.d/a.jsonl");
	expect_ok(journal_create_beside(&a, path, &error), &error);
	expect_ok(journal_create_beside(&b, path, &error), &error);
	assert_string_equal(journal_path(a), path);
	assert_string_equal(path_base(journal_path(b)), "a-2.jsonl");
	expect_ok(journal_close(&a, &error), &error);
	expect_ok(journal_close(&b, &error), &error);
	assert_int_equal(journal_create_beside(&a, "/nowhere/at/all.jsonl", &error), STATUS_INVALID);
	free(path);
}

static void test_check(void **state)
{
	(void)state;
	struct error error = {0};
	char *path = scratch_file("check/notes.txt", "shopping", 8);
	assert_int_equal(journal_check(path, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "no session"));
	free(path);
	path = scratch_file("check/empty", "", 0);
	expect_ok(journal_check(path, &error), &error);
	free(path);
	path = scratch_path("check/new.jsonl");
	expect_ok(journal_check(path, &error), &error);
	free(path);
	assert_int_equal(journal_check("/nowhere/at/all.jsonl", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "/nowhere/at"));
}

/* A disk that fills up, as far as one process can see it. */
static void test_full_disk(void **state)
{
	(void)state;
	struct error error = {0};
	struct journal *journal;
	char *path = scratch_path("full/a.jsonl");
	expect_ok(journal_create(&journal, path, false, &error), &error);
	expect_ok(journal_event(journal, numbered("session", 1), &error), &error);
	signal(SIGXFSZ, SIG_IGN);
	struct rlimit before, limit;
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = 35;
	setrlimit(RLIMIT_FSIZE, &limit);
	enum status first = journal_event(journal, numbered("step", 2), &error);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(first, STATUS_FAILED);
	assert_true(scratch_says(error.text, "a.jsonl"));
	/* The failure stays, and whole lines only are left. */
	struct error again = {0};
	assert_int_equal(journal_event(journal, numbered("step", 3), &again), STATUS_FAILED);
	assert_string_equal(again.text, error.text);
	assert_int_equal(journal_close(&journal, &error), STATUS_FAILED);
	assert_null(journal);
	expect_text(path, "{\"event\":\"session\",\"n\":1}\n");
	free(path);
}

static void test_default_folder(void **state)
{
	(void)state;
	struct error error = {0};
	char *home = scratch_path("state/x");
	home[strlen(home) - 2] = '\0';
	setenv("XDG_STATE_HOME", home, 1);
	struct journal *a, *b;
	expect_ok(journal_check(NULL, &error), &error);
	expect_ok(journal_create_default(&a, "ioi/../03 x", &error), &error);
	expect_ok(journal_create_default(&b, "ioi/../03 x", &error), &error);
	assert_string_not_equal(journal_path(a), journal_path(b));
	char *folder = mem_printf("%s/rebound/sessions/", home);
	assert_memory_equal(journal_path(a), folder, strlen(folder));
	assert_null(strchr(journal_path(a) + strlen(folder), '/'));
	assert_non_null(strstr(journal_path(a), "-ioi-..-03-x.jsonl"));
	char *array = journal_array_path("/x/y.jsonl", "delta"), *other = journal_array_path("/x.jsonl/y", "delta");
	assert_string_equal(array, "/x/y.delta.npy");
	assert_string_equal(other, "/x.jsonl/y.delta.npy");
	free(array);
	free(other);
	expect_ok(journal_close(&a, &error), &error);
	expect_ok(journal_close(&b, &error), &error);
	free(folder);
	free(home);
}

static void test_numbers(void **state)
{
	(void)state;
	static const double values[] = {
		0,	-0.0,  1,	0.1,	       (double)0.1f,	  1.0 / 3,	 (double)(1.0f / 3),
		1e-310, 1e308, -2.5e-7, 123456789012., 9007199254740993., (double)1e-40f};
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		cJSON *json = cJSON_CreateObject(), *back;
		struct error error;
		journal_add_number(json, "x", values[i]);
		char *text = cJSON_PrintUnformatted(json);
		expect_ok(json_parse(&back, text, strlen(text), "it", &error), &error);
		double value = NAN;
		expect_ok(json_get_double(back, "x", &value, "it", &error), &error);
		assert_memory_equal(&value, &values[i], sizeof value);
		cJSON_free(text);
		cJSON_Delete(json);
		cJSON_Delete(back);
	}
	cJSON *json = cJSON_CreateObject();
	journal_add_number(json, "x", NAN);
	journal_add_number(json, "y", -INFINITY);
	journal_add_string(json, "s", "a\xff\n");
	journal_add_string(json, "none", NULL);
	char *text = cJSON_PrintUnformatted(json);
	assert_string_equal(text, "{\"x\":null,\"y\":null,\"s\":\"a? \"}");
	cJSON_free(text);
	cJSON_Delete(json);
}

static void test_sums(void **state)
{
	(void)state;
	struct error error = {0};
	char *cache = scratch_path("cache/x");
	cache[strlen(cache) - 2] = '\0';
	setenv("XDG_CACHE_HOME", cache, 1);
	char *config = scratch_file("model/config.json", "{}", 2);
	size_t n = (size_t)2 << 20;
	char *bytes = mem_alloc(n, 1);
	char *weights = scratch_file("model/model.safetensors", bytes, n);
	free(scratch_file("model/README.md", "x", 1));
	char *folder = mem_strndup(config, strlen(config) - strlen("/config.json"));
	struct record_files files, more;
	expect_ok(record_files_of_model(&files, folder, &error), &error);
	assert_int_equal(files.count, 2);
	assert_string_equal(files.items[0].name, "config.json");
	assert_string_equal(files.items[0].sha256, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
	assert_int_equal(files.items[1].bytes, n);
	char sum[65];
	bytes_sha256(sum, bytes, n);
	assert_string_equal(files.items[1].sha256, sum);
	/* The second time from the cache: the same. */
	expect_ok(record_files_of_model(&more, folder, &error), &error);
	assert_string_equal(more.items[1].sha256, sum);
	record_files_done(&more);
	expect_ok(record_files_check(&files, folder, "s.jsonl", &error), &error);
	bytes[100] = 1;
	free(scratch_file("model/model.safetensors", bytes, n));
	assert_int_equal(record_files_check(&files, folder, "s.jsonl", &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "model.safetensors"));
	unlink(weights);
	assert_int_equal(record_files_check(&files, folder, "s.jsonl", &error), STATUS_INVALID);
	record_files_done(&files);
	free(bytes);
	free(weights);
	free(config);
	free(folder);
	free(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_only),    cmocka_unit_test(test_replace),
		cmocka_unit_test(test_check),	       cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_default_folder), cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_sums),	       cmocka_unit_test(test_beside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
