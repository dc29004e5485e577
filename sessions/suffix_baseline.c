#include "sessions/suffix_baseline.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "sessions/suffix.h"

#define MONITOR_WEIGHT 0.1
#define REFUSAL_WEIGHT 0.3

static const char tokens_name[] = "suffix", placeholder_name[] = "suffix-token";
/* Those of the recovery's settings that are not fixed. */
static const char *const shared_names[] = {"steps",	     "lr", "budget", "answer-token-limit", "checkpoint",
					   "drift-threshold"};

struct setting_name suffix_setting_name(int i)
{
	static const struct setting_name own[] = {
		{tokens_name, "whole number from 1", "placeholder tokens behind the prompt"},
		{placeholder_name, "a token's text or id", "the placeholder that they begin as"},
	};
	int at = i - (int)ARRAY_LEN(own);
	if (at < 0)
		return own[i];
	for (const struct setting_name *s = setting_names; at < (int)ARRAY_LEN(shared_names) && s->name; s++)
		if (strcmp(s->name, shared_names[at]) == 0)
			return *s;
	return (struct setting_name){0};
}

void suffix_options_init(struct suffix_options *suffix)
{
	*suffix = (struct suffix_options){.tokens = 16, .placeholder = mem_strdup("!")};
	struct recovery_settings *s = &suffix->settings;
	settings_init(s);
	s->project = PROJECT_NONE;
	s->steps = 120;
	s->lr = (struct amount){0.01, false};
	s->budget = (struct amount){40, false};
	s->answer = (struct answer_limits){.tokens = 48, .prefix_tokens = 0, .prefix_weight = 1};
}

void suffix_options_done(struct suffix_options *suffix)
{
	settings_done(&suffix->settings);
	free(suffix->placeholder);
	suffix->placeholder = NULL;
}

enum status suffix_options_set(struct suffix_options *suffix, const char *name, const char *value, struct error *error)
{
	enum { MOST_TOKENS = 1 << 20 };
	int64_t tokens;
	if (strcmp(name, tokens_name) == 0) {
		if (!text_int(value, &tokens) || tokens < 1 || tokens > MOST_TOKENS)
			return error_set(error, STATUS_INVALID,
					 "--suffix is '%s'; expected a whole number from 1 to %d", value, MOST_TOKENS);
		suffix->tokens = tokens;
		return STATUS_OK;
	}
	if (strcmp(name, placeholder_name) == 0) {
		if (!value[0])
			return error_set(error, STATUS_INVALID, "--suffix-token is ''; expected a token's text or id");
		char *placeholder = mem_strdup(value);
		free(suffix->placeholder);
		suffix->placeholder = placeholder;
		return STATUS_OK;
	}
	for (size_t i = 0; i < ARRAY_LEN(shared_names); i++)
		if (strcmp(name, shared_names[i]) == 0)
			return settings_set(&suffix->settings, name, value, error);
	return error_set(error, STATUS_NOTHING, "a suffix is trained with the loss of METHOD 11; --%s is not for it",
			 name);
}

char *suffix_options_get(const struct suffix_options *suffix, const char *name)
{
	if (strcmp(name, tokens_name) == 0)
		return mem_printf("%lld", (long long)suffix->tokens);
	if (strcmp(name, placeholder_name) == 0)
		return mem_strdup(suffix->placeholder);
	return settings_get(&suffix->settings, name);
}

char *suffix_options_command(const struct suffix_options *suffix)
{
	struct suffix_options usual;
	struct strbuf b = {0};
	struct setting_name setting;
	suffix_options_init(&usual);
	for (int i = 0; (setting = suffix_setting_name(i)).name; i++) {
		char *value = suffix_options_get(suffix, setting.name), *was = suffix_options_get(&usual, setting.name);
		if (i == 0 || strcmp(value, was) != 0) {
			strbuf_printf(&b, "%s--%s ", i ? " " : "", setting.name);
			if (strcmp(setting.name, placeholder_name) == 0)
				strbuf_add_quoted(&b, value);
			else
				strbuf_add_string(&b, value);
		}
		free(value);
		free(was);
	}
	suffix_options_done(&usual);
	return strbuf_take(&b);
}

static enum status find_placeholder(const struct session *session, const char *text, int32_t *id, struct error *error)
{
	int64_t number;
	if (text_int(text, &number)) {
		/* One outside the vocabulary is found out where it is used. */
		*id = number < 0 || number > INT32_MAX ? -1 : (int32_t)number;
		return STATUS_OK;
	}
	enum status status = tokenizer_find(session->model.tokenizer, text, strlen(text), id, error);
	return status ? error_prefix(error, STATUS_INVALID, "--suffix-token") : STATUS_OK;
}

static enum status add_suffix(struct session *session, const struct suffix_options *suffix, struct error *error)
{
	int32_t placeholder;
	enum status status = find_placeholder(session, suffix->placeholder, &placeholder, error);
	return status ? status : session_add_suffix(session, suffix->tokens, placeholder, MONITOR_WEIGHT, error);
}

enum status suffix_baseline_prepare(const struct refusal *t, const struct refusal_options *options,
				    const struct suffix_options *suffix, struct error *error)
{
	static const struct refusal_term terms[] = {
		{"answer_logprob", false, 1 - MONITOR_WEIGHT},
		{"soft_anti_refusal", true, (1 - MONITOR_WEIGHT) * REFUSAL_WEIGHT},
	};
	enum status status = add_suffix(t->session, suffix, error);
	if (status)
		return status;
	status = refusal_prepare_stage(t, options, terms, ARRAY_LEN(terms), &suffix->settings, error);
	if (status)
		session_take_suffix(t->session);
	return status;
}

enum status suffix_baseline_run(struct refusal *t, struct session *session, const struct refusal_options *options,
				const struct suffix_options *suffix, struct error *error)
{
	bool go_on;
	enum status status = refusal_begin(t, session, options, suffix->settings.answer.tokens, &go_on, error);
	if (status || !go_on)
		return status;
	status = suffix_baseline_prepare(t, options, suffix, error);
	if (status)
		return status;
	refusal_say(options, "training the suffix");
	status = refusal_run_stage(t, options, error);
	if (status == STATUS_OK)
		status = refusal_finish(t, options, error);
	session_take_suffix(session);
	return status;
}

enum status suffix_baseline_read(const struct refusal *t, const struct suffix_options *suffix,
				 struct nearest_token *nearest, struct error *error)
{
	struct suffix_reader *reader = NULL;
	enum status status = add_suffix(t->session, suffix, error);
	if (status)
		return status;
	status = suffix_reader_create(&reader, t->session, error);
	if (status == STATUS_OK)
		status = suffix_reader_read(reader, t->delta.values, nearest, error);
	suffix_reader_destroy(&reader);
	session_take_suffix(t->session);
	return status;
}
