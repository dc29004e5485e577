#include "sessions/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/base/mem.h"
#include "sessions/desk.h"

enum { QUEUE_LENGTH = 64 };

/* A snapshot and who still looks at it. */
struct shared_snapshot {
	struct snapshot *value;
	int references;
	struct shared_snapshot *next;
};

struct worker {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake; /* a command or the end has come */
	struct command queue[QUEUE_LENGTH];
	int queue_first, queue_count;
	bool stopping;
	enum status status; /* of the worker itself */
	struct error error;

	struct shared_snapshot *latest;
	struct shared_snapshot *old; /* replaced, still looked at */
	uint64_t serial;
	int pipe[2];
	bool pipe_full; /* a byte waits there */

	struct desk desk; /* the thread's own, but for desk.cancel */
};

static void wake_reader(struct worker *worker)
{
	/* Called with the mutex held: many changes, one byte. */
	if (!worker->pipe_full) {
		worker->pipe_full = true;
		while (write(worker->pipe[1], "x", 1) < 0 && errno == EINTR)
			continue;
	}
}

static void put_snapshot(struct worker *worker, struct snapshot *value)
{
	struct shared_snapshot *shared = mem_alloc(1, sizeof *shared);
	*shared = (struct shared_snapshot){value, 1, NULL};
	pthread_mutex_lock(&worker->mutex);
	value->serial = ++worker->serial;
	struct shared_snapshot *before = worker->latest;
	worker->latest = shared;
	struct snapshot *dead = NULL;
	if (before && --before->references == 0) {
		dead = before->value;
		free(before);
	} else if (before) {
		before->next = worker->old;
		worker->old = before;
	}
	wake_reader(worker);
	pthread_mutex_unlock(&worker->mutex);
	snapshot_free(dead);
}

static void publish(struct desk *desk)
{
	put_snapshot(desk->publish_context, desk_snapshot(desk));
}

/* The next command; waits for one if nothing else is to be done. False: the end. */
static bool take_command(struct worker *worker, struct command *command, bool wait, bool *taken)
{
	*taken = false;
	pthread_mutex_lock(&worker->mutex);
	while (wait && worker->queue_count == 0 && !worker->stopping)
		pthread_cond_wait(&worker->wake, &worker->mutex);
	bool go_on = !worker->stopping;
	if (go_on && worker->queue_count > 0) {
		*command = worker->queue[worker->queue_first];
		worker->queue_first = (worker->queue_first + 1) % QUEUE_LENGTH;
		worker->queue_count--;
		*taken = true;
		atomic_store(&worker->desk.called, worker->queue_count > 0);
	}
	pthread_mutex_unlock(&worker->mutex);
	return go_on;
}

/* A cancel that came while a background job runs stops that job. */
static void honour_cancel(struct desk *desk)
{
	if (!atomic_exchange(&desk->cancel, false))
		return;
	if (desk->run.running)
		desk_run_pause(desk);
	if (desk->flips_running) {
		desk->flips_running = false;
		desk_notice(desk, "the search for valid flips was stopped");
	} else if (desk->view.reading) {
		desk_usage_stop(desk);
	}
}

static void loop(struct worker *worker)
{
	struct desk *desk = &worker->desk;
	for (;;) {
		struct command command;
		bool taken, busy = desk->run.running || desk->flips_running || desk->view.reading ||
				   desk_loss_pending(desk);
		if (!take_command(worker, &command, !busy, &taken))
			return;
		if (taken) {
			atomic_store(&desk->cancel, false);
			desk_command(desk, &command);
			publish(desk);
			desk->published_ms = desk_now_ms();
			continue;
		}
		honour_cancel(desk);
		if (desk->run.running) {
			desk_run_slice(desk);
		} else if (desk->flips_running) {
			desk_judge_next(desk);
		} else if (desk->view.reading) {
			desk_usage_next(desk);
		} else if (desk_loss_pending(desk)) {
			desk_measure_loss(desk);
		} else {
			publish(desk);
			continue;
		}
		struct error error;
		if (desk_update_features(desk, &error) != STATUS_OK)
			desk_report(desk, STATUS_FAILED, &error);
		if (!desk->run.running && !desk->flips_running && !desk->view.reading)
			publish(desk);
		else
			desk_pulse(desk);
	}
}

static void *run(void *context)
{
	struct worker *worker = context;
	struct desk *desk = &worker->desk;
	struct error error;
	enum status status = desk_open(desk, &desk->options, &error);
	if (status == STATUS_OK && desk->prompts.count > 0)
		desk_command(desk,
			     &(struct command){.kind = COMMAND_SELECT_PROMPT, .number = desk_opening_prompt(desk)});
	if (status) {
		pthread_mutex_lock(&worker->mutex);
		worker->status = status;
		worker->error = error;
		pthread_mutex_unlock(&worker->mutex);
		desk_report(desk, status, &error);
	}
	publish(desk);
	if (status == STATUS_OK)
		loop(worker);
	desk_close(desk);
	return NULL;
}

enum status worker_start(struct worker **out, const struct worker_options *options, struct error *error)
{
	*out = NULL;
	struct worker *worker = mem_alloc(1, sizeof *worker);
	if (pipe2(worker->pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
		free(worker);
		return error_set(error, STATUS_FAILED, "cannot create a pipe: %s", strerror(errno));
	}
	pthread_mutex_init(&worker->mutex, NULL);
	pthread_cond_init(&worker->wake, NULL);
	worker->desk.options = *options;
	worker->desk.publish = publish;
	worker->desk.publish_context = worker;
	worker->desk.job = JOB_LOADING;
	put_snapshot(worker, desk_snapshot(&worker->desk));
	/* Signals are for the UI thread. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&worker->thread, NULL, run, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed) {
		error_set(error, STATUS_FAILED, "cannot start the worker thread: %s", strerror(failed));
		snapshot_free(worker->latest->value);
		free(worker->latest);
		close(worker->pipe[0]);
		close(worker->pipe[1]);
		free(worker);
		return STATUS_FAILED;
	}
	*out = worker;
	return STATUS_OK;
}

void worker_stop(struct worker **out)
{
	struct worker *worker = *out;
	if (!worker)
		return;
	pthread_mutex_lock(&worker->mutex);
	worker->stopping = true;
	atomic_store(&worker->desk.cancel, true);
	atomic_store(&worker->desk.called, true);
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->mutex);
	pthread_join(worker->thread, NULL);
	for (struct shared_snapshot *s = worker->old, *next; s; s = next) {
		next = s->next;
		snapshot_free(s->value);
		free(s);
	}
	snapshot_free(worker->latest->value);
	free(worker->latest);
	close(worker->pipe[0]);
	close(worker->pipe[1]);
	pthread_cond_destroy(&worker->wake);
	pthread_mutex_destroy(&worker->mutex);
	free(worker);
	*out = NULL;
}

bool worker_send(struct worker *worker, const struct command *command)
{
	pthread_mutex_lock(&worker->mutex);
	bool room = worker->queue_count < QUEUE_LENGTH && worker->status == STATUS_OK;
	if (room) {
		worker->queue[(worker->queue_first + worker->queue_count) % QUEUE_LENGTH] = *command;
		worker->queue_count++;
		atomic_store(&worker->desk.called, true);
		pthread_cond_signal(&worker->wake);
	}
	pthread_mutex_unlock(&worker->mutex);
	return room;
}

void worker_cancel(struct worker *worker)
{
	atomic_store(&worker->desk.cancel, true);
	atomic_store(&worker->desk.called, true);
}

int worker_wake_fd(const struct worker *worker)
{
	return worker->pipe[0];
}

void worker_clear_wake(struct worker *worker)
{
	char bytes[16];
	pthread_mutex_lock(&worker->mutex);
	while (read(worker->pipe[0], bytes, sizeof bytes) > 0)
		continue;
	worker->pipe_full = false;
	pthread_mutex_unlock(&worker->mutex);
}

const struct snapshot *worker_acquire(struct worker *worker)
{
	pthread_mutex_lock(&worker->mutex);
	worker->latest->references++;
	const struct snapshot *value = worker->latest->value;
	pthread_mutex_unlock(&worker->mutex);
	return value;
}

void worker_release(struct worker *worker, const struct snapshot *snapshot)
{
	struct shared_snapshot *dead = NULL;
	if (!snapshot)
		return;
	pthread_mutex_lock(&worker->mutex);
	if (worker->latest->value == snapshot) {
		worker->latest->references--;
	} else {
		struct shared_snapshot **at = &worker->old;
		while (*at && (*at)->value != snapshot)
			at = &(*at)->next;
		if (*at && --(*at)->references == 0) {
			dead = *at;
			*at = dead->next;
		}
	}
	pthread_mutex_unlock(&worker->mutex);
	if (dead) {
		snapshot_free(dead->value);
		free(dead);
	}
}

enum status worker_status(const struct worker *worker, struct error *error)
{
	struct worker *w = (struct worker *)(uintptr_t)worker;
	pthread_mutex_lock(&w->mutex);
	enum status status = w->status;
	if (status)
		*error = w->error;
	pthread_mutex_unlock(&w->mutex);
	return status;
}
