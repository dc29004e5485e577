/* The golden SAEs, sound ones and malformed ones (golden/saes/README.md beside the
 * project). Where they are missing the running test says so and is skipped. */
#ifndef REBOUND_TESTS_GOLDEN_SAES_H
#define REBOUND_TESTS_GOLDEN_SAES_H

/* Calls `check` with the name and the folder of each sound SAE; how many there are. */
int golden_saes_each(void (*check)(const char *name, const char *folder));

/* A malformed file: its name below golden, its path, and the word that the error must
 * contain. */
struct golden_bad {
	const char *name, *path, *kind;
};

/* Calls `check` with each malformed file of that loader (NULL: of all); how many. */
int golden_saes_each_bad(const char *loader, void (*check)(const struct golden_bad *bad));

#endif
