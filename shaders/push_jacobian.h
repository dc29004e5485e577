#ifndef REBOUND_PUSH_JACOBIAN_H
#define REBOUND_PUSH_JACOBIAN_H
#include "push.h"

struct push_probes {
	uint rows, features; /* R, K of the hooked layer */
	uint replicas;       /* 3 + m */
	uint first_row, last_row; /* monitored rows [first, last) */
	uint entry; /* of row 0: rows before the monitored ones count backwards, modulo 2^32 */
	uint entries, probes; /* n, m */
	uint probe_steps;    /* rows of the table of probes */
	uint has_penalty, has_drift;
};
PUSH_ASSERT(push_probes)

struct push_jacobian_project {
	uint layers, replicas;
	uint numbers; /* numbers of a replica at one layer */
	uint has_penalty;
	uint first, end; /* replicas of this dispatch; 2 is the first probe */
};
PUSH_ASSERT(push_jacobian_project)

#endif
