#include <stddef.h>
#include <string.h>

#include "sessions/record.h"

#define STEP(member)                                                                                                   \
	{                                                                                                              \
#member, offsetof(struct recovery_metrics, member)                                                     \
	}
#define FINAL(member)                                                                                                  \
	{                                                                                                              \
#member, offsetof(struct recovery_final, member)                                                       \
	}

const struct record_field record_step_fields[] = {
	STEP(objective),	 STEP(loss),
	STEP(drift_l2),		 STEP(decode_drift_l2),
	STEP(drift_relative_l2), STEP(delta_norm),
	STEP(grad_norm),	 STEP(projected_grad_norm),
	STEP(projection_cosine), {0},
};

const struct record_field record_final_fields[] = {
	FINAL(objective),
	FINAL(delta_norm),
	{"delta_norm_relative", offsetof(struct recovery_final, delta_relative)},
	FINAL(drift_l2),
	FINAL(drift_relative_l2),
	FINAL(decode_drift_l2),
	FINAL(floor_violation_l2),
	FINAL(floor_violation_relative_l2),
	FINAL(floor_violation_fraction),
	FINAL(reactivated_fraction),
	FINAL(reactivated_fraction_of_eligible),
	FINAL(reactivated_mass),
	{0},
};

double record_field_get(const struct record_field *field, const void *object)
{
	double value;
	memcpy(&value, (const char *)object + field->offset, sizeof value);
	return value;
}

const char *record_outcome_name(enum record_outcome outcome)
{
	static const char *const names[] = {"open", "complete", "interrupted", "failed"};
	return names[outcome];
}
