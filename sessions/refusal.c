#include "sessions/refusal.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/generate.h"
#include "sessions/record_write.h"

const char *refusal_state_name(enum refusal_state state)
{
	static const char *const names[REFUSAL_STATES] = {"base", "clamped", "recovered"};
	return names[state];
}

void refusal_say(const struct refusal_options *options, const char *what)
{
	if (options->on_phase)
		options->on_phase(options->context, what);
}

/* Generates one state's text and judges it; base has to come first. */
static enum status make_text(struct refusal *t, const struct refusal_options *options, enum refusal_state state,
			     struct error *error)
{
	struct session *session = t->session;
	struct delta_rows *rows = &t->delta;
	struct generate_delta delta = {rows->count, rows->layers, rows->positions, rows->values};
	struct generate_options how = {
		.clamped = state != REFUSAL_BASE,
		.delta = state == REFUSAL_RECOVERED ? &delta : NULL,
		.max_new = options->max_new,
		.seed = session->seed,
	};
	enum status status = generate(session, &how, &t->ids[state], error);
	if (status)
		return status;
	struct strbuf text = {0};
	tokenizer_decode(session->model.tokenizer, t->ids[state].ids, t->ids[state].count, true, &text);
	t->texts[state] = strbuf_take(&text);
	struct judge_input input = {
		.text = t->texts[state],
		.base = state == REFUSAL_BASE ? NULL : t->texts[REFUSAL_BASE],
		.refusals = options->refusals,
		.refusal_count = options->refusal_count,
	};
	judge_text(&t->verdicts[state], options->judges, &input);
	return options->journal ? record_write_generation(options->journal, session, refusal_state_name(state),
							  t->ids[state].ids, t->ids[state].count, error)
				: STATUS_OK;
}

static enum status encode(const struct session *session, const char *text, struct token_list *ids, struct error *error)
{
	struct tokenizer_options options = {.add_special = false, .recognise_special = false};
	return tokenizer_encode(session->model.tokenizer, text, strlen(text), options, ids, error);
}

static bool finds(const struct refusal *t, enum refusal_state state, enum judge_rule rule)
{
	return t->verdicts[state].findings[rule].yes;
}

/* The answer to be forced, cut to what counts. */
static enum status choose_target(struct refusal *t, const struct refusal_options *options, int64_t limit,
				 struct error *error)
{
	const struct session *session = t->session;
	bool refused = finds(t, REFUSAL_BASE, JUDGE_REFUSAL);
	const char *text = options->target ? options->target : refused ? options->answer : NULL;
	enum status status = STATUS_OK;
	if (text) {
		status = encode(session, text, &t->target, error);
	} else if (refused) {
		return error_set(error, STATUS_INVALID,
				 "the base model refuses this itself, so there is no answer to recover; give one with "
				 "--target");
	} else {
		const struct token_list *ids = &t->ids[REFUSAL_BASE];
		for (size_t i = 0; i < ids->count && !tokenizer_is_special(session->model.tokenizer, ids->ids[i]); i++)
			token_list_add(&t->target, ids->ids[i]);
	}
	if (status == STATUS_OK && t->target.count == 0)
		status = error_set(error, STATUS_INVALID,
				   "the answer to recover has no tokens; give another with --target");
	if (limit > 0 && (int64_t)t->target.count > limit)
		t->target.count = (size_t)limit;
	return status;
}

enum status refusal_begin(struct refusal *t, struct session *session, const struct refusal_options *options,
			  int64_t limit, bool *go_on, struct error *error)
{
	*t = (struct refusal){.session = session};
	*go_on = false;
	if (!session->model.tokenizer)
		return error_set(error, STATUS_INVALID,
				 "recovering an answer ends in a text, and '%s' has no tokenizer to make one",
				 session->model.folder);
	if (!session_has_clamps(session))
		return error_set(error, STATUS_INVALID, "there is nothing to recover from: no --clamp is given");
	refusal_say(options, "the base model's and the clamped answer");
	enum status status = session_set_frozen(session, NULL, error);
	if (status == STATUS_OK)
		status = make_text(t, options, REFUSAL_BASE, error);
	if (status == STATUS_OK)
		status = make_text(t, options, REFUSAL_CLAMPED, error);
	if (status)
		return status;
	t->valid_flip = !finds(t, REFUSAL_BASE, JUDGE_REFUSAL) && !finds(t, REFUSAL_BASE, JUDGE_SAFETY_CUE) &&
			finds(t, REFUSAL_CLAMPED, JUDGE_REFUSAL);
	if (options->only_valid && !t->valid_flip)
		return STATUS_OK;
	*go_on = true;
	return choose_target(t, options, limit, error);
}

static void add_ids(struct strbuf *b, const struct token_list *ids)
{
	strbuf_add_string(b, "ids=");
	for (size_t i = 0; i < ids->count; i++)
		strbuf_printf(b, "%s%d", i ? "," : "", ids->ids[i]);
}

/* The discouraged openings as "|ids=1,2|ids=3", the first tokens of each. */
static enum status discouraged(struct strbuf *b, const struct refusal *t, const struct refusal_options *options,
			       struct error *error)
{
	const char *own[OBJECTIVE_MAX_PREFIXES];
	const char *const *texts = options->refusals;
	int count = options->refusal_count < OBJECTIVE_MAX_PREFIXES ? options->refusal_count : OBJECTIVE_MAX_PREFIXES;
	if (count == 0) {
		count = judge_refusals(options->judges, own, OBJECTIVE_MAX_PREFIXES);
		texts = own;
	}
	enum status status = STATUS_OK;
	for (int i = 0; i < count && status == STATUS_OK; i++) {
		struct token_list ids = {0};
		status = encode(t->session, texts[i], &ids, error);
		if (ids.count > OBJECTIVE_PREFIX_TOKENS)
			ids.count = OBJECTIVE_PREFIX_TOKENS;
		strbuf_add_char(b, '|');
		add_ids(b, &ids);
		token_list_done(&ids);
	}
	if (status == STATUS_OK && count == 0)
		status = error_set(error, STATUS_INVALID,
				   "the judges' list of refusals is empty, so none can be "
				   "discouraged");
	return status;
}

static enum status set_objective(const struct refusal *t, const struct refusal_options *options,
				 const struct refusal_term *terms, int count, struct error *error)
{
	char *specs[OBJECTIVE_MAX_TERMS];
	struct strbuf prefixes = {0};
	enum status status = discouraged(&prefixes, t, options, error);
	for (int i = 0; i < count; i++) {
		struct strbuf b = {0};
		strbuf_printf(&b, "%s:", terms[i].name);
		add_ids(&b, &t->target);
		if (terms[i].prefixes && prefixes.data)
			strbuf_add_string(&b, prefixes.data);
		strbuf_printf(&b, "*%g", terms[i].weight);
		specs[i] = strbuf_take(&b);
	}
	if (status == STATUS_OK)
		status = session_set_objective(t->session, (const char *const *)specs, count, error);
	for (int i = 0; i < count; i++)
		free(specs[i]);
	strbuf_done(&prefixes);
	return status;
}

enum status refusal_prepare_stage(const struct refusal *t, const struct refusal_options *options,
				  const struct refusal_term *terms, int count, const struct recovery_settings *settings,
				  struct error *error)
{
	enum status status = set_objective(t, options, terms, count, error);
	return status ? status : settings_copy(&t->session->settings, settings);
}

enum status refusal_run_stage(struct refusal *t, const struct refusal_options *options, struct error *error)
{
	struct session *session = t->session;
	struct experiment_watch watch = {options->on_steps, options->context};
	struct error journal_error = {0};
	struct experiment *x = &t->stages[t->stage_count++];
	enum status status = experiment_run_watched(x, session, &watch, error), written = STATUS_OK;
	/* Also one that was interrupted, with its finished steps. */
	if (options->journal && x->recovery)
		written = experiment_write_run(x, options->journal, t->stage_count > 1 ? "2-" : "", &journal_error);
	if (status == STATUS_OK && written) {
		status = written;
		*error = journal_error;
	}
	for (int64_t i = 0; status == STATUS_OK && i < recovery_rows(x->recovery); i++) {
		int layer = recovery_row_layer(x->recovery, i);
		int64_t position = recovery_row_position(x->recovery, i), d = session->model.arch.d;
		delta_rows_add(&t->delta, 1, d, &layer, &position, x->delta + i * d);
	}
	return status;
}

enum status refusal_finish(struct refusal *t, const struct refusal_options *options, struct error *error)
{
	refusal_say(options, "the recovered answer");
	enum status status = make_text(t, options, REFUSAL_RECOVERED, error);
	if (status)
		return status;
	t->recovered = !finds(t, REFUSAL_RECOVERED, JUDGE_REFUSAL);
	t->complete = true;
	return STATUS_OK;
}

const struct recovery_final *refusal_final(const struct refusal *t)
{
	return &t->stages[t->stage_count - 1].final;
}

void refusal_done(struct refusal *t)
{
	for (int i = 0; i < t->stage_count; i++)
		experiment_done(&t->stages[i]);
	for (int i = 0; i < REFUSAL_STATES; i++) {
		token_list_done(&t->ids[i]);
		free(t->texts[i]);
	}
	token_list_done(&t->target);
	delta_rows_done(&t->delta);
	*t = (struct refusal){0};
}
