/* Any bytes as a chat template: not understood, refused, or text within bounds. */
#include <stdlib.h>

#include "models/chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct chat_message messages[] = {{"system", "Be brief. ", 10},
						       {"user", "\xC3\xA9?", 3},
						       {"assistant", "<think>x</think>y", 17},
						       {"user", "", 0}};
	struct chat *chat;
	struct error error = {0};
	struct strbuf out = {0};
	enum status status = chat_create(&chat, (const char *)data, size, "<s>", "</s>", &error);
	if (!status)
		status = chat_render(chat, messages, 4, true, &out, &error);
	if (status ? !error.text[0] || out.length : !utf8_valid(out.data ? out.data : "", out.length))
		abort();
	strbuf_done(&out);
	chat_destroy(&chat);
	return 0;
}
