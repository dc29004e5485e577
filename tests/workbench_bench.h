/* The workbench on a made-up session (workbench_sample.h) and a screen in memory: keys go in,
 * text comes out. */
#ifndef REBOUND_TESTS_WORKBENCH_BENCH_H
#define REBOUND_TESTS_WORKBENCH_BENCH_H

#include "compute/base/text.h"
#include "tests/workbench_sample.h"

struct bench {
	struct sample sample;
	struct workbench wb;
	struct screen screen;
	struct strbuf text;
};

/* The clock says `now_ms` as it opens (0), and 2500 from then on. One at a time. */
void bench_open_at(struct bench *b, enum sample_stage stage, int rows, int cols, int64_t now_ms);
void bench_open(struct bench *b, enum sample_stage stage, int rows, int cols);
void bench_close(struct bench *b);
/* A key, and what the sample answers to it. */
void bench_press(struct bench *b, int key);
void bench_type(struct bench *b, const char *text);
/* The screen as it is now; valid until the next call. */
const char *bench_look(struct bench *b);
/* Fails the test unless this is on it. */
void bench_shows(struct bench *b, const char *text);

#endif
