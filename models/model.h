/* A loaded language model: description, weights on a device, tokenizer. */
#ifndef REBOUND_MODEL_H
#define REBOUND_MODEL_H

#include "compute/device.h"
#include "models/arch.h"
#include "models/safetensors.h"
#include "models/tokenizer.h"
#include "models/weight_map.h"
#include "models/weights.h"

struct model {
	char *folder;
	struct arch arch;
	struct weight_files *files;
	struct weight_map map;
	struct weights weights;
	struct tokenizer *tokenizer; /* NULL if the folder has none (then only --tokens works) */
	struct device *device;
	int32_t stops[16]; /* end-of-text ids of generation_config.json, besides those of arch */
	int stop_count;
};

/* Opens a Hugging Face folder and loads it on the device (borrowed). A folder without a
 * tokenizer is accepted. Memory is estimated first: a model that can't fit is refused
 * with needed and available bytes before anything is taken. */
enum status WARN_UNUSED model_open(struct model *model, const char *folder, struct device *device,
				   const struct progress *progress, struct error *error);
void model_close(struct model *model);

/* "gpt2 4x128, 1.1 M parameters"; a new string. */
char *model_describe(const struct model *model);

/* Call before any Vulkan call, while there is one thread. Mesa's CPU device hands every
 * dispatch to a pool of threads and waits, some 50 microseconds each; a model whose
 * weights take less than 16 MB is several times faster without the pool, to the same bits.
 * Sets LP_NUM_THREADS=0 for such a folder (NULL: the built-in model) unless the user has
 * set it; other drivers don't read it. */
void model_tune_cpu_device(const char *folder);

/* The folder of the built-in model: $REBOUND_DATA, models/demo beside the program,
 * the installed one. A new string; STATUS_INVALID with the places looked at. */
enum status WARN_UNUSED model_builtin_folder(char **out, struct error *error);

#endif
