/* Writes small model folders with random weights, whole or spoilt, for tests that
 * need no golden files. */
#ifndef REBOUND_TESTS_TINY_MODEL_H
#define REBOUND_TESTS_TINY_MODEL_H

#include "models/arch.h"

enum { TINY_MAX_TENSORS = 256 };

struct tiny_tensor {
	char name[128];	   /* "": not written */
	const char *dtype; /* "F32", "BF16" or "F16"; another name is written as zeros of 8 bits each */
	int rank;
	int64_t shape[3];
	double centre, deviation; /* of its normal values */
};

struct tiny_model {
	const char *config; /* text of config.json */
	struct tiny_tensor tensors[TINY_MAX_TENSORS];
	size_t n;
};

/* Plans all tensors that `config` implies, their names behind `prefix` (NULL: the
 * family's usual one). A bad config is fatal. */
void tiny_model_plan(struct tiny_model *model, const char *config, const char *prefix);
/* To change; a name that is not there is fatal. */
struct tiny_tensor *tiny_model_find(struct tiny_model *model, const char *name);
struct tiny_tensor *tiny_model_add(struct tiny_model *model, const char *name, int rank, int64_t rows, int64_t cols);
/* Writes the folder `name` below the test's temporary folder; a new string. Values
 * depend on the seed and the tensor's number only. */
char *tiny_model_write(const struct tiny_model *model, const char *name, uint64_t seed);

/* A pseudo-random number of standard normal distribution; `state` is any number. */
double tiny_normal(uint64_t *state);

/* Configs of one small model of each family, with odd sizes; for the members see
 * tiny_model.c. */
extern const char *const tiny_configs[];
extern const size_t tiny_config_count;

#endif
