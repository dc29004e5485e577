#include "sessions/statistics.h"

#include <math.h>
#include <stdlib.h>

#include "compute/base/mem.h"

enum { RESAMPLES = 10000 };

void wilson_interval(int64_t hits, int64_t n, double *low, double *high)
{
	const double z = 1.959963984540054;
	double p = (double)hits / (double)n, count = (double)n;
	double middle = p + z * z / (2 * count);
	double half = z * sqrt(p * (1 - p) / count + z * z / (4 * count * count));
	*low = fmax(0, (middle - half) / (1 + z * z / count));
	*high = fmin(1, (middle + half) / (1 + z * z / count));
}

double mean_of(const double *values, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += values[i];
	return sum / (double)n;
}

/* splitmix64 (Steele, Lea, Flood 2014), scaled to [0, n). */
static int64_t draw(uint64_t *state, int64_t n)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	x ^= x >> 31;
	return (int64_t)((double)(x >> 11) * 0x1p-53 * (double)n);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

void bootstrap_interval(const double *values, int64_t n, double *low, double *high)
{
	double *means = mem_alloc(RESAMPLES, sizeof *means);
	uint64_t state = 1;
	for (int r = 0; r < RESAMPLES; r++) {
		double sum = 0;
		for (int64_t i = 0; i < n; i++)
			sum += values[draw(&state, n)];
		means[r] = sum / (double)n;
	}
	qsort(means, RESAMPLES, sizeof *means, ascending);
	*low = means[RESAMPLES / 40];
	*high = means[RESAMPLES - 1 - RESAMPLES / 40];
	free(means);
}
