#include "sessions/export.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/export_figure.h"
#include "sessions/export_report.h"
#include "sessions/journal.h"

enum status export_format_parse(const char *text, enum export_format *format, struct error *error)
{
	static const char *const names[] = {"csv", "json", "latex", "svg", "pdf", "md"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(text, names[i]) == 0) {
			*format = (enum export_format)i;
			return STATUS_OK;
		}
	return error_set(error, STATUS_INVALID, "--format is '%s'; expected csv, json, latex, svg, pdf or md", text);
}

static bool is_identifier(const char *s)
{
	size_t n = strlen(s);
	return n > 0 && n <= 48 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

char *export_redacted_prompt(const struct record_run *run)
{
	return mem_strdup(run->prompt && is_identifier(run->prompt) ? run->prompt : "prompt");
}

/* The name of each objective, with its weight if it has one. */
char *export_redacted_objective(const struct record_run *run)
{
	struct strbuf b = {0};
	for (int i = 0; i < run->objective_count; i++) {
		const char *spec = run->objectives[i], *star = strrchr(spec, '*');
		char name[48] = "";
		size_t n = strspn(spec, "abcdefghijklmnopqrstuvwxyz_");
		double weight;
		memcpy(name, spec, n < sizeof name ? n : 0);
		/* Only what the program itself calls so: a name could hide a text. */
		bool known = false;
		for (int kind = 0; kind < OBJECTIVE_KIND_COUNT; kind++)
			known = known || strcmp(name, objective_kind_name((enum objective_kind)kind)) == 0;
		strbuf_printf(&b, "%s%s", i ? " + " : "", known ? name : "objective");
		if (known && star && text_double(star + 1, &weight))
			strbuf_printf(&b, "*%.9g", weight);
	}
	return strbuf_take(&b);
}

/* ---------------------------------------------------------------- CSV */

/* One line of the table; numbers that are NaN are empty cells. */
struct line {
	const char *row;
	int64_t step; /* -1: none */
	const char *component;
	bool has_present, present, has_knockout, knockout_recovered;
	double cosine_with_delta, knockout_objective, identity_error;
	struct recovery_metrics metrics;
	struct recovery_final final;
};

static const char *const columns[] = {
	"session",
	"run",
	"prompt",
	"objective_spec",
	"clamps",
	"row",
	"step",
	"component",
	"present",
	"objective",
	"loss",
	"drift_l2",
	"decode_drift_l2",
	"drift_relative_l2",
	"delta_norm",
	"grad_norm",
	"projected_grad_norm",
	"projection_cosine",
	"cosine_with_delta",
	"knockout_objective",
	"knockout_recovered",
	"delta_norm_relative",
	"floor_violation_l2",
	"floor_violation_relative_l2",
	"floor_violation_fraction",
	"reactivated_fraction",
	"reactivated_fraction_of_eligible",
	"reactivated_mass",
	"identity_error",
	"monitor_relative",
	"verdict",
};

static void csv_text(struct strbuf *out, const char *text)
{
	size_t n = strlen(text);
	char *shown = mem_alloc(n + 1, 1);
	text_printable(shown, n + 1, text, n);
	if (strpbrk(shown, ",\"\n\r") || shown[0] == ' ') {
		strbuf_add_char(out, '"');
		for (const char *s = shown; *s; s++)
			strbuf_add_string(out, *s == '"' ? "\"\"" : (char[]){*s, '\0'});
		strbuf_add_char(out, '"');
	} else {
		strbuf_add_string(out, shown);
	}
	free(shown);
}

static void csv_number(struct strbuf *out, double value)
{
	char text[32];
	strbuf_add_char(out, ',');
	if (!isfinite(value))
		return;
	journal_number_text(text, value);
	strbuf_add_string(out, text);
}

static void csv_bool(struct strbuf *out, bool known, bool value)
{
	strbuf_add_string(out, !known ? "," : value ? ",1" : ",0");
}

static struct line empty_line(const char *row)
{
	struct line line = {
		.row = row,
		.step = -1,
		.component = "",
		.cosine_with_delta = NAN,
		.knockout_objective = NAN,
		.identity_error = NAN,
	};
	double nan = NAN;
	for (const struct record_field *f = record_step_fields; f->name; f++)
		memcpy((char *)&line.metrics + f->offset, &nan, sizeof nan);
	for (const struct record_field *f = record_final_fields; f->name; f++)
		memcpy((char *)&line.final + f->offset, &nan, sizeof nan);
	line.metrics.monitor_relative = nan;
	return line;
}

/* `start` is what all lines of the run begin with. */
static void csv_line(struct strbuf *out, const char *start, const struct line *line, const char *verdict)
{
	const struct recovery_metrics *m = &line->metrics;
	const struct recovery_final *f = &line->final;
	strbuf_printf(out, "%s,%s,", start, line->row);
	if (line->step >= 0)
		strbuf_printf(out, "%lld", (long long)line->step);
	strbuf_add_char(out, ',');
	csv_text(out, line->component);
	csv_bool(out, line->has_present, line->present);
	const double first[] = {m->objective,
				m->loss,
				m->drift_l2,
				m->decode_drift_l2,
				m->drift_relative_l2,
				m->delta_norm,
				m->grad_norm,
				m->projected_grad_norm,
				m->projection_cosine,
				line->cosine_with_delta,
				line->knockout_objective};
	for (size_t i = 0; i < ARRAY_LEN(first); i++)
		csv_number(out, first[i]);
	csv_bool(out, line->has_knockout, line->knockout_recovered);
	const double last[] = {
		f->delta_relative,	     f->floor_violation_l2,   f->floor_violation_relative_l2,
		f->floor_violation_fraction, f->reactivated_fraction, f->reactivated_fraction_of_eligible,
		f->reactivated_mass,	     line->identity_error,    m->monitor_relative};
	for (size_t i = 0; i < ARRAY_LEN(last); i++)
		csv_number(out, last[i]);
	strbuf_printf(out, ",%s\n", verdict);
}

static void csv_state(struct strbuf *out, const char *start, const char *row, const struct record_state *state)
{
	if (!state->known)
		return;
	struct line line = empty_line(row);
	line.has_present = true;
	line.present = state->present;
	line.metrics.objective = state->objective;
	csv_line(out, start, &line, "");
}

static void csv_final(struct strbuf *out, const char *start, const struct record_run *run)
{
	struct line line = empty_line("final");
	if (run->recovered.known) {
		line.step = run->result_step;
		line.has_present = true;
		line.present = run->recovered.present;
		line.final = run->final;
		line.metrics.objective = run->final.objective;
		line.metrics.drift_l2 = run->final.drift_l2;
		line.metrics.drift_relative_l2 = run->final.drift_relative_l2;
		line.metrics.decode_drift_l2 = run->final.decode_drift_l2;
		line.metrics.delta_norm = run->final.delta_norm;
		if (run->suffix.count > 0)
			line.metrics.monitor_relative = run->final.monitor_relative;
	}
	csv_line(out, start, &line, record_verdict(run));
}

static void csv_components(struct strbuf *out, const char *start, const struct record_decomposition *parts)
{
	for (int i = 0; i < parts->count; i++) {
		const struct record_component *c = &parts->components[i];
		struct line line = empty_line("component");
		line.step = parts->step;
		line.component = c->name;
		line.has_present = true;
		line.present = c->recovered;
		line.metrics.objective = c->objective;
		line.metrics.drift_l2 = c->drift_l2;
		line.metrics.drift_relative_l2 = c->drift_relative_l2;
		line.metrics.delta_norm = c->norm;
		line.cosine_with_delta = c->cosine;
		line.has_knockout = c->has_knockout;
		line.knockout_recovered = c->knockout_recovered;
		if (c->has_knockout)
			line.knockout_objective = c->knockout_objective;
		line.identity_error = parts->identity_error;
		csv_line(out, start, &line, "");
	}
}

/* A name for the session that tells nothing else: the file's, without its folder. A
 * redacted one is numbered, since people name files. */
static char *session_name(const struct record *record, int number, bool redact)
{
	return redact ? mem_printf("session-%d", number) : mem_strdup(path_base(record->path));
}

static void csv_run(struct strbuf *out, const struct record *record, int number, int index, bool redact)
{
	const struct record_run *run = &record->runs[index];
	char *name = session_name(record, number, redact);
	char *prompt = redact ? export_redacted_prompt(run) : record_prompt(run);
	char *objective = redact ? export_redacted_objective(run) : record_objective(run);
	struct strbuf start = {0};
	csv_text(&start, name);
	strbuf_printf(&start, ",%d,", index + 1);
	csv_text(&start, prompt);
	strbuf_add_char(&start, ',');
	csv_text(&start, objective);
	strbuf_printf(&start, ",%lld", (long long)run->clamp_count);
	csv_state(out, start.data, "base", &run->base);
	csv_state(out, start.data, "clamped", &run->clamped);
	for (int64_t i = 0; i < run->steps; i++) {
		struct line line = empty_line("step");
		line.step = i;
		line.metrics = run->history[i];
		if (run->suffix.count == 0)
			line.metrics.monitor_relative = NAN;
		csv_line(out, start.data, &line, "");
	}
	csv_final(out, start.data, run);
	if (run->decomposition.known)
		csv_components(out, start.data, &run->decomposition);
	strbuf_done(&start);
	free(name);
	free(prompt);
	free(objective);
}

void export_csv(struct strbuf *out, const struct record_list *list, bool redact)
{
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		strbuf_printf(out, "%s%s", i ? "," : "", columns[i]);
	strbuf_add_char(out, '\n');
	int number = 0;
	for (int i = list->count; i-- > 0;) {
		if (!list->items[i].good)
			continue;
		number++;
		for (int r = 0; r < list->items[i].record.run_count; r++)
			csv_run(out, &list->items[i].record, number, r, redact);
	}
}

/* ---------------------------------------------------------------- JSON */

static cJSON *fields_json(const struct record_field *fields, const void *object)
{
	cJSON *json = cJSON_CreateObject();
	for (; fields->name; fields++)
		journal_add_number(json, fields->name, record_field_get(fields, object));
	return json;
}

static cJSON *state_json(const struct record_state *state, bool redact)
{
	cJSON *json = cJSON_CreateObject();
	journal_add_number(json, "objective", state->objective);
	cJSON_AddBoolToObject(json, "present", state->present);
	cJSON *top = redact ? NULL : cJSON_AddArrayToObject(json, "top");
	for (int i = 0; top && i < state->top_count; i++) {
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "id", state->top[i].id);
		journal_add_string(item, "piece", state->top[i].piece);
		journal_add_number(item, "logit", state->top[i].logit);
		journal_add_number(item, "probability", state->top[i].probability);
		cJSON_AddItemToArray(top, item);
	}
	return json;
}

static void add_input(cJSON *json, const struct record_run *run, bool redact)
{
	char *prompt = redact ? export_redacted_prompt(run) : record_prompt(run);
	char *objective = redact ? export_redacted_objective(run) : record_objective(run);
	journal_add_string(json, "prompt", prompt);
	cJSON_AddNumberToObject(json, "tokens", (double)run->ids.count);
	journal_add_string(json, "objective", objective);
	free(prompt);
	free(objective);
	cJSON_AddBoolToObject(json, "chat", run->chat);
	if (redact)
		return;
	journal_add_string(json, "text", run->text);
	cJSON *ids = cJSON_AddArrayToObject(json, "ids");
	for (size_t i = 0; i < run->ids.count; i++)
		cJSON_AddItemToArray(ids, cJSON_CreateNumber(run->ids.ids[i]));
}

static const char *known_mode(const char *mode)
{
	static const char *const modes[] = {"set", "set-active", "scale", "scale-active", "ablate", "floor"};
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(modes[i], mode) == 0)
			return modes[i];
	return "unknown";
}

static void add_clamps(cJSON *json, const struct record_run *run)
{
	cJSON *list = cJSON_AddArrayToObject(json, "clamps");
	for (int64_t i = 0; i < run->clamp_count; i++) {
		const struct record_clamp *clamp = &run->clamps[i];
		cJSON *item = cJSON_CreateObject();
		cJSON_AddNumberToObject(item, "layer", clamp->layer);
		cJSON_AddNumberToObject(item, "feature", clamp->feature);
		cJSON_AddStringToObject(item, "mode", known_mode(clamp->mode));
		if (strcmp(clamp->mode, "ablate") != 0)
			journal_add_number(item, "value", clamp->value);
		cJSON_AddItemToArray(list, item);
	}
	journal_add_number(json, "error", run->error_alpha);
}

static void add_settings(cJSON *json, const struct record_run *run, bool redact)
{
	cJSON *settings = cJSON_AddObjectToObject(json, "settings");
	for (const struct setting_name *s = setting_names; s->name; s++) {
		char *value = settings_get(&run->settings, s->name);
		if (!redact || strcmp(s->name, "probes-file") != 0)
			journal_add_string(settings, s->name, value);
		free(value);
	}
}

static cJSON *components_json(const struct record_decomposition *parts)
{
	cJSON *json = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(json, "components");
	for (int i = 0; i < parts->count; i++) {
		const struct record_component *c = &parts->components[i];
		cJSON *item = cJSON_CreateObject();
		journal_add_string(item, "component", c->name);
		journal_add_number(item, "norm", c->norm);
		journal_add_number(item, "cosine_with_delta", c->cosine);
		journal_add_number(item, "objective", c->objective);
		cJSON_AddBoolToObject(item, "recovered", c->recovered);
		journal_add_number(item, "drift_l2", c->drift_l2);
		journal_add_number(item, "drift_relative_l2", c->drift_relative_l2);
		if (c->has_knockout) {
			journal_add_number(item, "knockout_objective", c->knockout_objective);
			cJSON_AddBoolToObject(item, "knockout_recovered", c->knockout_recovered);
		}
		cJSON_AddItemToArray(list, item);
	}
	cJSON_AddNumberToObject(json, "top_k", (double)parts->top_k);
	cJSON_AddStringToObject(json, "reference", parts->clamped_run ? "clamped-run" : "before-delta");
	journal_add_number(json, "identity_error", parts->identity_error);
	return json;
}

static cJSON *run_json(const struct record_run *run, bool redact)
{
	cJSON *json = cJSON_CreateObject();
	add_input(json, run, redact);
	add_clamps(json, run);
	/* A list of positions is numbers; nothing else but the program's own words gets through. */
	struct positions positions = {0};
	if (positions_parse(&positions, run->clamp_positions, "", NULL) == STATUS_OK)
		journal_add_string(json, "clamp_positions", run->clamp_positions);
	positions_done(&positions);
	add_settings(json, run, redact);
	if (run->suffix.count > 0) {
		cJSON *suffix = cJSON_AddObjectToObject(json, "suffix");
		cJSON_AddNumberToObject(suffix, "tokens", (double)run->suffix.count);
		journal_add_number(suffix, "monitor_weight", run->suffix.monitor_weight);
	}
	if (run->base.known)
		cJSON_AddItemToObject(json, "base", state_json(&run->base, redact));
	if (run->clamped.known)
		cJSON_AddItemToObject(json, "clamped", state_json(&run->clamped, redact));
	if (run->recovered.known)
		cJSON_AddItemToObject(json, "recovered", state_json(&run->recovered, redact));
	if (run->base.known && run->clamped.known)
		cJSON_AddBoolToObject(json, "valid_flip", run->base.present && !run->clamped.present);
	cJSON_AddStringToObject(json, "verdict", record_verdict(run));
	cJSON_AddStringToObject(json, "outcome", record_outcome_name(run->outcome));
	if (run->has_recovery) {
		cJSON *rows = cJSON_AddArrayToObject(json, "delta_rows");
		for (int64_t i = 0; i < run->row_count; i++) {
			cJSON *row = cJSON_CreateObject();
			cJSON_AddNumberToObject(row, "layer", run->rows[i].layer);
			cJSON_AddNumberToObject(row, "position", (double)run->rows[i].position);
			cJSON_AddItemToArray(rows, row);
		}
		journal_add_number(json, "budget", run->budget);
		journal_add_number(json, "reference_norm", run->reference_norm);
	}
	cJSON *history = cJSON_AddArrayToObject(json, "history");
	for (int64_t i = 0; i < run->steps; i++) {
		cJSON *step = fields_json(record_step_fields, &run->history[i]);
		cJSON_AddNumberToObject(step, "step", (double)i);
		if (run->suffix.count > 0)
			journal_add_number(step, "monitor_relative", run->history[i].monitor_relative);
		cJSON_AddItemToArray(history, step);
	}
	if (run->recovered.known) {
		cJSON_AddNumberToObject(json, "result_step", (double)run->result_step);
		cJSON *final = fields_json(record_final_fields, &run->final);
		if (run->suffix.count > 0)
			journal_add_number(final, "monitor_relative", run->final.monitor_relative);
		cJSON_AddItemToObject(json, "final", final);
	}
	if (run->outcome != RECORD_OPEN)
		journal_add_number(json, "wall_s", run->wall_s);
	if (run->decomposition.known)
		cJSON_AddItemToObject(json, "decomposition", components_json(&run->decomposition));
	return json;
}

static cJSON *source_json(const struct record_source *source, bool redact)
{
	cJSON *json = cJSON_CreateObject(), *sums = cJSON_AddArrayToObject(json, "sha256");
	if (!redact)
		journal_add_string(json, "path", source->path);
	enum hook hook;
	if (source->layer >= 0)
		cJSON_AddNumberToObject(json, "layer", source->layer);
	if (source->hook && hook_parse(source->hook, &hook))
		cJSON_AddStringToObject(json, "hook", hook_name(hook));
	for (int i = 0; i < source->files.count; i++)
		cJSON_AddItemToArray(sums, cJSON_CreateString(source->files.items[i].sha256));
	return json;
}

static cJSON *record_json(const struct record *record, int number, bool redact)
{
	cJSON *json = cJSON_CreateObject();
	char *name = session_name(record, number, redact);
	journal_add_string(json, "session", name);
	free(name);
	journal_add_string(json, "version", record->version);
	journal_add_string(json, "created", record->created);
	if (!redact) {
		journal_add_string(json, "path", record->path);
		journal_add_string(json, "folder", record->folder);
		journal_add_string(json, "command", record->command);
	}
	cJSON *device = cJSON_AddObjectToObject(json, "device");
	journal_add_string(device, "name", record->device);
	journal_add_string(device, "driver", record->driver);
	journal_add_string(device, "api", record->api);
	char *seed = mem_printf("%llu", (unsigned long long)record->seed);
	cJSON_AddStringToObject(json, "seed", seed);
	free(seed);
	cJSON_AddItemToObject(json, "model", source_json(&record->model, redact));
	cJSON *saes = cJSON_AddArrayToObject(json, "saes");
	for (int i = 0; i < record->sae_count; i++)
		cJSON_AddItemToArray(saes, source_json(&record->saes[i], redact));
	if (record->has_prompts)
		cJSON_AddItemToObject(json, "prompts", source_json(&record->prompts, redact));
	cJSON_AddBoolToObject(json, "ended_early", record->cut);
	cJSON *runs = cJSON_AddArrayToObject(json, "runs");
	for (int i = 0; i < record->run_count; i++)
		cJSON_AddItemToArray(runs, run_json(&record->runs[i], redact));
	cJSON *notes = redact || record->note_count == 0 ? NULL : cJSON_AddArrayToObject(json, "notes");
	for (int i = 0; notes && i < record->note_count; i++)
		cJSON_AddItemToArray(notes, cJSON_CreateString(record->notes[i]));
	return json;
}

cJSON *export_json(const struct record_list *list, bool redact)
{
	cJSON *json = cJSON_CreateObject();
	cJSON_AddNumberToObject(json, "format", RECORD_FORMAT);
	cJSON_AddBoolToObject(json, "redacted", redact);
	cJSON *sessions = cJSON_AddArrayToObject(json, "sessions");
	int number = 0;
	for (int i = list->count; i-- > 0;)
		if (list->items[i].good)
			cJSON_AddItemToArray(sessions, record_json(&list->items[i].record, ++number, redact));
	return json;
}

static void export_json_text(struct strbuf *out, const struct record_list *list, bool redact)
{
	cJSON *json = export_json(list, redact);
	char *text = cJSON_PrintUnformatted(json);
	if (!text)
		fatal("out of memory for an export");
	strbuf_add_string(out, text);
	strbuf_add_char(out, '\n');
	cJSON_free(text);
	cJSON_Delete(json);
}

enum status export_bytes(struct strbuf *out, const struct record_list *list, enum export_format format, bool redact,
			 struct error *error)
{
	switch (format) {
	case EXPORT_CSV:
		export_csv(out, list, redact);
		break;
	case EXPORT_JSON:
		export_json_text(out, list, redact);
		break;
	case EXPORT_LATEX:
		export_latex(out, list, redact);
		break;
	case EXPORT_MD:
		export_markdown(out, list, redact);
		break;
	case EXPORT_SVG:
		return export_figure(out, list, FIGURE_SVG, redact, error);
	case EXPORT_PDF:
		return export_figure(out, list, FIGURE_PDF, redact, error);
	}
	return STATUS_OK;
}

enum status export_file(const char *session, enum export_format format, bool redact, const char *path,
			struct error *error)
{
	struct record_list list;
	struct strbuf bytes = {0};
	enum status status = record_list_load(&list, session, error);
	if (status)
		return status;
	status = export_bytes(&bytes, &list, format, redact, error);
	if (status == STATUS_OK)
		status = file_write(path, bytes.data, bytes.length, error);
	strbuf_done(&bytes);
	record_list_done(&list);
	return status;
}
