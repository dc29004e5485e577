#include "models/pretokenize.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

const char pretokenize_gpt2_pattern[] =
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char pretokenize_llama3_pattern[] =
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
	"|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char pretokenize_qwen_pattern[] =
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
	"|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

enum step_kind {
	STEP_SPLIT,
	STEP_PREFIX_SPACE, /* ByteLevel's add_prefix_space */
	STEP_BYTES,	   /* ByteLevel's alphabet */
	STEP_METASPACE,	   /* spaces replaced and one put in front, not the cutting */
};

enum split_behaviour {
	SPLIT_REMOVED,
	SPLIT_ISOLATED,
	SPLIT_MERGED_WITH_PREVIOUS,
	SPLIT_MERGED_WITH_NEXT,
	SPLIT_CONTIGUOUS
};
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct pretokenizer_step {
	enum step_kind kind;
	struct text_pattern pattern;
	enum split_behaviour behaviour;
	bool invert;
	enum prepend_scheme prepend;
	struct strbuf replacement;
};

uint32_t byte_level_character(unsigned char byte)
{
	if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174)
		return byte;
	if (byte <= 32)
		return 256u + byte;
	return byte == 173 ? 256 + 67 : 256u + 33 + (byte - 127u); /* 127 to 160, then 173 */
}

int byte_level_byte(uint32_t code)
{
	if ((code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255))
		return (int)code;
	if (code < 256 || code > 256 + 67)
		return -1;
	uint32_t index = code - 256;
	return index <= 32 ? (int)index : index == 67 ? 173 : (int)(index - 33 + 127);
}

void byte_level_encode(const char *s, size_t n, struct strbuf *out)
{
	for (size_t i = 0; i < n; i++) {
		char bytes[4];
		size_t length = utf8_encode(bytes, byte_level_character((unsigned char)s[i]));
		strbuf_add(out, bytes, length);
	}
}

void byte_level_decode(const char *s, size_t n, struct strbuf *out)
{
	size_t before = out->length;
	uint32_t code;
	for (size_t i = 0, step; i < n; i += step) {
		step = utf8_decode(s + i, n - i, &code);
		int byte = step ? byte_level_byte(code) : -1;
		if (byte < 0) {
			out->length = before;
			strbuf_add(out, s, n);
			return;
		}
		strbuf_add_char(out, (char)byte);
	}
}

void word_list_add(struct word_list *list, size_t at, size_t length, bool at_start)
{
	if (length == 0)
		return;
	mem_reserve((void **)&list->words, &list->capacity, list->count + 1, sizeof *list->words);
	list->words[list->count++] = (struct word){at, length, at_start};
}

void word_list_clear(struct word_list *list)
{
	strbuf_clear(&list->text);
	list->count = 0;
}

void word_list_done(struct word_list *list)
{
	strbuf_done(&list->text);
	free(list->words);
	*list = (struct word_list){0};
}

static struct pretokenizer_step *add_step(struct pretokenizer *pretokenizer, enum step_kind kind)
{
	mem_reserve((void **)&pretokenizer->steps, &pretokenizer->capacity, pretokenizer->count + 1,
		    sizeof *pretokenizer->steps);
	struct pretokenizer_step *step = &pretokenizer->steps[pretokenizer->count++];
	*step = (struct pretokenizer_step){.kind = kind, .behaviour = SPLIT_ISOLATED};
	return step;
}

enum status pretokenizer_add_byte_level(struct pretokenizer *pretokenizer, const char *pattern, bool add_prefix_space,
					struct error *error)
{
	if (add_prefix_space)
		add_step(pretokenizer, STEP_PREFIX_SPACE);
	if (pattern) {
		struct pretokenizer_step *step = add_step(pretokenizer, STEP_SPLIT);
		enum status status =
			regex_compile(&step->pattern.regex, pattern, strlen(pattern), "byte-level words", error);
		if (status)
			return status;
	}
	add_step(pretokenizer, STEP_BYTES);
	return STATUS_OK;
}

static enum status load_byte_level(struct pretokenizer *pretokenizer, const cJSON *component,
				   struct json_source *source, struct error *error)
{
	bool add_prefix_space = true, use_regex = true;
	enum status status = json_get_bool(component, "add_prefix_space", &add_prefix_space, source->what, error);
	if (!status)
		status = json_get_bool(component, "use_regex", &use_regex, source->what, error);
	if (status)
		return status;
	return pretokenizer_add_byte_level(pretokenizer, use_regex ? pretokenize_gpt2_pattern : NULL, add_prefix_space,
					   error);
}

static enum status load_split(struct pretokenizer *pretokenizer, const cJSON *component, struct json_source *source,
			      struct error *error)
{
	static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
					    "Contiguous"};
	struct pretokenizer_step *step = add_step(pretokenizer, STEP_SPLIT);
	const char *behaviour = "";
	enum status status = text_pattern_load(&step->pattern, component, source, "the pre-tokenizer Split", error);
	if (!status)
		status = json_get_string(component, "behavior", &behaviour, source->what, error);
	if (!status)
		status = json_get_bool(component, "invert", &step->invert, source->what, error);
	if (status)
		return status;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(behaviour, names[i]) == 0) {
			step->behaviour = (enum split_behaviour)i;
			return STATUS_OK;
		}
	}
	return error_set(error, STATUS_INVALID, "%s: the pre-tokenizer Split has the unknown behavior \"%.60s\"",
			 source->what, behaviour);
}

static enum status load_digits(struct pretokenizer *pretokenizer, const cJSON *component, struct json_source *source,
			       struct error *error)
{
	bool individual = false;
	struct pretokenizer_step *step = add_step(pretokenizer, STEP_SPLIT);
	enum status status = regex_compile(&step->pattern.regex, "\\p{N}", 5, source->what, error);
	if (!status)
		status = json_get_bool(component, "individual_digits", &individual, source->what, error);
	step->behaviour = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
	return status;
}

static enum status load_metaspace(struct pretokenizer *pretokenizer, const cJSON *component, struct json_source *source,
				  struct error *error)
{
	struct pretokenizer_step *step = add_step(pretokenizer, STEP_METASPACE);
	const char *replacement = "\xE2\x96\x81", *scheme = NULL;
	bool add_prefix_space = true, split = true;
	enum status status = json_get_string(component, "replacement", &replacement, source->what, error);
	if (!status)
		status = json_get_string(component, "prepend_scheme", &scheme, source->what, error);
	if (!status)
		status = json_get_bool(component, "add_prefix_space", &add_prefix_space, source->what, error);
	if (!status)
		status = json_get_bool(component, "split", &split, source->what, error);
	if (status)
		return status;
	uint32_t code;
	size_t n = strlen(replacement);
	if (n == 0 || utf8_decode(replacement, n, &code) != n)
		return error_set(error, STATUS_INVALID, "%s: Metaspace's \"replacement\" is not one character",
				 source->what);
	strbuf_add(&step->replacement, replacement, n);
	if (!scheme)
		step->prepend = add_prefix_space ? PREPEND_ALWAYS : PREPEND_NEVER;
	else if (strcmp(scheme, "always") == 0)
		step->prepend = add_prefix_space ? PREPEND_ALWAYS : PREPEND_NEVER;
	else if (strcmp(scheme, "first") == 0)
		step->prepend = PREPEND_FIRST;
	else if (strcmp(scheme, "never") == 0)
		step->prepend = PREPEND_NEVER;
	else
		return error_set(error, STATUS_INVALID, "%s: Metaspace has the unknown prepend_scheme \"%.60s\"",
				 source->what, scheme);
	if (split) {
		struct pretokenizer_step *cut = add_step(pretokenizer, STEP_SPLIT);
		cut->behaviour = SPLIT_MERGED_WITH_NEXT;
		strbuf_add(&cut->pattern.literal, replacement, n);
	}
	return STATUS_OK;
}

static enum status load_sequence(struct pretokenizer *pretokenizer, const cJSON *component, struct json_source *source,
				 struct error *error)
{
	const cJSON *list = json_member(component, "pretokenizers");
	if (!cJSON_IsArray(list))
		return error_set(error, STATUS_INVALID, "%s: the pre-tokenizer Sequence has no array \"pretokenizers\"",
				 source->what);
	enum status status = STATUS_OK;
	for (const cJSON *item = list->child; item && !status; item = item->next)
		status = pretokenizer_load(pretokenizer, item, source, error);
	return status;
}

enum status pretokenizer_load(struct pretokenizer *pretokenizer, const cJSON *component, struct json_source *source,
			      struct error *error)
{
	if (!component || cJSON_IsNull(component))
		return STATUS_OK;
	const char *type = json_type(component);
	if (strcmp(type, "ByteLevel") == 0)
		return load_byte_level(pretokenizer, component, source, error);
	if (strcmp(type, "Split") == 0)
		return load_split(pretokenizer, component, source, error);
	if (strcmp(type, "Metaspace") == 0)
		return load_metaspace(pretokenizer, component, source, error);
	if (strcmp(type, "Digits") == 0)
		return load_digits(pretokenizer, component, source, error);
	if (strcmp(type, "Sequence") == 0)
		return load_sequence(pretokenizer, component, source, error);
	return error_set(error, STATUS_INVALID, "%s: the pre-tokenizer \"%.60s\" is not implemented", source->what,
			 type);
}

void pretokenizer_done(struct pretokenizer *pretokenizer)
{
	for (size_t i = 0; i < pretokenizer->count; i++) {
		text_pattern_done(&pretokenizer->steps[i].pattern);
		strbuf_done(&pretokenizer->steps[i].replacement);
	}
	free(pretokenizer->steps);
	*pretokenizer = (struct pretokenizer){0};
}

/* One stretch of a word that matches the pattern or lies between matches; they
 * come from left to right. */
struct splitter {
	enum split_behaviour behaviour;
	struct word_list *out;
	size_t base;	   /* of the word in the text */
	bool at_start;	   /* of the word */
	size_t start, end; /* the piece being put together, relative to base */
	bool open, last_matched;
};

static void splitter_close(struct splitter *splitter)
{
	if (splitter->open)
		word_list_add(splitter->out, splitter->base + splitter->start, splitter->end - splitter->start,
			      splitter->at_start && splitter->start == 0);
	splitter->open = false;
}

static void splitter_add(struct splitter *splitter, size_t start, size_t end, bool matched)
{
	bool join = false;
	switch (splitter->behaviour) {
	case SPLIT_REMOVED:
	case SPLIT_ISOLATED:
		break;
	case SPLIT_CONTIGUOUS:
		join = matched == splitter->last_matched;
		break;
	case SPLIT_MERGED_WITH_PREVIOUS:
		join = matched && !splitter->last_matched;
		break;
	case SPLIT_MERGED_WITH_NEXT:
		join = !matched && splitter->last_matched;
		break;
	}
	splitter->last_matched = matched;
	if (join && splitter->open) {
		splitter->end = end;
		return;
	}
	splitter_close(splitter);
	if (splitter->behaviour == SPLIT_REMOVED && matched)
		return;
	splitter->start = start;
	splitter->end = end;
	splitter->open = true;
}

static enum status split_word(const struct pretokenizer_step *step, struct regex_scratch *scratch, const char *text,
			      struct word word, struct word_list *out, struct error *error)
{
	struct splitter splitter = {
		.behaviour = step->behaviour, .out = out, .base = word.at, .at_start = word.at_start};
	const char *s = text + word.at;
	struct text_cursor cursor = TEXT_CURSOR_START;
	size_t done = 0;
	for (;;) {
		bool found;
		size_t start, end;
		enum status status = text_pattern_search(&step->pattern, scratch, s, word.length, &cursor, &found,
							 &start, &end, error);
		if (status)
			return status;
		if (!found)
			break;
		if (start > done)
			splitter_add(&splitter, done, start, step->invert);
		splitter_add(&splitter, start, end, !step->invert);
		done = end;
	}
	if (done < word.length)
		splitter_add(&splitter, done, word.length, step->invert);
	splitter_close(&splitter);
	return STATUS_OK;
}

static void metaspace_word(const struct pretokenizer_step *step, const char *s, struct word word, struct strbuf *out)
{
	const struct strbuf *mark = &step->replacement;
	bool starts_with_mark =
		s[0] == ' ' || (word.length >= mark->length && memcmp(s, mark->data, mark->length) == 0);
	if (!starts_with_mark && (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && word.at_start)))
		strbuf_add(out, mark->data, mark->length);
	for (size_t i = 0; i < word.length; i++) {
		if (s[i] == ' ')
			strbuf_add(out, mark->data, mark->length);
		else
			strbuf_add_char(out, s[i]);
	}
}

/* Steps that write every word anew. */
static void rewrite_words(const struct pretokenizer_step *step, const struct word_list *from, struct word_list *to)
{
	for (size_t i = 0; i < from->count; i++) {
		struct word word = from->words[i];
		const char *s = from->text.data + word.at;
		size_t at = to->text.length;
		if (step->kind == STEP_METASPACE) {
			metaspace_word(step, s, word, &to->text);
		} else if (step->kind == STEP_BYTES) {
			byte_level_encode(s, word.length, &to->text);
		} else {
			if (s[0] != ' ')
				strbuf_add_char(&to->text, ' ');
			strbuf_add(&to->text, s, word.length);
		}
		word_list_add(to, at, to->text.length - at, word.at_start);
	}
}

enum status pretokenizer_apply(const struct pretokenizer *pretokenizer, struct regex_scratch *scratch,
			       struct word_list *list, struct word_list *spare, struct error *error)
{
	for (size_t i = 0; i < pretokenizer->count; i++) {
		const struct pretokenizer_step *step = &pretokenizer->steps[i];
		word_list_clear(spare);
		if (step->kind == STEP_SPLIT) {
			for (size_t k = 0; k < list->count; k++) {
				enum status status =
					split_word(step, scratch, list->text.data, list->words[k], spare, error);
				if (status)
					return status;
			}
			struct strbuf text = list->text; /* splitting leaves the text as it is */
			list->text = spare->text;
			spare->text = text;
		} else {
			rewrite_words(step, list, spare);
		}
		struct word_list swap = *list;
		*list = *spare;
		*spare = swap;
	}
	return STATUS_OK;
}
