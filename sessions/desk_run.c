/* The desk's recovery: started, stepped, shown at any iteration, decomposed; its journal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"
#include "sessions/generate.h"
#include "sessions/record_write.h"

/* About how long a slice of steps may take: keys and frames come in between. With a large
 * model showing a state takes long itself, and steps get as much time, up to the most. */
enum { SLICE_MS = 25, MOST_SLICE_MS = 200, CHECKPOINT_STEPS = 10 };
/* Steps that the device is given at a time where they are quick: what is begun can't be stopped. */
enum { STEPS_AHEAD = 4 };

/* A journal that can't be written is said once; the run goes on. */
static void journal_failed(struct desk *desk, const struct error *error)
{
	journal_abandon(&desk->run.journal);
	desk_report(desk, STATUS_FAILED, error);
}

static char *verb_of(const struct desk *desk)
{
	char *options = desk->aside.on ? suffix_options_command(&desk->aside.options)
				       : settings_command(&desk->session->settings);
	char *verb = mem_printf("recover%s%s", options[0] ? " " : "", options);
	free(options);
	return verb;
}

static void open_journal(struct desk *desk, const float *start)
{
	struct desk_run *run = &desk->run;
	struct session *session = desk->session;
	struct error error;
	char *command = desk_command_text(desk, run->verb, true);
	enum status status = desk->options.journal
				     ? journal_create_beside(&run->journal, desk->options.journal, &error)
				     : journal_create_default(&run->journal,
							      session->prompt_id ? session->prompt_id : "text", &error);
	if (status == STATUS_OK)
		status = record_write_session(run->journal, session, command, &error);
	if (status == STATUS_OK)
		status = record_write_setup(run->journal, session, start, recovery_rows(run->recovery), "start", NULL,
					    &error);
	if (status == STATUS_OK)
		status = record_write_state(run->journal, session, &desk->base, &error);
	if (status == STATUS_OK)
		status = record_write_state(run->journal, session, &desk->clamped, &error);
	if (status == STATUS_OK)
		status = record_write_recovery(run->journal, session, run->recovery, &error);
	if (status == STATUS_OK)
		run->path = mem_strdup(journal_path(run->journal));
	else
		journal_failed(desk, &error);
	free(command);
}

static void journal_steps(struct desk *desk)
{
	struct desk_run *run = &desk->run;
	struct error error;
	int64_t steps = recovery_steps(run->recovery);
	if (!run->journal || run->journaled == steps)
		return;
	enum status status = record_write_steps(run->journal, run->recovery, run->journaled, steps, &error);
	if (status == STATUS_OK && steps / CHECKPOINT_STEPS != run->journaled / CHECKPOINT_STEPS)
		status = journal_checkpoint(run->journal, &error);
	run->journaled = steps;
	if (status)
		journal_failed(desk, &error);
}

static void journal_end(struct desk *desk, enum record_outcome outcome)
{
	struct desk_run *run = &desk->run;
	struct error error;
	if (!run->journal)
		return;
	struct record_end end = {
		.recovery = run->recovery,
		.outcome = outcome,
		.result = run->delta,
		.result_step = run->shown,
		.final = outcome == RECORD_COMPLETE && run->evaluated ? &run->final : NULL,
		.wall_s = run->wall_s,
		.array_prefix = "",
	};
	enum status status = record_write_end(run->journal, desk->session, &end, &error);
	if (status == STATUS_OK)
		status = journal_checkpoint(run->journal, &error);
	if (status)
		journal_failed(desk, &error);
}

/* The rows of `start` where the recovery has them; new rows begin at 0. */
static float *start_rows(const struct desk *desk, const struct desk_start *start)
{
	const struct recovery *recovery = desk->run.recovery;
	size_t rows = (size_t)recovery_rows(recovery), d = (size_t)desk->session->model.arch.d;
	float *delta = mem_alloc(rows * d, sizeof *delta);
	for (size_t r = 0; r < rows; r++)
		for (int64_t s = 0; s < start->rows; s++)
			if (start->layers[s] == recovery_row_layer(recovery, (int64_t)r) &&
			    start->positions[s] == recovery_row_position(recovery, (int64_t)r))
				memcpy(delta + r * d, start->delta + (size_t)s * d, d * sizeof *delta);
	return delta;
}

enum status desk_check_clamped(const struct desk *desk, struct error *error)
{
	if (!desk->has_clamped)
		return error_set(error, STATUS_INVALID,
				 "there is nothing to recover from: clamp a feature first (space)");
	return STATUS_OK;
}

enum status desk_check_ready(const struct desk *desk, struct error *error)
{
	if (!desk->session->has_objective)
		return error_set(error, STATUS_INVALID, "there is no objective to recover; o chooses one");
	return desk_check_clamped(desk, error);
}

enum status desk_run_start(struct desk *desk, struct error *error)
{
	desk_run_stop(desk);
	return desk_run_begin(desk, NULL, error);
}

enum status desk_run_begin(struct desk *desk, const struct desk_start *start, struct error *error)
{
	enum status status = desk_check_ready(desk, error);
	if (status)
		return status;
	struct desk_run *run = &desk->run;
	desk_begin_job(desk, JOB_RECOVER, "preparing the recovery");
	status = recovery_create(&run->recovery, desk->session, &desk->clamped, NULL, error);
	float *first = NULL;
	if (status == STATUS_OK && start) {
		/* Which rows there are is known now; it takes them when it is made. */
		first = start_rows(desk, start);
		recovery_destroy(&run->recovery);
		status = recovery_create(&run->recovery, desk->session, &desk->clamped, first, error);
	}
	if (status) {
		free(first);
		return status;
	}
	run->delta = mem_alloc((size_t)(recovery_rows(run->recovery) * desk->session->model.arch.d), sizeof(float));
	run->live = true;
	run->running = true;
	run->slow = true; /* not known yet */
	run->verb = verb_of(desk);
	open_journal(desk, first);
	free(first);
	return desk_run_show(desk, 0, error);
}

enum status desk_run_show(struct desk *desk, int64_t step, struct error *error)
{
	struct desk_run *run = &desk->run;
	if (!run->recovery)
		return STATUS_OK;
	desk_method_forget(desk);
	int64_t steps = recovery_steps(run->recovery);
	if (step > steps)
		step = steps;
	if (step < 0)
		step = 0;
	enum status status = recovery_delta(run->recovery, step, run->delta, error);
	if (status == STATUS_OK)
		status = recovery_evaluate(run->recovery, run->delta, &run->final, error);
	if (status == STATUS_OK && desk->aside.on)
		status = desk_suffix_read(desk, error);
	run->evaluated = status == STATUS_OK;
	run->shown = step;
	desk->features_dirty = true;
	desk->parts_stale = desk->has_parts && desk->parts_step != step;
	desk->text_stale[STATE_RECOVERED] = desk->text_step != step;
	return status;
}

static void log_result(struct desk *desk)
{
	const struct desk_run *run = &desk->run;
	desk_log(desk, run->verb, true, "%s at %+.3f: |delta| %.2f, relative drift %.4f, %lld steps in %.2f s",
		 run->final.present ? "recovered" : "not recovered", run->final.objective, run->final.delta_norm,
		 run->final.drift_relative_l2, (long long)recovery_steps(run->recovery), run->wall_s);
	if (desk->prompt >= 0 && desk->base.present && !desk->clamped.present && run->final.present)
		desk->states[desk->prompt].state = FLIP_RECOVERED;
}

/* All steps are made: what counts as the result is shown, the last state or a checkpoint. */
static enum status finish(struct desk *desk, struct error *error)
{
	struct desk_run *run = &desk->run;
	int64_t step;
	run->running = false;
	run->finished = true;
	enum status status = recovery_result(run->recovery, run->delta, &step, error);
	if (status == STATUS_OK)
		status = desk_run_show(desk, step, error);
	journal_end(desk, status ? RECORD_FAILED : RECORD_COMPLETE);
	if (status == STATUS_OK && desk->aside.on)
		status = desk_suffix_finish(desk, error);
	else if (status == STATUS_OK)
		log_result(desk);
	return status;
}

void desk_run_slice(struct desk *desk)
{
	struct desk_run *run = &desk->run;
	struct error error;
	int64_t begin = desk_now_ms(), end = begin, slice = SLICE_MS;
	if (run->show_ms > slice)
		slice = run->show_ms < MOST_SLICE_MS ? run->show_ms : MOST_SLICE_MS;
	enum status status = STATUS_OK;
	while (status == STATUS_OK && end - begin < slice &&
	       recovery_steps(run->recovery) < recovery_planned(run->recovery)) {
		int64_t before = end, ahead = run->slow ? 1 : STEPS_AHEAD;
		status = recovery_advance(run->recovery, ahead, &error);
		end = desk_now_ms();
		run->slow = end - before > SLICE_MS * ahead / STEPS_AHEAD;
	}
	run->wall_s += (double)(end - begin) / 1000;
	journal_steps(desk);
	bool through = recovery_steps(run->recovery) >= recovery_planned(run->recovery);
	if (status == STATUS_OK && run->live && !through && !atomic_load(&desk->cancel))
		status = desk_run_show(desk, recovery_steps(run->recovery), &error);
	run->show_ms = desk_now_ms() - end;
	if (status == STATUS_CANCELLED) {
		atomic_store(&desk->cancel, false);
		desk_run_pause(desk);
	} else if (status) {
		run->running = false;
		run->paused = false;
		journal_end(desk, RECORD_FAILED);
		desk_report(desk, status, &error);
		desk_end_job(desk);
	} else if (through) {
		status = finish(desk, &error);
		if (status == STATUS_CANCELLED)
			atomic_store(&desk->cancel, false);
		desk_report(desk, status, &error);
		desk_end_job(desk);
	} else {
		desk->job = JOB_RECOVER;
		snprintf(desk->job_text, sizeof desk->job_text, "recovering");
		desk->job_done = (double)recovery_steps(run->recovery);
		desk->job_total = (double)recovery_planned(run->recovery);
	}
}

void desk_run_pause(struct desk *desk)
{
	struct desk_run *run = &desk->run;
	struct error error;
	int64_t step = run->live ? recovery_steps(run->recovery) : run->shown;
	run->running = false;
	run->paused = true;
	desk_end_job(desk);
	desk_notice(desk, "the recovery is paused at step %lld; r goes on", (long long)recovery_steps(run->recovery));
	/* Steps may have been made since the one shown was evaluated, which takes long with a large model. */
	if (!run->evaluated || run->shown != step) {
		(void)desk_pulse(desk);
		desk_report(desk, desk_run_show(desk, step, &error), &error);
	}
}

/* All that belongs to the run; a suffix stays. */
static void forget_run(struct desk *desk)
{
	struct desk_run *run = &desk->run;
	struct error error;
	if (run->recovery && !run->finished)
		journal_end(desk, RECORD_INTERRUPTED);
	if (journal_close(&run->journal, &error) != STATUS_OK)
		desk_report(desk, STATUS_FAILED, &error);
	recovery_destroy(&run->recovery);
	free(run->delta);
	free(run->path);
	free(run->verb);
	*run = (struct desk_run){0};
	desk_method_forget(desk);
	desk_earlier_forget(desk);
	if (desk->has_parts)
		decomposition_done(&desk->parts);
	desk->has_parts = false;
	if (desk->job == JOB_RECOVER)
		desk_end_job(desk);
	desk->features_dirty = true;
}

void desk_run_stop(struct desk *desk)
{
	forget_run(desk);
	desk_put_back(desk);
}

enum status desk_run_again(struct desk *desk, const struct desk_start *start, struct error *error)
{
	forget_run(desk);
	enum status status = STATUS_OK;
	if (desk->aside.on) { /* of another length it would be another suffix */
		status = settings_copy(&desk->aside.options.settings, &desk->suffix.settings);
		if (status == STATUS_OK)
			status = settings_copy(&desk->session->settings, &desk->suffix.settings);
	}
	return status ? status : desk_run_begin(desk, start, error);
}

enum status desk_run_decompose(struct desk *desk, struct error *error)
{
	struct desk_run *run = &desk->run;
	if (!run->recovery || !run->evaluated)
		return error_set(error, STATUS_INVALID,
				 "there is no perturbation to decompose: run a recovery first (r)");
	desk_begin_job(desk, JOB_DECOMPOSE, "replaying the parts of delta");
	struct decomposition parts;
	enum status status =
		decompose(&parts, desk->session, run->recovery, &desk->clamped, run->delta, 20, false, error);
	if (status)
		return status;
	if (desk->has_parts)
		decomposition_done(&desk->parts);
	desk->parts = parts;
	desk->has_parts = true;
	desk->parts_stale = false;
	desk->parts_step = run->shown;
	if (run->journal) {
		struct error failed;
		if (record_write_decomposition(run->journal, &desk->parts, run->shown, &failed) != STATUS_OK)
			journal_failed(desk, &failed);
	}
	char *verb = mem_printf("decompose '%s' --top 20", run->path ? run->path : "SESSION");
	mem_reserve((void **)&desk->log, &desk->log_capacity, desk->log_count + 1, sizeof *desk->log);
	desk->log[desk->log_count++] = (struct snapshot_log){
		mem_printf("rebound %s", verb),
		mem_printf("clamped %s, other features %s, residual %s at step %lld",
			   desk->parts.components[COMPONENT_CLAMPED].recovered ? "recovers" : "does not recover",
			   desk->parts.components[COMPONENT_NON_CLAMPED].recovered ? "recover" : "do not recover",
			   desk->parts.components[COMPONENT_RESIDUAL].recovered ? "recovers" : "does not recover",
			   (long long)run->shown)};
	free(verb);
	/* The replays left their own states behind. */
	return desk_run_show(desk, run->shown, error);
}

/* Text as it comes, shown while it grows. */
struct growing {
	struct desk *desk;
	int state;
	struct tokenizer_stream stream;
	struct strbuf text;
};

static bool grow(void *context, int32_t id)
{
	struct growing *g = context;
	tokenizer_stream_push(&g->stream, id, &g->text);
	free(g->desk->texts[g->state]);
	g->desk->texts[g->state] = mem_strndup(g->text.data ? g->text.data : "", g->text.length);
	g->desk->job_done++;
	return desk_pulse(g->desk);
}

static enum status generate_state(struct desk *desk, int state, int64_t tokens, struct error *error)
{
	struct session *session = desk->session;
	struct desk_run *run = &desk->run;
	struct growing g = {.desk = desk, .state = state};
	struct strbuf ignored = {0};
	tokenizer_stream_init(&g.stream, session->model.tokenizer, true);
	for (size_t i = 0; i < session->prompt.count; i++)
		tokenizer_stream_push(&g.stream, session->prompt.ids[i], &ignored);
	strbuf_done(&ignored);
	struct generate_options options = {.clamped = state != STATE_BASE,
					   .max_new = tokens,
					   .seed = session->seed,
					   .on_token = grow,
					   .context = &g};
	struct generate_delta delta = {0};
	int *layers = NULL;
	int64_t *positions = NULL;
	if (state == STATE_RECOVERED) {
		int64_t rows = recovery_rows(run->recovery);
		layers = mem_alloc((size_t)rows, sizeof *layers);
		positions = mem_alloc((size_t)rows, sizeof *positions);
		for (int64_t r = 0; r < rows; r++) {
			layers[r] = recovery_row_layer(run->recovery, r);
			positions[r] = recovery_row_position(run->recovery, r);
		}
		delta = (struct generate_delta){rows, layers, positions, run->delta};
		options.delta = &delta;
	}
	struct token_list ids = {0};
	desk->text_running[state] = true;
	enum status status = generate(session, &options, &ids, error);
	desk->text_running[state] = false;
	desk->text_stale[state] = false;
	if (state == STATE_RECOVERED)
		desk->text_step = run->shown;
	static const char *const names[] = {"base", "clamped", "recovered"};
	if (run->journal) {
		struct error failed;
		if (record_write_generation(run->journal, session, names[state], ids.ids, ids.count, &failed))
			journal_failed(desk, &failed);
	}
	token_list_done(&ids);
	strbuf_done(&g.text);
	free(layers);
	free(positions);
	return status;
}

/* What the judges say of a text; the base model's is what the others are compared with. */
static void judge_state(struct desk *desk, int state, struct judge_verdict *verdict)
{
	const struct prompt *prompt = desk->prompt >= 0 ? &desk->prompts.items[desk->prompt] : NULL;
	struct judge_input input = {.text = desk->texts[state]};
	if (state != STATE_BASE)
		input.base = desk->texts[STATE_BASE];
	if (prompt) {
		input.refusals = (const char *const *)prompt->refusals;
		input.refusal_count = prompt->refusal_count;
	}
	judge_text(verdict, desk->judges, &input);
	judge_summary(desk->verdicts[state], verdict);
}

enum status desk_generate_recovered(struct desk *desk, int64_t tokens, struct judge_verdict *verdict,
				    struct error *error)
{
	enum status status = generate_state(desk, STATE_RECOVERED, tokens, error);
	judge_state(desk, STATE_RECOVERED, verdict);
	return status;
}

enum status desk_generate(struct desk *desk, int64_t tokens, struct error *error)
{
	if (!desk->session->model.tokenizer)
		return error_set(error, STATUS_INVALID,
				 "the model has no tokenizer, so its ids can't be shown as text");
	if (!desk->has_base)
		return error_set(error, STATUS_INVALID, "there is no prompt to continue");
	if (desk->aside.on && tokens < REFUSAL_NEW_TOKENS)
		tokens = REFUSAL_NEW_TOKENS; /* as many as the other two texts have */
	desk_begin_job(desk, JOB_GENERATE, "generating");
	/* The other two texts of a suffix are those without it, and are there. */
	const bool asked[STATE_COUNT] = {!desk->aside.on, !desk->aside.on && desk->has_clamped, desk->run.evaluated};
	for (int i = 0; i < STATE_COUNT; i++)
		desk->job_total += asked[i] ? (double)tokens : 0;
	enum status status = STATUS_OK;
	for (int i = 0; i < STATE_COUNT && status == STATUS_OK; i++)
		if (asked[i])
			status = generate_state(desk, i, tokens, error);
	struct judge_verdict verdict;
	for (int i = 0; i < STATE_COUNT; i++)
		if (desk->texts[i])
			judge_state(desk, i, &verdict);
	if (status == STATUS_OK) {
		char *verb = mem_printf("generate --max-new %lld", (long long)tokens);
		desk_log(desk, verb, true, "%lld tokens in each known state", (long long)tokens);
		free(verb);
	}
	return status;
}

enum status desk_note(struct desk *desk, const char *text, struct error *error)
{
	if (!desk->run.journal)
		return error_set(
			error, STATUS_INVALID,
			"there is no journal yet: it starts with the first recovery (r), and notes go into it");
	return record_write_note(desk->run.journal, text, error);
}
