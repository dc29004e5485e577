/* What the files share that make a snapshot of the desk (desk_snapshot in desk.h). */
#ifndef REBOUND_DESK_SNAPSHOT_H
#define REBOUND_DESK_SNAPSHOT_H

#include "sessions/desk.h"

/* A text for the screens: cut if it does not fit, without control characters. */
void snapshot_text(char *out, size_t size, const char *text);
/* A token with its spaces and controls to be seen; "#ID" without a tokenizer. */
void snapshot_token(char *out, size_t size, const struct session *session, uint32_t id);

/* desk_snapshot_features.c: the list of the SAE shown, and the feature's view that is open. */
void snapshot_features(struct snapshot *s, const struct desk *desk);
void snapshot_view(struct snapshot *s, const struct desk *desk);

#endif
