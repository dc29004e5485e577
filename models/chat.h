/* Chat forms: messages to the one text that a chat model was trained on.
 *
 * The form is the model's own template (chat_template.jinja, or chat_template in
 * tokenizer_config.json), a program in the Jinja language. The part of that language
 * which the families' templates use is evaluated here, with transformers' settings: on
 * the messages and two tokens, with bounded work, and with no way to reach anything
 * else. A template that uses more is an error that shows it.
 *
 * Rendered text holds its own BOS and markers. What a user typed stands in it
 * unescaped, as in the reference; chat_encode keeps the two apart. */
#ifndef REBOUND_MODELS_CHAT_H
#define REBOUND_MODELS_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"
#include "compute/base/text.h"
#include "models/tokenizer.h"

struct chat_message {
	const char *role; /* "system", "user" or "assistant"; templates may know others */
	const char *content;
	size_t length; /* of content, in bytes */
};

struct chat;

/* The form of a model folder; nothing of `tokenizer` is kept, and it may be NULL if
 * nothing will be rendered. STATUS_NOTHING if the
 * folder has none (base models). A template that cannot be used is no error here:
 * see chat_problem. */
enum status WARN_UNUSED chat_load(struct chat **out, const char *folder, const struct tokenizer *tokenizer,
				  struct error *error);
/* The same from the template itself; the strings are copied. */
enum status WARN_UNUSED chat_create(struct chat **out, const char *template, size_t n, const char *bos, const char *eos,
				    struct error *error);
void chat_destroy(struct chat **chat);

/* "ChatML", "Llama 3", "Gemma", ... by its markers, or "custom". */
const char *chat_name(const struct chat *chat);
/* The template as it stands in the file; borrowed. Show it only as printable text. */
const char *chat_raw(const struct chat *chat);
/* NULL, or why the template cannot be used. */
const char *chat_problem(const struct chat *chat);

/* Appends the text. With add_generation_prompt it ends where the assistant's
 * answer starts. Fails with the template's own words where it refuses the
 * messages, and with the start of the raw template where it is not understood.
 * Any thread; does not block. */
enum status WARN_UNUSED chat_render(const struct chat *chat, const struct chat_message *messages, size_t count,
				    bool add_generation_prompt, struct strbuf *out, struct error *error);

/* Renders and appends the ids, nothing added around them. The template's own markers
 * are special tokens; those that stand in a message's content are recognised only
 * with recognise_special (then the ids are the reference's), and are plain
 * characters otherwise: a message cannot end its own turn. */
enum status WARN_UNUSED chat_encode(const struct chat *chat, const struct tokenizer *tokenizer,
				    const struct chat_message *messages, size_t count, bool add_generation_prompt,
				    bool recognise_special, struct token_list *out, struct error *error);

#endif
