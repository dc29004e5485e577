#include "sessions/export_report.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/export.h"
#include "sessions/statistics.h"

const char export_limits[] = "This is a white-box diagnostic: it needs activations and gradients, and optimises a "
			     "perturbation for each input. "
			     "It shows that a recovery path exists for this clamp, dictionary and model; it is not a "
			     "jailbreak that could be "
			     "deployed, nor a proof that every intervention can be recovered.";

/* Counts over all runs with both states (METHOD 3). */
struct cells {
	int64_t counts[2][2]; /* [base has it][clamped has it] */
	int64_t flips, recovered, open;
};

static struct cells count_cells(const struct record_list *list)
{
	struct cells cells = {0};
	for (int i = 0; i < list->count; i++)
		for (int r = 0; list->items[i].good && r < list->items[i].record.run_count; r++) {
			const struct record_run *run = &list->items[i].record.runs[r];
			if (!run->base.known || !run->clamped.known)
				continue;
			cells.counts[run->base.present][run->clamped.present]++;
			if (!run->base.present || run->clamped.present)
				continue;
			/* A flip whose recovery was not seen to its end counts neither way. */
			if (run->recovered.known) {
				cells.flips++;
				cells.recovered += run->recovered.present;
			} else {
				cells.open++;
			}
		}
	return cells;
}

/* Text for a Markdown cell: printable, and nothing in it is markup. */
static void md_text(struct strbuf *out, const char *text)
{
	size_t n = strlen(text);
	char *shown = mem_alloc(n + 1, 1);
	text_printable(shown, n + 1, text, n);
	for (const char *s = shown; *s; s++) {
		if (strchr("\\`*_{}[]<>()#+!|~&$", *s))
			strbuf_add_char(out, '\\');
		strbuf_add_char(out, *s);
	}
	free(shown);
}

/* For code spans, which end at a backtick. */
static void md_code(struct strbuf *out, const char *text)
{
	size_t n = strlen(text);
	char *shown = mem_alloc(n + 1, 1);
	text_printable(shown, n + 1, text, n);
	bool ticks = strchr(shown, '`') != NULL;
	strbuf_printf(out, ticks ? "`` %s ``" : "`%s`", shown);
	free(shown);
}

static void md_rate(struct strbuf *out, const struct cells *cells)
{
	if (cells->flips == 0) {
		strbuf_add_string(
			out, "There is no valid flip with a finished recovery, so there is no rate of recovery.\n\n");
		return;
	}
	double low, high;
	wilson_interval(cells->recovered, cells->flips, &low, &high);
	strbuf_printf(out, "Recovered: %lld of %lld valid flips (%.1f%%, 95%% Wilson interval %.1f%% to %.1f%%).",
		      (long long)cells->recovered, (long long)cells->flips,
		      100 * (double)cells->recovered / (double)cells->flips, 100 * low, 100 * high);
	if (cells->open > 0)
		strbuf_printf(out, " %lld more were not run to their end and are not counted.", (long long)cells->open);
	strbuf_add_string(out, "\n\n");
}

static void md_cells(struct strbuf *out, const struct cells *cells)
{
	strbuf_printf(out,
		      "| | present under the clamp | absent under the clamp |\n|---|---:|---:|\n"
		      "| present in the base model | %lld | %lld (valid flips) |\n| absent in the base model | %lld | "
		      "%lld |\n\n",
		      (long long)cells->counts[1][1], (long long)cells->counts[1][0], (long long)cells->counts[0][1],
		      (long long)cells->counts[0][0]);
	md_rate(out, cells);
}

static void md_states(struct strbuf *out, const struct record_run *run)
{
	const struct {
		const char *name;
		const struct record_state *state;
	} states[] = {{"base", &run->base}, {"clamped", &run->clamped}, {"recovered", &run->recovered}};
	strbuf_add_string(out, "| state | objective | behaviour |\n|---|---:|---|\n");
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (states[i].state->known)
			strbuf_printf(out, "| %s | %+.4f | %s |\n", states[i].name, states[i].state->objective,
				      states[i].state->present ? "present" : "absent");
	strbuf_add_char(out, '\n');
}

static void md_final(struct strbuf *out, const struct record_run *run)
{
	const struct recovery_final *f = &run->final;
	if (!run->recovered.known)
		return;
	strbuf_printf(out, "| measure of the result | value |\n|---|---:|\n");
	strbuf_printf(out, "| norm of delta, of budget %.6g | %.4f |\n| the same, of the %s norm | %.4f |\n",
		      run->budget, f->delta_norm, run->suffix.count > 0 ? "embeddings'" : "residual's",
		      f->delta_relative);
	strbuf_printf(out, "| drift of the clamped features, absolute | %.6g |\n| drift, relative | %.6g |\n",
		      f->drift_l2, f->drift_relative_l2);
	strbuf_printf(out, "| drift through the decoder | %.6g |\n", f->decode_drift_l2);
	strbuf_printf(out, "| floor violation, relative | %.6g |\n| reactivated fraction | %.4f |\n",
		      f->floor_violation_relative_l2, f->reactivated_fraction);
	strbuf_printf(out, "| reactivated, of eligible | %.4f |\n", f->reactivated_fraction_of_eligible);
	if (run->suffix.count > 0)
		strbuf_printf(out, "| monitor, of its value at the start | %.4f |\n", f->monitor_relative);
	strbuf_add_char(out, '\n');
}

static void md_components(struct strbuf *out, const struct record_decomposition *parts)
{
	strbuf_printf(
		out,
		"Parts of delta (step %lld, top-k with k = %lld). Decoder directions are not orthogonal and parts "
		"cancel, so norms are not shares; the evidence is each part's replay alone and the rest without "
		"it, both under the clamp. Clamped + non-clamped + residual equals delta within %.2g.\n\n",
		(long long)parts->step, (long long)parts->top_k, parts->identity_error);
	strbuf_add_string(out, "| part | norm | cosine with delta | alone | | without it | | relative drift |\n"
			       "|---|---:|---:|---:|---|---:|---|---:|\n");
	for (int i = 0; i < parts->count; i++) {
		const struct record_component *c = &parts->components[i];
		strbuf_add_string(out, "| ");
		md_text(out, c->name);
		strbuf_printf(out, " | %.4f | %+.3f | %+.4f | %s | ", c->norm, c->cosine, c->objective,
			      c->recovered ? "recovered" : "not recovered");
		if (c->has_knockout)
			strbuf_printf(out, "%+.4f | %s", c->knockout_objective,
				      c->knockout_recovered ? "recovered" : "not recovered");
		else
			strbuf_add_string(out, "| ");
		strbuf_printf(out, " | %.6g |\n", c->drift_relative_l2);
	}
	strbuf_add_char(out, '\n');
}

static void md_run(struct strbuf *out, const struct record_run *run, bool redact)
{
	char *prompt = redact ? export_redacted_prompt(run) : record_prompt(run);
	char *objective = redact ? export_redacted_objective(run) : record_objective(run);
	char *method = record_method(run);
	strbuf_add_string(out, "### ");
	md_text(out, prompt);
	strbuf_printf(out, ": %s\n\n* objective: ", record_verdict(run));
	md_code(out, objective);
	strbuf_printf(out, "\n* clamped features: %lld\n* recovery: %s\n* steps made: %lld, in %.2f s\n",
		      (long long)run->clamp_count, method, (long long)run->steps, run->wall_s);
	if (!redact && run->text) {
		strbuf_add_string(out, "* prompt: ");
		md_code(out, run->text);
		strbuf_add_char(out, '\n');
	}
	strbuf_add_char(out, '\n');
	md_states(out, run);
	md_final(out, run);
	if (run->decomposition.known)
		md_components(out, &run->decomposition);
	free(prompt);
	free(objective);
	free(method);
}

static void md_record(struct strbuf *out, const struct record *record, int number, bool redact)
{
	strbuf_add_string(out, "## ");
	if (redact)
		strbuf_printf(out, "session-%d", number);
	else
		md_text(out, path_base(record->path));
	strbuf_add_string(out, "\n\n");
	strbuf_add_string(out, "Recorded ");
	md_text(out, record->created);
	strbuf_add_string(out, " with rebound ");
	md_text(out, record->version);
	strbuf_add_string(out, " on ");
	md_text(out, record->device);
	strbuf_add_string(out, " (");
	md_text(out, record->driver);
	strbuf_printf(out, "), seed %llu.%s\n\n", (unsigned long long)record->seed,
		      record->cut ? " The session ended early." : "");
	if (!redact && record->command) {
		strbuf_add_string(out, "    ");
		size_t n = strlen(record->command);
		char *shown = mem_alloc(n + 1, 1);
		text_printable(shown, n + 1, record->command, n);
		strbuf_printf(out, "%s\n\n", shown);
		free(shown);
	}
	for (int r = 0; r < record->run_count; r++)
		md_run(out, &record->runs[r], redact);
}

void export_markdown(struct strbuf *out, const struct record_list *list, bool redact)
{
	struct cells cells = count_cells(list);
	int number = 0;
	strbuf_printf(out, "# Post-intervention recovery\n\n%s\n\n", export_limits);
	md_cells(out, &cells);
	for (int i = list->count; i-- > 0;)
		if (list->items[i].good)
			md_record(out, &list->items[i].record, ++number, redact);
}

/* ---------------------------------------------------------------- LaTeX */

static void tex_text(struct strbuf *out, const char *text)
{
	size_t n = strlen(text);
	char *shown = mem_alloc(n + 1, 1);
	text_printable(shown, n + 1, text, n);
	for (const char *s = shown; *s; s++) {
		if (*s == '\\')
			strbuf_add_string(out, "\\textbackslash{}");
		else if (*s == '~')
			strbuf_add_string(out, "\\textasciitilde{}");
		else if (*s == '^')
			strbuf_add_string(out, "\\textasciicircum{}");
		else if (*s == '"')
			strbuf_add_string(out, "\\textquotedbl{}");
		else if (strchr("#$%&_{}", *s))
			strbuf_printf(out, "\\%c", *s);
		else
			strbuf_add_char(out, *s);
	}
	free(shown);
}

static void tex_state(struct strbuf *out, const struct record_state *state)
{
	if (state->known)
		strbuf_printf(out, " & $%+.2f$", state->objective);
	else
		strbuf_add_string(out, " & --");
}

static void tex_run(struct strbuf *out, const struct record_run *run, bool redact)
{
	char *prompt = redact ? export_redacted_prompt(run) : record_prompt(run);
	char *project = run->suffix.count > 0 ? mem_strdup("suffix") : settings_get(&run->settings, "project");
	tex_text(out, prompt);
	strbuf_printf(out, " & %lld & %s", (long long)run->clamp_count, project);
	tex_state(out, &run->base);
	tex_state(out, &run->clamped);
	tex_state(out, &run->recovered);
	if (run->recovered.known)
		strbuf_printf(out, " & %.2f & %.4f & %.3f", run->final.delta_norm, run->final.drift_relative_l2,
			      run->final.reactivated_fraction);
	else
		strbuf_add_string(out, " & -- & -- & --");
	strbuf_printf(out, " & %s \\\\\n", record_verdict(run));
	free(prompt);
	free(project);
}

static void tex_rate(struct strbuf *out, const struct cells *cells)
{
	double low, high;
	strbuf_printf(
		out, "Valid flips: %lld of %lld runs.", (long long)(cells->counts[1][0]),
		(long long)(cells->counts[0][0] + cells->counts[0][1] + cells->counts[1][0] + cells->counts[1][1]));
	if (cells->flips == 0)
		return;
	wilson_interval(cells->recovered, cells->flips, &low, &high);
	strbuf_printf(out, " Recovered: %lld of %lld (%.1f\\%%, 95\\%% Wilson interval %.1f\\%%--%.1f\\%%).",
		      (long long)cells->recovered, (long long)cells->flips,
		      100 * (double)cells->recovered / (double)cells->flips, 100 * low, 100 * high);
}

static void tex_components(struct strbuf *out, const struct record_run *run, bool redact)
{
	const struct record_decomposition *parts = &run->decomposition;
	char *prompt = redact ? export_redacted_prompt(run) : record_prompt(run);
	strbuf_add_string(out, "\n\\begin{table}\n\\centering\n\\caption{Parts of $\\delta$ for ");
	tex_text(out, prompt);
	strbuf_printf(
		out,
		" ($k = %lld$). Parts are not orthogonal: norms are not shares. Replayed alone and left out, both "
		"under the clamp.}\n\\begin{tabular}{lrrrlrl}\n\\toprule\n"
		"part & norm & cosine & $J$ alone & & $J$ without & \\\\\n\\midrule\n",
		(long long)parts->top_k);
	for (int i = 0; i < parts->count; i++) {
		const struct record_component *c = &parts->components[i];
		tex_text(out, c->name);
		strbuf_printf(out, " & %.2f & $%+.2f$ & $%+.2f$ & %s", c->norm, c->cosine, c->objective,
			      c->recovered ? "recovered" : "not");
		if (c->has_knockout)
			strbuf_printf(out, " & $%+.2f$ & %s \\\\\n", c->knockout_objective,
				      c->knockout_recovered ? "recovered" : "not");
		else
			strbuf_add_string(out, " & & \\\\\n");
	}
	strbuf_add_string(out, "\\bottomrule\n\\end{tabular}\n\\end{table}\n");
	free(prompt);
}

void export_latex(struct strbuf *out, const struct record_list *list, bool redact)
{
	struct cells cells = count_cells(list);
	strbuf_printf(out, "%% Needs \\usepackage[T1]{fontenc} and \\usepackage{booktabs}.\n%% %s\n", export_limits);
	strbuf_add_string(out, "\\begin{table}\n\\centering\n\\caption{Recovery under the clamp. ");
	tex_rate(out, &cells);
	strbuf_add_string(out, "}\n\\begin{tabular}{lrlrrrrrrl}\n\\toprule\n"
			       "prompt & $K$ & projection & $J$ base & clamped & recovered & $\\|\\delta\\|$ & "
			       "rel.\\ drift & reactivated & verdict \\\\\n\\midrule\n");
	for (int i = list->count; i-- > 0;)
		for (int r = 0; list->items[i].good && r < list->items[i].record.run_count; r++)
			tex_run(out, &list->items[i].record.runs[r], redact);
	strbuf_add_string(out, "\\bottomrule\n\\end{tabular}\n\\end{table}\n");
	for (int i = list->count; i-- > 0;)
		for (int r = 0; list->items[i].good && r < list->items[i].record.run_count; r++)
			if (list->items[i].record.runs[r].decomposition.known)
				tex_components(out, &list->items[i].record.runs[r], redact);
}
