#include "tests/small_tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "tests/scratch.h"

char *small_tokenizer_json(const char *vocab, const char *merges, const char *flags, const char *added,
			   const char *components)
{
	return mem_printf(
		"{\"version\":\"1.0\",\"added_tokens\":[%s]%s%s,\"model\":{\"type\":\"BPE\"%s%s,\"vocab\":{%s},"
		"\"merges\":[%s]}}",
		added, components[0] ? "," : "", components, flags[0] ? "," : "", flags, vocab, merges);
}

enum status small_tokenizer_try(struct tokenizer **t, const char *name, const char *text, struct error *error)
{
	char *path = scratch_file(name, text, strlen(text));
	enum status status = tokenizer_load(t, path, error);
	remove(path);
	free(path);
	return status;
}

struct tokenizer *load_tokenizer(const char *path)
{
	struct tokenizer *t;
	struct error error = {0};
	if (tokenizer_load(&t, path, &error))
		fail_msg("%s", error.text);
	return t;
}

struct tokenizer *small_tokenizer(const char *vocab, const char *merges, const char *flags, const char *added,
				  const char *components)
{
	char *json = small_tokenizer_json(vocab, merges, flags, added, components);
	char *path = scratch_file("tokenizer.json", json, strlen(json));
	struct tokenizer *t = load_tokenizer(path);
	remove(path);
	free(path);
	free(json);
	return t;
}

void expect_ids(const struct tokenizer *t, const char *text, size_t n, struct tokenizer_options options,
		const char *want)
{
	struct token_list ids = {0};
	struct error error = {0};
	struct strbuf got = {0};
	if (tokenizer_encode(t, text, n, options, &ids, &error))
		fail_msg("%s", error.text);
	strbuf_add(&got, "", 0);
	for (size_t i = 0; i < ids.count; i++)
		strbuf_printf(&got, "%s%d", i ? " " : "", ids.ids[i]);
	if (strcmp(got.data, want) != 0)
		fail_msg("\"%s\": got ids %s, expected %s", text, got.data, want);
	strbuf_done(&got);
	token_list_done(&ids);
}

void expect_tokens(const struct tokenizer *t, const char *text, const char *want)
{
	expect_ids(t, text, strlen(text), (struct tokenizer_options){false, true}, want);
}

void expect_decoded(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip, const char *want)
{
	struct strbuf got = {0};
	strbuf_add(&got, "", 0);
	tokenizer_decode(t, ids, n, skip, &got);
	assert_string_equal(got.data, want);
	strbuf_done(&got);
}
