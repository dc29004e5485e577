/* rebound: the workbench, or one of the headless commands. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/cli.h"
#include "tui/term.h"
#include "tui/workbench.h"

static atomic_bool interrupted;

static void on_interrupt(int signal_number)
{
	/* A second interrupt ends the program the hard way. */
	if (atomic_exchange(&interrupted, true)) {
		signal(signal_number, SIG_DFL);
		raise(signal_number);
	}
}

static void catch_interrupts(void)
{
	struct sigaction action = {.sa_handler = on_interrupt};
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* A file that may not grow is a failed write with a sentence, not the end. */
	signal(SIGXFSZ, SIG_IGN);
}

static void print_help(void)
{
	printf("rebound %s: does a suppressed behaviour come back?\n\n"
	       "usage: rebound [options]               the workbench\n"
	       "       rebound COMMAND [options]       without a screen\n\ncommands\n",
	       REBOUND_VERSION);
	for (const struct cli_command *c = cli_commands; c->name; c++)
		printf("  %-10s %s\n             %s\n", c->name, c->about, c->usage);
	printf("\noptions\n ");
	int column = 1;
	for (const struct option_name *n = options_names(); n->name; n++) {
		int width = (int)strlen(n->name) + 3 + (n->value ? (int)strlen(n->value) + 1 : 0);
		if (column + width > 100) {
			printf("\n ");
			column = 1;
		}
		printf(" --%s%s%s", n->name, n->value ? " " : "", n->value ? n->value : "");
		column += width;
	}
	printf("\n\nThe manual page, rebound(1), says what each does.\n");
}

/* The screens, on a worker that loads what the options name. */
static enum status run_workbench(const struct options *o, struct error *error)
{
	int64_t seed;
	enum status status = term_check(error); /* before anything is loaded */
	if (status == STATUS_OK)
		status = options_int(o->seed, "seed", 0, INT64_MAX, 0, &seed, error);
	if (status)
		return status;
	struct worker_options worker_options = {
		.model = o->model,
		.saes = o->saes.items,
		.sae_count = o->saes.count,
		.prompts = o->prompts,
		.labels = o->labels.items,
		.label_count = o->labels.count,
		.device = o->device,
		.journal = o->out,
		.judge_lists = o->judge_lists,
		.no_bos = o->no_bos,
		.seed = (uint64_t)seed,
	};
	struct term_options term = {.no_color = o->no_color, .unicode = o->ascii ? TERM_NO : TERM_AUTO};
	struct worker *worker;
	status = worker_start(&worker, &worker_options, error);
	if (status)
		return status;
	status = workbench_run(worker, &term, !o->no_hints, error);
	worker_stop(&worker);
	return status;
}

static enum status dispatch(const struct cli *cli, struct error *error)
{
	const struct options *o = &cli->options;
	if (o->help) {
		print_help();
		return STATUS_OK;
	}
	if (o->version) {
		printf("rebound %s\n", REBOUND_VERSION);
		return STATUS_OK;
	}
	/* What opens a session's own model, or none, is left as it is. */
	static const char *const others[] = {"replay", "decompose", "devices", "inspect", "list", "export"};
	bool opens = true;
	for (size_t i = 0; o->command && i < ARRAY_LEN(others); i++)
		opens = opens && strcmp(others[i], o->command) != 0;
	if (opens)
		model_tune_cpu_device(o->model);
	if (!o->command)
		return run_workbench(o, error);
	const struct cli_command *command = cli_find(o->command);
	if (!command)
		return error_set(error, STATUS_INVALID, "there is no command '%s'; 'rebound --help' lists them",
				 o->command);
	return command->run(cli, error);
}

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");
	struct cli cli = {.argc = argc, .argv = argv, .cancel = &interrupted};
	struct error error = {0};
	enum status status = options_parse(&cli.options, argc, argv, &error);
	if (status == STATUS_OK) {
		catch_interrupts();
		status = dispatch(&cli, &error);
	}
	if (status && error.text[0])
		fprintf(stderr, "rebound: %s\n", error.text);
	return (int)status;
}
