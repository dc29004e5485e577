/* Recovery steps a second, and 24 prompts in a batch beside one by one (as `recover` takes a prompt, in the kernels for
 * one row), as a ratio of the same run; steps each beside
 * the time in which a kernel that only reads moves the weights of one step: the built-in model's IOI task, and a random
 * model of gpt2-small's shape with an SAE of 24,576 features at block 4's resid_pre, 64 features clamped, delta at the
 * last position. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/base/mem.h"
#include "sessions/attribute.h"
#include "sessions/batch.h"
#include "sessions/experiment_set.h"
#include "sessions/recovery.h"
#include "tests/read_floor.h"
#include "tests/random_session.h"
#include "tui/options.h"

enum { ROUNDS = 7 };

/* Bytes of weights that a step has to read: the blocks above the SAE, once forward and
 * once backward. */
static double step_bytes(const struct session *session)
{
	const struct arch *arch = &session->model.arch;
	double bytes = 0;
	int first = session->sites[session->site_count - 1].point / 2;
	for (int i = 0; i < session->site_count; i++)
		if (session->sites[i].rule_count > 0) {
			first = session->sites[i].point / 2;
			break;
		}
	for (int l = first; l < arch->layers; l++)
		for (int role = 0; role < WEIGHT_COUNT; role++) {
			struct tensor t = session->model.weights.layer[l][role];
			if (tensor_exists(t) && t.rows > 1)
				bytes += 2 * (double)tensor_bytes(t);
		}
	return bytes;
}

/* Prints a row; returns seconds a step. */
static double measure(const char *name, struct session *session)
{
	struct error error;
	struct scene clamped;
	struct recovery *recovery;
	enum { BATCH = 30 };
	session->settings.steps = BATCH * (ROUNDS + 1);
	if (scene_run(&clamped, session, true, &error) || recovery_create(&recovery, session, &clamped, NULL, &error) ||
	    recovery_advance(recovery, BATCH, &error))
		bench_stop(&error);
	struct read_floor *floor = read_floor_open(session->device);
	double times[ROUNDS], rates[ROUNDS];
	for (int i = 0; i < ROUNDS; i++) {
		rates[i] = read_floor_rate(floor);
		double start = bench_now();
		if (recovery_advance(recovery, BATCH, &error))
			bench_stop(&error);
		times[i] = (bench_now() - start) / BATCH;
	}
	read_floor_close(&floor);
	struct recovery_cost cost = recovery_get_cost(recovery);
	double time = bench_median(times, ROUNDS), rate = bench_median(rates, ROUNDS), bytes = step_bytes(session);
	printf("%-34s %8.2f ms  %7.1f steps/s  %3d dispatches  %7.1f MB  floor %6.2f ms at %4.1f GB/s  %5.2fx\n", name,
	       time * 1e3, 1 / time, cost.dispatches, bytes * 1e-6, bytes / rate * 1e3, rate * 1e-9,
	       time * rate / bytes);
	fflush(stdout);
	recovery_destroy(&recovery);
	scene_done(&clamped);
	return time;
}

enum { SET = 24, SET_ROUNDS = 5 };

/* Steps of 24 recoveries in one batch beside the same steps one by one, in turns; prompts of 12 to
 * 16 made-up tokens. */
static void measure_steps_of_set(const char *name, struct session *session)
{
	struct error error;
	enum { TURNS = 3, STEPS = 4 };
	struct scene scenes[SET];
	struct recovery *joined[SET], *alone[SET];
	struct batch *batch;
	double together[TURNS], apart[TURNS];
	const char *objective = "logit_diff:318,290";
	session->settings.steps = TURNS * STEPS + STEPS;
	for (int i = 0; i < SET; i++) {
		int32_t ids[16];
		for (int t = 0; t < 16; t++)
			ids[t] = (int32_t)((t * 97 + i * 1001) % session->model.arch.vocab);
		if (session_set_tokens(session, ids, 12 + (size_t)i % 5, &error) ||
		    session_set_objective(session, &objective, 1, &error) ||
		    scene_run(&scenes[i], session, true, &error) ||
		    recovery_create(&alone[i], session, &scenes[i], NULL, &error))
			bench_stop(&error);
		session->settings.rows_alike = true;
		if (recovery_create(&joined[i], session, &scenes[i], NULL, &error))
			bench_stop(&error);
		session->settings.rows_alike = false;
	}
	if (batch_create(&batch, joined, SET, &error) || batch_advance(batch, STEPS, &error))
		bench_stop(&error);
	for (int turn = 0; turn < TURNS; turn++) {
		double start = bench_now();
		if (batch_advance(batch, STEPS, &error))
			bench_stop(&error);
		together[turn] = bench_now() - start;
		start = bench_now();
		for (int i = 0; i < SET; i++)
			if (recovery_advance(alone[i], STEPS, &error))
				bench_stop(&error);
		apart[turn] = bench_now() - start;
	}
	double all = bench_median(together, TURNS) / STEPS, one = bench_median(apart, TURNS) / STEPS / SET;
	printf("%-34s %8.2f ms a step together, %.2f ms one: %5.2fx the prompts a second\n", name, all * 1e3, one * 1e3,
	       SET * one / all);
	fflush(stdout);
	batch_destroy(&batch);
	for (int i = 0; i < SET; i++) {
		recovery_destroy(&joined[i]);
		recovery_destroy(&alone[i]);
		scene_done(&scenes[i]);
	}
}

static void clamp_first(struct session *session, int64_t count)
{
	struct error error;
	struct layer_rule *rules = mem_alloc((size_t)count, sizeof *rules);
	for (int64_t i = 0; i < count; i++)
		rules[i] = (struct layer_rule){
			session->sites[0].sae.layer,
			{(uint32_t)(i * 37 % session->sites[0].sae.features), OP_CLAMP_SET_ACTIVE, -5}};
	if (session_set_clamps(session, rules, count, &error))
		bench_stop(&error);
	free(rules);
}

static void random_model(enum dtype dtype, int64_t T, const char *name)
{
	struct error error;
	struct session *session;
	struct random_shape shape = {
		.layers = 12,
		.d = 768,
		.heads = 12,
		.f = 3072,
		.vocab = 50257,
		.context = 1024,
		.dtype = dtype,
		.sae_layer = 4,
		.sae_hook = HOOK_RESID_PRE,
		.features = 24576,
	};
	if (random_session_open(&session, &shape, &error))
		bench_stop(&error);
	int32_t *ids = mem_alloc((size_t)T, sizeof *ids);
	for (int64_t i = 0; i < T; i++)
		ids[i] = (int32_t)(i * 97 % shape.vocab);
	const char *objective = "logit_diff:318,290";
	if (session_set_tokens(session, ids, (size_t)T, &error) ||
	    session_set_objective(session, &objective, 1, &error))
		bench_stop(&error);
	free(ids);
	clamp_first(session, 64);
	measure(name, session);
	if (T == 16 && dtype == DTYPE_F32)
		measure_steps_of_set("the same, 24 prompts", session);
	random_session_close(&session);
}

static enum status add_wall(void *context, const struct prompt *prompt, struct experiment *x, enum status outcome,
			    const struct error *problem, struct error *error)
{
	(void)prompt;
	*(double *)context += x->wall_s;
	if (outcome)
		*error = *problem;
	return outcome;
}

/* Seconds for all prompts, from text to result; *steps: of the optimisation alone. */
static double measure_alone(struct session *session, const struct prompt *const *prompts, double *steps)
{
	struct error error;
	double start = bench_now();
	*steps = 0;
	for (int i = 0; i < SET; i++) {
		struct experiment x;
		char *specs[8];
		int n = prompt_objectives(prompts[i], specs, 8);
		if (session_set_text(session, prompts[i]->text, strlen(prompts[i]->text), false, false, false,
				     &error) ||
		    session_set_objective(session, (const char *const *)specs, 1, &error) ||
		    experiment_run(&x, session, &error))
			bench_stop(&error);
		*steps += x.wall_s;
		experiment_done(&x);
		while (n > 0)
			free(specs[--n]);
	}
	return bench_now() - start;
}

static double measure_set(struct session *session, const struct prompt *const *prompts, double *steps)
{
	struct error error;
	struct experiment_set_options options = {
		.prompts = prompts, .count = SET, .batch = SET, .on_result = add_wall, .context = steps};
	double start = bench_now();
	*steps = 0;
	if (experiment_set_run(session, &options, &error))
		bench_stop(&error);
	return bench_now() - start;
}

/* The first 24 IOI prompts, 100 steps each, in one batch and one by one, in turns. */
static void builtin_set(const struct opened *opened)
{
	struct session *session = opened->session;
	const struct prompt *prompts[SET] = {0};
	double whole[2][SET_ROUNDS], steps[2][SET_ROUNDS];
	int n = 0;
	for (int i = 0; i < opened->prompts.count && n < SET; i++)
		if (strcmp(opened->prompts.items[i].task, "ioi") == 0)
			prompts[n++] = &opened->prompts.items[i];
	if (n < SET)
		fatal("the built-in prompts have %d of the task ioi", n);
	session->settings.steps = 100;
	measure_alone(session, prompts, steps[0]); /* kernels are compiled */
	measure_set(session, prompts, steps[0]);
	for (int i = 0; i < SET_ROUNDS; i++) {
		whole[0][i] = measure_alone(session, prompts, &steps[0][i]);
		whole[1][i] = measure_set(session, prompts, &steps[1][i]);
	}
	double alone = bench_median(whole[0], SET_ROUNDS), together = bench_median(whole[1], SET_ROUNDS);
	double alone_steps = bench_median(steps[0], SET_ROUNDS), together_steps = bench_median(steps[1], SET_ROUNDS);
	printf("%-34s %8.1f prompts/s together, %6.1f one by one: %5.2fx (100 steps alone: %5.2fx)\n",
	       "built-in ioi, 24 prompts", SET / together, SET / alone, alone / together, alone_steps / together_steps);
}

/* The built-in model's first IOI prompt, the top 16 features of its ranking clamped. */
static void builtin_model(void)
{
	struct error error;
	char *argv[] = {"bench", "recover", "--prompt", "ioi-01", "--quiet", NULL};
	struct options options;
	struct opened opened;
	if (options_parse(&options, 5, argv, &error) || options_open(&opened, &options, NEED_INPUT | NEED_SAES, &error))
		bench_stop(&error);
	struct session *session = opened.session;
	struct scene base;
	struct attribution *ranking;
	int64_t count;
	int site = session->site_count / 2 - 1;
	if (scene_run(&base, session, false, &error) || attribute_rank(&ranking, &count, session, &base, site, &error))
		bench_stop(&error);
	struct layer_rule rules[16];
	for (int i = 0; i < 16; i++)
		rules[i] = (struct layer_rule){ranking[i].layer, {ranking[i].feature, OP_CLAMP_SET_ACTIVE, -5}};
	free(ranking);
	scene_done(&base);
	if (session_set_clamps(session, rules, 16, &error))
		bench_stop(&error);
	double encoder = measure("built-in ioi, encoder, 16 clamped", session);
	session->settings.project = PROJECT_JACOBIAN;
	session->settings.drift_probe = true;
	double jacobian = measure("the same, jacobian, 8 probes", session);
	printf("%-34s %8.2f x an encoder step\n", "", jacobian / encoder);
	session->settings.project = PROJECT_ENCODER;
	builtin_set(&opened);
	clamp_first(session, 512);
	measure("built-in ioi, encoder, 512 clamped", session);
	options_close(&opened);
}

/* In a process of its own, with the driver set up as the program does for a small model. */
static void builtin_apart(void)
{
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		model_tune_cpu_device(NULL);
		builtin_model();
		exit(0);
	}
	if (child < 0 || waitpid(child, NULL, 0) < 0)
		perror("the built-in model's rows");
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";
	/* Run from the project's root, where the built-in model is. */
	setenv("REBOUND_DATA", "models/demo", 0);
	if (!*word || strstr("builtin", word))
		builtin_apart();
	if (!*word || strstr("gpt2-f32-16", word))
		random_model(DTYPE_F32, 16, "gpt2-small shape, float32, T 16");
	if (!*word || strstr("gpt2-f32-64", word))
		random_model(DTYPE_F32, 64, "gpt2-small shape, float32, T 64");
	if (!*word || strstr("gpt2-bf16-16", word))
		random_model(DTYPE_BF16, 16, "gpt2-small shape, bfloat16, T 16");
	if (!*word || strstr("gpt2-bf16-64", word))
		random_model(DTYPE_BF16, 64, "gpt2-small shape, bfloat16, T 64");
	return 0;
}
