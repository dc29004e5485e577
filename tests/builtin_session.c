#include "tests/builtin_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/expect.h"

struct session *builtin_session_open(void)
{
	struct error error = {0};
	struct session *session;
	static const char *const saes[] = {"models/demo/sae/layer_1", "models/demo/sae/layer_2"};
	struct session_options options = {.model = "models/demo", .saes = saes, .sae_count = 2, .seed = 5};
	expect_ok(session_open(&session, &options, &error), &error);
	static const int32_t ids[BUILTIN_WORDS] = {5, 300, 301, 302, 303, 304, 305};
	expect_ok(session_set_tokens(session, ids, BUILTIN_WORDS, &error), &error);
	struct layer_rule all[8];
	for (int i = 0; i < 8; i++)
		all[i] = (struct layer_rule){
			1 + i / 4,
			{(uint32_t)(11 * i + 3), i % 2 ? OP_CLAMP_SET : OP_CLAMP_SCALE, i % 2 ? 12.0f : 2.3f}};
	expect_ok(session_set_clamps(session, all, 8, &error), &error);
	return session;
}
