/* The floor that benchmarks are measured against: how fast a kernel that does nothing but
 * read moves bytes on this device, now. On a shared machine the rate wanders, so it is
 * measured in turns with what is compared. */
#ifndef REBOUND_READ_FLOOR_H
#define REBOUND_READ_FLOOR_H

#include "compute/device.h"

struct read_floor;

/* Exits with a sentence on failure, as benchmarks do. */
struct read_floor *read_floor_open(struct device *device);
void read_floor_close(struct read_floor **floor);
/* Bytes a second of one run. */
double read_floor_rate(struct read_floor *floor);

double bench_now(void);			    /* seconds */
double bench_median(double *values, int n); /* sorts */
_Noreturn void bench_stop(const struct error *error);

#endif
