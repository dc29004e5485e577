/* SAEs of a session: their files opened and checked against the model, sorted by the point of
 * the residual stream that they are hooked into. Their tensors, which may be gigabytes each, are
 * put on the device when they are first needed, and can be dropped again. */
#ifndef REBOUND_HOOKED_SAE_H
#define REBOUND_HOOKED_SAE_H

#include "sessions/session.h"

/* --sae values: PATH, or LAYER:HOOK=PATH to override where it attaches. An SAE whose
 * recorded hook or width disagrees with the model is an error that names both and the
 * override. */
enum status WARN_UNUSED hooked_saes_open(struct session *session, const char *const *specs, int count,
					 struct error *error);
/* Those in the folder sae/ of the built-in model. */
enum status WARN_UNUSED hooked_saes_open_builtin(struct session *session, struct error *error);
/* --labels values (labels.h), in the order of the SAEs by layer. */
enum status WARN_UNUSED hooked_saes_label(struct session *session, const char *const *paths, int count,
					  struct error *error);
void hooked_sae_done(struct site *site);

/* The site's SAE with its tensors. Where they aren't on the device they are read from its file
 * and copied, which blocks, tells session->progress (in bytes; the last report is the total,
 * whatever became of it) and looks at the cancel flag. The memory is looked at first: where it
 * doesn't suffice, STATUS_FAILED says what dropping the SAEs not in use would free. A failure
 * leaves everything as it was. */
enum status WARN_UNUSED session_sae(const struct sae **out, struct session *session, int site, struct error *error);

/* Loaded, and nothing is clamped there nor shown of it: it may be dropped. */
bool site_unused(const struct site *site);
/* Device memory that the tensors of SAEs take. */
struct sae_memory {
	int loaded, unused; /* how many are on the device, and how many of these are unused */
	uint64_t bytes, unused_bytes;
};
struct sae_memory session_sae_memory(const struct session *session);
/* Takes the tensors of the unused ones off the device; no work that uses them may be running.
 * session_sae brings them back. */
void session_drop_unused_saes(struct session *session);

#endif
