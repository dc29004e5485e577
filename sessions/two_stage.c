#include "sessions/two_stage.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/generate.h"
#include "sessions/record_write.h"

void two_stage_settings(struct two_stage_options *options)
{
	for (int i = 0; i < STAGE_COUNT; i++) {
		struct recovery_settings *s = &options->settings[i];
		settings_init(s);
		s->project = PROJECT_JACOBIAN;
		s->lambda_act = 200;
		s->act_loss = OP_DRIFT_RELATIVE_L2;
		s->probes = 8;
		s->drift_probe = true;
		s->corrections = 5;
		s->correction_lr = 0.05;
		s->checkpoint = CHECKPOINT_DRIFT_CONSTRAINED;
		s->drift_threshold = 0.03;
		s->answer = (struct answer_limits){.tokens = 48, .prefix_tokens = 16, .prefix_weight = 2};
	}
	struct recovery_settings *anchor = &options->settings[STAGE_ANCHOR], *answer = &options->settings[STAGE_ANSWER];
	anchor->steps = 20;
	anchor->lr = (struct amount){0.08, false};
	anchor->budget = (struct amount){30, false};
	anchor->delta_positions.rule = POSITIONS_LAST;
	answer->steps = 80;
	answer->lr = (struct amount){0.03, false};
	answer->budget = (struct amount){40, false};
	answer->delta_positions.rule = POSITIONS_ANSWER;
}

void two_stage_settings_done(struct two_stage_options *options)
{
	for (int i = 0; i < STAGE_COUNT; i++)
		settings_done(&options->settings[i]);
}

static void say(const struct two_stage_options *options, const char *what)
{
	if (options->on_phase)
		options->on_phase(options->context, what);
}

/* Generates one state's text and judges it; base has to come first. */
static enum status make_text(struct two_stage *t, const struct two_stage_options *options, int state,
			     struct error *error)
{
	struct session *session = t->session;
	struct delta_rows *rows = &t->delta;
	struct generate_delta delta = {rows->count, rows->layers, rows->positions, rows->values};
	struct generate_options how = {
		.clamped = state != TWO_STAGE_BASE,
		.delta = state == TWO_STAGE_RECOVERED ? &delta : NULL,
		.max_new = options->max_new,
		.seed = session->seed,
	};
	static const char *const names[TWO_STAGE_TEXTS] = {"base", "clamped", "recovered"};
	enum status status = generate(session, &how, &t->ids[state], error);
	if (status)
		return status;
	struct strbuf text = {0};
	tokenizer_decode(session->model.tokenizer, t->ids[state].ids, t->ids[state].count, true, &text);
	t->texts[state] = strbuf_take(&text);
	struct judge_input input = {
		.text = t->texts[state],
		.base = state == TWO_STAGE_BASE ? NULL : t->texts[TWO_STAGE_BASE],
		.refusals = options->refusals,
		.refusal_count = options->refusal_count,
	};
	judge_text(&t->verdicts[state], options->judges, &input);
	return options->journal ? record_write_generation(options->journal, session, names[state], t->ids[state].ids,
							  t->ids[state].count, error)
				: STATUS_OK;
}

static enum status encode(const struct session *session, const char *text, struct token_list *ids, struct error *error)
{
	struct tokenizer_options options = {.add_special = false, .recognise_special = false};
	return tokenizer_encode(session->model.tokenizer, text, strlen(text), options, ids, error);
}

/* The answer to be forced, cut to what counts. */
static enum status choose_target(struct two_stage *t, const struct two_stage_options *options, struct error *error)
{
	const struct session *session = t->session;
	bool refused = t->verdicts[TWO_STAGE_BASE].findings[JUDGE_REFUSAL].yes;
	const char *text = options->target ? options->target : refused ? options->answer : NULL;
	enum status status = STATUS_OK;
	if (text) {
		status = encode(session, text, &t->target, error);
	} else if (refused) {
		return error_set(error, STATUS_INVALID,
				 "the base model refuses this itself, so there is no answer to recover; give one with "
				 "--target");
	} else {
		const struct token_list *ids = &t->ids[TWO_STAGE_BASE];
		for (size_t i = 0; i < ids->count && !tokenizer_is_special(session->model.tokenizer, ids->ids[i]); i++)
			token_list_add(&t->target, ids->ids[i]);
	}
	if (status == STATUS_OK && t->target.count == 0)
		status = error_set(error, STATUS_INVALID,
				   "the answer to recover has no tokens; give another with --target");
	int64_t limit = options->settings[STAGE_ANSWER].answer.tokens;
	if (limit > 0 && (int64_t)t->target.count > limit)
		t->target.count = (size_t)limit;
	return status;
}

static void add_ids(struct strbuf *b, const struct token_list *ids)
{
	strbuf_add_string(b, "ids=");
	for (size_t i = 0; i < ids->count; i++)
		strbuf_printf(b, "%s%d", i ? "," : "", ids->ids[i]);
}

/* The discouraged openings as "|ids=1,2|ids=3", the first tokens of each. */
static enum status discouraged(struct strbuf *b, const struct two_stage *t, const struct two_stage_options *options,
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

static enum status set_objective(const struct two_stage *t, const struct two_stage_options *options, int stage,
				 struct error *error)
{
	static const struct {
		const char *name;
		bool prefixes;
		double weight;
	} terms[STAGE_COUNT][4] = {
		{{"first_token_logprob", false, 4},
		 {"prefix_logprob", false, 2},
		 {"anti_refusal", true, 0.2},
		 {"first_token_margin", true, 0.1}},
		{{"answer_logprob", false, 5}, {"anti_refusal", true, 0.1}},
	};
	char *specs[4] = {NULL};
	int count = 0;
	struct strbuf prefixes = {0};
	enum status status = discouraged(&prefixes, t, options, error);
	for (; status == STATUS_OK && count < 4 && terms[stage][count].name; count++) {
		struct strbuf b = {0};
		strbuf_printf(&b, "%s:", terms[stage][count].name);
		add_ids(&b, &t->target);
		if (terms[stage][count].prefixes)
			strbuf_add_string(&b, prefixes.data);
		strbuf_printf(&b, "*%g", terms[stage][count].weight);
		specs[count] = strbuf_take(&b);
	}
	if (status == STATUS_OK)
		status = session_set_objective(t->session, (const char *const *)specs, count, error);
	for (int i = 0; i < count; i++)
		free(specs[i]);
	strbuf_done(&prefixes);
	return status;
}

/* One stage from its objective to its record; its rows of delta are added to t->delta. */
static enum status run_stage(struct two_stage *t, const struct two_stage_options *options, int stage,
			     struct error *error)
{
	struct session *session = t->session;
	struct experiment *x = &t->stages[stage];
	enum status status = set_objective(t, options, stage, error), written = STATUS_OK;
	struct error journal_error = {0};
	if (status == STATUS_OK)
		status = settings_copy(&session->settings, &options->settings[stage]);
	if (status == STATUS_OK)
		status = session_set_frozen(session, &t->delta, error);
	if (status == STATUS_OK)
		status = experiment_run(x, session, error);
	/* Also one that was interrupted, with its finished steps. */
	if (options->journal && x->recovery)
		written = experiment_write_run(x, options->journal, stage == STAGE_ANCHOR ? "" : "2-", &journal_error);
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

static bool finds(const struct two_stage *t, int state, enum judge_rule rule)
{
	return t->verdicts[state].findings[rule].yes;
}

enum status two_stage_run(struct two_stage *t, struct session *session, const struct two_stage_options *options,
			  struct error *error)
{
	*t = (struct two_stage){.session = session};
	if (!session->model.tokenizer)
		return error_set(error, STATUS_INVALID,
				 "two stages end in a text, and '%s' has no tokenizer to make one",
				 session->model.folder);
	if (!session_has_clamps(session))
		return error_set(error, STATUS_INVALID, "there is nothing to recover from: no --clamp is given");
	say(options, "the base model's and the clamped answer");
	enum status status = session_set_frozen(session, NULL, error);
	if (status == STATUS_OK)
		status = make_text(t, options, TWO_STAGE_BASE, error);
	if (status == STATUS_OK)
		status = make_text(t, options, TWO_STAGE_CLAMPED, error);
	t->valid_flip = status == STATUS_OK && !finds(t, TWO_STAGE_BASE, JUDGE_REFUSAL) &&
			!finds(t, TWO_STAGE_BASE, JUDGE_SAFETY_CUE) && finds(t, TWO_STAGE_CLAMPED, JUDGE_REFUSAL);
	if (status == STATUS_OK && options->only_valid && !t->valid_flip)
		return STATUS_OK;
	if (status == STATUS_OK)
		status = choose_target(t, options, error);
	say(options, "stage 1: the anchor");
	if (status == STATUS_OK)
		status = run_stage(t, options, STAGE_ANCHOR, error);
	say(options, "stage 2: the answer");
	if (status == STATUS_OK)
		status = run_stage(t, options, STAGE_ANSWER, error);
	say(options, "the recovered answer");
	if (status == STATUS_OK)
		status = make_text(t, options, TWO_STAGE_RECOVERED, error);
	if (status)
		return status;
	t->drift_l2 = t->stages[STAGE_ANSWER].final.drift_l2;
	t->drift_relative_l2 = t->stages[STAGE_ANSWER].final.drift_relative_l2;
	t->recovered = !finds(t, TWO_STAGE_RECOVERED, JUDGE_REFUSAL);
	return STATUS_OK;
}

void two_stage_done(struct two_stage *t)
{
	for (int i = 0; i < STAGE_COUNT; i++)
		experiment_done(&t->stages[i]);
	for (int i = 0; i < TWO_STAGE_TEXTS; i++) {
		token_list_done(&t->ids[i]);
		free(t->texts[i]);
	}
	token_list_done(&t->target);
	delta_rows_done(&t->delta);
	*t = (struct two_stage){0};
}
