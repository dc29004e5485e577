#include "sessions/labels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "compute/base/json.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"

enum { MAX_BYTES = 1 << 30 };

struct label {
	uint32_t feature;
	uint32_t order; /* as in the file: qsort is not stable */
	char *text;
};

struct labels {
	struct label *items; /* sorted by feature, then order */
	size_t count, capacity;
};

/* gzread passes plain files through. */
static enum status read_all(struct strbuf *text, const char *path, struct error *error)
{
	gzFile file = gzopen(path, "rb");
	if (!file)
		return error_set(error, STATUS_INVALID, "cannot open the labels '%s'", path);
	char block[65536];
	int n;
	enum status status = STATUS_OK;
	while (status == STATUS_OK && (n = gzread(file, block, sizeof block)) > 0) {
		if (text->length + (size_t)n > MAX_BYTES)
			status = error_set(error, STATUS_INVALID, "the labels '%s' are over 1 GiB unpacked", path);
		else
			strbuf_add(text, block, (size_t)n);
	}
	if (status == STATUS_OK && (n < 0 || !gzeof(file)))
		status = error_set(error, STATUS_INVALID, "the labels '%s' are damaged: %s", path, gzerror(file, &n));
	gzclose(file);
	return status;
}

static enum status add_row(struct labels *labels, const cJSON *row, const char *what, struct error *error)
{
	const cJSON *index = json_member(row, "index"), *description = json_member(row, "description");
	int64_t feature = -1;
	if (cJSON_IsString(index)) {
		if (!text_int(index->valuestring, &feature))
			feature = -1;
	} else if (cJSON_IsNumber(index) && index->valuedouble >= 0 && index->valuedouble <= UINT32_MAX) {
		feature = (int64_t)index->valuedouble;
	}
	if (feature < 0 || feature > UINT32_MAX)
		return error_set(error, STATUS_INVALID, "%s has no \"index\" that is a feature's number", what);
	/* Features without an explanation are exported with null. */
	if (!cJSON_IsString(description) || description->valuestring[0] == '\0')
		return STATUS_OK;
	size_t n = strlen(description->valuestring);
	char *text = mem_alloc(n + 1, 1);
	text_printable(text, n + 1, description->valuestring, n);
	mem_reserve((void **)&labels->items, &labels->capacity, labels->count + 1, sizeof *labels->items);
	labels->items[labels->count] = (struct label){(uint32_t)feature, (uint32_t)labels->count, text};
	labels->count++;
	return STATUS_OK;
}

static enum status add_lines(struct labels *labels, const struct strbuf *text, const char *path, struct error *error)
{
	enum status status = STATUS_OK;
	size_t line = 0;
	for (size_t at = 0; at < text->length && status == STATUS_OK;) {
		const char *end = memchr(text->data + at, '\n', text->length - at);
		size_t n = end ? (size_t)(end - text->data) - at : text->length - at;
		char what[512];
		snprintf(what, sizeof what, "'%s', line %zu", path, ++line);
		if (strspn(text->data + at, " \t\r") < n) {
			cJSON *row;
			status = json_parse(&row, text->data + at, n, what, error);
			if (status == STATUS_OK)
				status = add_row(labels, row, what, error);
			cJSON_Delete(row);
		}
		at += n + 1;
	}
	return status;
}

static enum status add_array(struct labels *labels, const struct strbuf *text, const char *path, struct error *error)
{
	char what[512];
	snprintf(what, sizeof what, "'%s'", path);
	cJSON *json;
	enum status status = json_parse(&json, text->data, text->length, what, error);
	if (status)
		return status;
	for (const cJSON *row = json->child; row && status == STATUS_OK; row = row->next)
		status = add_row(labels, row, what, error);
	cJSON_Delete(json);
	return status;
}

static int compare(const void *a, const void *b)
{
	const struct label *x = a, *y = b;
	if (x->feature != y->feature)
		return x->feature < y->feature ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

enum status labels_load(struct labels **out, const char *path, struct error *error)
{
	*out = NULL;
	struct strbuf text = {0};
	struct labels *labels = mem_alloc(1, sizeof *labels);
	enum status status = read_all(&text, path, error);
	if (status == STATUS_OK && text.length > 0) {
		size_t at = strspn(text.data, " \t\r\n");
		status = text.data[at] == '[' ? add_array(labels, &text, path, error)
					      : add_lines(labels, &text, path, error);
	}
	strbuf_done(&text);
	if (status) {
		labels_destroy(&labels);
		return status;
	}
	if (labels->count > 0)
		qsort(labels->items, labels->count, sizeof *labels->items, compare);
	*out = labels;
	return STATUS_OK;
}

void labels_destroy(struct labels **out)
{
	struct labels *labels = *out;
	if (!labels)
		return;
	for (size_t i = 0; i < labels->count; i++)
		free(labels->items[i].text);
	free(labels->items);
	free(labels);
	*out = NULL;
}

/* Index of the first label of a feature or of the next one. */
static size_t lower_bound(const struct labels *labels, uint32_t feature)
{
	size_t low = 0, high = labels->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (labels->items[middle].feature < feature)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int labels_count(const struct labels *labels, uint32_t feature)
{
	int n = 0;
	if (labels)
		for (size_t i = lower_bound(labels, feature); i < labels->count && labels->items[i].feature == feature;
		     i++)
			n++;
	return n;
}

const char *labels_get_nth(const struct labels *labels, uint32_t feature, int n)
{
	if (n < 0 || n >= labels_count(labels, feature))
		return "";
	return labels->items[lower_bound(labels, feature) + (size_t)n].text;
}

const char *labels_get(const struct labels *labels, uint32_t feature)
{
	return labels_get_nth(labels, feature, 0);
}
