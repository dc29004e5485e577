/* A real model: loading, the first token, a generated token, a step of recovery, each
 * beside the time in which a kernel that only reads moves the bytes that it has to read.
 *
 *   make bench T=bench_model MODEL=FOLDER SAE=FOLDER
 *
 * MODEL is a Hugging Face folder; SAE (optional) an SAE of it: the 64 features that rank
 * highest by attribution are ablated at every position, delta acts at the last one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compute/base/mem.h"
#include "sessions/attribute.h"
#include "sessions/generate.h"
#include "sessions/recovery.h"
#include "tests/read_floor.h"

enum { ROUNDS = 9, PROMPT = 32, NEW = 16, CLAMPED = 64, BATCH = 10 };
static const char prompt[] = "Then, Alice and Bob went to the park. Bob gave a ball to";

static double matrix_bytes(const struct tensor *tensors)
{
	double bytes = 0;
	for (int role = 0; role < WEIGHT_COUNT; role++)
		if (tensor_exists(tensors[role]) && tensors[role].rows > 1)
			bytes += (double)tensor_bytes(tensors[role]);
	return bytes;
}

/* Bytes of the blocks from `first` on. */
static double block_bytes(const struct session *session, int first)
{
	double bytes = 0;
	for (int l = first; l < session->model.arch.layers; l++)
		bytes += matrix_bytes(session->model.weights.layer[l]);
	return bytes;
}

static double unembedding_bytes(const struct session *session)
{
	return (double)tensor_bytes(session->model.weights.model[WEIGHT_UNEMBED]);
}

/* Processor time of all threads, the device's included where that is the processor. */
static double cpu_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct timing {
	double seconds[ROUNDS], cpu[ROUNDS];
};

/* The middle of the rounds, the best and the processor time: on a shared machine the
 * latter two say more. */
static void print_line(const char *name, struct timing *t, double bytes, double *rates)
{
	double middle = bench_median(t->seconds, ROUNDS), rate = bench_median(rates, ROUNDS);
	printf("%-28s %8.2f ms, best %8.2f, processors %8.2f  %8.1f MB  floor %7.2f ms at %4.1f GB/s, best %7.2f  "
	       "%6.2fx\n",
	       name, middle * 1e3, t->seconds[0] * 1e3, bench_median(t->cpu, ROUNDS) * 1e3, bytes * 1e-6,
	       bytes / rate * 1e3, rate * 1e-9, bytes / rates[ROUNDS - 1] * 1e3, middle * rate / bytes);
	fflush(stdout);
}

/* The most memory that this process has held, in bytes; 0 where the system doesn't say. */
static double peak_memory(void)
{
	char line[256];
	double kilobytes = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kilobytes = strtod(line + 6, NULL);
	if (f)
		fclose(f);
	return kilobytes * 1024;
}

static void load(struct session **session, const char *model, const char *sae)
{
	struct error error;
	struct session_options options = {.model = model, .saes = &sae, .sae_count = sae ? 1 : 0, .no_saes = !sae};
	double start = bench_now();
	if (session_open(session, &options, &error))
		bench_stop(&error);
	const struct weights *w = &(*session)->model.weights;
	char *what = model_describe(&(*session)->model);
	printf("%s on %s\n", what, device_get_info((*session)->device)->name);
	printf("%-28s %8.2f ms  %8.1f MB used in place, %.1f MB copied, most memory held %.1f MB\n", "load",
	       (bench_now() - start) * 1e3, (double)w->bytes_imported * 1e-6, (double)w->bytes_copied * 1e-6,
	       peak_memory() * 1e-6);
	free(what);
}

struct clock {
	double first, last, first_cpu, last_cpu;
	int count;
};

static bool on_token(void *context, int32_t id)
{
	struct clock *clock = context;
	(void)id;
	clock->last = bench_now();
	clock->last_cpu = cpu_now();
	if (clock->count++ == 0) {
		clock->first = clock->last;
		clock->first_cpu = clock->last_cpu;
	}
	return true;
}

static void measure_generation(struct session *session, struct read_floor *floor)
{
	struct error error;
	struct timing first, each;
	double rates[ROUNDS];
	int32_t ids[PROMPT];
	for (int i = 0; i < PROMPT; i++)
		ids[i] = (int32_t)(2 + i * 97 % (session->model.arch.vocab - 2));
	if (session_set_tokens(session, ids, PROMPT, &error))
		bench_stop(&error);
	for (int i = -1; i < ROUNDS; i++) { /* the first round compiles */
		struct clock clock = {0};
		struct token_list made = {0};
		struct generate_options options = {
			.max_new = NEW, .ignore_stops = true, .on_token = on_token, .context = &clock};
		double rate = read_floor_rate(floor), start = bench_now(), cpu = cpu_now();
		if (generate(session, &options, &made, &error))
			bench_stop(&error);
		token_list_done(&made);
		if (i < 0)
			continue;
		first.seconds[i] = clock.first - start;
		first.cpu[i] = clock.first_cpu - cpu;
		each.seconds[i] = (clock.last - clock.first) / (clock.count - 1);
		each.cpu[i] = (clock.last_cpu - clock.first_cpu) / (clock.count - 1);
		rates[i] = rate;
	}
	double bytes = block_bytes(session, 0) + unembedding_bytes(session);
	print_line("first token after 32", &first, bytes, rates);
	print_line("a generated token", &each, bytes, rates);
}

/* The prompt, and the difference of the two tokens that the base run ranks highest. */
static void set_task(struct session *session)
{
	struct error error;
	struct scene base;
	struct top_logit top[2];
	if (session_set_text(session, prompt, strlen(prompt), false, false, false, &error) ||
	    scene_run(&base, session, false, &error))
		bench_stop(&error);
	top_logits(base.logits, session->model.arch.vocab, 2, top);
	scene_done(&base);
	char *objective = mem_printf("logit_diff:%d,%d", top[0].id, top[1].id);
	const char *spec = objective;
	if (session_set_objective(session, &spec, 1, &error))
		bench_stop(&error);
	free(objective);
}

static void clamp_ranked(struct session *session)
{
	struct error error;
	struct scene base;
	struct attribution *ranking;
	int64_t count;
	if (scene_run(&base, session, false, &error) || attribute_rank(&ranking, &count, session, &base, 0, &error))
		bench_stop(&error);
	struct layer_rule rules[CLAMPED];
	int64_t n = count < CLAMPED ? count : CLAMPED;
	for (int64_t i = 0; i < n; i++)
		rules[i] = (struct layer_rule){ranking[i].layer, {ranking[i].feature, OP_CLAMP_ABLATE, 0}};
	free(ranking);
	scene_done(&base);
	if (session_set_clamps(session, rules, n, &error))
		bench_stop(&error);
}

static void measure_recovery(struct session *session, struct read_floor *floor)
{
	struct error error;
	struct scene clamped;
	struct recovery *recovery;
	struct timing passes, steps;
	double rates[ROUNDS];
	set_task(session);
	clamp_ranked(session);
	session->settings.steps = BATCH * (ROUNDS + 1);
	for (int i = 0; i < ROUNDS; i++) {
		double start = bench_now(), cpu = cpu_now();
		if (scene_run(&clamped, session, true, &error))
			bench_stop(&error);
		passes.seconds[i] = bench_now() - start;
		passes.cpu[i] = cpu_now() - cpu;
		if (i + 1 < ROUNDS)
			scene_done(&clamped);
	}
	if (recovery_create(&recovery, session, &clamped, NULL, &error) || recovery_advance(recovery, BATCH, &error))
		bench_stop(&error);
	for (int i = 0; i < ROUNDS; i++) {
		rates[i] = read_floor_rate(floor);
		double start = bench_now(), cpu = cpu_now();
		if (recovery_advance(recovery, BATCH, &error))
			bench_stop(&error);
		steps.seconds[i] = (bench_now() - start) / BATCH;
		steps.cpu[i] = (cpu_now() - cpu) / BATCH;
	}
	int first = session->sites[0].point / 2;
	print_line("a clamped run of the prompt", &passes, block_bytes(session, 0) + unembedding_bytes(session), rates);
	print_line("a step of recovery", &steps, 2 * block_bytes(session, first), rates);
	recovery_destroy(&recovery);
	scene_done(&clamped);
}

int main(void)
{
	const char *model = getenv("MODEL"), *sae = getenv("SAE");
	if (!model || !*model) {
		printf("no model: make bench T=bench_model MODEL=FOLDER SAE=FOLDER\n");
		return 0;
	}
	struct session *session;
	load(&session, model, sae && *sae ? sae : NULL);
	struct read_floor *floor = read_floor_open(session->device);
	measure_generation(session, floor);
	if (session->site_count > 0)
		measure_recovery(session, floor);
	read_floor_close(&floor);
	session_close(&session);
	return 0;
}
