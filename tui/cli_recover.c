/* rebound recover: one recovery, from a clamp to a perturbation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "sessions/decompose.h"
#include "sessions/experiment.h"
#include "sessions/journal.h"
#include "tui/cli.h"

cJSON *cli_state_json(const struct session *session, double J, bool present, const float *logits)
{
	cJSON *json = cJSON_CreateObject();
	cJSON_AddNumberToObject(json, "objective", J);
	cJSON_AddBoolToObject(json, "present", present);
	if (logits)
		cJSON_AddItemToObject(json, "top", cli_top_json(session, logits, 5));
	return json;
}

cJSON *cli_history_json(const struct recovery *recovery)
{
	cJSON *list = cJSON_CreateArray();
	const struct recovery_metrics *history = recovery_history(recovery);
	for (int64_t i = 0; i < recovery_steps(recovery); i++) {
		const struct recovery_metrics *m = &history[i];
		const struct {
			const char *name;
			double value;
		} fields[] = {
			{"objective", m->objective},
			{"loss", m->loss},
			{"drift_l2", m->drift_l2},
			{"decode_drift_l2", m->decode_drift_l2},
			{"drift_relative_l2", m->drift_relative_l2},
			{"delta_norm", m->delta_norm},
			{"grad_norm", m->grad_norm},
			{"projected_grad_norm", m->projected_grad_norm},
			{"projection_cosine", m->projection_cosine},
		};
		cJSON *row = cJSON_CreateObject();
		cJSON_AddNumberToObject(row, "step", (double)i);
		for (size_t f = 0; f < ARRAY_LEN(fields); f++)
			cJSON_AddNumberToObject(row, fields[f].name, fields[f].value);
		if (recovery_is_suffix(recovery))
			cJSON_AddNumberToObject(row, "monitor_relative", m->monitor_relative);
		cJSON_AddItemToArray(list, row);
	}
	return list;
}

cJSON *cli_final_json(const struct recovery_final *f)
{
	const struct {
		const char *name;
		double value;
	} fields[] = {
		{"objective", f->objective},
		{"delta_norm", f->delta_norm},
		{"delta_norm_relative", f->delta_relative},
		{"drift_l2", f->drift_l2},
		{"drift_relative_l2", f->drift_relative_l2},
		{"decode_drift_l2", f->decode_drift_l2},
		{"floor_violation_l2", f->floor_violation_l2},
		{"floor_violation_relative_l2", f->floor_violation_relative_l2},
		{"floor_violation_fraction", f->floor_violation_fraction},
		{"reactivated_fraction", f->reactivated_fraction},
		{"reactivated_fraction_of_eligible", f->reactivated_fraction_of_eligible},
		{"reactivated_mass", f->reactivated_mass},
	};
	cJSON *json = cJSON_CreateObject();
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		cJSON_AddNumberToObject(json, fields[i].name, fields[i].value);
	return json;
}

cJSON *cli_recovery_json(const struct experiment *x)
{
	const struct session *session = x->session;
	cJSON *json = cJSON_CreateObject();
	if (session->prompt_id)
		journal_add_string(json, "prompt", session->prompt_id);
	cJSON_AddItemToObject(json, "ids", cli_ids_json(session->prompt.ids, session->prompt.count));
	cJSON_AddStringToObject(json, "objective", session->objective.text);
	cJSON_AddItemToObject(json, "base", cli_state_json(session, x->base.J, x->base.present, x->base.logits));
	cJSON_AddItemToObject(json, "clamped",
			      cli_state_json(session, x->clamped.J, x->clamped.present, x->clamped.logits));
	cJSON_AddItemToObject(json, "recovered",
			      cli_state_json(session, x->final.objective, x->final.present, x->final.logits));
	cJSON_AddBoolToObject(json, "valid_flip", x->base.present && !x->clamped.present);
	cJSON_AddItemToObject(json, "history", cli_history_json(x->recovery));
	cJSON_AddItemToObject(json, "final", cli_final_json(&x->final));
	cJSON_AddNumberToObject(json, "budget", recovery_budget(x->recovery));
	cJSON_AddNumberToObject(json, "wall_s", x->wall_s);
	cJSON_AddNumberToObject(json, "steps_per_s",
				x->wall_s > 0 ? (double)recovery_steps(x->recovery) / x->wall_s : 0);
	if (x->journal_path)
		cJSON_AddStringToObject(json, "session", x->journal_path);
	return json;
}

static void print_text(const struct experiment *x)
{
	const struct recovery_final *f = &x->final;
	printf("objective  %s\n", x->session->objective.text);
	printf("base       %+.4f  %s\n", x->base.J, x->base.present ? "present" : "absent");
	printf("clamped    %+.4f  %s\n", x->clamped.J, x->clamped.present ? "present" : "absent");
	printf("recovered  %+.4f  %s\n", f->objective, f->present ? "present" : "absent");
	printf("verdict    %s\n", !x->base.present     ? "the base model lacks the behaviour: nothing to suppress"
				  : x->clamped.present ? "the clamp does not remove the behaviour: nothing to recover"
				  : f->present	       ? "valid flip, recovered"
						       : "valid flip, not recovered");
	printf("delta      norm %.4f of budget %g (%.1f%% of the residual)\n", f->delta_norm,
	       recovery_budget(x->recovery), 100 * f->delta_relative);
	printf("drift      %.6f absolute, %.6f relative, %.6f through the decoder\n", f->drift_l2, f->drift_relative_l2,
	       f->decode_drift_l2);
	printf("reactivated %.4f of the clamped features at the perturbed positions\n", f->reactivated_fraction);
	printf("%lld steps in %.2f s (%.0f a second)\n", (long long)recovery_steps(x->recovery), x->wall_s,
	       x->wall_s > 0 ? (double)recovery_steps(x->recovery) / x->wall_s : 0);
	if (x->journal_path)
		printf("session    %s\n", x->journal_path);
}

static enum status save_matrix(const char *folder, const char *name, int layer, const float *values, int64_t rows,
			       int64_t cols, struct error *error)
{
	char *path = mem_printf("%s/%s.L%d.npy", folder, name, layer);
	int64_t shape[] = {rows, cols};
	enum status status = npy_write_float(path, values, 2, shape, error);
	free(path);
	return status;
}

/* Every array of METHOD 7 (CLI.md, --save-state). */
static enum status save_state(struct experiment *x, const char *folder, struct error *error)
{
	struct session *session = x->session;
	int64_t d = session->model.arch.d, total = x->clamped.total, rows = recovery_rows(x->recovery);
	struct decomposition parts;
	enum status status = file_make_folder(folder, error);
	if (status)
		return status;
	status = decompose(&parts, session, x->recovery, &x->clamped, x->delta, 10, true, error);
	if (status)
		return status;
	/* decompose() replayed other perturbations: the states are those of delta again. */
	struct recovery_final again;
	status = recovery_evaluate(x->recovery, x->delta, &again, error);
	float *h = mem_alloc((size_t)(total * d), sizeof *h);
	int layer_index = 0;
	for (int64_t row = 0; row < rows && status == STATUS_OK;) {
		int layer = recovery_row_layer(x->recovery, row), site = session_site_of_layer(session, layer);
		int64_t count = 0;
		while (row + count < rows && recovery_row_layer(x->recovery, row + count) == layer)
			count++;
		status = save_matrix(folder, "h_def", layer, x->clamped.sites[site].h, total, d, error);
		if (status == STATUS_OK)
			status = recovery_state(x->recovery, site, RECOVERY_OUT, h, error);
		if (status == STATUS_OK)
			status = save_matrix(folder, "h_rec", layer, h, total, d, error);
		if (status == STATUS_OK)
			status = save_matrix(folder, "delta_z", layer, parts.delta_z[layer_index++], count,
					     session->sites[site].sae.features, error);
		if (status == STATUS_OK)
			status = save_matrix(folder, "delta_res", layer,
					     parts.components[COMPONENT_RESIDUAL].rows + row * d, count, d, error);
		row += count;
	}
	free(h);
	decomposition_done(&parts);
	return status;
}

enum status cli_recover(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	struct opened opened;
	int64_t stages;
	enum status asked = options_int(o->stages, "stages", 1, 2, 1, &stages, error);
	if (asked || stages == 2 || o->suffix)
		return asked ? asked : cli_refusal(cli, error);
	if (o->suffix_token)
		return error_set(error, STATUS_INVALID, "--suffix-token belongs to --suffix");
	if (!o->text && !o->tokens && !o->prompt && (o->prompts || o->task))
		return cli_recover_set(cli, error);
	if (o->batch)
		return error_set(error, STATUS_INVALID,
				 "--batch belongs to a prompt set: --prompts FILE or --task TASK, and no input");
	/* A place that can't be written to is said before the work, not behind it. Without the
	 * user's folder for sessions the result is still worth having. */
	enum status status = journal_check(o->out, error), written = STATUS_OK;
	bool keep = status == STATUS_OK;
	if (status && o->out)
		return status;
	if (status && !o->quiet)
		fprintf(stderr, "no session is written: %s\n", error->text);
	status = cli_open(&opened, cli, NEED_INPUT | NEED_SAES, error);
	if (status)
		return status;
	char *command = options_command(cli->argc, cli->argv);
	struct experiment x;
	status = experiment_run(&x, opened.session, error);
	/* An interrupted or diverged run is written down too, with its finished steps. */
	struct error journal_error = {0};
	if (keep && x.recovery)
		written = experiment_write(&x, o->out, command, &journal_error);
	if (status == STATUS_OK && o->save_delta) {
		int64_t shape[] = {recovery_rows(x.recovery), opened.session->model.arch.d};
		status = npy_write_float(o->save_delta, x.delta, 2, shape, error);
	}
	if (status == STATUS_OK && o->save_state)
		status = save_state(&x, o->save_state, error);
	if (status == STATUS_OK) {
		if (o->json)
			status = cli_print_json(cli_recovery_json(&x), error);
		else
			print_text(&x);
	}
	/* The result was shown all the same. */
	if (status == STATUS_OK && written) {
		status = written;
		*error = journal_error;
	}
	experiment_done(&x);
	free(command);
	options_close(&opened);
	return status;
}
