/* The golden language models: folders with what transformers computes with them
 * (golden/models/README.md and golden/stories260k-hf/README.md beside the project). */
#ifndef REBOUND_TESTS_GOLDEN_H
#define REBOUND_TESTS_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Largest difference in shares of the largest value of a slab. */
#define GOLDEN_TOLERANCE      2e-5
#define GOLDEN_TOLERANCE_GRAD 1e-4

struct golden_case {
	const char *name;
	int64_t *ids;
	int T;
	int64_t a, b; /* of J = logits[last, a] - logits[last, b]; -1: the case has none */
	double J, J2; /* J2 only if T > 1, and NaN where the files do not have it */
	int64_t *greedy;
	int n_greedy;
};

struct golden_model {
	char *folder;
	int layers, d;
	int64_t vocab;
	struct golden_case *cases;
	size_t n_cases;
};

/* The 20 folders of golden/models. */
extern const char *const golden_names[];
extern const size_t golden_name_count;

/* `name` is a folder below golden, "models/gpt2" or "stories260k-hf". False if it is
 * not there; a malformed one is fatal. */
bool golden_open(struct golden_model *model, const char *name);
void golden_close(struct golden_model *model);

/* CASE.X.npy as doubles, or NULL if there is no such file; a wrong number of
 * elements is fatal. */
double *golden_array(const struct golden_model *model, const struct golden_case *c, const char *x, size_t count);

/* Compares `slabs` slabs of n numbers by the rule of the README. False, and prints the
 * worst element, if they differ or anything is not finite. */
bool golden_same(const double *x, const double *golden, size_t slabs, size_t n, double tolerance, const char *label);
/* The largest difference that golden_same has met since this was last called, over the
 * largest number of its slab; it starts anew. */
double golden_deviation(void);

#endif
