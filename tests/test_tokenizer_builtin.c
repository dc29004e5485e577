/* The tokenizer of the built-in model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "tests/small_tokenizer.h"

static void round_trip_whole_and_streamed(void **state)
{
	(void)state;
	if (!file_exists("models/demo/tokenizer.json")) {
		print_message("skipped: no models/demo/tokenizer.json\n");
		skip();
	}
	struct tokenizer *t = load_tokenizer("models/demo");
	struct error error = {0};
	static const char text[] =
		"When Mary and John went to the store,\n\tJohn gave a na\xC3\xAFve \xF0\x9F\x99\x82 drink to Mary";
	struct token_list ids = {0};
	struct strbuf whole = {0}, streamed = {0};
	assert_int_equal(
		tokenizer_encode(t, text, sizeof text - 1, (struct tokenizer_options){true, true}, &ids, &error),
		STATUS_OK);
	assert_int_equal(ids.ids[0], tokenizer_bos(t));
	assert_true(tokenizer_is_special(t, ids.ids[0]));
	tokenizer_decode(t, ids.ids, ids.count, true, &whole);
	assert_string_equal(whole.data, text);
	struct tokenizer_stream stream;
	tokenizer_stream_init(&stream, t, true);
	for (size_t i = 0; i < ids.count; i++) {
		tokenizer_stream_push(&stream, ids.ids[i], &streamed);
		assert_true(utf8_valid(streamed.data ? streamed.data : "", streamed.length));
	}
	tokenizer_stream_end(&stream, &streamed);
	assert_string_equal(streamed.data, text);
	int32_t id;
	assert_int_equal(tokenizer_find(t, " Mary", 5, &id, &error), STATUS_OK);
	assert_int_equal(id, ids.ids[ids.count - 1]);
	expect_ids(t, "<|user|>", 8, (struct tokenizer_options){false, true}, "1");
	strbuf_done(&whole);
	strbuf_done(&streamed);
	token_list_done(&ids);
	tokenizer_destroy(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip_whole_and_streamed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
