/* Chat templates: the golden forms, the language, what is refused. */
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
#include "models/chat.h"
#include "tests/scratch.h"
#include "tests/small_tokenizer.h"

static void expect_bytes(const struct strbuf *got, const char *want, size_t n, const char *where)
{
	if (got->length != n || memcmp(got->data ? got->data : "", want, n) != 0)
		fail_msg("%s: got \"%s\", expected \"%s\"", where, got->data ? got->data : "", want);
}

/* ---- golden -------------------------------------------------------------- */

static size_t read_messages(const cJSON *row, struct chat_message *messages, size_t most)
{
	size_t count = 0;
	for (const cJSON *item = json_member(row, "messages")->child; item; item = item->next) {
		assert_true(count < most);
		const char *content = json_member(item, "content")->valuestring;
		messages[count++] =
			(struct chat_message){json_member(item, "role")->valuestring, content, strlen(content)};
	}
	return count;
}

static void check_row(const struct chat *chat, const struct tokenizer *t, const cJSON *row, const char *where)
{
	struct chat_message messages[16];
	size_t count = read_messages(row, messages, ARRAY_LEN(messages));
	bool prompt = cJSON_IsTrue(json_member(row, "add_generation_prompt"));
	struct strbuf text = {0};
	struct token_list ids = {0};
	struct error error = {0};
	const cJSON *refused = json_member(row, "error");
	enum status status = chat_render(chat, messages, count, prompt, &text, &error);
	if (refused) {
		assert_int_equal(status, STATUS_INVALID);
		assert_true(scratch_says(error.text, refused->valuestring));
		return;
	}
	if (status)
		fail_msg("%s: %s", where, error.text);
	const char *want = json_member(row, "text")->valuestring;
	expect_bytes(&text, want, strlen(want), where);
	assert_int_equal(chat_encode(chat, t, messages, count, prompt, true, &ids, &error), STATUS_OK);
	size_t i = 0;
	for (const cJSON *id = json_member(row, "ids")->child; id; id = id->next, i++)
		if (i >= ids.count || ids.ids[i] != id->valueint)
			fail_msg("%s: id %zu differs", where, i);
	assert_int_equal(i, ids.count);
	/* Where no message holds a marker, it makes no difference whether they count. */
	if (!strstr(want, "Say <s>")) {
		size_t before = ids.count;
		assert_int_equal(chat_encode(chat, t, messages, count, prompt, false, &ids, &error), STATUS_OK);
		assert_int_equal(ids.count, 2 * before);
		assert_memory_equal(ids.ids, ids.ids + before, before * sizeof *ids.ids);
	}
	strbuf_done(&text);
	token_list_done(&ids);
}

static void check_golden(const char *folder, const char *files, const char *name)
{
	struct tokenizer *t = NULL;
	struct chat *chat = NULL;
	struct error error = {0};
	char *rows_path = path_join(folder, "chat.jsonl"), *text = NULL;
	size_t n = 0, rows = 0;
	if (tokenizer_load(&t, files, &error) || chat_load(&chat, files, t, &error) ||
	    file_read(&text, &n, rows_path, 1 << 24, &error))
		fail_msg("%s", error.text);
	assert_string_equal(chat_name(chat), name);
	assert_null(chat_problem(chat));
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		cJSON *row;
		char *where = mem_printf("%s:%zu", rows_path, ++rows);
		assert_int_equal(json_parse(&row, line, strlen(line), where, &error), STATUS_OK);
		check_row(chat, t, row, where);
		cJSON_Delete(row);
		free(where);
	}
	assert_int_equal(rows, 8);
	free(text);
	free(rows_path);
	chat_destroy(&chat);
	assert_null(chat);
	tokenizer_destroy(&t);
}

static void golden_forms(void **state)
{
	(void)state;
	static const struct {
		const char *folder, *name;
	} forms[] = {{"gemma-small", "Gemma"},
		     {"llama3-small", "Llama 3"},
		     {"mistral-small", "Mistral"},
		     {"phi3-small", "Phi-3"},
		     {"qwen-small", "ChatML"}};
	char *root = scratch_golden("tokenizers");
	if (!root) {
		print_message("skipped: no golden tokenizers\n");
		skip();
	}
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		char *folder = path_join(root, forms[i].folder);
		check_golden(folder, folder, forms[i].name);
		free(folder);
	}
	char *folder = path_join(root, "qwen2"), *files = path_join(root, "../../data/tok-qwen2");
	check_golden(folder, files, "ChatML");
	free(folder);
	free(files);
	free(root);
}

/* ---- the language -------------------------------------------------------- */

static const struct chat_message talk[] = {{"system", " Be brief.\n", 11},
					   {"user", "Who?", 4},
					   {"assistant", "<think>hm</think>\nMe.", 21},
					   {"user", "\xC3\xA9t\xC3\xA9", 5}};

static enum status render(const char *template, struct strbuf *out, struct error *error)
{
	struct chat *chat;
	enum status status = chat_create(&chat, template, strlen(template), "<s>", "</s>", error);
	if (!status)
		status = chat_render(chat, talk, ARRAY_LEN(talk), true, out, error);
	chat_destroy(&chat);
	return status;
}

static void language(void **state)
{
	(void)state;
	/* All expected values are what Jinja 3.1 gives with trim_blocks and lstrip_blocks. */
	static const struct {
		const char *template, *want;
	} cases[] = {
		{"", ""},
		{"a\n", "a"},
		{"a\n\n", "a\n"},
		{"a\r\nb", "a\nb"},
		{"{{ bos_token }}x{{ eos_token }}", "<s>x</s>"},
		{"{% for m in messages %}[{{ m.role }}]{% endfor %}", "[system][user][assistant][user]"},
		{"{% for m in messages if m['role'] == 'user' %}{{ loop.index }}/{{ loop.length }} {% endfor %}",
		 "1/2 2/2 "},
		{"{% for m in messages[1:] %}{{ loop.first }}{{ loop.last }} {% endfor %}",
		 "TrueFalse FalseFalse FalseTrue "},
		{"{% for m in messages[::-1] %}{{ m.role[0] }}{% endfor %}", "uaus"},
		{"{{ messages[0]['content'] | trim }}|{{ messages[-1].content[1:] }}", "Be brief.|t\xC3\xA9"},
		{"{{ messages[2].content.split('</think>')[-1].lstrip('\\n') }}", "Me."},
		{"{{ '</think>' in messages[2].content }}{{ 'tool' in messages[2] }}{{ 'role' in messages[2] }}",
		 "TrueFalseTrue"},
		{"{% set x = 1 %}{% for m in messages %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "22221"},
		{"{% set n = namespace(x=1) %}{% for m in messages %}{% set n.x = n.x * 2 %}{% endfor %}{{ n.x }}",
		 "16"},
		{"{% if tools is none and nothing is not defined and not add_generation_prompt is false %}y{% else "
		 "%}n{% endif %}",
		 "y"},
		{"{{ 'a' ~ 1 + 2 ~ none }}{{ 7 // 2 }}{{ 7 % 4 }}{{ -2 + 5 }}", "a12None333"},
		{"{{ 'x' if false else 'y' if messages|length > 3 else 'z' }}{{ 'q' if false }}", "y"},
		{"{{ (messages | selectattr('role', 'equalto', 'user') | list)[-1].content | length }}", "3"},
		{"{{ nothing | default('d') }}{{ ['a', 'b'] | join('+') }}{{ {'k': 'v'}.get('z') }}", "da+bNone"},
		{"{{ 'a\\n\\'b' }}{# gone #}{{ \"c\" | upper }}", "a\n'bC"},
		{"{%- if true -%}\n\n x \n{%- endif -%}\n y", "xy"},
		{"  {% if true %}\n  x\n  {% endif %}\n  y", "  x\n  y"},
		{"  {{ 1 }}\n  {# c #}\n  {{ 2 }}", "  1\n  2"},
		{"a {%+ if true %} b{% endif +%}\nc", "a  b\nc"},
		{"{{- ' a ' -}}  b", " a b"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strbuf out = {0};
		struct error error = {0};
		if (render(cases[i].template, &out, &error))
			fail_msg("%s: %s", cases[i].template, error.text);
		expect_bytes(&out, cases[i].want, strlen(cases[i].want), cases[i].template);
		strbuf_done(&out);
	}
}

static void refusals(void **state)
{
	(void)state;
	static const struct {
		const char *template, *says;
	} cases[] = {
		{"{{ raise_exception('not today') }}", "refuses these messages: not today"},
		{"{% macro f() %}{% endmacro %}", "{% macro f() %}"},
		{"{% if true %}", "block without an end"},
		{"{{ 'abc }}", "string without an end"},
		{"{{ messages | tojson }}", "tojson"},
		{"{{ messages }}", "printing a list"},
		{"{{ nothing.at.all }}", "undefined"},
		{"{{ 'a' + 1 }}", "adding"},
		{"{{ 1 is odd }}", "\"odd\""},
		{"{{ 1 / 2 }}", "is not supported"},
		{"{{ 1 // 0 }}", "division"},
		{"{{ 99999999999999999999 }}", "large"},
		{"{{ open('x') }}", "no function"},
		{"{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}", "come to an end"},
		{"{% set x = 'aaaaaaaaaaaaaaaa' %}{% set n = namespace(x=x) %}{% for i in range(64) %}{% set n.x = n.x "
		 "+ n.x %}"
		 "{% endfor %}",
		 "come to an end"},
		{"{# no end", "comment"},
		{"{{ ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1 }}", "deep"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strbuf out = {0};
		struct error error = {0};
		if (render(cases[i].template, &out, &error) != STATUS_INVALID)
			fail_msg("%s: not refused", cases[i].template);
		assert_true(scratch_says(error.text, cases[i].says));
		assert_int_equal(out.length, 0);
		strbuf_done(&out);
	}
	/* A template that is not understood is shown, controls made harmless. */
	struct strbuf out = {0};
	struct error error = {0};
	assert_int_equal(render("\x1b[31m{% macro x() %}", &out, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "the template is: ?[31m{% macro x() %}"));
	struct chat *chat;
	assert_int_equal(chat_create(&chat, "a\0b", 3, "", "", &error), STATUS_INVALID);
	assert_int_equal(chat_create(&chat, "\xFF", 1, "", "", &error), STATUS_INVALID);
	assert_int_equal(chat_create(&chat, "{% x %}", 7, "", "", &error), STATUS_OK);
	assert_non_null(chat_problem(chat));
	assert_string_equal(chat_raw(chat), "{% x %}");
	chat_destroy(&chat);
}

/* ---- the built-in model's form ------------------------------------------- */

static void built_in(void **state)
{
	(void)state;
	static const char folder[] = "models/demo";
	struct tokenizer *t = NULL;
	struct chat *chat = NULL;
	struct error error = {0};
	struct strbuf text = {0};
	if (!file_exists("models/demo/tokenizer.json")) {
		print_message("skipped: no %s/tokenizer.json\n", folder);
		skip();
	}
	if (tokenizer_load(&t, folder, &error) || chat_load(&chat, folder, t, &error))
		fail_msg("%s", error.text);
	assert_string_equal(chat_name(chat), "rebound demo");
	const struct chat_message ask[] = {{"user", "Tell me <|end|> more", 20}};
	assert_int_equal(chat_render(chat, ask, 1, true, &text, &error), STATUS_OK);
	expect_bytes(&text, "<|endoftext|><|user|>Tell me <|end|> more<|end|><|assistant|>", 61, folder);
	/* The <|end|> in the message is a token only where asked. */
	int32_t end;
	struct token_list ids = {0};
	assert_int_equal(tokenizer_find(t, "<|end|>", 7, &end, &error), STATUS_OK);
	for (int recognise = 0; recognise < 2; recognise++) {
		size_t found = 0;
		struct strbuf back = {0};
		ids.count = 0;
		assert_int_equal(chat_encode(chat, t, ask, 1, true, recognise, &ids, &error), STATUS_OK);
		for (size_t i = 0; i < ids.count; i++)
			found += ids.ids[i] == end;
		assert_int_equal(found, 1 + recognise);
		assert_int_equal(ids.ids[0], tokenizer_bos(t));
		assert_false(tokenizer_doubled_bos(t, ids.ids, ids.count));
		tokenizer_decode(t, ids.ids, ids.count, false, &back);
		expect_bytes(&back, text.data, text.length, "decoded");
		strbuf_done(&back);
	}
	token_list_done(&ids);
	strbuf_done(&text);
	chat_destroy(&chat);
	tokenizer_destroy(&t);
}

/* Tokens that are searched in the normalised text are kept apart as well. */
static void normalised_markers(void **state)
{
	(void)state;
	struct tokenizer *t = small_tokenizer("\"<\":0,\"e\":1,\">\":2,\"r\":3", "", "",
					      "{\"content\":\"<e>\",\"special\":true,\"normalized\":true},"
					      "{\"content\":\"<r>\",\"special\":true}",
					      "\"normalizer\":{\"type\":\"NFC\"}");
	struct chat *chat = NULL;
	struct error error = {0};
	struct token_list ids = {0};
	static const char template[] = "<e>{{ messages[0].content }}<r><e>";
	static const struct chat_message ask[] = {{"user", "e<e><r>e", 8}};
	if (chat_create(&chat, template, sizeof template - 1, "", "", &error))
		fail_msg("%s", error.text);
	/* The first <e> shares its segment with the message and is plain as well: the
	 * normalised text has lost the places. Behind the raw <r> all is as before. */
	static const int32_t plain[] = {0, 1, 2, 1, 0, 1, 2, 0, 3, 2, 1, 5, 4}, all[] = {4, 1, 4, 5, 1, 5, 4};
	assert_int_equal(chat_encode(chat, t, ask, 1, true, false, &ids, &error), STATUS_OK);
	assert_int_equal(ids.count, ARRAY_LEN(plain));
	assert_memory_equal(ids.ids, plain, sizeof plain);
	ids.count = 0;
	assert_int_equal(chat_encode(chat, t, ask, 1, true, true, &ids, &error), STATUS_OK);
	assert_int_equal(ids.count, ARRAY_LEN(all));
	assert_memory_equal(ids.ids, all, sizeof all);
	token_list_done(&ids);
	chat_destroy(&chat);
	tokenizer_destroy(&t);
}

static void folders_without(void **state)
{
	(void)state;
	struct chat *chat;
	struct tokenizer *t;
	struct error error = {0};
	static const char vocab[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
	char *path = scratch_file("plain/tokenizer.json", vocab, sizeof vocab - 1);
	assert_int_equal(tokenizer_load(&t, path, &error), STATUS_OK);
	char *folder = scratch_path("plain");
	assert_int_equal(chat_load(&chat, folder, t, &error), STATUS_NOTHING);
	assert_true(scratch_says(error.text, "no chat template"));
	static const char config[] = "{\"chat_template\":[{\"name\":\"tools\",\"template\":\"x\"}]}";
	char *config_path = scratch_file("plain/tokenizer_config.json", config, sizeof config - 1);
	assert_int_equal(chat_load(&chat, folder, t, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "default"));
	char *jinja = scratch_file("plain/chat_template.jinja", "from the file", 13);
	assert_int_equal(chat_load(&chat, folder, t, &error), STATUS_OK);
	assert_string_equal(chat_raw(chat), "from the file");
	chat_destroy(&chat);
	tokenizer_destroy(&t);
	free(jinja);
	free(config_path);
	free(folder);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_forms), cmocka_unit_test(language),	      cmocka_unit_test(refusals),
		cmocka_unit_test(built_in),	cmocka_unit_test(normalised_markers), cmocka_unit_test(folders_without),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
