#include "compute/base/progress.h"

#include <stddef.h>

bool progress_report(const struct progress *progress, const char *what, uint64_t done, uint64_t total)
{
	return !progress || !progress->report || progress->report(progress->context, what, done, total);
}
