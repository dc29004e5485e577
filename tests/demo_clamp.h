/* The clamp that the built-in model's report recommends (models/demo/demo.json), so that tests need no feature ids of
 * one training run. */
#ifndef REBOUND_TESTS_DEMO_CLAMP_H
#define REBOUND_TESTS_DEMO_CLAMP_H

struct demo_clamp {
	char rule[512];	    /* a --clamp value, LAYER:F,...=MODE */
	char positions[16]; /* a --clamp-positions value */
	char prompt[32];    /* a prompt that it flips */
};

/* That of the task's first entry; fails the test if there is none. */
struct demo_clamp demo_clamp_of(const char *task);

#endif
