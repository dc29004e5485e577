/* The defence of a session: its clamps as text, as rules, and on the device. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/hooked_sae.h"

static const struct {
	const char *name;
	enum op_clamp_mode mode;
	bool value;
} modes[] = {
	{"set", OP_CLAMP_SET, true},	    {"set-active", OP_CLAMP_SET_ACTIVE, true},
	{"scale", OP_CLAMP_SCALE, true},    {"scale-active", OP_CLAMP_SCALE_ACTIVE, true},
	{"ablate", OP_CLAMP_ABLATE, false}, {"floor", OP_CLAMP_FLOOR, true},
};

enum status clamp_mode_parse(const char *text, enum op_clamp_mode *mode, float *value, struct error *error)
{
	const char *colon = strchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		double number = 0;
		if (strlen(modes[i].name) != n || strncmp(modes[i].name, text, n) != 0)
			continue;
		if ((colon != NULL) != modes[i].value ||
		    (colon && (!text_double(colon + 1, &number) || !(fabs(number) < 1e30))))
			break;
		*mode = modes[i].mode;
		*value = (float)number;
		return STATUS_OK;
	}
	return error_set(
		error, STATUS_INVALID,
		"the clamp mode '%s' is not one of set:C, set-active:C, scale:M, scale-active:M, ablate, floor:C",
		text);
}

char *clamp_mode_text(enum op_clamp_mode mode, float value)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (modes[i].mode == mode)
			return modes[i].value ? mem_printf("%s:%.9g", modes[i].name, (double)value)
					      : mem_strdup(modes[i].name);
	fatal("clamp mode %d has no name", (int)mode);
}

static void add_rule(struct layer_rule **rules, size_t *count, size_t *capacity, struct layer_rule rule)
{
	mem_reserve((void **)rules, capacity, *count + 1, sizeof **rules);
	(*rules)[(*count)++] = rule;
}

/* One "LAYER:F[,F...]=MODE". */
static enum status parse_rule(struct layer_rule **rules, size_t *count, size_t *capacity, const char *text,
			      struct error *error)
{
	const char *colon = strchr(text, ':'), *equals = strchr(text, '=');
	if (!colon || !equals || equals < colon)
		return error_set(error, STATUS_INVALID, "the clamp '%s' is not of the form LAYER:F[,F...]=MODE", text);
	char *layer_text = mem_strndup(text, (size_t)(colon - text));
	int64_t layer;
	bool good = text_int(layer_text, &layer) && layer >= 0 && layer < ARCH_MAX_LAYERS;
	free(layer_text);
	if (!good)
		return error_set(error, STATUS_INVALID, "the clamp '%s' does not start with a layer number", text);
	struct layer_rule rule = {.layer = (int)layer};
	enum status status = clamp_mode_parse(equals + 1, &rule.rule.mode, &rule.rule.value, error);
	if (status)
		return error_prefix(error, status, "the clamp '%s'", text);
	for (const char *at = colon + 1; at <= equals;) {
		size_t n = strcspn(at, ",=");
		char *part = mem_strndup(at, n);
		int64_t feature;
		good = text_int(part, &feature) && feature >= 0 && feature <= UINT32_MAX;
		free(part);
		if (!good)
			return error_set(error, STATUS_INVALID,
					 "the clamp '%s' names a feature that is not a number: '%.*s'", text, (int)n,
					 at);
		rule.rule.feature = (uint32_t)feature;
		add_rule(rules, count, capacity, rule);
		at += n + 1;
	}
	return STATUS_OK;
}

static enum status parse_file(struct layer_rule **rules, size_t *count, size_t *capacity, const char *path,
			      struct error *error)
{
	char *text;
	size_t size, line = 0;
	enum status status = file_read(&text, &size, path, (size_t)64 << 20, error);
	if (status)
		return status;
	for (char *at = text; status == STATUS_OK && at < text + size;) {
		char *end = at + strcspn(at, "\n");
		bool last = *end == '\0';
		*end = '\0';
		size_t n = strcspn(at, "\r");
		at[n] = '\0';
		line++;
		if (at[0] != '\0' && at[0] != '#') {
			status = parse_rule(rules, count, capacity, at, error);
			if (status)
				status = error_prefix(error, status, "'%s', line %zu", path, line);
		}
		if (last)
			break;
		at = end + 1;
	}
	free(text);
	return status;
}

enum status clamp_rules_parse(struct layer_rule **rules, size_t *count, size_t *capacity, const char *text,
			      struct error *error)
{
	if (text[0] == '@')
		return parse_file(rules, count, capacity, text + 1, error);
	return parse_rule(rules, count, capacity, text, error);
}

enum status session_check_clamps(const struct session *session, const struct layer_rule *rules, int64_t count,
				 struct error *error)
{
	for (int64_t i = 0; i < count; i++) {
		int site = session_site_of_layer(session, rules[i].layer);
		if (site < 0)
			return error_set(error, STATUS_INVALID,
					 "layer %d has no SAE, so no feature of it can be clamped; name one with --sae",
					 rules[i].layer);
		if (rules[i].rule.feature >= session->sites[site].sae.features)
			return error_set(error, STATUS_INVALID,
					 "feature %u does not exist: the SAE at layer %d has features 0 to %lld",
					 rules[i].rule.feature, rules[i].layer,
					 (long long)session->sites[site].sae.features - 1);
		for (int64_t j = 0; j < i; j++)
			if (rules[j].layer == rules[i].layer && rules[j].rule.feature == rules[i].rule.feature)
				return error_set(error, STATUS_INVALID, "feature %u of layer %d is clamped twice",
						 rules[i].rule.feature, rules[i].layer);
	}
	return STATUS_OK;
}

enum status session_set_clamps(struct session *session, const struct layer_rule *rules, int64_t count,
			       struct error *error)
{
	enum status status = session_check_clamps(session, rules, count, error);
	if (status)
		return status;
	for (int s = 0; s < session->site_count; s++) {
		struct site *site = &session->sites[s];
		if (site->clamp_ready)
			clamp_done(&site->clamp);
		site->clamp_ready = false;
		site->rule_count = 0;
		free(site->rules);
		site->rules = mem_alloc((size_t)count, sizeof *site->rules);
		for (int64_t i = 0; i < count; i++)
			if (rules[i].layer == site->sae.layer)
				site->rules[site->rule_count++] = rules[i].rule;
	}
	return STATUS_OK;
}

bool session_has_clamps(const struct session *session)
{
	for (int i = 0; i < session->site_count; i++)
		if (session->sites[i].rule_count > 0)
			return true;
	return false;
}

char *session_clamps_command(const struct session *session)
{
	struct strbuf b = {0};
	for (int s = 0; s < session->site_count; s++) {
		const struct site *site = &session->sites[s];
		/* Neighbours with the same mode share one option; the order is kept. */
		for (int64_t i = 0; i < site->rule_count;) {
			const struct clamp_rule *first = &site->rules[i];
			strbuf_printf(&b, "%s--clamp %d:%u", b.length ? " " : "", site->sae.layer, first->feature);
			for (i++; i < site->rule_count && site->rules[i].mode == first->mode &&
				  site->rules[i].value == first->value;
			     i++)
				strbuf_printf(&b, ",%u", site->rules[i].feature);
			char *mode = clamp_mode_text(first->mode, first->value);
			strbuf_printf(&b, "=%s", mode);
			free(mode);
		}
	}
	return strbuf_take(&b);
}

enum status session_prepare_clamps(struct session *session, struct error *error)
{
	for (int i = 0; i < session->site_count; i++) {
		struct site *site = &session->sites[i];
		if (site->clamp_ready || site->rule_count == 0)
			continue;
		const struct sae *sae;
		enum status status = session_sae(&sae, session, i, error);
		if (status == STATUS_OK)
			status = clamp_create(&site->clamp, sae, site->rules, site->rule_count, error);
		if (status)
			return status;
		site->clamp_ready = true;
	}
	return STATUS_OK;
}

enum status session_write_clamp_rows(const struct session *session, struct clamp_edit *edit, int64_t first,
				     int64_t total, struct error *error)
{
	bool *on = mem_alloc((size_t)total, sizeof *on);
	uint32_t *words = mem_alloc((size_t)(total - first), sizeof *words);
	enum status status =
		positions_resolve(&session->clamp_positions, (int64_t)session->prompt.count, total, on, error);
	for (int64_t r = first; r < total; r++)
		words[r - first] = on[r];
	if (status == STATUS_OK)
		status = tensor_write(edit->on, words, error);
	free(on);
	free(words);
	return status;
}
