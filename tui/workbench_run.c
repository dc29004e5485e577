/* The screens on a running worker. */
#include "sessions/settings.h"
#include "sessions/suffix_baseline.h"
#include "tui/loop.h"
#include "tui/workbench.h"

struct run {
	struct workbench wb;
	struct worker *worker;
	const struct snapshot *snapshot;
	bool failed; /* the worker has ended; said once */
};

static bool send(void *context, const struct command *command)
{
	return worker_send(((struct run *)context)->worker, command);
}

static void cancel(void *context)
{
	worker_cancel(((struct run *)context)->worker);
}

static void on_event(void *context, const struct term_event *event)
{
	workbench_event(&((struct run *)context)->wb, event, loop_now_ms());
}

static void on_wake(void *context)
{
	struct run *run = context;
	struct error error;
	worker_clear_wake(run->worker);
	const struct snapshot *next = worker_acquire(run->worker);
	workbench_update(&run->wb, next, loop_now_ms());
	worker_release(run->worker, run->snapshot);
	run->snapshot = next;
	if (!run->failed && worker_status(run->worker, &error) != STATUS_OK) {
		run->failed = true;
		popup_show(&run->wb.popup, "the session has ended", error.text);
	}
}

static enum status check_setting(void *context, const char *name, const char *value, struct error *error)
{
	struct recovery_settings scratch;
	(void)context;
	settings_init(&scratch);
	enum status status = settings_set(&scratch, name, value, error);
	settings_done(&scratch);
	return status;
}

static enum status check_suffix(void *context, const char *name, const char *value, struct error *error)
{
	struct suffix_options scratch;
	(void)context;
	suffix_options_init(&scratch);
	enum status status = suffix_options_set(&scratch, name, value, error);
	suffix_options_done(&scratch);
	return status;
}

static struct form_field field_of(struct setting_name name)
{
	return (struct form_field){name.name, name.allowed, name.about};
}

static int idle_ms(void *context)
{
	return workbench_idle_ms(&((struct run *)context)->wb);
}

static void draw(void *context, struct screen *screen)
{
	workbench_draw(&((struct run *)context)->wb, screen, loop_now_ms());
}

static bool finished(void *context)
{
	return ((struct run *)context)->wb.finished;
}

enum status workbench_run(struct worker *worker, const struct term_options *options, bool hints, struct error *error)
{
	struct run run = {.worker = worker};
	struct form_field fields[SETTINGS_OF_COUNT][FORM_FIELDS_MAX];
	struct workbench_backend backend = {
		.context = &run,
		.send = send,
		.cancel = cancel,
		.copy = term_copy,
		.settings = {{fields[SETTINGS_OF_RECOVERY], 0, check_setting},
			     {fields[SETTINGS_OF_SUFFIX], 0, check_suffix}},
	};
	int *count = &backend.settings[SETTINGS_OF_RECOVERY].count;
	for (; setting_names[*count].name && *count < FORM_FIELDS_MAX; ++*count)
		fields[SETTINGS_OF_RECOVERY][*count] = field_of(setting_names[*count]);
	count = &backend.settings[SETTINGS_OF_SUFFIX].count;
	for (; suffix_setting_name(*count).name && *count < FORM_FIELDS_MAX; ++*count)
		fields[SETTINGS_OF_SUFFIX][*count] = field_of(suffix_setting_name(*count));
	struct loop_client client = {
		&run, worker_wake_fd(worker), on_event, on_wake, idle_ms, draw, finished,
	};
	enum status status = term_open(options, error);
	if (status != STATUS_OK)
		return status;
	run.snapshot = worker_acquire(worker);
	workbench_init(&run.wb, &backend, run.snapshot, loop_now_ms());
	run.wb.hints = hints;
	loop_run(&client);
	term_close();
	workbench_done(&run.wb);
	worker_release(worker, run.snapshot);
	return worker_status(worker, error);
}
