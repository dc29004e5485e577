/* SAEs of Gemma Scope's width (d = 2,304, F = 16,384 and 131,072) with random weights: full
 * encodes and decodes of one token and of 64, each beside the time in which a kernel that only
 * reads moves the same weights, and clamps of K features beside the full encode of one token.
 * An argument gives the largest F to measure. */
#include <stdio.h>
#include <stdlib.h>

#include "compute/base/mem.h"
#include "models/sae.h"
#include "tests/read_floor.h"

enum { WIDTH = 2304, ROUNDS = 9, SELECTED_MOST = 64 };

struct measured {
	double seconds, rate; /* medians; bytes a second of the floor, measured in turns */
};

static struct measured measure(struct recorder *rec, struct read_floor *floor, int calls)
{
	struct error error;
	uint64_t ticket;
	double times[ROUNDS], rates[ROUNDS], begun = bench_now();
	int rounds = 0;
	if (recorder_run(rec, &error))
		bench_stop(&error);
	for (int i = 0; i < ROUNDS && (i < 1 || bench_now() - begun < 5); i++, rounds++) {
		rates[i] = read_floor_rate(floor);
		double start = bench_now();
		if (recorder_submit(rec, &ticket, &error) || device_wait(recorder_device(rec), ticket, &error))
			bench_stop(&error);
		times[i] = (bench_now() - start) / calls;
	}
	return (struct measured){bench_median(times, rounds), bench_median(rates, rounds)};
}

static void print_floor(const char *what, int64_t rows, struct measured m, double bytes)
{
	printf("  %-8s %3lld rows %9.3f ms  %8.1f MB  floor %8.3f ms at %4.1f GB/s  %5.2fx\n", what, (long long)rows,
	       m.seconds * 1e3, bytes * 1e-6, bytes / m.rate * 1e3, m.rate * 1e-9, m.seconds * m.rate / bytes);
	fflush(stdout);
}

/* Seconds of a full encode. */
static double encode_decode(const struct sae *sae, struct read_floor *floor, int64_t rows)
{
	struct error error;
	struct tensor x, z, h, x_hat;
	struct sae_scratch scratch;
	struct arena *arena = arena_create(sae->device, BUFFER_DEVICE, "bench");
	arena_add(arena, &x, DTYPE_F32, rows, sae->d);
	arena_add(arena, &x_hat, DTYPE_F32, rows, sae->d);
	arena_add(arena, &z, DTYPE_F32, rows, sae->features);
	arena_add(arena, &h, DTYPE_F32, rows, sae->features);
	sae_scratch_declare(&scratch, sae, arena, SAE_SCRATCH_ALL, rows, 0);
	if (arena_allocate(arena, &error))
		bench_stop(&error);
	struct recorder *rec = recorder_create(sae->device, "bench");
	recorder_begin(rec);
	record_fill(rec, x, 0x3f000000);
	if (recorder_run(rec, &error))
		bench_stop(&error);
	double bytes = (double)tensor_bytes(sae->w_enc);
	recorder_begin(rec);
	sae_record_encode(sae, rec, z, h, &scratch, x);
	struct measured m = measure(rec, floor, 1);
	double seconds = m.seconds;
	print_floor("encode", rows, m, bytes);
	recorder_begin(rec);
	sae_record_decode(sae, rec, x_hat, z, &scratch);
	print_floor("decode", rows, measure(rec, floor, 1), bytes);
	recorder_destroy(&rec);
	arena_destroy(&arena);
	return seconds;
}

static void clamps(const struct sae *sae, struct read_floor *floor, int64_t K, double encode)
{
	enum { CALLS = 16 };
	struct error error;
	struct clamp_rule rules[SELECTED_MOST];
	struct clamp clamp;
	struct clamp_edit edit;
	struct tensor x;
	uint32_t on = 1;
	for (int64_t i = 0; i < K; i++)
		rules[i] = (struct clamp_rule){(uint32_t)(i * 37), OP_CLAMP_SET_ACTIVE, -5};
	struct arena *arena = arena_create(sae->device, BUFFER_DEVICE, "bench");
	arena_add(arena, &x, DTYPE_F32, 1, sae->d);
	if (clamp_create(&clamp, sae, rules, K, &error) ||
	    clamp_edit_create(&edit, &clamp, 0, 1, 1, 1, false, &error) || arena_allocate(arena, &error) ||
	    tensor_write(edit.on, &on, &error))
		bench_stop(&error);
	struct recorder *rec = recorder_create(sae->device, "bench");
	recorder_begin(rec);
	record_fill(rec, x, 0x3f000000);
	for (int i = 0; i < CALLS; i++)
		edit.edit.forward(&edit.edit, rec, x);
	struct measured m = measure(rec, floor, CALLS);
	printf("  clamp    K = %-3lld %9.3f ms  %6.2f%% of a full encode\n", (long long)K, m.seconds * 1e3,
	       100 * m.seconds / encode);
	fflush(stdout);
	recorder_destroy(&rec);
	arena_destroy(&arena);
	clamp_edit_done(&edit);
	clamp_done(&clamp);
}

static void bench(struct device *device, struct read_floor *floor, enum sae_act act, int64_t F)
{
	struct error error;
	struct sae sae;
	size_t n = (size_t)F * WIDTH;
	float *w = mem_alloc(n, sizeof *w);
	uint32_t state = 20260618;
	for (size_t i = 0; i < n; i++) {
		state = state * 1664525 + 1013904223;
		w[i] = ((float)(state >> 8) / (1 << 24) - 0.5f) * 0.1f;
	}
	/* One array serves as all of them. */
	struct sae_spec spec = {
		.path = mem_strdup("random"),
		.d_in = WIDTH,
		.d_out = WIDTH,
		.F = F,
		.act = act,
		.k = act == SAE_TOPK ? 64 : 0,
		.subtract_b_dec = act == SAE_TOPK,
		.W_enc = w,
		.W_dec = w,
		.b_enc = w,
		.b_dec = w,
		.threshold = w,
	};
	enum status status = sae_create(&sae, device, &spec, 0, HOOK_RESID_POST, &error);
	free(w);
	free(spec.path);
	printf("%s, F = %lld, d = %d\n", sae_act_name(act), (long long)F, WIDTH);
	if (status) {
		printf("  left out: %s\n", error.text);
		return;
	}
	double encode = encode_decode(&sae, floor, 1);
	encode_decode(&sae, floor, 64);
	for (int64_t K = 1; K <= SELECTED_MOST; K *= 8)
		clamps(&sae, floor, K, encode);
	sae_done(&sae);
}

int main(int argc, char **argv)
{
	struct error error;
	struct device *device;
	if (device_create(&device, &(struct device_options){0}, &error))
		bench_stop(&error);
	struct read_floor *floor = read_floor_open(device);
	const int64_t sizes[] = {16384, 131072};
	int64_t most = argc > 1 ? strtoll(argv[1], NULL, 10) : sizes[1];
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		if (sizes[i] <= most) {
			bench(device, floor, SAE_JUMPRELU, sizes[i]);
			bench(device, floor, SAE_TOPK, sizes[i]);
		}
	read_floor_close(&floor);
	device_destroy(&device);
	return 0;
}
