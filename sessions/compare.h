/* Two recorded recoveries side by side, aligned by step: what differs in how they were made,
 * where their numbers part, what came out, and the angle between the perturbations.
 *
 * Nothing is computed anew and no device is needed. Sessions of different prompts, objectives
 * or models can be compared too; `cautions` then say which numbers mean different things.
 * Reading blocks on the disk; a comparison does not change once made and may be read by any
 * thread that holds it.
 */
#ifndef REBOUND_COMPARE_H
#define REBOUND_COMPARE_H

#include "sessions/record.h"

/* A setting of the experiment that is not the same. Strings may hold anything that a file
 * can: they are shown through text_printable. */
struct compare_difference {
	char *name, *value[2];
};

/* The first step at which a recorded number differs. */
struct compare_parting {
	int64_t step;	   /* -1: none of those that both have */
	const char *field; /* of record_step_fields */
	double value[2];
};

struct comparison {
	struct record record[2];
	const struct record_run *run[2]; /* the one of each that counts (record_main_run) */
	struct compare_difference *differences;
	int difference_count;
	char **cautions; /* sentences */
	int caution_count;
	bool same_prompt;
	/* Model, prompt and objective are the same: the partings are known, at all and by more
	 * than the tolerance of a replay on another device (replay.h). */
	bool alike;
	struct compare_parting parting, clear_parting;
	int64_t steps; /* of the longer one */

	/* The results, as one vector each over all rows; a row of one that the other does not
	 * perturb is 0 there. Rows belong together by layer and position, with different prompts
	 * by layer and distance from the prompt's end. */
	bool has_angle;
	double cosine, distance, norm[2];
	int64_t rows;	    /* that both perturb */
	char *angle_reason; /* why it is not known; NULL */
	double *cosines;    /* [steps] the same before each step, NaN where unknown; NULL */
	/* private */
	struct comparison_holders *holders;
};

/* Reads both sessions. One that can't be read, or that holds no recovery (STATUS_NOTHING),
 * is an error that names it. */
enum status WARN_UNUSED comparison_open(struct comparison **out, const char *path_a, const char *path_b,
					struct error *error);
/* One more holder; any thread. NULL-safe, as the next. */
const struct comparison *comparison_hold(const struct comparison *comparison);
/* The last one frees it; the pointer is nulled. */
void comparison_release(const struct comparison **comparison);

/* Step `step` of side 0 or 1; NULL behind its end. */
const struct recovery_metrics *comparison_step(const struct comparison *comparison, int side, int64_t step);
/* The file's name without folder and ending, to be shown through text_printable; new. */
char *comparison_name(const struct comparison *comparison, int side);

#endif
