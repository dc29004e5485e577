/* SAEs of a session: read, checked against the model, put on the device, sorted by the
 * point of the residual stream that they are hooked into. */
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

#endif
