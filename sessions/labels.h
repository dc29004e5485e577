/* Feature labels in Neuronpedia's explanation format (FORMATS 5): JSON Lines or one JSON
 * array, plain or gzip, with `index` (string or number) and `description`. A feature may
 * have several. Labels are text from elsewhere: they are kept printable. */
#ifndef REBOUND_LABELS_H
#define REBOUND_LABELS_H

#include <stdint.h>

#include "compute/base/error.h"

struct labels;

enum status WARN_UNUSED labels_load(struct labels **out, const char *path, struct error *error);
void labels_destroy(struct labels **labels);
/* The first description of a feature, "" if there is none; borrowed. `labels` may be NULL. */
const char *labels_get(const struct labels *labels, uint32_t feature);
int labels_count(const struct labels *labels, uint32_t feature);
const char *labels_get_nth(const struct labels *labels, uint32_t feature, int n);

#endif
