/* The program itself in a pseudo-terminal: the first minute on the built-in model, key
 * by key, and the numbers on the screen against those of the headless commands that its
 * log gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "tests/demo_clamp.h"
#include "tests/scratch.h"
#include "tests/term_harness.h"
#include "tui/format.h"

static const char *program(void)
{
	const char *path = getenv("REBOUND");
	return path && path[0] ? path : "./rebound";
}

static struct harness *open_program(int rows, int cols)
{
	static char state_home[4096];
	if (access(program(), X_OK) != 0) {
		print_message("skipped: %s is not built\n", program());
		skip();
	}
	char *path = scratch_path("state/none");
	snprintf(state_home, sizeof state_home, "%.*s", (int)(strrchr(path, '/') - path), path);
	setenv("XDG_STATE_HOME", state_home, 1);
	free(path);
	char *const argv[] = {(char *)(uintptr_t)program(), NULL};
	struct harness *h =
		harness_start(&(struct harness_options){.rows = rows, .cols = cols, .limit_ms = 120000}, argv);
	/* the hint stands there when the model is loaded; a box, if it cannot be */
	for (int i = 0; i < 600 && !harness_shows(h, "next A") && !harness_shows(h, "session has ended"); i++)
		harness_settle(h, 200);
	if (!harness_shows(h, "next A")) {
		print_message("skipped: the built-in model could not be opened here:\n%s\n", harness_screen(h));
		harness_stop(h);
		skip();
	}
	return h;
}

/* The top 16 features clamped, and what that does shown. */
static void clamp_top(struct harness *h)
{
	harness_expect(h, "A", "next t");
	harness_expect(h, "t<Enter>", "[-5");
	harness_settle(h, 300);
}

/* Keys that run a recovery, until its last step is shown and nothing goes on. */
static void run(struct harness *h, const char *keys, const char *last_step)
{
	harness_expect(h, keys, last_step);
	assert_true(harness_wait_gone(h, "Esc stop"));
	harness_settle(h, 300);
}

/* What the last OSC 52 sequence carries; a new string. */
static char *clipboard(struct harness *h)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n;
	const char *bytes = harness_bytes(h, &n), *last = NULL;
	for (const char *p = bytes; (p = strstr(p, "\033]52;c;")) != NULL; p++)
		last = p + strlen("\033]52;c;");
	struct strbuf text = {0};
	uint32_t bits = 0;
	int have = 0;
	strbuf_add(&text, "", 0);
	for (; last && *last && strchr(digits, *last); last++) {
		bits = bits << 6 | (uint32_t)(strchr(digits, *last) - digits);
		have += 6;
		if (have >= 8) {
			have -= 8;
			strbuf_add_char(&text, (char)(bits >> have & 255));
		}
	}
	return strbuf_take(&text);
}

/* Copies the newest log entry that begins with `words`. */
static char *logged_command(struct harness *h, const char *words)
{
	harness_type(h, "6<End>");
	for (int i = 0; i < 20; i++) {
		harness_expect(h, "y", "copied: rebound");
		harness_settle(h, 100);
		char *command = clipboard(h);
		if (strncmp(command, words, strlen(words)) == 0)
			return command;
		free(command);
		harness_type(h, "<Up>");
		assert_true(harness_wait_gone(h, "copied: "));
	}
	fail_msg("the log holds no \"%s\":\n%s", words, harness_screen(h));
	return NULL;
}

static cJSON *run_json(const char *logged)
{
	char *command = mem_printf("%s%s --json 2>/dev/null", program(), logged + strlen("rebound"));
	struct strbuf out = {0};
	char buffer[4096];
	size_t n;
	struct error error;
	cJSON *json = NULL;
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	while ((n = fread(buffer, 1, sizeof buffer, pipe)) > 0)
		strbuf_add(&out, buffer, n);
	int status = pclose(pipe);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 ||
	    json_parse(&json, out.data ? out.data : "", out.length, command, &error) != STATUS_OK)
		fail_msg("%s: status %x, output %.200s", command, (unsigned)status, out.data ? out.data : "");
	strbuf_done(&out);
	free(command);
	return json;
}

static double number(const cJSON *json, const char *object, const char *key)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, object), key);
	if (!cJSON_IsNumber(value))
		fail_msg("no number %s.%s in the headless output", object, key);
	return value->valuedouble;
}

/* The row of the screen that begins with `label` behind the divider. */
static char *row_with(struct harness *h, const char *label)
{
	int row, col;
	if (!harness_find(h, label, &row, &col))
		fail_msg("no row \"%s\" on the screen:\n%s", label, harness_screen(h));
	return mem_strdup(harness_row(h, row));
}

/* True if the program's help lists the command. */
static bool has_command(const char *name)
{
	char *command = mem_printf("%s --help | grep -q '^  %s '", program(), name);
	int status = system(command);
	free(command);
	return status == 0;
}

/* The row of the SAE residual says what `rebound decompose` says. */
static void check_part(struct harness *h, const char *row)
{
	char text[FORMAT_SIZE];
	char *command = logged_command(h, "rebound decompose");
	cJSON *parts = run_json(command);
	const cJSON *part;
	bool found = false;
	cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(parts, "components"))
	{
		const cJSON *name = cJSON_GetObjectItemCaseSensitive(part, "component");
		const cJSON *norm = cJSON_GetObjectItemCaseSensitive(part, "norm");
		const cJSON *objective = cJSON_GetObjectItemCaseSensitive(part, "objective");
		if (!cJSON_IsString(name) || strcmp(name->valuestring, "sae_residual") != 0)
			continue;
		assert_true(cJSON_IsNumber(norm) && cJSON_IsNumber(objective));
		assert_non_null(strstr(row, format_number(text, norm->valuedouble)));
		assert_non_null(strstr(row, format_signed(text, objective->valuedouble)));
		found = true;
	}
	assert_true(found);
	cJSON_Delete(parts);
	free(command);
}

static void test_first_minute(void **state)
{
	(void)state;
	struct harness *h = open_program(24, 80);
	assert_true(harness_wait(h, "│ J "));
	clamp_top(h);
	run(h, "r", "◀ 100 ▶");
	harness_expect(h, "d", "of δ at step 100");
	harness_settle(h, 300);
	char *objectives = row_with(h, "│ J  "), *norms = row_with(h, "‖δ‖"), *residual = row_with(h, "SAE residual");

	char *command = logged_command(h, "rebound recover");
	cJSON *recover = run_json(command);
	static const char *const states[] = {"base", "clamped", "recovered"};
	char text[FORMAT_SIZE];
	const char *at = objectives;
	for (size_t i = 0; i < ARRAY_LEN(states); i++) { /* in this order */
		const char *found = strstr(at, format_signed(text, number(recover, states[i], "objective")));
		if (!found)
			fail_msg("%s is %s without a screen, with one: %s", states[i], text, objectives);
		else
			at = found;
	}
	assert_non_null(strstr(norms, format_number(text, number(recover, "final", "delta_norm"))));
	cJSON_Delete(recover);
	free(command);

	free(objectives);
	free(norms);
	if (has_command("decompose"))
		check_part(h, residual);
	free(residual);

	harness_expect(h, "4<Home>", "◀ 0 ▶");
	harness_expect_end(h, "q");
}

/* A feature's own view: its numbers are those of `rebound feature`. */
static void test_feature(void **state)
{
	(void)state;
	char text[FORMAT_SIZE];
	if (access(program(), X_OK) != 0) {
		print_message("skipped: %s is not built\n", program());
		skip();
	}
	char *cache = scratch_path("cache/none");
	cache[strlen(cache) - strlen("/none")] = '\0';
	setenv("XDG_CACHE_HOME", cache, 1);
	struct harness *h = open_program(40, 120);
	harness_expect(h, "2<Enter>", "over the prompt set  active at ");
	assert_true(harness_wait_gone(h, "e stops reading"));
	harness_settle(h, 300);
	char *usage = row_with(h, "over the prompt set"), *norms = row_with(h, "‖W_dec‖");
	harness_expect(h, "<Esc>", "4 recovery");
	char *command = logged_command(h, "rebound feature");
	cJSON *json = run_json(command);
	const cJSON *norm = cJSON_GetObjectItemCaseSensitive(json, "encoder_norm");
	assert_true(cJSON_IsNumber(norm));
	assert_non_null(strstr(norms, format_number(text, norm->valuedouble)));
	char *expected = mem_printf("active at %s %% of %.0f tokens, %.0f of %.0f prompts",
				    format_number(text, 100 * number(json, "usage", "frequency")),
				    number(json, "usage", "tokens"), number(json, "usage", "active_prompts"),
				    number(json, "usage", "prompts"));
	if (!strstr(usage, expected))
		fail_msg("\"%s\" is not in: %s", expected, usage);
	harness_expect_end(h, "q");
	cJSON_Delete(json);
	free(expected);
	free(command);
	free(usage);
	free(norms);
	free(cache);
}

/* Two runs with different rates, beside each other: the screen says what the command does. */
static void test_compare(void **state)
{
	(void)state;
	struct harness *h = open_program(40, 120);
	harness_type(h, "V"); /* none is there, or those of an earlier test: either is said */
	harness_settle(h, 500);
	harness_type(h, "<Esc>");
	clamp_top(h);
	run(h, ":set steps=12<Enter>r", "◀ 12 ▶");
	harness_expect(h, ":set lr=0.2<Enter>r", "lr 0.2");
	run(h, "", "◀ 12 ▶");
	harness_expect(h, "V", "compare this run with");
	harness_expect(h, "<Enter>", "what differs");
	assert_true(harness_wait(h, "they part at step 1 "));
	char *rates = row_with(h, " lr  "), *angle = row_with(h, "cos(δA, δB)");
	assert_non_null(strstr(rates, "0.2"));
	assert_true(strstr(rates, "0.2") < strstr(rates, "0.1")); /* this run is A */
	harness_type(h, "<Right>");
	harness_settle(h, 200);
	harness_expect(h, "<Esc>", "4 recovery");
	char *command = logged_command(h, "rebound compare");
	cJSON *json = run_json(command);
	char *expected = mem_printf("cos(δA, δB) %+.4f", number(json, "delta", "cosine"));
	if (!strstr(angle, expected))
		fail_msg("\"%s\" is not in: %s", expected, angle);
	assert_true(number(json, "parts_at", "step") == 1);
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "steps")), 12);
	/* By the command line of the screen, and what isn't there. */
	harness_expect(h, ":compare nonesuch<Enter>", "cannot open 'nonesuch'");
	harness_expect_end(h, "<Esc>q");
	cJSON_Delete(json);
	free(expected);
	free(command);
	free(rates);
	free(angle);
}

/* A suffix with settings of the user's, scrubbed through and taken apart: the numbers at the end are
 * those of the commands. */
static void test_suffix(void **state)
{
	(void)state;
	struct demo_clamp clamp = demo_clamp_of("refusal");
	char text[FORMAT_SIZE];
	struct harness *h = open_program(40, 120);
	char *keys = mem_printf(":prompt %s<Enter>:clamp %s<Enter>:clamp-positions %s<Enter>", clamp.prompt, clamp.rule,
				clamp.positions);
	harness_expect(h, keys, "valid flip");
	harness_settle(h, 500);
	harness_expect(h, "B", "Enter train");
	run(h, "<BS><BS>6<Down><Down><BS><BS><BS>12<Enter>", "◀ 12 ▶");
	assert_true(harness_wait(h, "suffix of 6 tokens lr 0.01 budget 40 steps 12"));
	harness_expect(h, "d", "of its change at L0 at step 12");
	harness_settle(h, 300);
	char *norms = row_with(h, "/40"), *residual = row_with(h, "SAE residual");
	check_part(h, residual);
	char *command = logged_command(h, "rebound recover");
	cJSON *json = run_json(command);
	const cJSON *stage = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "stages"), 0);
	assert_non_null(strstr(norms, format_number(text, number(stage, "final", "delta_norm"))));
	harness_expect(h, "4<Home>", "◀ 0 ▶");
	harness_expect_end(h, "q");
	cJSON_Delete(json);
	free(keys);
	free(norms);
	free(residual);
	free(command);
}

/* Waits until the status line shows the text. */
static bool wait_status(struct harness *h, const char *text)
{
	for (int i = 0; i < 2000; i++) {
		if (strstr(harness_row(h, 0), text))
			return true;
		harness_pump(h, 20);
	}
	print_message("the status line is: %s\n", harness_row(h, 0));
	return false;
}

/* Stopping a run, and the way out while it runs. */
static void test_stop_and_leave(void **state)
{
	(void)state;
	struct harness *h = open_program(40, 130);
	harness_type(h, ":set steps=100000<Enter>");
	clamp_top(h);
	harness_expect(h, "r", "/100000");
	harness_expect(h, "j", "a recovery is running: r pauses it"); /* another prompt would end the run */
	harness_type(h, "<Esc>");
	assert_true(harness_wait_gone(h, "a recovery is running: r pauses it"));
	harness_type(h, "<Esc>");
	assert_true(wait_status(h, "‖ "));
	assert_true(harness_wait(h, "the recovery is paused at step "));
	/* the values at the end of the curves are those of the step that the slider shows */
	int row, col, step, shown;
	assert_true(harness_find(h, "paused at step ", &row, &col));
	step = (int)strtol(strstr(harness_row(h, row), "at step ") + strlen("at step "), NULL, 10);
	assert_true(harness_find(h, "◀ ", &row, &col));
	shown = (int)strtol(strstr(harness_row(h, row), "◀ ") + strlen("◀ "), NULL, 10);
	assert_int_equal(shown, step);
	harness_type(h, "r");
	assert_true(wait_status(h, "▶ "));
	harness_expect(h, "q", "A recovery is running");
	harness_expect_end(h, "y");
}

/* A terminal that can't show the screens is refused before anything is loaded: the Vulkan
 * loader, told to be loud, says nothing. */
static void test_unfit_terminal(void **state)
{
	(void)state;
	static const char *const loud[] = {"VK_LOADER_DEBUG=all", NULL};
	if (access(program(), X_OK) != 0)
		skip();
	char *const argv[] = {(char *)(uintptr_t)program(), NULL};
	struct harness *h = harness_start(
		&(struct harness_options){.rows = 24, .cols = 80, .term = "dumb", .env = loud, .limit_ms = 60000},
		argv);
	int status = harness_wait_end(h);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 2);
	size_t n;
	const char *bytes = harness_bytes(h, &n);
	assert_non_null(strstr(bytes, "TERM is \"dumb\""));
	assert_null(strstr(bytes, "DRIVER:"));
	harness_stop(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_minute),   cmocka_unit_test(test_feature),
		cmocka_unit_test(test_compare),	       cmocka_unit_test(test_stop_and_leave),
		cmocka_unit_test(test_unfit_terminal), cmocka_unit_test(test_suffix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
