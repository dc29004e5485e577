#include "sessions/session.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/chat.h"
#include "sessions/hooked_sae.h"

enum status session_open(struct session **out, const struct session_options *options, struct error *error)
{
	*out = NULL;
	struct session *session = mem_alloc(1, sizeof *session);
	session->seed = options->seed;
	session->progress = options->progress;
	session->clamp_positions.rule = POSITIONS_ALL;
	session->error_alpha = 1;
	settings_init(&session->settings);
	char *builtin = NULL;
	enum status status = STATUS_OK;
	if (!options->model)
		status = model_builtin_folder(&builtin, error);
	struct device_options device = {.selector = options->device, .validation = options->validation};
	if (status == STATUS_OK)
		status = device_create(&session->device, &device, error);
	if (status == STATUS_OK)
		status = model_open(&session->model, builtin ? builtin : options->model, session->device,
				    &session->progress, error);
	if (status == STATUS_OK && !options->no_saes) {
		if (options->sae_count > 0)
			status = hooked_saes_open(session, options->saes, options->sae_count, error);
		else if (builtin)
			status = hooked_saes_open_builtin(session, error);
	}
	free(builtin);
	if (status) {
		session_close(&session);
		return status;
	}
	*out = session;
	return STATUS_OK;
}

void session_close(struct session **out)
{
	struct session *session = *out;
	if (!session)
		return;
	if (session->device)
		/* Whatever still runs uses what is freed below; a lost device runs nothing. */
		(void)!device_wait_idle(session->device, NULL);
	for (int i = 0; i < session->site_count; i++)
		hooked_sae_done(&session->sites[i]);
	model_close(&session->model);
	device_destroy(&session->device);
	token_list_done(&session->prompt);
	free(session->prompt_text);
	free(session->prompt_id);
	free(session->prompts_path);
	positions_done(&session->clamp_positions);
	if (session->has_objective)
		objective_done(&session->objective);
	settings_done(&session->settings);
	delta_rows_done(&session->frozen);
	free(session);
	*out = NULL;
}

enum status session_check_cancel(const struct session *session, struct error *error)
{
	if (session->cancel && atomic_load(session->cancel))
		return error_set(error, STATUS_CANCELLED, "interrupted");
	return STATUS_OK;
}

static enum status check_length(const struct session *session, size_t count, struct error *error)
{
	const struct arch *arch = &session->model.arch;
	if (count == 0)
		return error_set(error, STATUS_INVALID, "the input has no tokens");
	if ((int64_t)count > arch->context)
		return error_set(error, STATUS_INVALID,
				 "the input has %zu tokens and the model's context is %lld; shorten the input", count,
				 (long long)arch->context);
	return STATUS_OK;
}

enum status session_set_tokens(struct session *session, const int32_t *ids, size_t count, struct error *error)
{
	enum status status = check_length(session, count, error);
	if (status)
		return status;
	for (size_t i = 0; i < count; i++)
		if (ids[i] < 0 || ids[i] >= session->model.arch.vocab)
			return error_set(error, STATUS_INVALID,
					 "token %d (position %zu) is outside the vocabulary, which has ids 0 to %lld",
					 ids[i], i, (long long)session->model.arch.vocab - 1);
	session->prompt.count = 0;
	session->suffix = (struct suffix){0};
	for (size_t i = 0; i < count; i++)
		token_list_add(&session->prompt, ids[i]);
	free(session->prompt_text);
	free(session->prompt_id);
	session->prompt_text = session->prompt_id = NULL;
	session->chat = false;
	return STATUS_OK;
}

/* The text as a user's turn in the model's chat form, which brings its own BOS. */
static enum status encode_chat(const struct session *session, const char *text, size_t n, bool special,
			       struct token_list *ids, struct error *error)
{
	struct chat *chat;
	const struct chat_message message = {.role = "user", .content = text, .length = n};
	enum status status = chat_load(&chat, session->model.folder, session->model.tokenizer, error);
	if (status == STATUS_NOTHING) /* asked for, so it is wrong usage */
		return error_prefix(error, STATUS_INVALID, "no chat form");
	if (status == STATUS_OK)
		status = chat_encode(chat, session->model.tokenizer, &message, 1, true, special, ids, error);
	chat_destroy(&chat);
	return status;
}

enum status session_set_text(struct session *session, const char *text, size_t n, bool chat, bool no_bos, bool special,
			     struct error *error)
{
	if (!session->model.tokenizer)
		return error_set(error, STATUS_INVALID,
				 "'%s' has no tokenizer, so the input has to be given as --tokens",
				 session->model.folder);
	struct token_list ids = {0};
	enum status status;
	if (chat) {
		status = encode_chat(session, text, n, special, &ids, error);
	} else {
		struct tokenizer_options options = {.add_special = !no_bos, .recognise_special = special};
		status = tokenizer_encode(session->model.tokenizer, text, n, options, &ids, error);
	}
	if (status == STATUS_OK)
		status = session_set_tokens(session, ids.ids, ids.count, error);
	if (status == STATUS_OK) {
		session->prompt_text = mem_strndup(text, n);
		session->chat = chat;
	}
	token_list_done(&ids);
	return status;
}

void session_keep_input(struct session *session, struct kept_input *kept)
{
	*kept = (struct kept_input){.prompt = session->prompt,
				    .suffix = session->suffix,
				    .text = session->prompt_text,
				    .id = session->prompt_id,
				    .chat = session->chat,
				    .has_objective = session->has_objective,
				    .objective = session->objective};
	session->prompt = (struct token_list){0};
	session->suffix = (struct suffix){0};
	session->prompt_text = session->prompt_id = NULL;
	session->has_objective = false;
	session->objective = (struct objective){0};
}

void session_restore_input(struct session *session, struct kept_input *kept)
{
	token_list_done(&session->prompt);
	free(session->prompt_text);
	free(session->prompt_id);
	if (session->has_objective)
		objective_done(&session->objective);
	session->prompt = kept->prompt;
	session->suffix = kept->suffix;
	session->prompt_text = kept->text;
	session->prompt_id = kept->id;
	session->chat = kept->chat;
	session->has_objective = kept->has_objective;
	session->objective = kept->objective;
}

enum status session_set_objective(struct session *session, const char *const *specs, int count, struct error *error)
{
	struct objective objective = {0};
	if (count > 0) {
		enum status status = objective_parse(&objective, specs, count, session->model.tokenizer,
						     session->model.arch.vocab, error);
		if (status)
			return status;
	}
	if (session->has_objective)
		objective_done(&session->objective);
	session->objective = objective;
	session->has_objective = count > 0;
	return STATUS_OK;
}

enum status session_set_error_treatment(struct session *session, const char *text, struct error *error)
{
	double alpha;
	if (strcmp(text, "keep") == 0)
		alpha = 1;
	else if (strcmp(text, "drop") == 0)
		alpha = 0;
	else if (!text_double(text, &alpha))
		return error_set(error, STATUS_INVALID, "--error is '%s'; expected keep, drop or a number", text);
	session->error_alpha = alpha;
	return STATUS_OK;
}

int session_site_of_layer(const struct session *session, int layer)
{
	for (int i = 0; i < session->site_count; i++)
		if (session->sites[i].sae.layer == layer)
			return i;
	return -1;
}

int64_t session_answer_length(const struct session *session)
{
	return session->has_objective ? (int64_t)session->objective.answer.count : 0;
}

int64_t session_total_length(const struct session *session)
{
	return (int64_t)session->prompt.count + session_answer_length(session);
}

void session_monitored(const struct session *session, int64_t *first, int64_t *count)
{
	int64_t answer = session_answer_length(session), limit = session->settings.answer.tokens;
	*first = answer > 0 ? (int64_t)session->prompt.count : 0;
	*count = answer == 0 ? (int64_t)session->prompt.count : limit > 0 && limit < answer ? limit : answer;
}
