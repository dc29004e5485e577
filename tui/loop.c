#include "tui/loop.h"

#include <time.h>

enum {
	FRAME_MS = 33,
	ANSWER_FRAME_MS = 8, /* while news is likely the answer to a key */
	ANSWER_MS = 200,     /* how long after a key that is */
};

int64_t loop_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* All events there are; true if any of them may have changed the picture. */
static bool read_events(const struct loop_client *client, struct screen *screen)
{
	bool any = false;
	struct term_event event;
	while (!client->finished(client->context) && (event = term_read()).kind != TERM_NONE) {
		any = true;
		switch (event.kind) {
		case TERM_RESIZE:
			screen_resize(screen, term_rows(), term_cols());
			term_redraw();
			break;
		case TERM_CONTINUED:
			break;
		case TERM_STOP:
			term_suspend();
			break;
		default:
			client->event(client->context, &event);
		}
	}
	return any;
}

static int sleep_ms(const struct loop_client *client, bool stale, int64_t next_frame)
{
	int idle = client->idle_ms ? client->idle_ms(client->context) : -1;
	if (!stale)
		return idle;
	int64_t until = next_frame - loop_now_ms();
	int ms = until > 0 ? (int)until : 0;
	return idle >= 0 && idle < ms ? idle : ms;
}

void loop_run(const struct loop_client *client)
{
	struct screen screen;
	screen_init(&screen, term_rows(), term_cols(), term_is_ascii());
	int64_t next_frame = 0;
	int64_t last_event = -ANSWER_MS;
	bool now = true, stale = false; /* draw at once; draw when a frame is due */
	while (!client->finished(client->context)) {
		if (now || (stale && loop_now_ms() >= next_frame)) {
			screen_clear(&screen);
			client->draw(client->context, &screen);
			term_present(&screen);
			int64_t drawn = loop_now_ms();
			next_frame = drawn + (drawn - last_event < ANSWER_MS ? ANSWER_FRAME_MS : FRAME_MS);
			stale = false;
		}
		int64_t slept = loop_now_ms();
		int timeout = sleep_ms(client, stale, next_frame);
		if (term_wait(client->wake_fd, timeout)) {
			client->woken(client->context);
			stale = true;
		}
		if (timeout >= 0 && loop_now_ms() - slept >= timeout)
			stale = true; /* the spinner turns */
		now = read_events(client, &screen);
		if (now)
			last_event = loop_now_ms();
	}
	screen_done(&screen);
}
