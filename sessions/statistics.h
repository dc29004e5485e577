/* Intervals of rates and means over inputs (METHOD 8). */
#ifndef REBOUND_STATISTICS_H
#define REBOUND_STATISTICS_H

#include <stdint.h>

/* The 95% Wilson score interval of `hits` of `n` (n >= 1). */
void wilson_interval(int64_t hits, int64_t n, double *low, double *high);

double mean_of(const double *values, int64_t n); /* n >= 1 */
/* The 95% percentile bootstrap interval of the mean: 10,000 resamples, drawn alike in every run. */
void bootstrap_interval(const double *values, int64_t n, double *low, double *high);

#endif
