/* The objective probe_logit (METHOD 6): w . mean of h_rec over the positions behind BOS,
 * plus b, for a linear probe at a hooked layer. Its value comes from scores x . w of the
 * rows in the cone, and a constant for the rows before it, summed by op_objective. */
#ifndef REBOUND_PROBE_H
#define REBOUND_PROBE_H

#include "sessions/cone.h"

/* True if the objective is a probe's logit (it then has no other kind of term: parsing
 * sees to that). */
bool probe_objective(const struct objective *objective);
/* Index of the site whose layer the probe reads, -1 if no SAE is hooked in there. */
int probe_site(const struct session *session);

/* A probe of the model folder's probes.safetensors. */
struct probe {
	int layer;
	float *weight; /* [d] */
	float bias;
	char *name; /* of the class */
};
/* Loads the objective's probe; layer: the objective's, else that of the highest site. */
enum status WARN_UNUSED probe_load(struct probe *probe, const struct session *session, struct error *error);
void probe_done(struct probe *probe);

/* First pooled position: behind BOS where the prompt starts with one. */
int64_t probe_first_position(const struct session *session);

/* J of a scene (host side, double). */
enum status WARN_UNUSED probe_value(const struct session *session, const struct scene *scene, double *J,
				    struct error *error);

/* What cone.c needs. */
enum status WARN_UNUSED probe_readout_create(struct readout *readout, const struct session *session, int64_t rows,
					     struct error *error);
enum status WARN_UNUSED probe_write(struct cone *cone, struct error *error);
void probe_record(struct cone *cone, struct recorder *rec);
void probe_record_back(struct cone *cone, struct recorder *rec);

#endif
