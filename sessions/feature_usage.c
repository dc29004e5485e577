#include "sessions/feature_usage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/encode.h"
#include "sessions/hooked_sae.h"
#include "sessions/journal.h"
#include "sessions/record_files.h"
#include "sessions/scene.h"

/* Activations on the host at a time. */
enum { CHUNK_BYTES = 64 << 20 };

static const char magic[8] = "rbusage1";

/* The file: this, then on_tokens, on_prompts, examples as they are in memory. A cache of
 * this machine's, so in its own byte order. */
struct file_head {
	char magic[8];
	char key[64];
	uint64_t features, tokens;
	uint32_t prompts, done, skipped, examples;
};

/* ---- the key ---- */

static void add_files(struct strbuf *b, const char *what, const struct record_files *files)
{
	for (int i = 0; i < files->count; i++)
		strbuf_printf(b, "%s %s %s\n", what, files->items[i].name, files->items[i].sha256);
}

static enum status make_key(char key[65], const struct session *session, int site, const struct prompt_set *set,
			    bool no_bos, struct error *error)
{
	const struct site *s = &session->sites[site];
	struct record_files model = {0}, sae = {0};
	struct strbuf b = {0};
	enum status status = record_files_of_model(&model, session->model.folder, error);
	if (status == STATUS_OK)
		status = record_files_of_sae(&sae, s->spec.path, error);
	if (status == STATUS_OK) {
		strbuf_printf(&b, "point %d bos %d\n", s->point, !no_bos);
		add_files(&b, "model", &model);
		add_files(&b, "sae", &sae);
		for (int i = 0; i < set->count; i++) {
			const struct prompt *p = &set->items[i];
			strbuf_printf(&b, "prompt %zu %d\n", strlen(p->text), p->chat);
			strbuf_add_string(&b, p->text);
		}
		bytes_sha256(key, b.data, b.length);
	}
	strbuf_done(&b);
	record_files_done(&model);
	record_files_done(&sae);
	return status;
}

/* ---- the file ---- */

/* NULL: there is no folder for it. */
static char *file_path(const struct feature_usage *usage)
{
	char *cache = user_folder("XDG_CACHE_HOME", ".cache");
	char *path = cache ? mem_printf("%s/features/%s", cache, usage->key) : NULL;
	free(cache);
	return path;
}

static size_t file_size(const struct feature_usage *usage)
{
	size_t F = (size_t)usage->features;
	return sizeof(struct file_head) + 2 * F * sizeof(uint32_t) + F * USAGE_EXAMPLES * sizeof(struct usage_example);
}

static void allocate(struct feature_usage *usage)
{
	size_t F = (size_t)usage->features;
	usage->on_tokens = mem_alloc(F, sizeof *usage->on_tokens);
	usage->on_prompts = mem_alloc(F, sizeof *usage->on_prompts);
	usage->examples = mem_alloc(F * USAGE_EXAMPLES, sizeof *usage->examples);
}

static void release(struct feature_usage *usage)
{
	free(usage->on_tokens);
	free(usage->on_prompts);
	free(usage->examples);
	usage->on_tokens = usage->on_prompts = NULL;
	usage->examples = NULL;
}

/* Numbers that can be what was counted: the file may be damaged. */
static bool plausible(const struct feature_usage *usage)
{
	for (int64_t f = 0; f < usage->features; f++) {
		if ((int64_t)usage->on_tokens[f] > usage->tokens || (int64_t)usage->on_prompts[f] > usage->done)
			return false;
		const struct usage_example *e = usage->examples + f * USAGE_EXAMPLES;
		for (int i = 0; i < USAGE_EXAMPLES; i++)
			if (!isfinite(e[i].activation) || (int64_t)e[i].prompt >= usage->done + (usage->done == 0))
				return false;
	}
	return true;
}

static bool load(struct feature_usage *usage)
{
	char *path = file_path(usage), *bytes = NULL;
	size_t size, F = (size_t)usage->features, expected = file_size(usage);
	struct file_head head;
	bool good = path && file_exists(path) && file_read(&bytes, &size, path, expected, NULL) == STATUS_OK &&
		    size == expected;
	if (good) {
		memcpy(&head, bytes, sizeof head);
		good = memcmp(head.magic, magic, sizeof magic) == 0 && memcmp(head.key, usage->key, 64) == 0 &&
		       head.features == F && head.examples == USAGE_EXAMPLES &&
		       head.prompts == (uint32_t)usage->prompts && head.done <= head.prompts &&
		       head.skipped <= head.done && head.tokens <= INT64_MAX;
	}
	if (good) {
		const char *at = bytes + sizeof head;
		memcpy(usage->on_tokens, at, F * sizeof *usage->on_tokens);
		at += F * sizeof *usage->on_tokens;
		memcpy(usage->on_prompts, at, F * sizeof *usage->on_prompts);
		at += F * sizeof *usage->on_prompts;
		memcpy(usage->examples, at, F * USAGE_EXAMPLES * sizeof *usage->examples);
		usage->done = usage->saved = (int)head.done;
		usage->skipped = (int)head.skipped;
		usage->tokens = (int64_t)head.tokens;
		good = plausible(usage);
	}
	free(bytes);
	free(path);
	return good;
}

void feature_usage_save(struct feature_usage *usage)
{
	char *path = file_path(usage);
	if (!path || usage->saved == usage->done) {
		free(path);
		return;
	}
	struct strbuf b = {0};
	size_t F = (size_t)usage->features;
	struct file_head head = {
		.features = F,
		.tokens = (uint64_t)usage->tokens,
		.prompts = (uint32_t)usage->prompts,
		.done = (uint32_t)usage->done,
		.skipped = (uint32_t)usage->skipped,
		.examples = USAGE_EXAMPLES,
	};
	memcpy(head.magic, magic, sizeof magic);
	memcpy(head.key, usage->key, sizeof head.key);
	strbuf_add(&b, &head, sizeof head);
	strbuf_add(&b, usage->on_tokens, F * sizeof *usage->on_tokens);
	strbuf_add(&b, usage->on_prompts, F * sizeof *usage->on_prompts);
	strbuf_add(&b, usage->examples, F * USAGE_EXAMPLES * sizeof *usage->examples);
	char *folder = mem_strndup(path, (size_t)(path_base(path) - path));
	if (file_make_folder(folder, NULL) == STATUS_OK && file_write(path, b.data, b.length, NULL) == STATUS_OK)
		usage->saved = usage->done;
	free(folder);
	strbuf_done(&b);
	free(path);
}

/* ---- counting ---- */

enum status feature_usage_open(struct feature_usage **out, const struct session *session, int site,
			       const struct prompt_set *set, bool no_bos, struct error *error)
{
	struct feature_usage *usage = mem_alloc(1, sizeof *usage);
	*out = NULL;
	usage->site = site;
	usage->features = session->sites[site].sae.features;
	usage->prompts = set->count;
	enum status status = make_key(usage->key, session, site, set, no_bos, error);
	if (status) {
		free(usage);
		return status;
	}
	allocate(usage);
	if (!load(usage)) {
		release(usage);
		allocate(usage);
		usage->done = usage->skipped = usage->saved = 0;
		usage->tokens = 0;
	}
	*out = usage;
	return STATUS_OK;
}

void feature_usage_destroy(struct feature_usage **out)
{
	if (!*out)
		return;
	release(*out);
	free(*out);
	*out = NULL;
}

bool feature_usage_complete(const struct feature_usage *usage)
{
	return usage->done >= usage->prompts;
}

/* Among the largest, the earlier prompt first of equals. */
static void add_example(struct usage_example *best, struct usage_example example)
{
	int at = USAGE_EXAMPLES;
	while (at > 0 && fabsf(example.activation) > fabsf(best[at - 1].activation))
		at--;
	if (at == USAGE_EXAMPLES)
		return;
	memmove(best + at + 1, best + at, (size_t)(USAGE_EXAMPLES - 1 - at) * sizeof *best);
	best[at] = example;
}

/* Adds rows z [n, F] at positions from `first` on to the counts, and to the prompt's best. */
static void count_rows(struct feature_usage *usage, struct usage_example *best, const float *z, int64_t first,
		       int64_t n)
{
	int64_t F = usage->features;
	for (int64_t row = 0; row < n; row++)
		for (int64_t f = 0; f < F; f++) {
			float a = z[row * F + f];
			if (a == 0)
				continue;
			usage->on_tokens[f]++;
			if (fabsf(a) > fabsf(best[f].activation))
				best[f] = (struct usage_example){(uint32_t)usage->done, (uint32_t)(first + row), a};
		}
}

/* The counts change only when the whole prompt has been encoded: a failure leaves them. */
static enum status count_scene(struct feature_usage *usage, const struct scene *scene, struct error *error)
{
	const struct sae *sae;
	enum status status = session_sae(&sae, scene->session, usage->site, error);
	if (status)
		return status;
	int64_t F = usage->features, first = scene->prompt > 1 ? 1 : 0;
	int64_t step = CHUNK_BYTES / (F * (int64_t)sizeof(float));
	step = step < 1 ? 1 : step > scene->prompt ? scene->prompt : step;
	float *z = mem_alloc((size_t)(step * F), sizeof *z);
	struct usage_example *best = mem_alloc((size_t)F, sizeof *best);
	uint32_t *before = mem_copy(usage->on_tokens, (size_t)F * sizeof *before);
	for (int64_t at = first; at < scene->prompt && status == STATUS_OK; at += step) {
		int64_t n = scene->prompt - at < step ? scene->prompt - at : step;
		status = session_check_cancel(scene->session, error);
		if (status == STATUS_OK)
			status = encode_rows(sae, scene->sites[usage->site].h + at * sae->d, n, z, NULL, error);
		if (status == STATUS_OK)
			count_rows(usage, best, z, at, n);
	}
	for (int64_t f = 0; f < F && status == STATUS_OK; f++) {
		usage->on_prompts[f] += best[f].activation != 0;
		add_example(usage->examples + f * USAGE_EXAMPLES, best[f]);
	}
	if (status == STATUS_OK)
		usage->tokens += scene->prompt - first;
	else
		memcpy(usage->on_tokens, before, (size_t)F * sizeof *before);
	free(before);
	free(best);
	free(z);
	return status;
}

enum status feature_usage_next(struct feature_usage *usage, struct session *session, const struct prompt_set *set,
			       bool no_bos, struct error *error)
{
	if (feature_usage_complete(usage))
		return STATUS_OK;
	const struct prompt *p = &set->items[usage->done];
	struct kept_input kept;
	struct scene scene = {0};
	session_keep_input(session, &kept);
	/* One that can't be read at all, or is longer than the context, is no reason to stop. */
	bool readable = session_set_text(session, p->text, strlen(p->text), p->chat, no_bos, false, NULL) == STATUS_OK;
	enum status status = STATUS_OK;
	if (readable) {
		status = scene_run(&scene, session, false, error);
		if (status == STATUS_OK)
			status = count_scene(usage, &scene, error);
		scene_done(&scene);
	}
	session_restore_input(session, &kept);
	if (status == STATUS_OK) {
		usage->done++;
		usage->skipped += !readable;
	}
	return status;
}

/* ---- contexts ---- */

/* Text of tokens [first, end); what is too long loses its start. */
static void show(char *out, size_t size, const struct session *session, int64_t first, int64_t end)
{
	struct strbuf raw = {0};
	int64_t T = (int64_t)session->prompt.count;
	for (int64_t i = first < 0 ? 0 : first; i < end && i < T; i++)
		if (!tokenizer_is_special(session->model.tokenizer, session->prompt.ids[i]))
			tokenizer_token_bytes(session->model.tokenizer, session->prompt.ids[i], &raw);
	size_t from = raw.length >= size ? raw.length - size + 1 : 0;
	while (from > 0 && from < raw.length && ((unsigned char)raw.data[from] & 0xC0) == 0x80)
		from++;
	text_printable(out, size, raw.data ? raw.data + from : "", raw.length - from);
	strbuf_done(&raw);
}

enum status feature_usage_context(struct usage_context *out, struct session *session, const struct prompt *prompt,
				  uint32_t position, bool no_bos, struct error *error)
{
	enum { BEFORE = 14, AFTER = 6 };
	struct kept_input kept;
	*out = (struct usage_context){0};
	session_keep_input(session, &kept);
	enum status status =
		session_set_text(session, prompt->text, strlen(prompt->text), prompt->chat, no_bos, false, error);
	int64_t at = position, T = status == STATUS_OK ? (int64_t)session->prompt.count : 0;
	if (at < T) {
		show(out->before, sizeof out->before, session, at - BEFORE, at);
		show(out->after, sizeof out->after, session, at + 1, at + 1 + AFTER);
		struct strbuf piece = {0};
		tokenizer_token_bytes(session->model.tokenizer, session->prompt.ids[at], &piece);
		text_printable(out->token, sizeof out->token, piece.data ? piece.data : "", piece.length);
		strbuf_done(&piece);
	}
	session_restore_input(session, &kept);
	return status;
}
