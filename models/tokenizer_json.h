/* The JSON of tokenizer files. Internal to the tokenizers.
 *
 * cJSON ends a string at \u0000, and a vocabulary may contain it. The text is read
 * with each \u0000 replaced by a noncharacter that the file does not use, and
 * strings are taken out through json_source_text, which puts NUL back. */
#ifndef REBOUND_MODELS_TOKENIZER_JSON_H
#define REBOUND_MODELS_TOKENIZER_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/base/error.h"
#include "compute/base/json.h"
#include "compute/base/text.h"

struct json_source {
	cJSON *root;
	char *what;	    /* "'path'", for errors */
	size_t size;	    /* of the file in bytes */
	char nul[4];	    /* UTF-8 of the noncharacter that stands for NUL, or "" */
	struct strbuf text; /* the last string that had one */
};

/* The root is an object. Free with json_source_done, also after a failure. */
enum status WARN_UNUSED json_source_read(struct json_source *source, const char *path, struct error *error);
/* Parses text[0..n), which is changed. `what` is copied. */
enum status WARN_UNUSED json_source_parse(struct json_source *source, char *text, size_t n, const char *what,
					  struct error *error);
void json_source_done(struct json_source *source);

/* The bytes of a value or key of the document; valid until the next call. */
const char *json_source_text(struct json_source *source, const char *string, size_t *n);

/* The member `type` of a component, "" if there is none. */
const char *json_type(const cJSON *component);

#endif
