/* The monitor of the suffix baseline (METHOD 11): what a watcher of the defended features would
 * see. Of each clamped layer the largest defended activation, measured before the clamp, over
 * all rows of a pass; their mean over the layers, against its value at the start.
 *
 * One edit per clamped site, before the site's clamp: its forward encodes, its backward adds
 * what monitor_record left. A layer whose largest activation is inactive (0) gets no gradient.
 */
#ifndef REBOUND_MONITOR_H
#define REBOUND_MONITOR_H

#include "sessions/session.h"

struct monitor {
	struct tensor ratio;   /* [1, 1] monitor / initial */
	struct tensor initial; /* [1, 1], host-visible; 1 at first */
	/* private */
	struct monitor_edit *items; /* [sites] */
	int site_count;
	struct tensor z, dz, segments; /* all sites' activations, flat */
	struct arena *arena, *tables;
};

/* For passes over R = `rows` rows with one gradient. The session's clamps must be prepared and
 * there must be one. */
enum status WARN_UNUSED monitor_create(struct monitor *monitor, struct session *session, int64_t rows,
				       struct error *error);
void monitor_done(struct monitor *monitor);
/* NULL if no feature is clamped at that site. */
struct edit *monitor_edit_at(const struct monitor *monitor, int site);

/* After a pass's forward: ratio, and `scale` times its gradient for the backward edits. */
void monitor_record(struct monitor *monitor, struct recorder *rec, double scale);
/* Takes what a submission just left as the initial value; blocks. */
enum status WARN_UNUSED monitor_set_initial(struct monitor *monitor, struct error *error);

#endif
