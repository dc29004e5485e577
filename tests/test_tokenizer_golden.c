/* Every vector of the golden tokenizers: ids, text, streaming, long texts. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "tests/scratch.h"
#include "tests/small_tokenizer.h"

/* A call for each line of a JSONL file. */
typedef void row_check(const struct tokenizer *t, const cJSON *row, const char *where);

static char *shared_path(const char *rest)
{
	const char *shared = getenv("REBOUND_SHARED");
	return mem_printf("%s/%s", shared && shared[0] ? shared : "../shared", rest);
}

/* A string member; its _hex twin counts where a NUL would cut it. */
static void member_text(const cJSON *row, const char *key, struct strbuf *out)
{
	char *hex_key = mem_printf("%s_hex", key);
	const cJSON *hex = json_member(row, hex_key), *plain = json_member(row, key);
	strbuf_clear(out);
	strbuf_add(out, "", 0);
	if (hex) {
		for (const char *s = hex->valuestring; s[0]; s += 2) {
			char digits[3] = {s[0], s[1], '\0'};
			strbuf_add_char(out, (char)strtol(digits, NULL, 16));
		}
	} else {
		assert_true(cJSON_IsString(plain));
		strbuf_add_string(out, plain->valuestring);
	}
	free(hex_key);
}

static void member_ids(const cJSON *row, const char *key, struct token_list *out)
{
	const cJSON *list = json_member(row, key);
	assert_true(cJSON_IsArray(list));
	out->count = 0;
	for (const cJSON *item = list->child; item; item = item->next)
		token_list_add(out, (int32_t)item->valuedouble);
}

static void expect_text(const struct strbuf *got, const struct strbuf *want, const char *where, const char *what)
{
	if (got->length != want->length || memcmp(got->data, want->data, want->length) != 0)
		fail_msg("%s: %s is \"%s\", expected \"%s\"", where, what, got->data, want->data);
}

static void print_ids(const char *name, const struct token_list *ids)
{
	printf("%s:", name);
	for (size_t i = 0; i < ids->count && i < 60; i++)
		printf(" %d", ids->ids[i]);
	printf("\n");
}

static void expect_encoding(const struct tokenizer *t, const cJSON *row, const char *key,
			    struct tokenizer_options options, const char *where)
{
	struct strbuf text = {0};
	struct token_list want = {0}, got = {0};
	struct error error = {0};
	member_text(row, "text", &text);
	member_ids(row, key, &want);
	if (tokenizer_encode(t, text.data, text.length, options, &got, &error))
		fail_msg("%s: %s", where, error.text);
	bool same = got.count == want.count;
	for (size_t i = 0; same && i < got.count; i++)
		same = got.ids[i] == want.ids[i];
	if (!same) {
		print_ids("got", &got);
		print_ids("expected", &want);
		fail_msg("%s: %s of \"%s\" differ", where, key, text.data);
	}
	strbuf_done(&text);
	token_list_done(&want);
	token_list_done(&got);
}

static void expect_decoding(const struct tokenizer *t, const cJSON *row, const char *key, bool skip_special,
			    const char *where)
{
	struct token_list ids = {0};
	struct strbuf want = {0}, got = {0};
	member_ids(row, "ids", &ids);
	member_text(row, key, &want);
	strbuf_add(&got, "", 0);
	tokenizer_decode(t, ids.ids, ids.count, skip_special, &got);
	expect_text(&got, &want, where, key);
	token_list_done(&ids);
	strbuf_done(&want);
	strbuf_done(&got);
}

static void check_vector(const struct tokenizer *t, const cJSON *row, const char *where)
{
	expect_encoding(t, row, "ids", (struct tokenizer_options){true, true}, where);
	expect_encoding(t, row, "ids_no_special", (struct tokenizer_options){false, true}, where);
	expect_decoding(t, row, "decoded", true, where);
	if (json_member(row, "ids_plain"))
		expect_encoding(t, row, "ids_plain", (struct tokenizer_options){false, false}, where);
	if (json_member(row, "decoded_with_special"))
		expect_decoding(t, row, "decoded_with_special", false, where);
}

static void check_stream(const struct tokenizer *t, const cJSON *row, const char *where)
{
	struct token_list ids = {0};
	struct strbuf want = {0}, got = {0};
	struct tokenizer_stream stream;
	const cJSON *chunk = json_member(row, "chunks")->child;
	member_ids(row, "ids", &ids);
	tokenizer_stream_init(&stream, t, true);
	for (size_t i = 0; i < ids.count; i++, chunk = chunk->next) {
		assert_non_null(chunk);
		strbuf_clear(&got);
		strbuf_clear(&want);
		strbuf_add_string(&got, "");
		strbuf_add_string(&want, chunk->valuestring);
		tokenizer_stream_push(&stream, ids.ids[i], &got);
		expect_text(&got, &want, where, "a chunk");
	}
	assert_null(chunk);
	strbuf_clear(&got);
	strbuf_add_string(&got, "");
	tokenizer_stream_end(&stream, &got);
	member_text(row, "flush", &want);
	expect_text(&got, &want, where, "the flush");
	expect_decoding(t, row, "decoded", true, where);
	token_list_done(&ids);
	strbuf_done(&want);
	strbuf_done(&got);
}

/* Returns the number of rows; 0 if the file is not there. */
static size_t for_each_row(const struct tokenizer *t, const char *folder, const char *name, row_check *check)
{
	char *path = path_join(folder, name), *text;
	size_t n, rows = 0;
	struct error error = {0};
	if (file_exists(path)) {
		assert_int_equal(file_read(&text, &n, path, 64 << 20, &error), STATUS_OK);
		for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
			cJSON *row;
			char *where = mem_printf("%s:%zu", path, ++rows);
			if (json_parse(&row, line, strlen(line), where, &error))
				fail_msg("%s", error.text);
			check(t, row, where);
			cJSON_Delete(row);
			free(where);
		}
		free(text);
	}
	free(path);
	return rows;
}

/* Adds the ids of a text, or of each of its lines but the skipped ones. */
static void bulk_ids(const struct tokenizer *t, const cJSON *entry, const char *text, size_t n, struct token_list *out)
{
	struct error error = {0};
	const struct tokenizer_options options = {false, true};
	out->count = 0;
	if (!cJSON_IsTrue(json_member(entry, "by_line"))) {
		assert_int_equal(tokenizer_encode(t, text, n, options, out, &error), STATUS_OK);
		return;
	}
	const cJSON *skip = json_member(entry, "skip_lines")->child;
	int line = 0;
	for (size_t at = 0; at <= n; line++) {
		const char *end = memchr(text + at, '\n', n - at);
		size_t length = end ? (size_t)(end - text) - at : n - at;
		if (skip && skip->valueint == line)
			skip = skip->next;
		else
			assert_int_equal(tokenizer_encode(t, text + at, length, options, out, &error), STATUS_OK);
		at += length + 1;
	}
}

static void expect_digest(const struct token_list *ids, const cJSON *entry, const char *where)
{
	char digest[65];
	bytes_sha256(digest, ids->ids, ids->count * sizeof *ids->ids);
	if ((double)ids->count != json_member(entry, "count")->valuedouble)
		fail_msg("%s: %zu ids, expected %.0f", where, ids->count, json_member(entry, "count")->valuedouble);
	if (strcmp(digest, json_member(entry, "sha256")->valuestring) != 0)
		fail_msg("%s: the ids differ", where);
}

static size_t check_bulk(const struct tokenizer *t, const char *folder, const char *text, size_t n)
{
	char *path = path_join(folder, "bulk.json");
	size_t checked = 0;
	if (file_exists(path)) {
		cJSON *bulk;
		struct error error = {0};
		struct token_list ids = {0};
		if (json_read(&bulk, path, 1 << 20, &error))
			fail_msg("%s", error.text);
		const cJSON *entry = json_member(bulk, "long.txt");
		bulk_ids(t, entry, text, n, &ids);
		expect_digest(&ids, entry, path);
		checked++;
		for (const cJSON *run = json_member(bulk, "runs")->child; run; run = run->next, checked++) {
			struct strbuf repeated = {0};
			char *where = mem_printf("%s: run of \"%s\"", path, json_member(run, "unit")->valuestring);
			for (int i = 0; i < json_member(run, "repeat")->valueint; i++)
				strbuf_add_string(&repeated, json_member(run, "unit")->valuestring);
			ids.count = 0;
			assert_int_equal(tokenizer_encode(t, repeated.data, repeated.length,
							  (struct tokenizer_options){false, true}, &ids, &error),
					 STATUS_OK);
			expect_digest(&ids, run, where);
			strbuf_done(&repeated);
			free(where);
		}
		token_list_done(&ids);
		cJSON_Delete(bulk);
	}
	free(path);
	return checked;
}

/* The folder itself, or the one in shared/data that its source.json names. */
static char *tokenizer_folder(const char *folder)
{
	char *path = path_join(folder, "source.json"), *result;
	if (file_exists(path)) {
		cJSON *source;
		struct error error = {0};
		assert_int_equal(json_read(&source, path, 1 << 16, &error), STATUS_OK);
		char *rest = mem_printf("data/%s", json_member(source, "files")->child->valuestring);
		*strrchr(rest, '/') = '\0';
		result = shared_path(rest);
		free(rest);
		cJSON_Delete(source);
	} else {
		result = mem_strdup(folder);
	}
	free(path);
	return result;
}

static void check_folder(const char *folder, const char *text, size_t n)
{
	char *from = tokenizer_folder(folder);
	struct tokenizer *t = load_tokenizer(from);
	size_t vectors = for_each_row(t, folder, "vectors.jsonl", check_vector);
	size_t streams = for_each_row(t, folder, "stream.jsonl", check_stream);
	size_t bulk = check_bulk(t, folder, text, n);
	printf("%-20s %zu vectors, %zu streams, %zu long; %s\n", path_base(folder), vectors, streams, bulk,
	       tokenizer_describe(t));
	assert_true(vectors > 0 && streams > 0);
	tokenizer_destroy(&t);
	assert_null(t);
	free(from);
}

static void all_folders(void **state)
{
	(void)state;
	char *root = shared_path("golden/tokenizers");
	DIR *folder = opendir(root);
	if (!folder) {
		print_message("skipped: no golden tokenizers at %s\n", root);
		free(root);
		skip();
		return; /* for the analyzer: skip() does not come back */
	}
	struct error error = {0};
	char *long_path = path_join(root, "long.txt"), *text;
	size_t n, checked = 0;
	assert_int_equal(file_read(&text, &n, long_path, 1 << 24, &error), STATUS_OK);
	for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
		char *path = path_join(root, entry->d_name);
		if (entry->d_name[0] != '.' && file_is_folder(path)) {
			check_folder(path, text, n);
			checked++;
		}
		free(path);
	}
	closedir(folder);
	free(text);
	free(long_path);
	free(root);
	assert_true(checked >= 20);
}

static void copy_file(const char *from_folder, const char *to_folder, const char *name)
{
	char *from = path_join(from_folder, name), *to = path_join(to_folder, name), *data;
	size_t n;
	struct error error = {0};
	if (file_exists(from)) {
		assert_int_equal(file_read(&data, &n, from, 1 << 24, &error), STATUS_OK);
		free(scratch_file(to, data, n));
		free(data);
	}
	free(from);
	free(to);
}

/* The same vectors from the other files that a folder has. (gemma-small's
 * tokenizer.model is left out: SentencePiece itself takes runs of spaces otherwise.) */
static void other_files(void **state)
{
	(void)state;
	static const struct {
		const char *folder, *file, *second;
	} cases[] = {{"llama3-small", "original/tokenizer.model", NULL},
		     {"qwen-small", "vocab.json", "merges.txt"},
		     {"mistral-small", "tokenizer.model", NULL}};
	char *root = scratch_golden("tokenizers");
	if (!root) {
		print_message("skipped: no golden tokenizers\n");
		skip();
	}
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *folder = path_join(root, cases[i].folder);
		char *files = scratch_path(cases[i].folder);
		copy_file(folder, cases[i].folder, cases[i].file);
		if (cases[i].second)
			copy_file(folder, cases[i].folder, cases[i].second);
		copy_file(folder, cases[i].folder, "tokenizer_config.json");
		copy_file(folder, cases[i].folder, "special_tokens_map.json");
		struct tokenizer *t = load_tokenizer(files);
		size_t vectors = for_each_row(t, folder, "vectors.jsonl", check_vector);
		printf("%-20s %zu vectors; %s\n", cases[i].folder, vectors, tokenizer_describe(t));
		assert_true(vectors > 0);
		tokenizer_destroy(&t);
		free(files);
		free(folder);
	}
	free(root);
}

static void stories(void **state)
{
	(void)state;
	char *folder = shared_path("golden/stories260k-hf");
	bool there = file_is_folder(folder);
	if (there)
		check_folder(folder, "", 0);
	else
		print_message("skipped: no %s\n", folder);
	free(folder);
	if (!there)
		skip();
}

/* llama.cpp's vectors: texts between marker lines, ids a line each. */
static void check_ggml(const char *name, const char *tokenizer)
{
	static const char marker[] = "\n__ggml_vocab_test__\n";
	char *rest = mem_printf("data/tok-vectors/ggml-vocab-%s.gguf.inp", name);
	char *inp = shared_path(rest), *text, *ids_text;
	free(rest);
	rest = mem_printf("data/tok-vectors/ggml-vocab-%s.gguf.out", name);
	char *out = shared_path(rest), *folder = shared_path(tokenizer);
	free(rest);
	size_t n, ids_n, cases = 0;
	struct error error = {0};
	struct tokenizer *t = load_tokenizer(folder);
	struct token_list got = {0};
	assert_int_equal(file_read(&text, &n, inp, 1 << 20, &error), STATUS_OK);
	assert_int_equal(file_read(&ids_text, &ids_n, out, 1 << 20, &error), STATUS_OK);
	const char *want = ids_text;
	for (char *at = text, *end; *want; at = end + sizeof marker - 1) {
		end = strstr(at, marker);
		if (!end)
			break;
		got.count = 0;
		assert_int_equal(tokenizer_encode(t, at, (size_t)(end - at), (struct tokenizer_options){false, false},
						  &got, &error),
				 STATUS_OK);
		const char *line_end = strchr(want, '\n');
		for (size_t i = 0; i < got.count; i++) {
			char *after;
			assert_int_equal(strtol(want, &after, 10), got.ids[i]);
			assert_true(after > want && after <= line_end);
			want = after;
		}
		assert_true(want + strspn(want, " ") == line_end);
		want = line_end + 1;
		cases++;
	}
	printf("%s: %zu texts of llama.cpp\n", name, cases);
	assert_true(cases > 30);
	tokenizer_destroy(&t);
	token_list_done(&got);
	free(text);
	free(ids_text);
	free(inp);
	free(out);
	free(folder);
}

static void llama_cpp_vectors(void **state)
{
	(void)state;
	char *folder = shared_path("data/tok-vectors");
	bool there = file_is_folder(folder);
	if (!there)
		print_message("skipped: no %s\n", folder);
	free(folder);
	if (!there)
		skip();
	check_ggml("gpt-2", "data/tok-gpt2");
	check_ggml("qwen2", "data/tok-qwen2");
	check_ggml("mpt", "data/tok-neox");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_folders),
		cmocka_unit_test(other_files),
		cmocka_unit_test(stories),
		cmocka_unit_test(llama_cpp_vectors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
