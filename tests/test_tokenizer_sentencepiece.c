/* SentencePiece models, written here field by field: BPE and unigram, and damaged files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/mem.h"
#include "tests/scratch.h"
#include "tests/small_tokenizer.h"

static void add_varint(struct strbuf *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		strbuf_add_char(out, (char)(value | 0x80));
	strbuf_add_char(out, (char)value);
}

static void add_field(struct strbuf *out, int field, const char *bytes, size_t n)
{
	add_varint(out, (uint64_t)field << 3 | 2);
	add_varint(out, n);
	strbuf_add(out, bytes, n);
}

static void add_number(struct strbuf *out, int field, uint64_t value)
{
	add_varint(out, (uint64_t)field << 3);
	add_varint(out, value);
}

static void add_piece(struct strbuf *out, const char *name, float score, int kind)
{
	struct strbuf piece = {0};
	add_field(&piece, 1, name, strlen(name));
	strbuf_add_char(&piece, 2 << 3 | 5);
	strbuf_add(&piece, &score, 4);
	add_number(&piece, 3, (uint64_t)kind);
	add_field(out, 1, piece.data, piece.length);
	strbuf_done(&piece);
}

/* Unknown, control, user-defined, unused and normal pieces; no byte fallback. */
static void small_model(struct strbuf *out, int model_type)
{
	struct strbuf trainer = {0}, normalizer = {0};
	static const struct {
		const char *name;
		float score;
		int kind;
	} pieces[] = {{"<unk>", 0, 2}, {"<s>", 0, 3},  {"</s>", 0, 3},	{"<u>", 0, 4},	      {LOWER_BLOCK "a", -1, 1},
		      {"ab", -2, 1},   {"abb", -3, 5}, {"abbb", -4, 1}, {LOWER_BLOCK, -5, 1}, {"a", -6, 1},
		      {"b", -7, 1},    {"ca", -2, 1},  {"c", -8, 1}};
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
		add_piece(out, pieces[i].name, pieces[i].score, pieces[i].kind);
	add_number(&trainer, 3, (uint64_t)model_type);
	add_number(&trainer, 43, UINT64_MAX); /* -1, ten bytes */
	add_field(out, 2, trainer.data, trainer.length);
	add_number(&normalizer, 4, 0);
	add_field(out, 3, normalizer.data, normalizer.length);
	strbuf_done(&trainer);
	strbuf_done(&normalizer);
}

static struct tokenizer *load_bytes(const struct strbuf *bytes)
{
	char *path = scratch_file("tokenizer.model", bytes->data, bytes->length);
	struct tokenizer *t = load_tokenizer(path);
	free(path);
	return t;
}

static void bpe_merges_by_score(void **state)
{
	(void)state;
	struct strbuf file = {0};
	small_model(&file, 2);
	struct tokenizer *t = load_bytes(&file);
	expect_ids(t, "a", 1, (struct tokenizer_options){true, true}, "1 4");
	expect_tokens(t, "ab", "4 10");		/* the best score, not the longest */
	expect_tokens(t, "bcab", "8 10 11 10"); /* leftmost of two with one score */
	expect_tokens(t, "bab", "8 10 5");
	expect_tokens(t, "babb", "8 10 5 10"); /* unused: taken apart again */
	expect_tokens(t, "babbb", "8 10 7");   /* but a step on the way */
	expect_tokens(t, "b<u>a", "8 10 3 9");
	expect_tokens(t, "<s>", "8 0"); /* control pieces are plain text; what is unknown is one id */
	expect_tokens(t, "xyb", "8 0 10");
	expect_tokens(t, "", "");
	expect_decoded(t, (const int32_t[]){1, 8, 10, 0, 4, 2}, 6, true, "b \xE2\x81\x87  a");
	expect_decoded(t, (const int32_t[]){4, 4}, 2, true, "a a");
	assert_int_equal(tokenizer_bos(t), 1);
	assert_int_equal(tokenizer_eos(t), 2);
	tokenizer_destroy(&t);
	strbuf_done(&file);
}

static void unigram_takes_the_best_sum(void **state)
{
	(void)state;
	struct strbuf file = {0};
	small_model(&file, 1);
	struct tokenizer *t = load_bytes(&file);
	expect_tokens(t, "ab", "8 5");	   /* -5 - 2 beats -1 - 7 */
	expect_tokens(t, "abb", "8 5 10"); /* -14 beats -15 */
	expect_tokens(t, "abbb", "8 7");
	expect_tokens(t, "b<u>xxb", "8 10 3 0 10");
	tokenizer_destroy(&t);
	strbuf_done(&file);
}

/* Every truncation is refused or, at a boundary of fields, still a model. */
static void truncations_are_refused_or_models(void **state)
{
	(void)state;
	struct strbuf good = {0};
	small_model(&good, 2);
	struct tokenizer *t;
	struct error error = {0};
	for (size_t n = 0; n < good.length; n++) {
		char *path = scratch_file("cut.model", good.data, n);
		enum status status = tokenizer_load(&t, path, &error);
		assert_true(status == STATUS_OK || (status == STATUS_INVALID && error.text[0]));
		tokenizer_destroy(&t);
		free(path);
	}
	strbuf_done(&good);
}

/* With any byte changed: what is still a model can be used. */
static void changed_bytes_are_refused_or_models(void **state)
{
	(void)state;
	struct strbuf good = {0};
	small_model(&good, 2);
	struct tokenizer *t;
	struct error error = {0};
	for (size_t i = 0; i < good.length; i++) {
		char kept = good.data[i];
		good.data[i] = (char)(kept ^ 0x55);
		char *path = scratch_file("changed.model", good.data, good.length);
		if (tokenizer_load(&t, path, &error) == STATUS_OK) {
			struct token_list ids = {0};
			if (tokenizer_encode(t, "ab <u>x", 7, (struct tokenizer_options){true, true}, &ids, &error))
				fail_msg("%s", error.text);
			struct strbuf out = {0};
			tokenizer_decode(t, ids.ids, ids.count, true, &out);
			assert_true(utf8_valid(out.data ? out.data : "", out.length));
			strbuf_done(&out);
			token_list_done(&ids);
		}
		tokenizer_destroy(&t);
		free(path);
		good.data[i] = kept;
	}
	strbuf_done(&good);
}

static void broken_fields_are_named(void **state)
{
	(void)state;
	struct tokenizer *t;
	struct error error = {0};
	static const struct {
		const char *bytes;
		size_t n;
		const char *says;
	} cases[] = {
		{"\x0A\xFF\xFF\xFF\xFF\x7F", 6, "broken field"},
		{"\x0A\x03\x0A\x01\xFF", 5, "UTF-8"},
		{"\x0A\x02\x18\x63", 4, "piece 0 is empty"},
		{"\x08\x01", 2, "wire type"},
		{"\x0B", 1, "broken field"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *path = scratch_file("broken.model", cases[i].bytes, cases[i].n);
		assert_int_equal(tokenizer_load(&t, path, &error), STATUS_INVALID);
		assert_true(scratch_says(error.text, cases[i].says));
		free(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bpe_merges_by_score),
		cmocka_unit_test(unigram_takes_the_best_sum),
		cmocka_unit_test(truncations_are_refused_or_models),
		cmocka_unit_test(changed_bytes_are_refused_or_models),
		cmocka_unit_test(broken_fields_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
