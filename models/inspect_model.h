/* The facts about a model folder that `rebound inspect` shows. Only config.json and
 * the headers of the weight files are read: a folder of many gigabytes takes a few
 * milliseconds, and no device is needed. */
#ifndef REBOUND_INSPECT_MODEL_H
#define REBOUND_INSPECT_MODEL_H

#include "compute/base/json.h"
#include "compute/base/text.h"
#include "models/weight_map.h"

/* Device memory in bytes, estimated before any is taken. */
struct model_memory {
	int64_t weights;     /* copied to the device in the files' dtypes */
	int64_t cache;	     /* keys and values, float32 */
	int64_t activations; /* a pass from token ids to the last position's logits */
	int64_t total;
};

/* For one sequence of `tokens` tokens through a model whose weights take
 * `weight_bytes`; with `backward` everything that gradients need is kept. The sizes
 * are bounded so that nothing overflows for up to 2^20 tokens; more are counted as
 * that many. */
struct model_memory model_memory_estimate(const struct arch *arch, int64_t weight_bytes, int64_t tokens, bool backward);

enum {
	MODEL_DTYPE_F32,
	MODEL_DTYPE_BF16,
	MODEL_DTYPE_F16,
	MODEL_DTYPE_COUNT,
};

struct model_facts {
	char *folder;
	struct arch arch;
	int shards;
	int64_t parameters;
	int64_t weight_bytes;		       /* of the tensors that are used */
	int64_t file_bytes;		       /* of all tensors */
	int64_t tensors_of[MODEL_DTYPE_COUNT]; /* used tensors by dtype */
	int64_t bytes_of[MODEL_DTYPE_COUNT];
	int64_t memory_tokens; /* min(context, 1024): what `memory` is for */
	struct model_memory memory;
	bool redundant_unembed;
	bool tied_by_absence; /* the config says untied, but there is no output matrix */
	char **extra;	      /* tensors that are not used; printable */
	size_t n_extra;
};

/* Any error of arch_read, weight_files_open and weight_map_build. On failure *facts
 * needs no done. */
enum status WARN_UNUSED inspect_model(struct model_facts *facts, const char *folder, struct error *error);
void model_facts_done(struct model_facts *facts);

/* A JSON object; cJSON_Delete it. */
cJSON *model_facts_json(const struct model_facts *facts);
/* Lines for people, each "name  value\n". */
void model_facts_text(const struct model_facts *facts, struct strbuf *out);

#endif
