/* A recorded recovery, run again and compared number by number.
 *
 * On the device and driver that it was recorded with every number must come out the same
 * to the bit. Elsewhere float32 sums are taken in another order, and a number counts as
 * agreeing if |now - recorded| <= REPLAY_ABSOLUTE + REPLAY_RELATIVE * |recorded|. */
#ifndef REBOUND_REPLAY_H
#define REBOUND_REPLAY_H

#include "sessions/record.h"

#define REPLAY_ABSOLUTE 2e-3
#define REPLAY_RELATIVE 2e-2

struct replay_report {
	bool same_device;		      /* device, driver and API are those recorded */
	int64_t compared, differing, outside; /* numbers; those beyond the tolerance */
	double largest;			      /* absolute difference; NaN if one is not a number */
	char first_where[96];		      /* "step 12, drift_l2"; "" if all are the same */
	double first_recorded, first_now;
	char worst_where[96]; /* the first beyond the tolerance; "" */
	double worst_recorded, worst_now;
	int64_t steps;
};

/* Runs it with the session from record_apply; blocks, looks at the session's cancel flag.
 * STATUS_OK says that it ran, not that it agrees: see replay_agrees. */
enum status WARN_UNUSED replay_run(struct replay_report *report, struct session *session, const struct record *record,
				   const struct record_run *run, struct error *error);
/* Identical where that is asked for, within the tolerance elsewhere. */
bool replay_agrees(const struct replay_report *report);

#endif
