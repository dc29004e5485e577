/* sessions/record.h and sessions/export.h on journals written here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compute/base/file.h"
#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "models/npy.h"
#include "sessions/export.h"
#include "sessions/export_report.h"
#include "sessions/statistics.h"
#include "tests/scratch.h"

/* What fontconfig keeps for itself is no leak of ours. */
const char *__lsan_default_suppressions(void); /* NOLINT(bugprone-reserved-identifier) */
const char *__lsan_default_suppressions(void)  /* NOLINT(bugprone-reserved-identifier) */
{
	return "leak:libfontconfig";
}

#define SUM "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

/* A whole session, line by line; cases below change one. Secrets stand where a redacted
 * export must not look. */
static const char *const lines[] = {
	"{\"event\":\"session\",\"format\":1,\"version\":\"0.1.0\",\"created\":\"2026-11-24T23:15:02Z\",\"folder\":"
	"\"/home/SECRET\",\"command\":\"rebound recover --text "
	"SECRET\",\"seed\":\"18446744073709\",\"device\":{\"name\":"
	"\"llvmpipe\",\"driver\":\"Mesa\",\"api\":\"1.3\"},\"model\":{\"path\":\"/home/SECRET/"
	"model\",\"files\":[{\"name\":"
	"\"config.json\",\"bytes\":2,\"sha256\":\"" SUM
	"\"}]},\"saes\":[{\"path\":\"/home/SECRET/sae\",\"below_model\":"
	"\"sae/layer_2\",\"layer\":2,\"hook\":\"resid_post\",\"files\":[]}],\"prompts\":{\"path\":\"/home/SECRET/"
	"p.jsonl\","
	"\"files\":[]}}",
	"{\"event\":\"setup\",\"ids\":[1,54321],\"text\":\"SECRET, "
	"\\\"text\\\"\",\"prompt\":\"ioi-03\",\"clamps\":[{\"layer\":"
	"2,\"feature\":7,\"mode\":\"set-active\",\"value\":-5},{\"layer\":2,\"feature\":9,\"mode\":\"ablate\"}],"
	"\"clamp_positions\":\"all\",\"error\":1,\"objectives\":[\"logit_diff:\\\" SECRET\\\",\\\" SECRET\\\"*2\","
	"\"answer_logprob:SECRET\"],\"settings\":{\"project\":\"none\",\"steps\":\"2\",\"lr\":\"6%\",\"probes-file\":"
	"\"\"}}",
	"{\"event\":\"base\",\"objective\":1.5,\"present\":true,\"top\":[{\"id\":54321,\"piece\":\" "
	"SECRET\",\"logit\":9,"
	"\"probability\":0.5}]}",
	"{\"event\":\"clamped\",\"objective\":-0.25,\"present\":false}",
	"{\"event\":\"recovery\",\"rows\":[{\"layer\":2,\"position\":1}],\"d\":3,\"budget\":20,\"reference_norm\":1}",
	"{\"event\":\"step\",\"step\":0,\"objective\":-0.25,\"loss\":0.25,\"drift_l2\":0,\"decode_drift_l2\":0,"
	"\"drift_relative_l2\":0,\"delta_norm\":0,\"grad_norm\":0.10000000149011612,\"projected_grad_norm\":1,"
	"\"projection_cosine\":1}",
	"{\"event\":\"step\",\"step\":1,\"objective\":0.75,\"loss\":null,\"drift_l2\":0,\"decode_drift_l2\":0,"
	"\"drift_relative_l2\":0,\"delta_norm\":2,\"grad_norm\":1,\"projected_grad_norm\":1,\"projection_cosine\":1}",
	"{\"event\":\"end\",\"outcome\":\"complete\",\"steps\":2,\"wall_s\":0.5,\"result_step\":2,\"objective\":1.25,"
	"\"present\":true,\"final\":{\"objective\":1.25,\"delta_norm\":3,\"delta_norm_relative\":0.5,\"drift_l2\":0,"
	"\"drift_relative_l2\":0,\"decode_drift_l2\":0,\"floor_violation_l2\":0,\"floor_violation_relative_l2\":0,"
	"\"floor_violation_fraction\":0,\"reactivated_fraction\":0,\"reactivated_fraction_of_eligible\":0,"
	"\"reactivated_mass\":0},\"delta\":\"s.delta.npy\",\"result\":\"s.result.npy\"}",
	"{\"event\":\"decomposition\",\"step\":2,\"top_k\":10,\"reference\":\"clamped-run\",\"identity_error\":1e-7,"
	"\"components\":[{\"component\":\"full\",\"norm\":3,\"cosine_with_delta\":1,\"objective\":1.25,\"recovered\":"
	"true,"
	"\"drift_l2\":0,\"drift_relative_l2\":0},{\"component\":\"clamped_features\",\"norm\":1,\"cosine_with_delta\":-"
	"0.5,"
	"\"objective\":-1,\"recovered\":false,\"drift_l2\":0,\"drift_relative_l2\":0,\"knockout_objective\":1,"
	"\"knockout_recovered\":true}]}",
	"{\"event\":\"note\",\"text\":\"SECRET note\"}",
	"{\"event\":\"of the future\",\"x\":[{}]}",
};

enum { LINES = (int)ARRAY_LEN(lines) };

/* The session with line `at` (0-based) replaced; NULL leaves it out. -1: as it is. */
static char *write_session(int at, const char *line)
{
	struct strbuf b = {0};
	for (int i = 0; i < LINES; i++) {
		const char *text = i == at ? line : lines[i];
		if (text)
			strbuf_printf(&b, "%s\n", text);
	}
	char *path = scratch_file("s.jsonl", b.data, b.length);
	strbuf_done(&b);
	return path;
}

static void load(struct record *record, const char *path)
{
	struct error error;
	if (record_load(record, path, &error))
		fail_msg("%s", error.text);
}

static void test_read(void **state)
{
	(void)state;
	struct record record;
	char *path = write_session(-1, NULL);
	load(&record, path);
	assert_false(record.cut);
	assert_string_equal(record.version, "0.1.0");
	assert_int_equal(record.seed, 18446744073709u);
	assert_string_equal(record.model.files.items[0].sha256, SUM);
	assert_int_equal(record.sae_count, 1);
	assert_string_equal(record.saes[0].below, "sae/layer_2");
	assert_true(record.has_prompts);
	assert_int_equal(record.note_count, 1);
	assert_int_equal(record.run_count, 1);
	const struct record_run *run = record_main_run(&record);
	assert_int_equal(run->ids.count, 2);
	assert_int_equal(run->ids.ids[1], 54321);
	assert_int_equal(run->clamp_count, 2);
	assert_true(run->clamps[0].value == -5);
	assert_int_equal(run->objective_count, 2);
	assert_int_equal(run->settings.project, PROJECT_NONE);
	assert_true(run->settings.lr.value == 6 && run->settings.lr.percent);
	assert_null(run->settings.probes_file);
	assert_true(run->base.present && !run->clamped.present && run->recovered.present);
	assert_int_equal(run->steps, 2);
	assert_true((float)run->history[0].grad_norm == 0.1f);
	assert_true(isnan(run->history[1].loss));
	assert_true(run->final.delta_relative == 0.5);
	assert_int_equal(run->outcome, RECORD_COMPLETE);
	assert_true(run->decomposition.known && run->decomposition.clamped_run);
	assert_true(run->decomposition.components[1].knockout_recovered);
	assert_string_equal(record_verdict(run), "recovered");
	record_done(&record);
	free(path);
}

/* Cut anywhere behind the first line it reads as a session that ended early. */
static void test_cut(void **state)
{
	(void)state;
	struct strbuf b = {0};
	for (int i = 0; i < LINES; i++)
		strbuf_printf(&b, "%s\n", lines[i]);
	size_t first = strlen(lines[0]);
	for (size_t n = 0; n < b.length; n += n < first || n > b.length - 40 ? 1 : 17) {
		char *path = scratch_file("cut.jsonl", b.data, n);
		struct record record;
		struct error error = {0};
		enum status status = record_load(&record, path, &error);
		if (n < first) {
			assert_int_equal(status, STATUS_INVALID);
			assert_true(strlen(error.text) > 0);
		} else {
			assert_int_equal(status, STATUS_OK);
			/* Whole lines, or a last one that is whole but for its end. */
			bool whole = n == 0 || b.data[n - 1] == '\n' || b.data[n] == '\n';
			assert_int_equal(record.cut, !whole);
			const struct record_run *run = record_main_run(&record);
			if (run && run->outcome == RECORD_OPEN)
				assert_string_equal(record_verdict(run), "ended early");
			record_done(&record);
		}
		free(path);
	}
	strbuf_done(&b);
}

static void expect_refused(int at, const char *line, const char *says)
{
	char *path = write_session(at, line);
	struct record record;
	struct error error = {0};
	enum status status = record_load(&record, path, &error);
	if (status != STATUS_INVALID)
		fail_msg("line %d was accepted: %s", at + 1, line ? line : "(left out)");
	if (!scratch_says(error.text, says))
		fail_msg("%s", error.text);
	free(path);
}

static void test_refused(void **state)
{
	(void)state;
	expect_refused(0, "{\"x\":1}", "not an event");
	expect_refused(0, "[1]", "not an event");
	expect_refused(0, NULL, "not an event");
	expect_refused(0, "{\"event\":\"session\",\"format\":2}", "newer");
	expect_refused(0, "{\"event\":\"session\",\"format\":1}", "version");
	expect_refused(1, lines[0], "second time");
	expect_refused(1, NULL, "before any");
	expect_refused(1, "{\"event\":", "line 2");
	expect_refused(1, "{\"event\":\"setup\",\"ids\":[-1]}", "ids");
	expect_refused(1, "{\"event\":\"setup\",\"ids\":[1e300]}", "ids");
	expect_refused(1, "{\"event\":\"setup\",\"ids\":{}}", "ids");
	expect_refused(1, "{\"event\":\"setup\",\"ids\":[1],\"clamps\":[3]}", "clamps");
	expect_refused(
		1, "{\"event\":\"setup\",\"ids\":[1],\"clamps\":[{\"layer\":0,\"feature\":1e12,\"mode\":\"ablate\"}]}",
		"feature");
	expect_refused(1,
		       "{\"event\":\"setup\",\"ids\":[1],\"clamps\":[],\"clamp_positions\":\"all\",\"objectives\":[],"
		       "\"settings\":"
		       "{\"steps\":\"-3\"}}",
		       "steps");
	expect_refused(1,
		       "{\"event\":\"setup\",\"ids\":[1],\"clamps\":[],\"clamp_positions\":\"all\",\"objectives\":[],"
		       "\"settings\":"
		       "{\"no such\":\"1\"}}",
		       "no such");
	expect_refused(2, "{\"event\":\"base\",\"objective\":\"1\"}", "objective");
	expect_refused(3, lines[2], "second time");
	expect_refused(4, NULL, "step");
	expect_refused(4, "{\"event\":\"recovery\",\"rows\":[{\"layer\":-1,\"position\":0}],\"d\":1}", "layer");
	expect_refused(5, NULL, "step 1 where step 0");
	expect_refused(6, lines[5], "step 0 where step 1");
	expect_refused(6, NULL, "2 steps and 1");
	expect_refused(6, "{\"event\":\"step\",\"step\":1}", "objective");
	expect_refused(7, "{\"event\":\"end\",\"outcome\":\"splendid\",\"steps\":2,\"wall_s\":1}", "splendid");
	expect_refused(
		7, "{\"event\":\"end\",\"outcome\":\"failed\",\"steps\":2,\"wall_s\":1,\"delta\":\"../../etc/passwd\"}",
		"beside the session");
	expect_refused(
		7, "{\"event\":\"end\",\"outcome\":\"complete\",\"steps\":2,\"wall_s\":1,\"final\":{},\"objective\":1}",
		"result_step");
	struct record record;
	struct error error = {0};
	char *path = scratch_file("empty.jsonl", "", 0);
	assert_int_equal(record_load(&record, path, &error), STATUS_INVALID);
	free(path);
	assert_int_equal(record_load(&record, "/nowhere.jsonl", &error), STATUS_INVALID);
	assert_int_equal(record_load(&record, "/", &error), STATUS_INVALID);
}

/* Damaged files are refused or read; what is read can be exported. For the sanitizers. */
static void test_damaged(void **state)
{
	(void)state;
	static const char alphabet[] = "{}[]\",:0123456789-eE.nultrfas\n\\\x01\xff";
	struct strbuf whole = {0};
	uint32_t seed = 12345;
	int read = 0;
	for (int i = 0; i < LINES; i++)
		strbuf_printf(&whole, "%s\n", lines[i]);
	for (int i = 0; i < 1500; i++) {
		char *text = mem_copy(whole.data, whole.length);
		for (int k = 0; k < 1 + i % 3; k++) {
			seed = seed * 1664525 + 1013904223;
			size_t at = (seed >> 8) % whole.length;
			seed = seed * 1664525 + 1013904223;
			text[at] = alphabet[(seed >> 8) % (sizeof alphabet - 1)];
		}
		char *path = scratch_file("damaged.jsonl", text, whole.length);
		struct record_list list;
		struct error error = {0};
		if (record_list_load(&list, path, &error) == STATUS_OK) {
			struct strbuf out = {0};
			read++;
			for (int format = EXPORT_CSV; format <= EXPORT_MD; format += format == EXPORT_LATEX ? 3 : 1)
				assert_int_equal(export_bytes(&out, &list, (enum export_format)format, i % 2, &error),
						 STATUS_OK);
			if (i % 50 == 0)
				assert_int_equal(export_bytes(&out, &list, EXPORT_SVG, false, &error), STATUS_OK);
			strbuf_done(&out);
			record_list_done(&list);
		} else {
			assert_true(error.text[0]);
		}
		free(path);
		free(text);
	}
	/* Many a change hits a name or a text and stays unseen. */
	assert_in_range(read, 100, 1400);
	strbuf_done(&whole);
}

static void test_arrays(void **state)
{
	(void)state;
	struct error error = {0};
	struct record record;
	char *path = write_session(-1, NULL);
	load(&record, path);
	const struct record_run *run = record_main_run(&record);
	char *array = mem_printf("%.*ss.result.npy", (int)(path_base(path) - path), path);
	static const float values[] = {1, 2, 3, 4, 5, 6};
	float *got = NULL;
	assert_int_equal(record_read_result(&record, run, &got, &error), STATUS_INVALID);
	assert_int_equal(npy_write_float(array, values, 2, (const int64_t[]){1, 3}, &error), STATUS_OK);
	assert_int_equal(record_read_result(&record, run, &got, &error), STATUS_OK);
	assert_memory_equal(got, values, 3 * sizeof *values);
	free(got);
	assert_int_equal(npy_write_float(array, values, 2, (const int64_t[]){2, 3}, &error), STATUS_OK);
	assert_int_equal(record_read_result(&record, run, &got, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "[2, 3]"));
	/* With a sum, other bytes are refused. */
	assert_int_equal(npy_write_float(array, values, 2, (const int64_t[]){1, 3}, &error), STATUS_OK);
	memcpy(record.runs[0].result_sha256, SUM, sizeof SUM);
	assert_int_equal(record_read_result(&record, run, &got, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "SHA-256"));
	free(array);
	record_done(&record);
	free(path);
}

/* Cells of one line of CSV; quotes are read as RFC 4180 says. Returns their number. */
static int split(char *line, char **cells, int most)
{
	int n = 0;
	char *from = line;
	for (bool more = true; more && n < most; n++) {
		char *to = from;
		cells[n] = to;
		bool quoted = *from == '"';
		from += quoted;
		while (*from && (quoted || *from != ',')) {
			if (quoted && *from == '"' && *++from != '"') {
				quoted = false;
				continue;
			}
			*to++ = *from++;
		}
		more = *from == ',';
		from++;
		*to = '\0';
	}
	return n;
}

static void test_csv(void **state)
{
	(void)state;
	struct record_list list;
	struct error error = {0};
	char *path = write_session(-1, NULL);
	assert_int_equal(record_list_load(&list, path, &error), STATUS_OK);
	struct strbuf out = {0};
	export_csv(&out, &list, false);
	char none[1] = "", *names[64], *cells[64], *at = out.data;
	int columns = 0, rows = 0, steps = 0, components = 0;
	for (int i = 0; i < 64; i++)
		names[i] = cells[i] = none;
	for (char *line = strsep(&at, "\n"); line && *line; line = strsep(&at, "\n"), rows++) {
		char **into = rows == 0 ? names : cells;
		int n = split(line, into, 64);
		if (rows == 0)
			columns = n;
		assert_int_equal(n, columns);
		for (int i = 0; rows > 0 && i < n; i++) {
			bool step = strcmp(cells[5], "step") == 0, final = strcmp(cells[5], "final") == 0;
			if (strcmp(names[i], "objective_spec") == 0)
				assert_string_equal(cells[i],
						    "logit_diff:\" SECRET\",\" SECRET\"*2 + answer_logprob:SECRET");
			if (step && strcmp(names[i], "grad_norm") == 0 && steps == 0)
				assert_true((float)strtod(cells[i], NULL) == 0.1f);
			if (step && strcmp(names[i], "loss") == 0 && steps == 1)
				assert_string_equal(cells[i], "");
			if (final && strcmp(names[i], "delta_norm_relative") == 0)
				assert_string_equal(cells[i], "0.5");
			if (final && strcmp(names[i], "verdict") == 0)
				assert_string_equal(cells[i], "recovered");
		}
		steps += rows > 0 && strcmp(cells[5], "step") == 0;
		components += rows > 0 && strcmp(cells[5], "component") == 0;
	}
	assert_string_equal(names[5], "row");
	assert_int_equal(rows, 1 + 2 + 2 + 1 + 2);
	assert_int_equal(steps, 2);
	assert_int_equal(components, 2);
	strbuf_done(&out);
	record_list_done(&list);
	free(path);
}

static void test_redacted(void **state)
{
	(void)state;
	struct record_list list;
	struct error error = {0};
	char *path = write_session(-1, NULL);
	assert_int_equal(record_list_load(&list, path, &error), STATUS_OK);
	for (int format = EXPORT_CSV; format <= EXPORT_MD; format++) {
		struct strbuf out = {0};
		/* Figures hold no text as such: it is drawn. */
		if (format == EXPORT_SVG || format == EXPORT_PDF)
			continue;
		assert_int_equal(export_bytes(&out, &list, (enum export_format)format, true, &error), STATUS_OK);
		/* No text, no token, no path, and not the session's own name. */
		static const char *const never[] = {"SECRET", "54321", "s.jsonl", "/home", "/"};
		/* A dash of Markdown's or LaTeX's own is no path. */
		size_t count = ARRAY_LEN(never) - (format == EXPORT_MD || format == EXPORT_LATEX);
		for (size_t i = 0; i < count; i++)
			if (strstr(out.data, never[i]))
				fail_msg("a redacted export says %s: %s", never[i], out.data);
		assert_non_null(strstr(out.data, "ioi-03"));
		if (format != EXPORT_LATEX)
			assert_non_null(strstr(out.data, "logit_diff*2 + answer_logprob"));
		assert_non_null(strstr(out.data, "1.25"));
		strbuf_done(&out);
		assert_int_equal(export_bytes(&out, &list, (enum export_format)format, false, &error), STATUS_OK);
		if (format != EXPORT_LATEX)
			assert_non_null(strstr(out.data, "SECRET"));
		strbuf_done(&out);
	}
	/* An id that is a sentence is none. */
	struct record_run *run = &list.items[0].record.runs[0];
	free(run->prompt);
	run->prompt = mem_strdup("the SECRET id");
	char *name = export_redacted_prompt(run);
	assert_string_equal(name, "prompt");
	free(name);
	record_list_done(&list);
	free(path);
}

static void test_json(void **state)
{
	(void)state;
	struct record_list list;
	struct error error = {0};
	char *path = write_session(-1, NULL);
	assert_int_equal(record_list_load(&list, path, &error), STATUS_OK);
	struct strbuf out = {0};
	assert_int_equal(export_bytes(&out, &list, EXPORT_JSON, false, &error), STATUS_OK);
	cJSON *json;
	assert_int_equal(json_parse(&json, out.data, out.length, "the export", &error), STATUS_OK);
	assert_int_equal(json_check_duplicates(json, "the export", &error), STATUS_OK);
	const cJSON *session = json_member(json, "sessions")->child, *run = json_member(session, "runs")->child;
	const cJSON *step = json_member(run, "history")->child;
	double value = 0;
	assert_int_equal(json_get_double(step, "grad_norm", &value, "step", &error), STATUS_OK);
	assert_true(value == (double)0.1f);
	assert_true(cJSON_IsTrue(json_member(run, "valid_flip")));
	cJSON_Delete(json);
	strbuf_done(&out);
	record_list_done(&list);
	free(path);
}

static void test_list(void **state)
{
	(void)state;
	struct record_list list;
	struct error error = {0};
	char *a = scratch_file("list/a.jsonl", lines[0], strlen(lines[0]));
	char *b = scratch_file("list/b.jsonl", "{}\n", 3);
	char *newer = mem_strdup(lines[0]);
	memcpy(strstr(newer, "2026"), "2027", 4);
	char *c = scratch_file("list/c.jsonl", newer, strlen(newer));
	free(scratch_file("list/d.npy", "x", 1));
	char *folder = mem_strndup(a, strlen(a) - strlen("/a.jsonl"));
	assert_int_equal(record_list_load(&list, folder, &error), STATUS_OK);
	assert_int_equal(list.count, 3);
	assert_string_equal(list.items[0].path, c);
	assert_string_equal(list.items[1].path, a);
	assert_false(list.items[2].good);
	assert_true(scratch_says(list.items[2].error.text, "b.jsonl"));
	assert_null(record_main_run(&list.items[0].record));
	record_list_done(&list);
	assert_int_equal(record_list_load(&list, b, &error), STATUS_INVALID);
	free(folder);
	free(newer);
	free(a);
	free(b);
	free(c);
}

static void test_formats(void **state)
{
	(void)state;
	enum export_format format;
	struct error error = {0};
	assert_int_equal(export_format_parse("csv", &format, &error), STATUS_OK);
	assert_int_equal(format, EXPORT_CSV);
	assert_int_equal(export_format_parse("jsonl", &format, &error), STATUS_INVALID);
	assert_true(scratch_says(error.text, "jsonl"));
}

static void test_figures(void **state)
{
	(void)state;
	static const struct {
		enum export_format format;
		const char *start;
	} cases[] = {{EXPORT_SVG, "<?xml"}, {EXPORT_PDF, "%PDF-"}};
	struct record_list list;
	struct error error = {0};
	char *path = write_session(-1, NULL);
	assert_int_equal(record_list_load(&list, path, &error), STATUS_OK);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strbuf a = {0}, b = {0};
		assert_int_equal(export_bytes(&a, &list, cases[i].format, true, &error), STATUS_OK);
		assert_int_equal(export_bytes(&b, &list, cases[i].format, true, &error), STATUS_OK);
		assert_memory_equal(a.data, cases[i].start, strlen(cases[i].start));
		/* The same session gives the same file; cairo numbers an SVG's parts through the process. */
		assert_int_equal(a.length, b.length);
		if (cases[i].format == EXPORT_PDF)
			assert_memory_equal(a.data, b.data, a.length);
		strbuf_done(&a);
		strbuf_done(&b);
	}
	record_list_done(&list);
	free(path);
	/* Values that do not move, or are no numbers, still draw. */
	path = write_session(5, "{\"event\":\"step\",\"step\":0,\"objective\":null,\"loss\":null,\"drift_l2\":null,"
				"\"decode_drift_l2\":null,\"drift_relative_l2\":null,\"delta_norm\":null,\"grad_norm\":"
				"null,\"projected_grad_norm\":null,\"projection_cosine\":null}");
	assert_int_equal(record_list_load(&list, path, &error), STATUS_OK);
	struct strbuf out = {0};
	assert_int_equal(export_bytes(&out, &list, EXPORT_SVG, false, &error), STATUS_OK);
	assert_null(strstr(out.data, "nan"));
	strbuf_done(&out);
	record_list_done(&list);
	free(path);
	/* Nor do values that no axis can be drawn for keep it busy. */
	path = write_session(5,
			     "{\"event\":\"step\",\"step\":0,\"objective\":1e300,\"loss\":0,\"drift_l2\":0,"
			     "\"decode_drift_l2\":0,\"drift_relative_l2\":1e-300,\"delta_norm\":-1e308,\"grad_norm\":"
			     "0,\"projected_grad_norm\":0,\"projection_cosine\":0}");
	assert_int_equal(record_list_load(&list, path, &error), STATUS_OK);
	if (export_bytes(&out, &list, EXPORT_SVG, false, &error))
		assert_true(error.text[0]);
	strbuf_done(&out);
	record_list_done(&list);
	free(path);
	path = scratch_file("none.jsonl", lines[0], strlen(lines[0]));
	assert_int_equal(record_list_load(&list, path, &error), STATUS_OK);
	assert_int_equal(export_bytes(&out, &list, EXPORT_SVG, false, &error), STATUS_NOTHING);
	record_list_done(&list);
	free(path);
}

static void test_wilson(void **state)
{
	(void)state;
	double low, high;
	/* Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29. */
	static const struct {
		int64_t hits, n;
		double low, high;
	} cases[] = {
		{81, 263, 0.2553, 0.3662},
		{15, 148, 0.0624, 0.1605},
		{0, 20, 0, 0.1611},
		{1, 29, 0.0061, 0.1718},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		wilson_interval(cases[i].hits, cases[i].n, &low, &high);
		assert_true(fabs(low - cases[i].low) < 6e-5 && fabs(high - cases[i].high) < 6e-5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),	 cmocka_unit_test(test_cut),	 cmocka_unit_test(test_refused),
		cmocka_unit_test(test_arrays),	 cmocka_unit_test(test_damaged), cmocka_unit_test(test_csv),
		cmocka_unit_test(test_redacted), cmocka_unit_test(test_json),	 cmocka_unit_test(test_list),
		cmocka_unit_test(test_formats),	 cmocka_unit_test(test_figures), cmocka_unit_test(test_wilson),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
