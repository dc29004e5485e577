#include "sessions/suffix_baseline.h"

#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "sessions/suffix.h"

#define MONITOR_WEIGHT 0.1
#define REFUSAL_WEIGHT 0.3

void suffix_options_init(struct suffix_options *suffix)
{
	*suffix = (struct suffix_options){.tokens = 16, .placeholder = "!"};
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

static enum status train(struct refusal *t, const struct refusal_options *options, const struct suffix_options *suffix,
			 struct error *error)
{
	static const struct refusal_term terms[] = {
		{"answer_logprob", false, 1 - MONITOR_WEIGHT},
		{"soft_anti_refusal", true, (1 - MONITOR_WEIGHT) * REFUSAL_WEIGHT},
	};
	refusal_say(options, "training the suffix");
	enum status status = refusal_run_stage(t, options, terms, ARRAY_LEN(terms), &suffix->settings, error);
	return status ? status : refusal_finish(t, options, error);
}

enum status suffix_baseline_run(struct refusal *t, struct session *session, const struct refusal_options *options,
				const struct suffix_options *suffix, struct error *error)
{
	int32_t placeholder;
	bool go_on;
	enum status status = refusal_begin(t, session, options, suffix->settings.answer.tokens, &go_on, error);
	if (status || !go_on)
		return status;
	status = find_placeholder(session, suffix->placeholder, &placeholder, error);
	if (status == STATUS_OK)
		status = session_add_suffix(session, suffix->tokens, placeholder, MONITOR_WEIGHT, error);
	if (status)
		return status;
	status = train(t, options, suffix, error);
	session_drop_suffix(session);
	return status;
}
