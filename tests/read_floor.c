#include "tests/read_floor.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "compute/base/mem.h"
#include "compute/record.h"
#include "compute/tensor.h"

enum { READ_COUNT = 512, GROUP = 64, TEXEL = 16 };

struct read_floor {
	struct device *device;
	struct arena *arena;
	struct tensor data, sums;
	struct recorder *rec;
};

double bench_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;
	return (d > 0) - (d < 0);
}

double bench_median(double *values, int n)
{
	qsort(values, (size_t)n, sizeof *values, ascending);
	return values[n / 2];
}

void bench_stop(const struct error *error)
{
	fprintf(stderr, "%s\n", error->text);
	exit(1);
}

struct read_floor *read_floor_open(struct device *device)
{
	struct error error;
	struct read_floor *floor = mem_alloc(1, sizeof *floor);
	/* Well beyond the caches of the CPU. */
	uint64_t bytes = (uint64_t)200 << 20, most = device_get_info(device)->max_texel_elements * TEXEL;
	if (bytes > most)
		bytes = most;
	/* CPU devices read fastest with a subgroup a workgroup, whose reads are sequential. */
	const struct device_info *info = device_get_info(device);
	int64_t lanes = info->type == DEVICE_TYPE_CPU ? info->subgroup_size : GROUP;
	int64_t groups = (int64_t)(bytes / (uint64_t)(READ_COUNT * lanes * TEXEL));
	if (groups > 65535)
		groups = 65535;
	floor->device = device;
	floor->arena = arena_create(device, BUFFER_DEVICE, "bench");
	arena_add(floor->arena, &floor->data, DTYPE_F32, groups * READ_COUNT * lanes, 4);
	arena_add(floor->arena, &floor->sums, DTYPE_F32, groups, lanes);
	if (arena_allocate(floor->arena, &error))
		bench_stop(&error);
	floor->rec = recorder_create(device, "floor");
	recorder_begin(floor->rec);
	record_fill(floor->rec, floor->data, 0);
	if (recorder_run(floor->rec, &error))
		bench_stop(&error);
	recorder_begin(floor->rec);
	record_dispatch(floor->rec, &(struct dispatch){
					    .kernel = "bench_read",
					    .constants = {(uint32_t)lanes, READ_COUNT},
					    .constant_count = 2,
					    .bindings = {{floor->sums, BINDING_WRITE, BINDING_STORAGE},
							 {floor->data, BINDING_READ, BINDING_TEXEL_RGBA32F}},
					    .binding_count = 2,
					    .groups = {(uint32_t)groups},
				    });
	if (recorder_run(floor->rec, &error))
		bench_stop(&error);
	return floor;
}

void read_floor_close(struct read_floor **floor)
{
	recorder_destroy(&(*floor)->rec);
	arena_destroy(&(*floor)->arena);
	free(*floor);
	*floor = NULL;
}

double read_floor_rate(struct read_floor *floor)
{
	struct error error;
	uint64_t ticket;
	double start = bench_now();
	if (recorder_submit(floor->rec, &ticket, &error) || device_wait(floor->device, ticket, &error))
		bench_stop(&error);
	return (double)tensor_bytes(floor->data) / (bench_now() - start);
}
