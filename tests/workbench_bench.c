#include "tests/workbench_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

const char *bench_look(struct bench *b)
{
	screen_clear(&b->screen);
	workbench_draw(&b->wb, &b->screen, 2500);
	strbuf_clear(&b->text);
	screen_dump(&b->screen, &b->text);
	return b->text.data;
}

void bench_open_at(struct bench *b, enum sample_stage stage, int rows, int cols, int64_t now_ms)
{
	memset(b, 0, sizeof *b);
	sample_init(&b->sample, stage);
	struct workbench_backend backend = sample_backend(&b->sample);
	workbench_init(&b->wb, &backend, &b->sample.snapshot, now_ms);
	screen_init(&b->screen, rows, cols, false);
	bench_look(b);
}

void bench_open(struct bench *b, enum sample_stage stage, int rows, int cols)
{
	bench_open_at(b, stage, rows, cols, 0);
}

void bench_close(struct bench *b)
{
	screen_done(&b->screen);
	strbuf_done(&b->text);
	workbench_done(&b->wb);
	sample_done(&b->sample);
}

void bench_press(struct bench *b, int key)
{
	struct term_event event = {.kind = TERM_KEY, .key = key};
	workbench_event(&b->wb, &event, 2500);
	workbench_update(&b->wb, &b->sample.snapshot, 2500);
	bench_look(b);
}

void bench_type(struct bench *b, const char *text)
{
	for (size_t i = 0, n = strlen(text); i < n;) {
		uint32_t code;
		i += utf8_decode(text + i, n - i, &code);
		bench_press(b, (int)code);
	}
}

void bench_shows(struct bench *b, const char *text)
{
	if (!strstr(bench_look(b), text))
		fail_msg("\"%s\" is not on the screen:\n%s", text, b->text.data);
}
