/* What has to hold of every tokenizer that could be loaded. */
#ifndef REBOUND_FUZZ_TOKENIZER_USE_H
#define REBOUND_FUZZ_TOKENIZER_USE_H

#include <stdlib.h>
#include <string.h>

#include "models/tokenizer.h"

static inline void require(bool condition)
{
	if (!condition)
		abort();
}

static inline void use_text(const struct tokenizer *t, const char *text, size_t n, struct tokenizer_options options)
{
	struct token_list ids = {0};
	struct strbuf whole = {0}, streamed = {0}, shown = {0};
	struct tokenizer_stream stream;
	struct error error = {0};
	if (tokenizer_encode(t, text, n, options, &ids, &error))
		require(error.text[0] != '\0');
	tokenizer_decode(t, ids.ids, ids.count, options.add_special, &whole);
	require(utf8_valid(whole.data ? whole.data : "", whole.length));
	tokenizer_stream_init(&stream, t, options.add_special);
	for (size_t i = 0; i < ids.count; i++) {
		require(tokenizer_has(t, ids.ids[i]) && (size_t)ids.ids[i] < tokenizer_size(t));
		tokenizer_stream_push(&stream, ids.ids[i], &streamed);
		require(utf8_valid(streamed.data ? streamed.data : "", streamed.length));
		tokenizer_token_show(t, ids.ids[i], &shown);
	}
	tokenizer_stream_end(&stream, &streamed);
	require(utf8_valid(streamed.data ? streamed.data : "", streamed.length));
	require(utf8_valid(shown.data ? shown.data : "", shown.length));
	token_list_done(&ids);
	strbuf_done(&whole);
	strbuf_done(&streamed);
	strbuf_done(&shown);
}

static inline void use_tokenizer(const struct tokenizer *t)
{
	static const char text[] =
		"ab a\0 the<s> <|x|>\xC3\xA9 e\xCC\x81\n\n\xE6\xBC\xA2\xF0\x9F\x99\x82 \xE2\x96\x81 12'S";
	static const char broken[] = "a\xFF\xC3 \xF0\x9F";
	static const int32_t ids[] = {0, 1, 2, 3, 4, 5, 6, 7, -1, INT32_MAX, 3, 2, 1, 0};
	struct strbuf out = {0};
	use_text(t, text, sizeof text - 1, (struct tokenizer_options){true, true});
	use_text(t, broken, sizeof broken - 1, (struct tokenizer_options){false, false});
	tokenizer_decode(t, ids, sizeof ids / sizeof *ids, true, &out);
	require(utf8_valid(out.data ? out.data : "", out.length));
	strbuf_done(&out);
}

#endif
