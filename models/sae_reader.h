/* Between the SAE formats (sae_format_*.c) and what turns their plans into arrays
 * (sae_load.c). Internal to the SAE readers.
 *
 * A format reads the configuration, fills the spec, and says in a plan which tensor
 * plays which part, how it lies, and what is to be folded. It touches no numbers but
 * scalars, so that opening is cheap.
 */
#ifndef REBOUND_SAE_READER_H
#define REBOUND_SAE_READER_H

#include "compute/base/json.h"
#include "compute/base/progress.h"
#include "models/sae_container.h"
#include "models/sae_file.h"

enum sae_role {
	ROLE_W_ENC,
	ROLE_W_DEC,
	ROLE_B_ENC,
	ROLE_B_DEC, /* absent: zero */
	ROLE_THRESHOLD,
	ROLE_B_GATE,
	ROLE_B_MAG,
	ROLE_R_MAG,
	ROLE_W_SKIP,
	ROLE_DECODE_SCALE, /* [F], multiplies z in decode */
	ROLE_COUNT,
};

/* What happens to the norms n of the decoder's rows, after all scales. */
enum sae_norms {
	NORMS_KEEP,
	NORMS_TO_ENCODER, /* W_enc n, b_enc n, W_dec / n; the threshold stays */
	NORMS_TO_GATE,	  /* threshold / n (n of the rows as stored): h n is compared, h is the feature */
};

struct sae_plan {
	const struct container_entry *tensor[ROLE_COUNT];
	bool transposed[ROLE_COUNT]; /* lies as [d_in, F], [d_out, F], [d_out, d_in] */
	double scale[ROLE_COUNT];    /* 1 by default; multiplies the numbers as read */
	enum sae_norms norms;
	bool log_threshold;	   /* exp() of the tensor first */
	bool one_threshold;	   /* no tensor: `threshold` for every latent */
	double threshold;	   /* (before its scale) */
	bool decode_scale_is_ones; /* an error if it isn't */
};

struct sae_reader {
	struct sae_spec *spec;
	struct container *container;
	cJSON *config;	   /* NULL if there is no configuration file */
	char *config_what; /* "'path/cfg.json': bad config", for json_get_* */
	const char *where; /* absolute path of the weights where known: names tell things */
	struct sae_plan plan;
	/* Of sae_plan_load, in bytes of the arrays that it makes; may be NULL. */
	const struct progress *progress;
	uint64_t read, to_read;
};

/* ---- for formats (sae_plan.c) ---- */

/* The tensor for a part; missing is an error unless `optional`. */
enum status WARN_UNUSED sae_plan_take(struct sae_reader *r, enum sae_role role, const char *name, bool transposed,
				      bool optional, struct error *error);
/* Checks shapes and dtypes of the plan against each other and sets d_in, d_out, F.
 * To be called once all tensors are taken. */
enum status WARN_UNUSED sae_plan_check(struct sae_reader *r, struct error *error);
/* A size in the configuration, if it is there, must equal what the tensors have. */
enum status WARN_UNUSED sae_config_expect(struct sae_reader *r, const char *key, int64_t found, struct error *error);
/* A k from a file must be at least 1 and at most F. */
enum status WARN_UNUSED sae_check_k(struct sae_reader *r, double k, const char *source, struct error *error);
/* One number: a value, or a tensor of one element. An error if it is not there. */
enum status WARN_UNUSED sae_read_scalar(struct sae_reader *r, const char *name, double *out, struct error *error);
/* Copies a string of `object` (may be NULL) into *out, if it is there. */
enum status WARN_UNUSED sae_config_string(struct sae_reader *r, const cJSON *object, const char *key, char **out,
					  struct error *error);
/* Adds a sentence to the spec's notes. */
void sae_note(struct sae_reader *r, const char *format, ...) PRINTF_LIKE(2, 3);
/* Sets site_in and layer (and site_out, if it is unknown) from a hook's name. */
void sae_set_hook(struct sae_reader *r, const char *name);
/* The n-th component of r->where from the end (0: the file's own name), copied to
 * out; "" if there are not so many. */
const char *sae_path_part(const struct sae_reader *r, int n, char out[256]);

/* The number of at most nine digits that a text begins with, and what follows it. */
bool sae_read_number(const char *text, int64_t *out, const char **rest);

/* ---- files (sae_find.c) ---- */

/* From spec->path to weights_path and config_path (NULL if there is none). */
enum status WARN_UNUSED sae_find_files(struct sae_spec *spec, struct error *error);

/* ---- formats ---- */

typedef enum status sae_format_reader(struct sae_reader *r, struct error *error);
sae_format_reader sae_read_saelens, sae_read_gemma_scope, sae_read_gemma_scope_2, sae_read_sparsify,
	sae_read_dictionary_learning, sae_read_llama_scope, sae_read_openmoss, sae_read_openai, sae_read_qwen_scope;

/* ---- arrays (sae_load.c) ---- */

/* Materialises the plan into the spec. */
enum status WARN_UNUSED sae_plan_load(struct sae_reader *r, struct error *error);

#endif
