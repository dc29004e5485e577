/* The probes of a Jacobian recovery (METHOD 5): unit vectors over all monitored
 * activations, ordered by layer, position, feature. Random ones are drawn from the
 * session's seed; given ones are read from a .npy file [steps, m, n]; "all" are the n unit
 * vectors. */
#ifndef REBOUND_PROBES_H
#define REBOUND_PROBES_H

#include "sessions/session.h"

struct probe_table {
	int64_t steps, count, entries; /* one row of count x entries a step, or one for all */
	float *values;		       /* normalised: r / (norm + 1e-8); NULL if count is 0 */
};
enum status WARN_UNUSED probe_table_make(struct probe_table *table, const struct session *session,
					 const struct recovery_settings *settings, struct error *error);
void probe_table_done(struct probe_table *table);

#endif
