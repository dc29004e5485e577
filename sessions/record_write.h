/* The events of a session's journal, written as they happen: by a command after its run
 * (experiment.h), by the worker during it. What they hold is in record.h. All calls take
 * the owner's thread and may block on the disk. */
#ifndef REBOUND_RECORD_WRITE_H
#define REBOUND_RECORD_WRITE_H

#include "sessions/decompose.h"
#include "sessions/journal.h"
#include "sessions/record.h"

/* The first event; sums the model's files, and checkpoints. */
enum status WARN_UNUSED record_write_session(struct journal *journal, const struct session *session,
					     const char *command, struct error *error);
/* A run begins. `start` [rows, d] is the delta it starts from (NULL: zero), kept beside the
 * journal as array "KIND.npy"; the session's frozen rows are kept as "FROZEN_KIND.npy" (NULL:
 * "frozen"). */
enum status WARN_UNUSED record_write_setup(struct journal *journal, const struct session *session, const float *start,
					   int64_t rows, const char *start_kind, const char *frozen_kind,
					   struct error *error);
/* A state's objective and best logits. */
enum status WARN_UNUSED record_write_state(struct journal *journal, const struct session *session,
					   const struct scene *scene, struct error *error);
enum status WARN_UNUSED record_write_recovery(struct journal *journal, const struct session *session,
					      const struct recovery *recovery, struct error *error);
/* Steps [first, end) of the history. */
enum status WARN_UNUSED record_write_steps(struct journal *journal, const struct recovery *recovery, int64_t first,
					   int64_t end, struct error *error);

/* How a run ended. Arrays are written as KIND_PREFIX "delta" and "result" beside the
 * journal ("2-delta" with prefix "2-", for the second run of a journal). */
struct record_end {
	struct recovery *recovery;
	enum record_outcome outcome;
	const float *result; /* [rows, d] of a complete run; of others the current delta is kept */
	int64_t result_step;
	const struct recovery_final *final; /* NULL unless complete */
	double wall_s;
	const char *array_prefix; /* "" */
};
enum status WARN_UNUSED record_write_end(struct journal *journal, const struct session *session,
					 const struct record_end *end, struct error *error);
enum status WARN_UNUSED record_write_decomposition(struct journal *journal, const struct decomposition *parts,
						   int64_t step, struct error *error);
/* `state` is "base", "clamped" or "recovered"; the verdict may be NULL. */
enum status WARN_UNUSED record_write_generation(struct journal *journal, const struct session *session,
						const char *state, const int32_t *ids, size_t count,
						struct error *error);
enum status WARN_UNUSED record_write_note(struct journal *journal, const char *text, struct error *error);

#endif
