/* The desk's comparison of two sessions: which there are, and two of them side by side. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/desk.h"
#include "sessions/record.h"

static void summarise(struct snapshot_session *out, const struct record *record, const struct record_run *run)
{
	char *prompt = record_prompt(run), line[96];
	text_printable(out->name, sizeof out->name, path_base(record->path), strlen(path_base(record->path)));
	size_t n = strlen(out->name);
	if (n > 6 && strcmp(out->name + n - 6, ".jsonl") == 0)
		out->name[n - 6] = '\0';
	snprintf(line, sizeof line, "%.32s, %lld clamped, %lld steps: %s", prompt, (long long)run->clamp_count,
		 (long long)run->steps, record_verdict(run));
	text_printable(out->summary, sizeof out->summary, line, strlen(line));
	free(prompt);
}

/* The newest sessions of the user's folder that hold a recovery, but for the current run's. */
enum status desk_sessions(struct desk *desk, struct error *error)
{
	char *folder;
	struct record_list list = {0};
	desk_begin_job(desk, JOB_COMPARE, "reading the sessions");
	enum status status = journal_folder(&folder, error);
	if (status == STATUS_OK && file_exists(folder))
		status = record_list_load(&list, folder, error);
	free(desk->sessions);
	desk->sessions = mem_alloc(SESSIONS_LISTED, sizeof *desk->sessions);
	desk->session_count = 0;
	for (int i = 0; i < list.count && desk->session_count < SESSIONS_LISTED; i++) {
		const struct record_entry *entry = &list.items[i];
		const struct record_run *run = entry->good ? record_main_run(&entry->record) : NULL;
		bool current = desk->run.path && strcmp(desk->run.path, entry->path) == 0;
		/* A name that can't be shown as it is can't be sent back either. */
		struct snapshot_session session;
		if (!run || current || strlen(path_base(entry->path)) >= sizeof session.name)
			continue;
		summarise(&session, &entry->record, run);
		if (strncmp(session.name, path_base(entry->path), strlen(session.name)) == 0)
			desk->sessions[desk->session_count++] = session;
	}
	desk->sessions_serial++;
	record_list_done(&list);
	free(folder);
	return status;
}

/* The two names of "A\nB" or "A B"; "B" alone is compared with the current run. */
static enum status read_names(const struct desk *desk, const char *text, char *paths[2], struct error *error)
{
	const char *gap = strpbrk(text, strchr(text, '\n') ? "\n" : " ");
	const char *second = gap ? gap + 1 : text;
	size_t first = gap ? (size_t)(gap - text) : 0;
	if (second[strspn(second, " ")] == '\0')
		return error_set(error, STATUS_INVALID, "compare needs one session, or two: V lists them");
	if (first == 0 && !desk->run.path)
		return error_set(error, STATUS_INVALID,
				 "there is no run here to compare '%s' with: name two sessions, or run a recovery (r)",
				 second);
	char *name = mem_strndup(text, first);
	paths[0] = first == 0 ? mem_strdup(desk->run.path) : record_find(name);
	paths[1] = record_find(second);
	free(name);
	return STATUS_OK;
}

static void log_comparison(struct desk *desk, const struct comparison *c)
{
	char result[160];
	int n = snprintf(result, sizeof result, "%d difference%s", c->difference_count,
			 c->difference_count == 1 ? "" : "s");
	if (c->alike && c->parting.step >= 0)
		n += snprintf(result + n, sizeof result - (size_t)n, ", they part at step %lld",
			      (long long)c->parting.step);
	if (c->has_angle)
		snprintf(result + n, sizeof result - (size_t)n, ", cosine %+.4f", c->cosine);
	desk_log_compare(desk, c->record[0].path, c->record[1].path, result);
}

enum status desk_compare(struct desk *desk, const char *text, struct error *error)
{
	char *paths[2] = {NULL, NULL};
	struct comparison *made;
	if (text[0] == '\0') {
		comparison_release(&desk->comparison);
		return STATUS_OK;
	}
	enum status status = read_names(desk, text, paths, error);
	if (status)
		return status;
	desk_begin_job(desk, JOB_COMPARE, "comparing");
	status = comparison_open(&made, paths[0], paths[1], error);
	free(paths[0]);
	free(paths[1]);
	if (status)
		return status;
	comparison_release(&desk->comparison);
	desk->comparison = made;
	desk->comparison_serial++;
	log_comparison(desk, made);
	return STATUS_OK;
}
