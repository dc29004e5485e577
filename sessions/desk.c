#include "sessions/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "sessions/encode.h"
#include "sessions/hooked_sae.h"

enum { FRAME_MS = 33 };

int64_t desk_now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool desk_pulse(struct desk *desk)
{
	int64_t now = desk_now_ms();
	if (desk->publish && now - desk->published_ms >= FRAME_MS) {
		desk->published_ms = now;
		desk->publish(desk);
	}
	return !atomic_load(&desk->cancel);
}

void desk_begin_job(struct desk *desk, enum job_kind job, const char *text)
{
	desk->job = job;
	desk->job_done = desk->job_total = 0;
	desk->loading[0] = '\0';
	snprintf(desk->job_text, sizeof desk->job_text, "%s", text);
	if (desk->publish) {
		desk->published_ms = desk_now_ms();
		desk->publish(desk);
	}
}

void desk_end_job(struct desk *desk)
{
	desk->job = JOB_NONE;
	desk->job_text[0] = desk->loading[0] = '\0';
}

void desk_report(struct desk *desk, enum status status, const struct error *error)
{
	if (status == STATUS_OK)
		return;
	if (status == STATUS_CANCELLED) {
		desk_notice(desk, "stopped");
		return;
	}
	desk->error = *error;
	desk->error_serial++;
}

void desk_notice(struct desk *desk, const char *format, ...)
{
	va_list args;
	char raw[512];
	va_start(args, format);
	int n = vsnprintf(raw, sizeof raw, format, args);
	va_end(args);
	text_printable(desk->notice, sizeof desk->notice, raw,
		       n < 0			? 0
		       : (size_t)n < sizeof raw ? (size_t)n
						: sizeof raw - 1);
}

char *desk_command_text(const struct desk *desk, const char *verb, bool clamps)
{
	const struct session *session = desk->session;
	struct strbuf b = {0};
	strbuf_printf(&b, "rebound %s", verb);
	if (desk->options.model) {
		strbuf_add_string(&b, " --model ");
		strbuf_add_quoted(&b, desk->options.model);
	}
	for (int i = 0; i < desk->options.sae_count; i++) {
		strbuf_add_string(&b, " --sae ");
		strbuf_add_quoted(&b, desk->options.saes[i]);
	}
	for (int i = 0; i < desk->options.label_count; i++) {
		strbuf_add_string(&b, " --labels ");
		strbuf_add_quoted(&b, desk->options.labels[i]);
	}
	if (desk->options.prompts) {
		strbuf_add_string(&b, " --prompts ");
		strbuf_add_quoted(&b, desk->options.prompts);
	}
	/* A prompt made on the screen is in no file: its text says what it is. */
	bool mine = session->prompt_id && strncmp(session->prompt_id, "mine-", 5) == 0;
	if (session->prompt_id && !mine) {
		strbuf_add_string(&b, " --prompt ");
		strbuf_add_quoted(&b, session->prompt_id);
	} else if (session->prompt_text) {
		strbuf_add_string(&b, session->chat ? " --chat --text " : " --text ");
		strbuf_add_quoted(&b, session->prompt_text);
	}
	/* A suffix's objective is its own. */
	for (int i = 0; !desk->aside.on && session->has_objective && i < session->objective.count; i++) {
		strbuf_add_string(&b, " --objective ");
		strbuf_add_quoted(&b, session->objective.specs[i]);
	}
	if (clamps && session_has_clamps(session)) {
		char *text = session_clamps_command(session);
		char *at = positions_text(&session->clamp_positions);
		strbuf_printf(&b, " %s", text);
		if (strcmp(at, "all") != 0)
			strbuf_printf(&b, " --clamp-positions %s", at);
		if (session->error_alpha != 1)
			strbuf_printf(&b, " --error %.9g", session->error_alpha);
		free(text);
		free(at);
	}
	return strbuf_take(&b);
}

void desk_log(struct desk *desk, const char *command, bool clamps, const char *format, ...)
{
	va_list args;
	char result[256], shown[256];
	va_start(args, format);
	vsnprintf(result, sizeof result, format, args);
	va_end(args);
	text_printable(shown, sizeof shown, result, strlen(result));
	mem_reserve((void **)&desk->log, &desk->log_capacity, desk->log_count + 1, sizeof *desk->log);
	desk->log[desk->log_count++] =
		(struct snapshot_log){desk_command_text(desk, command, clamps), mem_strdup(shown)};
}

void desk_log_export(struct desk *desk, const char *format, bool redact, const char *path)
{
	struct strbuf b = {0};
	char shown[200];
	strbuf_add_string(&b, "rebound export ");
	strbuf_add_quoted(&b, desk->run.path);
	strbuf_printf(&b, " --format %s%s --out ", format, redact ? " --redact" : "");
	strbuf_add_quoted(&b, path);
	text_printable(shown, sizeof shown, path, strlen(path));
	mem_reserve((void **)&desk->log, &desk->log_capacity, desk->log_count + 1, sizeof *desk->log);
	desk->log[desk->log_count++] = (struct snapshot_log){strbuf_take(&b), mem_printf("written to %s", shown)};
	desk_notice(desk, "%s is written", shown);
}

void desk_log_compare(struct desk *desk, const char *a, const char *b, const char *result)
{
	struct strbuf line = {0};
	char shown[200];
	strbuf_add_string(&line, "rebound compare ");
	strbuf_add_quoted(&line, a);
	strbuf_add_char(&line, ' ');
	strbuf_add_quoted(&line, b);
	text_printable(shown, sizeof shown, result, strlen(result));
	mem_reserve((void **)&desk->log, &desk->log_capacity, desk->log_count + 1, sizeof *desk->log);
	desk->log[desk->log_count++] = (struct snapshot_log){strbuf_take(&line), mem_strdup(shown)};
}

enum flip_state desk_flip(bool base, bool clamped, bool recovered)
{
	if (!base)
		return clamped ? FLIP_ADDED : FLIP_NO_BASE;
	return clamped ? FLIP_KEPT : recovered ? FLIP_RECOVERED : FLIP_VALID;
}

void desk_forget_features(struct desk *desk)
{
	free(desk->z_base);
	free(desk->z_clamped);
	free(desk->z_recovered);
	desk->z_base = desk->z_clamped = desk->z_recovered = NULL;
	desk->features_dirty = true;
	desk->view.dirty = true;
}

static void forget_parts(struct desk *desk)
{
	if (desk->has_parts)
		decomposition_done(&desk->parts);
	desk->has_parts = false;
}

void desk_clamps_changed(struct desk *desk)
{
	desk_run_stop(desk);
	forget_parts(desk);
	scene_done(&desk->clamped);
	desk->has_clamped = false;
	desk->clamp_serial++;
	desk->text_stale[STATE_CLAMPED] = desk->text_stale[STATE_RECOVERED] = true;
	desk_forget_features(desk);
}

void desk_prompt_changed(struct desk *desk)
{
	desk_clamps_changed(desk);
	scene_done(&desk->base);
	desk->has_base = false;
	for (int i = 0; i < SESSION_MAX_SITES; i++) {
		desk->saes[i].stale = desk->saes[i].known;
		desk->saes[i].loss_pending = false;
	}
	free(desk->ranking);
	desk->ranking = NULL;
	for (int i = 0; i < STATE_COUNT; i++) {
		free(desk->texts[i]);
		desk->texts[i] = NULL;
		desk->verdicts[i][0] = '\0';
		desk->text_stale[i] = false;
	}
}

enum status desk_refresh(struct desk *desk, struct error *error)
{
	struct session *session = desk->session;
	if (session->prompt.count == 0)
		return STATUS_OK;
	enum status status = STATUS_OK;
	if (!desk->has_base) {
		int64_t began = desk_now_ms();
		status = scene_run(&desk->base, session, false, error);
		desk->base_ms = desk_now_ms() - began;
		desk->has_base = status == STATUS_OK;
		desk->features_dirty = true;
	}
	if (status == STATUS_OK && !desk->has_clamped && session_has_clamps(session)) {
		status = scene_run(&desk->clamped, session, true, error);
		desk->has_clamped = status == STATUS_OK;
		desk->features_dirty = true;
	}
	if (status == STATUS_OK && desk->has_base && desk->has_clamped && desk->base.has_objective &&
	    desk->prompt >= 0) {
		struct prompt_state *p = &desk->states[desk->prompt];
		*p = (struct prompt_state){desk_flip(desk->base.present, desk->clamped.present, false),
					   desk->clamp_serial, desk->base.present, desk->clamped.present};
	}
	return status;
}

enum status desk_update_features(struct desk *desk, struct error *error)
{
	struct session *session = desk->session;
	if (!desk->features_dirty || session->site_count == 0 || !desk->has_base)
		return STATUS_OK;
	desk_forget_features(desk);
	if (!sae_loaded(&session->sites[desk->site].sae))
		return STATUS_OK;
	desk->features_dirty = false;
	const struct sae *sae = &session->sites[desk->site].sae;
	size_t F = (size_t)sae->features;
	int64_t at = (int64_t)desk->token * sae->d;
	float *z = mem_alloc(F, sizeof *z);
	enum status status = encode_rows(sae, desk->base.sites[desk->site].h + at, 1, z, NULL, error);
	desk->z_base = z;
	if (status == STATUS_OK && desk->has_clamped) {
		desk->z_clamped = mem_alloc(F, sizeof *z);
		status = encode_rows(sae, scene_reference(&desk->clamped)->sites[desk->site].h + at, 1, desk->z_clamped,
				     NULL, error);
	}
	if (status == STATUS_OK && desk->run.evaluated) {
		float *h = mem_alloc((size_t)(desk->clamped.total * sae->d), sizeof *h);
		desk->z_recovered = mem_alloc(F, sizeof *z);
		status = recovery_state(desk->run.recovery, desk->site, RECOVERY_OUT, h, error);
		if (status == STATUS_OK)
			status = encode_rows(sae, h + at, 1, desk->z_recovered, NULL, error);
		free(h);
	}
	if (status == STATUS_OK)
		status = desk_view_update(desk, error);
	return status;
}

/* Runs base and clamped of one prompt without disturbing what is shown. */
static enum status judge(struct desk *desk, int index, struct prompt_state *out, struct error *error)
{
	struct session *session = desk->session;
	const struct prompt *p = &desk->prompts.items[index];
	char *specs[8];
	int n = prompt_objectives(p, specs, 8);
	struct scene base = {0}, clamped = {0};
	enum status status =
		session_set_text(session, p->text, strlen(p->text), p->chat, desk->options.no_bos, false, error);
	if (status == STATUS_OK)
		status = session_set_objective(session, (const char *const *)specs, n > 0, error);
	for (int i = 0; i < n; i++)
		free(specs[i]);
	if (status == STATUS_OK)
		status = scene_run(&base, session, false, error);
	if (status == STATUS_OK && session_has_clamps(session))
		status = scene_run(&clamped, session, true, error);
	if (status == STATUS_OK && session->has_objective)
		*out = (struct prompt_state){clamped.session ? desk_flip(base.present, clamped.present, false)
					     : base.present  ? FLIP_UNKNOWN
							     : FLIP_NO_BASE,
					     desk->clamp_serial, base.present,
					     clamped.session ? clamped.present : base.present};
	scene_done(&base);
	scene_done(&clamped);
	return status;
}

bool desk_judge_next(struct desk *desk)
{
	while (desk->flips_at < desk->prompts.count && desk->states[desk->flips_at].state != FLIP_UNKNOWN &&
	       desk->states[desk->flips_at].clamp_serial == desk->clamp_serial)
		desk->flips_at++;
	if (desk->flips_at >= desk->prompts.count) {
		desk->flips_running = false;
		return false;
	}
	struct kept_input kept;
	struct error error;
	session_keep_input(desk->session, &kept);
	enum status status = judge(desk, desk->flips_at, &desk->states[desk->flips_at], &error);
	session_restore_input(desk->session, &kept);
	desk->flips_at++;
	if (status) {
		desk_report(desk, status, &error);
		desk->flips_running = false;
	}
	return desk->flips_running;
}

/* The set of prompts: the file given, or the built-in model's. */
static enum status load_prompts(struct desk *desk, struct error *error)
{
	char *path = NULL;
	if (desk->options.prompts) {
		path = mem_strdup(desk->options.prompts);
	} else if (!desk->options.model) {
		path = path_join(desk->session->model.folder, "prompts.jsonl");
	}
	enum status status = STATUS_OK;
	if (path)
		status = prompt_set_load(&desk->prompts, path, error);
	free(path);
	mem_reserve((void **)&desk->states, &desk->state_capacity, (size_t)desk->prompts.count + 1,
		    sizeof *desk->states);
	memset(desk->states, 0, ((size_t)desk->prompts.count + 1) * sizeof *desk->states);
	return status;
}

enum status desk_open(struct desk *desk, const struct worker_options *options, struct error *error)
{
	desk->options = *options;
	desk->prompt = -1;
	desk->clamp_serial = 1;
	desk->mode = OP_CLAMP_SET_ACTIVE;
	desk->mode_value = -5;
	suffix_options_init(&desk->suffix);
	desk_begin_job(desk, JOB_LOADING, "loading the model");
	struct session_options session = {
		.model = options->model,
		.saes = options->saes,
		.sae_count = options->sae_count,
		.device = options->device,
		.seed = options->seed,
		.progress = {desk_report_loading, desk},
	};
	enum status status = judge_lists_load(&desk->judges, options->judge_lists, error);
	if (status == STATUS_OK)
		status = session_open(&desk->session, &session, error);
	if (status == STATUS_OK) {
		desk->session->cancel = &desk->cancel;
		status = hooked_saes_label(desk->session, options->labels, options->label_count, error);
	}
	if (status == STATUS_OK)
		status = load_prompts(desk, error);
	if (status == STATUS_OK) {
		desk_begin_job(desk, JOB_LOADING, "testing the device");
		status = self_test_run(&desk->self_test, desk->session->device, error);
		desk->has_self_test = status == STATUS_OK;
	}
	desk->site = desk->session && desk->session->site_count > 1 ? desk->session->site_count / 2 : 0;
	desk_end_job(desk);
	return status;
}

void desk_close(struct desk *desk)
{
	if (desk->session) {
		desk_run_stop(desk);
		desk_prompt_changed(desk);
	}
	desk_forget_features(desk);
	desk_view_done(desk);
	for (int i = 0; i < desk->objective_count; i++)
		free(desk->objectives[i]);
	for (int i = 0; i < desk->undo_count; i++)
		free(desk->undo[i].rules);
	for (size_t i = 0; i < desk->log_count; i++) {
		free(desk->log[i].command);
		free(desk->log[i].result);
	}
	free(desk->log);
	comparison_release(&desk->comparison);
	free(desk->sessions);
	free(desk->rules.rules);
	free(desk->states);
	prompt_set_done(&desk->prompts);
	judge_lists_destroy(&desk->judges);
	suffix_options_done(&desk->suffix);
	session_close(&desk->session);
}
