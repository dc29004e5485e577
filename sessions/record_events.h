/* Private to record.c: what each line of a journal adds to a record. */
#ifndef REBOUND_RECORD_EVENTS_H
#define REBOUND_RECORD_EVENTS_H

#include "compute/base/json.h"
#include "sessions/record.h"

/* Reads one event; the first must be "session". `what` names file and line. Whatever was
 * added is owned by the record also after a failure. */
enum status WARN_UNUSED record_read_event(struct record *record, const cJSON *json, bool first, const char *what,
					  struct error *error);

#endif
