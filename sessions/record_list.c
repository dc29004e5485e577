/* The sessions of a folder. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/journal.h"
#include "sessions/record.h"

static int is_session_name(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);
	return entry->d_name[0] != '.' && n > 6 && strcmp(entry->d_name + n - 6, ".jsonl") == 0;
}

/* Newest first; of one second, by name. */
static int compare_entries(const void *a, const void *b)
{
	const struct record_entry *x = a, *y = b;
	int order = strcmp(y->good ? y->record.created : "", x->good ? x->record.created : "");
	return order ? order : strcmp(y->path, x->path);
}

static void add_entry(struct record_list *list, char *path)
{
	list->items = mem_resize(list->items, (size_t)list->count + 1, sizeof *list->items);
	struct record_entry *entry = &list->items[list->count++];
	*entry = (struct record_entry){.path = path};
	entry->good = record_load(&entry->record, path, &entry->error) == STATUS_OK;
}

enum status record_list_load(struct record_list *list, const char *path, struct error *error)
{
	*list = (struct record_list){0};
	if (!file_is_folder(path)) {
		add_entry(list, mem_strdup(path));
		if (list->items[0].good)
			return STATUS_OK;
		if (error)
			*error = list->items[0].error;
		record_list_done(list);
		return STATUS_INVALID;
	}
	struct dirent **names = NULL;
	int n = scandir(path, &names, is_session_name, alphasort);
	if (n < 0)
		return error_set(error, STATUS_INVALID, "cannot read the folder '%s': %s", path, strerror(errno));
	for (int i = 0; i < n; i++) {
		add_entry(list, path_join(path, names[i]->d_name));
		free(names[i]);
	}
	free(names);
	if (n > 0)
		qsort(list->items, (size_t)list->count, sizeof *list->items, compare_entries);
	return STATUS_OK;
}

char *record_find(const char *argument)
{
	char *folder, *path = NULL;
	if (!file_exists(argument) && !strchr(argument, '/') && journal_folder(&folder, NULL) == STATUS_OK) {
		path = path_join(folder, argument);
		if (!file_exists(path)) {
			free(path);
			path = mem_printf("%s/%s.jsonl", folder, argument);
		}
		free(folder);
		if (!file_exists(path)) {
			free(path);
			path = NULL;
		}
	}
	return path ? path : mem_strdup(argument);
}

void record_list_done(struct record_list *list)
{
	for (int i = 0; i < list->count; i++) {
		free(list->items[i].path);
		record_done(&list->items[i].record);
	}
	free(list->items);
	*list = (struct record_list){0};
}
