/* What a trained suffix would read as: of each of its embeddings the token of the vocabulary
 * whose own embedding points most nearly the same way (the largest cosine). A suffix is no
 * text; the cosine says how far it is from one. */
#ifndef REBOUND_SUFFIX_TOKENS_H
#define REBOUND_SUFFIX_TOKENS_H

#include "sessions/session.h"

struct nearest_token {
	int32_t id; /* the lower one of equals */
	float cosine;
};

struct suffix_reader;
/* For the session's suffix, whose placeholder is read from the prompt. Goes through the whole
 * vocabulary once; blocks. */
enum status WARN_UNUSED suffix_reader_create(struct suffix_reader **out, struct session *session, struct error *error);
void suffix_reader_destroy(struct suffix_reader **reader);
/* Of the placeholder's embedding plus each row of delta [count, d]; out [count]. One product with
 * the vocabulary's embeddings; blocks. */
enum status WARN_UNUSED suffix_reader_read(struct suffix_reader *reader, const float *delta, struct nearest_token *out,
					   struct error *error);

#endif
