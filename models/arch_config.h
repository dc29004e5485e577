/* Reading a config.json for arch*.c: values with defaults and bounds, and an error
 * that sticks, so that a family's reader is a list of assignments. */
#ifndef REBOUND_ARCH_CONFIG_H
#define REBOUND_ARCH_CONFIG_H

#include "compute/base/json.h"
#include "models/arch.h"

struct config {
	const cJSON *root;  /* the object that holds the text model's keys */
	const cJSON *outer; /* what is around it in a multimodal file; otherwise equal to root */
	const char *what;   /* names root in errors */
	struct error *error;
	enum status status; /* once not OK, every function below does nothing and returns the default */
};

/* Records the first error; always returns false. */
bool config_fail(struct config *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* Fails with: "key" is VALUE; `expected`. */
bool config_refuse(struct config *c, const cJSON *object, const char *key, const char *expected);

/* Absent or null gives the default. */
int64_t config_int(struct config *c, const char *key, int64_t least, int64_t most, int64_t otherwise);
double config_double(struct config *c, const cJSON *object, const char *key, double least, double most,
		     double otherwise);
bool config_bool(struct config *c, const char *key, bool otherwise);

/* A number where absent means a default, but null means none: 0. */
double config_optional(struct config *c, const char *key, double least, double most, double otherwise);

/* An activation's name. */
enum arch_act config_act(struct config *c, const char *key, enum arch_act otherwise);

/* What a class of transformers assumes about keys that a config leaves out. */
struct config_defaults {
	int64_t d, f, layers, heads;
	int64_t kv_heads; /* 0: as many as heads */
	int64_t head_dim; /* 0: d / heads */
	int64_t vocab, context;
	double eps;
	double theta; /* of the rotary embedding */
	bool tied;
	int64_t bos, eos; /* -1: none */
};

/* hidden_size and the other sizes under the names that all families but GPT-2 use,
 * checked against each other. `eps_key` is the norm's. */
void config_sizes(struct config *c, struct arch *arch, const struct config_defaults *defaults, const char *eps_key);

/* tie_word_embeddings, bos_token_id, eos_token_id. */
void config_ends(struct config *c, struct arch *arch, const struct config_defaults *defaults);

/* Reads layer_types into sliding[layers]; false, and sliding untouched, if absent. */
bool config_layer_types(struct config *c, int layers, bool *sliding);
/* Gives the sliding layers their window; `window` 0 fails if any slides. */
void config_set_windows(struct config *c, struct arch *arch, const bool *sliding, int64_t window);

/* What arch_rope.c needs to know besides the parameters themselves. */
struct rope_request {
	const cJSON *params; /* rope_scaling or rope_parameters or NULL */
	double theta;	     /* unless params has its own */
	double partial;	     /* share of the head that rotates, unless params has its own */
	bool may_be_partial; /* this family's code can rotate a part */
	bool phi3;	     /* type "yarn" means longrope; original context only from the top level, default 4096 */
};
/* The object that describes the rotation: rope_scaling, or else rope_parameters. */
const cJSON *config_rope_params(struct config *c);
/* Adds a rotary embedding for heads of arch->head_dim and returns its index, or -1
 * if nothing rotates. */
int config_add_rope(struct config *c, struct arch *arch, const struct rope_request *request);

/* The families. */
void arch_config_gpt2(struct config *c, struct arch *arch);
void arch_config_neox(struct config *c, struct arch *arch);
void arch_config_llama(struct config *c, struct arch *arch); /* Llama, Mistral, Qwen 2 and 3, Phi-3 */
void arch_config_gemma(struct config *c, struct arch *arch); /* Gemma 2 and 3 */

#endif
