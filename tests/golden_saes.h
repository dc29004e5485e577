/* The golden SAEs, sound ones and malformed ones (golden/saes/README.md beside the
 * project). Where they are missing the running test says so and is skipped; what is
 * wrong with them or differs from them fails it. */
#ifndef REBOUND_TESTS_GOLDEN_SAES_H
#define REBOUND_TESTS_GOLDEN_SAES_H

#include "compute/base/json.h"
#include "compute/ops.h"
#include "models/sae_file.h"

/* A sound SAE under one reading of its files. */
struct golden_sae {
	const char *name;
	const char *inputs;	     /* folder of the rows and of the gradients that come in */
	const char *arrays;	     /* folder of what this reading makes of them */
	bool other_reading;	     /* not the one that the files are read with unless asked */
	const cJSON *about;	     /* cases.json */
	const struct sae_spec *spec; /* loaded */
	int64_t T;
	const double *x; /* [T, d_in] */
};

/* Calls `check` with each reading of each sound SAE; how many SAEs there are. */
int golden_saes_each(void (*check)(const struct golden_sae *sae));

/* FOLDER/FILE, which has to hold `count` numbers. */
double *golden_sae_array(const char *folder, const char *file, size_t count);
/* `got` is what this reading's FILE says, within the tolerance of cases.json. */
void golden_sae_compare(const struct golden_sae *sae, const char *file, const double *got, size_t count);
/* z [T, F]: the latents that the files put on their thresholds to the bit are off. */
void golden_sae_check_exact(const struct golden_sae *sae, const double *z);

struct golden_clamp {
	const char *file; /* of the clamped rows */
	enum op_clamp_mode mode;
	double value, error_scale;
};
/* An element of the member "clamps" of cases.json. */
struct golden_clamp golden_clamp_of(const cJSON *json);
enum { GOLDEN_CLAMPED_MAX = 16 };
/* The features that they all clamp; how many. */
int64_t golden_sae_clamped(const struct golden_sae *sae, int64_t features[GOLDEN_CLAMPED_MAX]);

/* A malformed file: its name below golden, its path, and the word that the error must
 * contain. */
struct golden_bad {
	const char *name, *path, *kind;
};

/* Calls `check` with each malformed file of that loader (NULL: of all); how many. */
int golden_saes_each_bad(const char *loader, void (*check)(const struct golden_bad *bad));

#endif
