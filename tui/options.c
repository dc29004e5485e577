#include "tui/options.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "compute/base/text.h"
#include "sessions/hooked_sae.h"

enum kind { FLAG, VALUE, LIST };

#define AT(member) offsetof(struct options, member)

static const struct {
	const char *name;
	enum kind kind;
	size_t offset;
	const char *value;
} table[] = {
	{"model", VALUE, AT(model), "DIR"},
	{"sae", LIST, AT(saes), "PATH"},
	{"labels", LIST, AT(labels), "FILE"},
	{"device", VALUE, AT(device), "N|NAME"},
	{"text", VALUE, AT(text), "TEXT"},
	{"tokens", VALUE, AT(tokens), "IDS"},
	{"prompt", VALUE, AT(prompt), "ID"},
	{"prompts", VALUE, AT(prompts), "FILE"},
	{"chat", FLAG, AT(chat), NULL},
	{"no-bos", FLAG, AT(no_bos), NULL},
	{"special", FLAG, AT(special), NULL},
	{"seed", VALUE, AT(seed), "N"},
	{"json", FLAG, AT(json), NULL},
	{"quiet", FLAG, AT(quiet), NULL},
	{"verbose", FLAG, AT(verbose), NULL},
	{"no-color", FLAG, AT(no_color), NULL},
	{"ascii", FLAG, AT(ascii), NULL},
	{"help", FLAG, AT(help), NULL},
	{"version", FLAG, AT(version), NULL},
	{"clamp", LIST, AT(clamps), "LAYER:F,F=MODE"},
	{"clamp-positions", VALUE, AT(clamp_positions), "WHICH"},
	{"error", VALUE, AT(error), "keep|drop|X"},
	{"objective", LIST, AT(objectives), "NAME:ARGS"},
	{"layer", VALUE, AT(layer), "L"},
	{"hook", VALUE, AT(hook), "HOOK"},
	{"positions", VALUE, AT(positions), "last|all"},
	{"position", VALUE, AT(position), "N|last|all"},
	{"top", VALUE, AT(top), "K"},
	{"npy", VALUE, AT(npy), "FILE"},
	{"max-new", VALUE, AT(max_new), "N"},
	{"ignore-eos", FLAG, AT(ignore_eos), NULL},
	{"temperature", VALUE, AT(temperature), "X"},
	{"top-k", VALUE, AT(top_k), "K"},
	{"top-p", VALUE, AT(top_p), "P"},
	{"delta", VALUE, AT(delta), "FILE"},
	{"out", VALUE, AT(out), "PATH"},
	{"save-delta", VALUE, AT(save_delta), "FILE"},
	{"save-state", VALUE, AT(save_state), "DIR"},
	{"reference", VALUE, AT(reference), "before-delta|clamped-run"},
	{"format", VALUE, AT(format), "FORMAT"},
	{"redact", FLAG, AT(redact), NULL},
	{"input", VALUE, AT(input), "FILE"},
	{"grad-recon", VALUE, AT(grad_recon), "FILE"},
	{"grad-features", VALUE, AT(grad_features), "FILE"},
	{"tokenizer", VALUE, AT(tokenizer), "DIR"},
	{"batch", VALUE, AT(batch), "FILE|-|N"},
	{"clamp-top", VALUE, AT(clamp_top), "K:MODE"},
	{"no-hints", FLAG, AT(no_hints), NULL},
	{"judge", FLAG, AT(judge), NULL},
	{"judge-lists", VALUE, AT(judge_lists), "FILE"},
	{"stages", VALUE, AT(stages), "1|2"},
	{"anchor", LIST, AT(anchor), "NAME=VALUE"},
	{"suffix", VALUE, AT(suffix), "N"},
	{"suffix-token", VALUE, AT(suffix_token), "TEXT|ID"},
	{"target", VALUE, AT(target), "TEXT"},
	{"tolerance", VALUE, AT(tolerance), "X"},
	{"trials", VALUE, AT(trials), "N"},
	{"method", VALUE, AT(method), "METHOD"},
	{"task", VALUE, AT(task), "TASK"},
	{"retain", VALUE, AT(retain), "FILE"},
	{"retain-task", VALUE, AT(retain_task), "TASK"},
	{"retain-threshold", VALUE, AT(retain_threshold), "X"},
};

static bool is_setting(const char *name)
{
	for (const struct setting_name *s = setting_names; s->name; s++)
		if (strcmp(s->name, name) == 0)
			return true;
	return false;
}

const struct option_name *options_names(void)
{
	static struct option_name names[ARRAY_LEN(table) + 64];
	if (names[0].name)
		return names;
	size_t n = 0;
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		names[n++] = (struct option_name){table[i].name, table[i].value};
	for (const struct setting_name *s = setting_names; s->name && n + 1 < ARRAY_LEN(names); s++)
		names[n++] = (struct option_name){s->name, setting_is_flag(s->name) ? NULL : s->allowed};
	return names;
}

/* The option's value: behind "=", or the next argument. */
static enum status take_value(const char **value, const char *name, const char *inline_value, int argc,
			      char *const *argv, int *at, struct error *error)
{
	if (inline_value) {
		*value = inline_value;
		return STATUS_OK;
	}
	if (*at + 1 >= argc)
		return error_set(error, STATUS_INVALID, "--%s needs a value", name);
	*value = argv[++*at];
	return STATUS_OK;
}

static enum status set_setting(struct options *o, const char *name, const char *inline_value, int argc,
			       char *const *argv, int *at, struct error *error)
{
	const char *value = "yes";
	if (o->setting_count == OPTIONS_MAX_LIST)
		return error_set(error, STATUS_INVALID, "too many options");
	if (!setting_is_flag(name)) {
		enum status status = take_value(&value, name, inline_value, argc, argv, at, error);
		if (status)
			return status;
	}
	/* The table's own string: `name` may be a copy that ends with this argument. */
	for (const struct setting_name *s = setting_names; s->name; s++)
		if (strcmp(s->name, name) == 0) {
			o->settings[o->setting_count].name = s->name;
			o->settings[o->setting_count++].value = value;
		}
	return STATUS_OK;
}

static enum status set_option(struct options *o, const char *name, const char *inline_value, int argc,
			      char *const *argv, int *at, struct error *error)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (strcmp(table[i].name, name) != 0)
			continue;
		char *place = (char *)o + table[i].offset;
		if (table[i].kind == FLAG) {
			if (inline_value)
				return error_set(error, STATUS_INVALID, "--%s takes no value", name);
			*(bool *)place = true;
			return STATUS_OK;
		}
		const char *value = NULL;
		enum status status = take_value(&value, name, inline_value, argc, argv, at, error);
		if (status)
			return status;
		if (table[i].kind == VALUE) {
			if (*(const char **)place)
				return error_set(error, STATUS_INVALID, "--%s was given twice", name);
			*(const char **)place = value;
			return STATUS_OK;
		}
		struct option_list *list = (struct option_list *)place;
		if (list->count == OPTIONS_MAX_LIST)
			return error_set(error, STATUS_INVALID, "--%s was given more than %d times", name,
					 OPTIONS_MAX_LIST);
		list->items[list->count++] = value;
		return STATUS_OK;
	}
	if (is_setting(name))
		return set_setting(o, name, inline_value, argc, argv, at, error);
	return error_set(error, STATUS_INVALID, "there is no option --%s; 'rebound --help' lists them", name);
}

enum status options_parse(struct options *o, int argc, char *const *argv, struct error *error)
{
	*o = (struct options){0};
	bool ended = false;
	for (int at = 1; at < argc; at++) {
		const char *arg = argv[at];
		if (ended || arg[0] != '-' || arg[1] == '\0') {
			if (!o->command) {
				o->command = arg;
			} else if (o->arguments.count == OPTIONS_MAX_LIST) {
				return error_set(error, STATUS_INVALID, "too many arguments");
			} else {
				o->arguments.items[o->arguments.count++] = arg;
			}
			continue;
		}
		if (strcmp(arg, "--") == 0) {
			ended = true;
			continue;
		}
		if (strcmp(arg, "-h") == 0)
			arg = "--help";
		if (strcmp(arg, "-V") == 0)
			arg = "--version";
		if (arg[1] != '-')
			return error_set(error, STATUS_INVALID, "there is no option %s; 'rebound --help' lists them",
					 arg);
		const char *equals = strchr(arg, '=');
		char *name = equals ? mem_strndup(arg + 2, (size_t)(equals - arg) - 2) : mem_strdup(arg + 2);
		enum status status = set_option(o, name, equals ? equals + 1 : NULL, argc, argv, &at, error);
		free(name);
		if (status)
			return status;
	}
	return STATUS_OK;
}

enum status options_int(const char *value, const char *name, int64_t least, int64_t most, int64_t fallback,
			int64_t *out, struct error *error)
{
	*out = fallback;
	if (!value)
		return STATUS_OK;
	if (!text_int(value, out) || *out < least || *out > most)
		return error_set(error, STATUS_INVALID, "--%s is '%s'; expected a whole number from %lld to %lld", name,
				 value, (long long)least, (long long)most);
	return STATUS_OK;
}

enum status options_double(const char *value, const char *name, double fallback, double *out, struct error *error)
{
	*out = fallback;
	if (value && !text_double(value, out))
		return error_set(error, STATUS_INVALID, "--%s is '%s'; expected a number", name, value);
	return STATUS_OK;
}

static enum status parse_tokens(struct token_list *ids, const char *text, struct error *error)
{
	for (const char *at = text; *at;) {
		size_t n = strcspn(at, ", ");
		char *part = mem_strndup(at, n);
		int64_t id;
		bool good = text_int(part, &id) && id >= 0 && id <= INT32_MAX;
		free(part);
		if (!good)
			return error_set(error, STATUS_INVALID, "--tokens: '%.*s' is not a token id", (int)n, at);
		token_list_add(ids, (int32_t)id);
		at += n;
		at += strspn(at, ", ");
	}
	return STATUS_OK;
}

static enum status load_prompts(struct opened *opened, const struct options *o, struct error *error)
{
	char *path = NULL;
	if (o->prompts) {
		path = mem_strdup(o->prompts);
	} else if (!o->model) {
		char *folder;
		enum status status = model_builtin_folder(&folder, error);
		if (status)
			return status;
		path = path_join(folder, "prompts.jsonl");
		free(folder);
	}
	if (!path)
		return STATUS_OK;
	enum status status = prompt_set_load(&opened->prompts, path, error);
	free(path);
	return status;
}

static enum status set_input(struct opened *opened, const struct options *o, int needs, struct error *error)
{
	int given = (o->text != NULL) + (o->tokens != NULL) + (o->prompt != NULL);
	if (given > 1)
		return error_set(error, STATUS_INVALID, "only one of --text, --tokens and --prompt can be given");
	if (given == 0)
		return needs & NEED_INPUT ? error_set(error, STATUS_INVALID,
						      "there is no input; give --text, --tokens or --prompt")
					  : STATUS_OK;
	if (o->tokens) {
		struct token_list ids = {0};
		enum status status = parse_tokens(&ids, o->tokens, error);
		if (status == STATUS_OK)
			status = session_set_tokens(opened->session, ids.ids, ids.count, error);
		token_list_done(&ids);
		return status;
	}
	if (o->text)
		return session_set_text(opened->session, o->text, strlen(o->text), o->chat, o->no_bos, o->special,
					error);
	opened->entry = prompt_set_find(&opened->prompts, o->prompt);
	if (!opened->entry)
		return error_set(error, STATUS_INVALID, "there is no prompt '%s' in %s%s%s", o->prompt,
				 opened->prompts.path ? "'" : "the prompt set; give one with --prompts",
				 opened->prompts.path ? opened->prompts.path : "", opened->prompts.path ? "'" : "");
	enum status status = session_set_text(opened->session, opened->entry->text, strlen(opened->entry->text),
					      o->chat || opened->entry->chat, o->no_bos, o->special, error);
	if (status == STATUS_OK) {
		opened->session->prompt_id = mem_strdup(opened->entry->id);
		free(opened->session->prompts_path);
		opened->session->prompts_path = opened->prompts.path ? mem_strdup(opened->prompts.path) : NULL;
	}
	return status;
}

static enum status set_objective(struct opened *opened, const struct options *o, struct error *error)
{
	if (o->objectives.count > 0)
		return session_set_objective(opened->session, o->objectives.items, o->objectives.count, error);
	char *specs[8];
	int n = opened->entry ? prompt_objectives(opened->entry, specs, 8) : 0;
	enum status status = STATUS_OK;
	if (n > 0)
		status = session_set_objective(opened->session, (const char *const *)specs, 1, error);
	for (int i = 0; i < n; i++)
		free(specs[i]);
	return status;
}

static enum status set_clamps(struct opened *opened, const struct options *o, struct error *error)
{
	struct layer_rule *rules = NULL;
	size_t count = 0, capacity = 0;
	enum status status = STATUS_OK;
	for (int i = 0; i < o->clamps.count && status == STATUS_OK; i++)
		status = clamp_rules_parse(&rules, &count, &capacity, o->clamps.items[i], error);
	if (status == STATUS_OK && count > 0)
		status = session_set_clamps(opened->session, rules, (int64_t)count, error);
	free(rules);
	if (status == STATUS_OK && o->clamp_positions)
		status = positions_parse(&opened->session->clamp_positions, o->clamp_positions, "--clamp-positions",
					 error);
	if (status == STATUS_OK && o->error)
		status = session_set_error_treatment(opened->session, o->error, error);
	return status;
}

static enum status set_settings(struct session *session, const struct options *o, struct error *error)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < o->setting_count && status == STATUS_OK; i++)
		status = settings_set(&session->settings, o->settings[i].name, o->settings[i].value, error);
	return status;
}

static bool report_progress(void *context, const char *what, uint64_t done, uint64_t total)
{
	static int shown = -1; /* percent: a terminal gets each once, a file only the end */
	(void)context;
	int percent = total > 0 ? (int)(100.0 * (double)done / (double)total) : 100;
	bool end = done == total;
	if (total > (uint64_t)64 << 20 && percent != shown && (end || isatty(STDERR_FILENO)))
		fprintf(stderr, "%s%s: %3d%%%s", isatty(STDERR_FILENO) ? "\r" : "", what, percent, end ? "\n" : "");
	shown = end ? -1 : percent;
	return true;
}

enum status options_open(struct opened *opened, const struct options *o, int needs, struct error *error)
{
	*opened = (struct opened){0};
	int64_t seed;
	enum status status = options_int(o->seed, "seed", 0, INT64_MAX, 0, &seed, error);
	if (status)
		return status;
	struct session_options options = {
		.model = o->model,
		.saes = o->saes.items,
		.sae_count = o->saes.count,
		.no_saes = !(needs & NEED_SAES) && o->saes.count == 0 && o->clamps.count == 0,
		.device = o->device,
		.validation = getenv("REBOUND_VALIDATION") != NULL,
		.seed = (uint64_t)seed,
	};
	if (!o->quiet)
		options.progress = (struct progress){report_progress, NULL};
	status = session_open(&opened->session, &options, error);
	if (status == STATUS_OK && (o->prompt || o->prompts || needs & (NEED_PROMPTS | WANT_PROMPTS)))
		status = load_prompts(opened, o, error);
	if (status == STATUS_OK && needs & NEED_PROMPTS && opened->prompts.count == 0)
		status = error_set(error, STATUS_INVALID, "there is no prompt set; give one with --prompts");
	if (status == STATUS_OK)
		status = hooked_saes_label(opened->session, o->labels.items, o->labels.count, error);
	if (status == STATUS_OK)
		status = set_input(opened, o, needs, error);
	if (status == STATUS_OK)
		status = set_clamps(opened, o, error);
	if (status == STATUS_OK)
		status = set_objective(opened, o, error);
	if (status == STATUS_OK)
		status = set_settings(opened->session, o, error);
	if (status)
		options_close(opened);
	return status;
}

void options_close(struct opened *opened)
{
	session_close(&opened->session);
	prompt_set_done(&opened->prompts);
	opened->entry = NULL;
}

char *options_command(int argc, char *const *argv)
{
	struct strbuf b = {0};
	strbuf_add_string(&b, "rebound");
	for (int i = 1; i < argc; i++) {
		const char *s = argv[i];
		bool plain = *s != '\0' && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
						     "-_=+,.:/@%") == strlen(s);
		strbuf_add_char(&b, ' ');
		if (plain) {
			strbuf_add_string(&b, s);
			continue;
		}
		strbuf_add_char(&b, '\'');
		for (; *s; s++)
			strbuf_add_string(&b, *s == '\'' ? "'\\''" : (char[]){*s, '\0'});
		strbuf_add_char(&b, '\'');
	}
	return strbuf_take(&b);
}
