#include "tests/desk_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tests/demo_clamp.h"
#include "tests/scratch.h"

struct desk *drive_open(void)
{
	static char *journal;
	struct error error = {0};
	struct desk *desk = mem_alloc(1, sizeof *desk);
	free(journal);
	journal = scratch_path("desk/run.jsonl");
	char *cache = scratch_path("desk-cache/none");
	cache[strlen(cache) - strlen("/none")] = '\0';
	setenv("XDG_CACHE_HOME", cache, 1);
	free(cache);
	setenv("REBOUND_DATA", "models/demo", 0);
	struct worker_options options = {.journal = journal};
	if (desk_open(desk, &options, &error))
		fail_msg("%s", error.text);
	return desk;
}

void drive_close(struct desk *desk)
{
	desk_close(desk);
	free(desk);
}

static bool command_fails(struct desk *desk, enum command_kind kind, int64_t number, const char *text)
{
	struct command command = {.kind = kind, .number = number};
	uint64_t before = desk->error_serial;
	snprintf(command.text, sizeof command.text, "%s", text);
	desk_command(desk, &command);
	return desk->error_serial != before;
}

void drive(struct desk *desk, enum command_kind kind, int64_t number, const char *text)
{
	if (command_fails(desk, kind, number, text))
		fail_msg("command %d: %s", (int)kind, desk->error.text);
}

void drive_finish(struct desk *desk)
{
	while (desk->run.running)
		desk_run_slice(desk);
	assert_true(desk->run.finished);
}

void drive_recovery(struct desk *desk)
{
	drive(desk, COMMAND_SELECT_PROMPT, 0, "");
	drive(desk, COMMAND_SETTING, 0, "steps=20");
	drive(desk, COMMAND_CLAMP_TOP, 8, "");
	drive(desk, COMMAND_RUN, 0, "");
	drive_finish(desk);
}

void drive_flip(struct desk *desk, const char *task)
{
	struct demo_clamp clamp = demo_clamp_of(task);
	char line[sizeof clamp.rule + 8];
	int prompt = 0;
	while (strcmp(desk->prompts.items[prompt].id, clamp.prompt) != 0)
		prompt++;
	drive(desk, COMMAND_SELECT_PROMPT, prompt, "");
	snprintf(line, sizeof line, "clamp %s", clamp.rule);
	drive(desk, COMMAND_LINE, 0, line);
	drive(desk, COMMAND_CLAMP_POSITIONS, 0, clamp.positions);
}

const char *drive_refused(struct desk *desk, enum command_kind kind, int64_t number, const char *text)
{
	assert_true(command_fails(desk, kind, number, text));
	return desk->error.text;
}
