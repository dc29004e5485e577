#include "sessions/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"

struct journal {
	int fd;
	char *path;	 /* as it is known */
	char *temporary; /* what is written until it takes path's place; NULL: path itself */
	off_t good;	 /* length of the whole lines */
	enum status status;
	struct error error; /* the first failure */
};

char *user_folder(const char *variable, const char *fallback)
{
	/* A relative path in an XDG variable counts as none. */
	const char *base = getenv(variable), *home = getenv("HOME");
	if (base && base[0] == '/')
		return path_join(base, "rebound");
	if (!home || home[0] != '/')
		return NULL;
	return mem_printf("%s/%s/rebound", home, fallback);
}

enum status journal_folder(char **out, struct error *error)
{
	char *state = user_folder("XDG_STATE_HOME", ".local/state");
	*out = state ? path_join(state, "sessions") : NULL;
	free(state);
	if (!*out)
		return error_set(error, STATUS_INVALID,
				 "there is no folder for sessions, since neither XDG_STATE_HOME nor HOME is set; give "
				 "--out FILE");
	return STATUS_OK;
}

static void journal_free(struct journal **out)
{
	struct journal *journal = *out;
	if (journal->fd >= 0)
		close(journal->fd);
	free(journal->path);
	free(journal->temporary);
	free(journal);
	*out = NULL;
}

/* Opens what is written to. STATUS_NOTHING: the file exists, and must not. */
static enum status open_new(struct journal **out, const char *path, char *temporary, struct error *error)
{
	struct journal *journal = mem_alloc(1, sizeof *journal);
	journal->path = mem_strdup(path);
	journal->temporary = temporary;
	const char *file = temporary ? temporary : path;
	journal->fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND | (temporary ? O_TRUNC : O_EXCL), 0666);
	if (journal->fd < 0) {
		enum status status = errno == EEXIST ? STATUS_NOTHING : STATUS_INVALID;
		error_set(error, status, "cannot create the session '%s': %s", path, strerror(errno));
		journal_free(&journal);
		return status;
	}
	*out = journal;
	return STATUS_OK;
}

enum status journal_create(struct journal **out, const char *path, bool replace, struct error *error)
{
	*out = NULL;
	char *temporary = NULL;
	if (replace && file_exists(path))
		temporary = mem_printf("%s.tmp-%ld", path, (long)getpid());
	enum status status = open_new(out, path, temporary, error);
	return status == STATUS_NOTHING ? STATUS_INVALID : status;
}

/* The first of STEM.jsonl, STEM-2.jsonl and so on that is not there yet. */
static enum status create_numbered(struct journal **out, const char *stem, int stem_length, const char *ending,
				   struct error *error)
{
	enum status status = STATUS_NOTHING;
	for (int n = 1; status == STATUS_NOTHING && n <= 1000; n++) {
		char number[16] = "";
		if (n > 1)
			snprintf(number, sizeof number, "-%d", n);
		char *path = mem_printf("%.*s%s%s", stem_length, stem, number, ending);
		status = open_new(out, path, NULL, error);
		free(path);
	}
	return status == STATUS_NOTHING ? STATUS_INVALID : status;
}

enum status journal_create_beside(struct journal **out, const char *path, struct error *error)
{
	const char *base = path_base(path), *dot = strrchr(base, '.');
	*out = NULL;
	int stem = (int)(dot && dot > base ? dot - path : (ptrdiff_t)strlen(path));
	return create_numbered(out, path, stem, path + stem, error);
}

/* Letters, digits, '.', '_' and '-' of the tag. */
static char *safe_tag(const char *tag)
{
	enum { MOST = 60 };
	struct strbuf b = {0};
	for (; *tag && b.length < MOST; tag++) {
		bool plain = (*tag >= 'a' && *tag <= 'z') || (*tag >= 'A' && *tag <= 'Z') ||
			     (*tag >= '0' && *tag <= '9') || *tag == '.' || *tag == '_';
		if (plain)
			strbuf_add_char(&b, *tag);
		else if (b.length > 0 && b.data[b.length - 1] != '-')
			strbuf_add_char(&b, '-');
	}
	return strbuf_take(&b);
}

enum status journal_create_default(struct journal **out, const char *tag, struct error *error)
{
	*out = NULL;
	char *folder;
	enum status status = journal_folder(&folder, error);
	if (status)
		return status;
	status = file_make_folder(folder, error);
	char date[32] = "";
	time_t now = time(NULL);
	struct tm local;
	if (localtime_r(&now, &local))
		strftime(date, sizeof date, "%Y%m%d-%H%M%S", &local);
	char *safe = safe_tag(tag);
	char *stem = mem_printf("%s/%s-%s", folder, date, safe);
	if (status == STATUS_OK)
		status = create_numbered(out, stem, (int)strlen(stem), ".jsonl", error);
	free(stem);
	free(safe);
	free(folder);
	return status;
}

enum status journal_append(struct journal **out, const char *path, struct error *error)
{
	*out = NULL;
	struct journal *journal = mem_alloc(1, sizeof *journal);
	journal->path = mem_strdup(path);
	journal->fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NONBLOCK);
	struct stat info;
	char last = '\n';
	enum status status = STATUS_OK;
	if (journal->fd < 0 || fstat(journal->fd, &info) != 0)
		status = error_set(error, STATUS_INVALID, "cannot add to the session '%s': %s", path, strerror(errno));
	else if (!S_ISREG(info.st_mode))
		status = error_set(error, STATUS_INVALID, "cannot add to the session '%s': it is not a regular file",
				   path);
	else if (info.st_size > 0 && (pread(journal->fd, &last, 1, info.st_size - 1) != 1 || last != '\n'))
		status =
			error_set(error, STATUS_INVALID, "cannot add to the session '%s': it ends within a line", path);
	if (status) {
		journal_free(&journal);
		return status;
	}
	journal->good = info.st_size;
	*out = journal;
	return STATUS_OK;
}

/* The folder that a path lies in, "." if it names none; a new string. */
static char *folder_of(const char *path)
{
	size_t n = (size_t)(path_base(path) - path);
	return n == 0 ? mem_strdup(".") : mem_strndup(path, n);
}

static bool starts_like_journal(const char *path)
{
	static const char start[] = "{\"event\":\"session\"";
	char found[sizeof start] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat info;
	bool good = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
	ssize_t n = good ? read(fd, found, sizeof start - 1) : -1;
	if (fd >= 0)
		close(fd);
	return n == 0 || (n == (ssize_t)sizeof start - 1 && memcmp(found, start, sizeof start - 1) == 0);
}

enum status journal_check(const char *path, struct error *error)
{
	char *folder;
	enum status status = STATUS_OK;
	if (path) {
		folder = folder_of(path);
	} else {
		status = journal_folder(&folder, error);
		if (status == STATUS_OK)
			status = file_make_folder(folder, error);
	}
	if (status == STATUS_OK && access(folder, W_OK | X_OK) != 0)
		status = error_set(error, STATUS_INVALID, "a session cannot be written to the folder '%s': %s", folder,
				   strerror(errno));
	if (status == STATUS_OK && path && file_exists(path) && !starts_like_journal(path))
		status = error_set(error, STATUS_INVALID,
				   "'%s' exists and is no session, so it is not replaced; give another --out", path);
	free(folder);
	return status;
}

static enum status fail(struct journal *journal, const char *doing, struct error *error)
{
	journal->status =
		error_set(&journal->error, STATUS_FAILED, "cannot %s the session '%s': %s; its earlier lines are kept",
			  doing, journal->path, strerror(errno));
	/* Half a line must not stay in front of what may be added later. */
	(void)!ftruncate(journal->fd, journal->good);
	if (error)
		*error = journal->error;
	return journal->status;
}

static enum status earlier_failure(const struct journal *journal, struct error *error)
{
	if (journal->status && error)
		*error = journal->error;
	return journal->status;
}

enum status journal_event(struct journal *journal, cJSON *event, struct error *error)
{
	enum status status = earlier_failure(journal, error);
	char *text = status ? NULL : cJSON_PrintUnformatted(event);
	cJSON_Delete(event);
	if (status)
		return status;
	if (!text)
		fatal("out of memory for an event of the journal");
	struct strbuf line = {0};
	strbuf_add_string(&line, text);
	strbuf_add_char(&line, '\n');
	cJSON_free(text);
	size_t done = 0;
	while (done < line.length) {
		ssize_t n = write(journal->fd, line.data + done, line.length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			status = fail(journal, "write", error);
			break;
		}
		done += (size_t)n;
	}
	if (status == STATUS_OK)
		journal->good += (off_t)line.length;
	strbuf_done(&line);
	return status;
}

enum status journal_checkpoint(struct journal *journal, struct error *error)
{
	enum status status = earlier_failure(journal, error);
	/* What has no disk behind it (a pipe, some network folders) says EINVAL. */
	if (status == STATUS_OK && fsync(journal->fd) != 0 && errno != EINVAL)
		status = fail(journal, "write", error);
	return status;
}

enum status journal_close(struct journal **out, struct error *error)
{
	struct journal *journal = *out;
	if (!journal)
		return STATUS_OK;
	enum status status = journal_checkpoint(journal, error);
	if (status == STATUS_OK && journal->temporary && rename(journal->temporary, journal->path) != 0)
		status = fail(journal, "replace", error);
	if (status && journal->temporary)
		unlink(journal->temporary);
	journal_free(out);
	return status;
}

void journal_abandon(struct journal **out)
{
	if (!*out)
		return;
	if ((*out)->temporary)
		unlink((*out)->temporary);
	journal_free(out);
}

const char *journal_path(const struct journal *journal)
{
	return journal->path;
}

char *journal_array_path(const char *path, const char *kind)
{
	static const char ending[] = ".jsonl";
	size_t n = strlen(path), e = sizeof ending - 1;
	if (strlen(path_base(path)) > e && strcmp(path + n - e, ending) == 0)
		n -= e;
	return mem_printf("%.*s.%s.npy", (int)n, path, kind);
}

void journal_number_text(char text[32], double value)
{
	static const int digits[] = {9, 15, 17};
	for (size_t i = 0; i < ARRAY_LEN(digits); i++) {
		snprintf(text, 32, "%.*g", digits[i], value);
		if (strtod(text, NULL) == value)
			break;
	}
	/* Some locales write a comma. */
	char *comma = strchr(text, ',');
	if (comma)
		*comma = '.';
}

void journal_add_number(cJSON *object, const char *name, double value)
{
	if (!isfinite(value)) {
		cJSON_AddNullToObject(object, name);
		return;
	}
	char text[32];
	journal_number_text(text, value);
	cJSON_AddRawToObject(object, name, text);
}

void journal_add_string(cJSON *object, const char *name, const char *value)
{
	if (!value)
		return;
	size_t n = strlen(value);
	if (utf8_valid(value, n)) {
		cJSON_AddStringToObject(object, name, value);
		return;
	}
	char *shown = mem_alloc(n + 1, 1);
	text_printable(shown, n + 1, value, n);
	cJSON_AddStringToObject(object, name, shown);
	free(shown);
}
