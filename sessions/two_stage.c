#include "sessions/two_stage.h"

#include "compute/base/text.h"

void two_stage_settings(struct recovery_settings settings[STAGE_COUNT])
{
	for (int i = 0; i < STAGE_COUNT; i++) {
		struct recovery_settings *s = &settings[i];
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
	struct recovery_settings *anchor = &settings[STAGE_ANCHOR], *answer = &settings[STAGE_ANSWER];
	anchor->steps = 20;
	anchor->lr = (struct amount){0.08, false};
	anchor->budget = (struct amount){30, false};
	anchor->delta_positions.rule = POSITIONS_LAST;
	answer->steps = 80;
	answer->lr = (struct amount){0.03, false};
	answer->budget = (struct amount){40, false};
	answer->delta_positions.rule = POSITIONS_ANSWER;
}

void two_stage_settings_done(struct recovery_settings settings[STAGE_COUNT])
{
	for (int i = 0; i < STAGE_COUNT; i++)
		settings_done(&settings[i]);
}

static const struct refusal_term terms[STAGE_COUNT][4] = {
	{{"first_token_logprob", false, 4},
	 {"prefix_logprob", false, 2},
	 {"anti_refusal", true, 0.2},
	 {"first_token_margin", true, 0.1}},
	{{"answer_logprob", false, 5}, {"anti_refusal", true, 0.1}},
};
static const int term_counts[STAGE_COUNT] = {4, 2};

enum status two_stage_run(struct refusal *t, struct session *session, const struct refusal_options *options,
			  const struct recovery_settings settings[STAGE_COUNT], struct error *error)
{
	static const char *const phases[STAGE_COUNT] = {"stage 1: the anchor", "stage 2: the answer"};
	bool go_on;
	enum status status = refusal_begin(t, session, options, settings[STAGE_ANSWER].answer.tokens, &go_on, error);
	if (status || !go_on)
		return status;
	for (int i = 0; i < STAGE_COUNT && status == STATUS_OK; i++) {
		refusal_say(options, phases[i]);
		/* What the stage before it found stays. */
		status = session_set_frozen(session, &t->delta, error);
		if (status == STATUS_OK)
			status = refusal_prepare_stage(t, options, terms[i], term_counts[i], &settings[i], error);
		if (status == STATUS_OK)
			status = refusal_run_stage(t, options, error);
	}
	return status ? status : refusal_finish(t, options, error);
}
