#include "sessions/objective.h"

#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"

static const struct {
	const char *name;
	bool answers; /* takes a text, teacher-forced */
} kinds[OBJECTIVE_KIND_COUNT] = {
	[OBJECTIVE_LOGIT_DIFF] = {"logit_diff", false},
	[OBJECTIVE_CHOICE_MARGIN] = {"choice_margin", false},
	[OBJECTIVE_CHOICE_CE] = {"choice_ce", false},
	[OBJECTIVE_VOCAB_MARGIN] = {"vocab_margin", false},
	[OBJECTIVE_ANSWER_LOGPROB] = {"answer_logprob", true},
	[OBJECTIVE_FIRST_TOKEN_LOGPROB] = {"first_token_logprob", true},
	[OBJECTIVE_PREFIX_LOGPROB] = {"prefix_logprob", true},
	[OBJECTIVE_ANTI_REFUSAL] = {"anti_refusal", true},
	[OBJECTIVE_SOFT_ANTI_REFUSAL] = {"soft_anti_refusal", true},
	[OBJECTIVE_FIRST_TOKEN_MARGIN] = {"first_token_margin", true},
	[OBJECTIVE_PROBE_LOGIT] = {"probe_logit", false},
};

const char *objective_kind_name(enum objective_kind kind)
{
	return kinds[kind].name;
}

struct parser {
	const struct tokenizer *tokenizer;
	int64_t vocab;
	const char *spec;
	struct error *error;
};

static enum status parse_id(const struct parser *p, const char *text, size_t n, bool quoted, struct token_list *list)
{
	char *part = mem_strndup(text, n);
	int64_t id;
	enum status status = STATUS_OK;
	if (!quoted && text_int(part, &id)) {
		if (id < 0 || id >= p->vocab)
			status = error_set(p->error, STATUS_INVALID,
					   "objective '%s': token %lld is outside the vocabulary of %lld", p->spec,
					   (long long)id, (long long)p->vocab);
		else
			token_list_add(list, (int32_t)id);
	} else if (!quoted) {
		status = error_set(p->error, STATUS_INVALID,
				   "objective '%s': '%s' is neither a token id nor a quoted string such as \" Mary\"",
				   p->spec, part);
	} else if (!p->tokenizer) {
		status = error_set(p->error, STATUS_INVALID,
				   "objective '%s': the model has no tokenizer, so tokens are given as ids", p->spec);
	} else {
		int32_t found = 0;
		status = tokenizer_find(p->tokenizer, part, n, &found, p->error);
		if (status == STATUS_OK)
			token_list_add(list, found);
		else
			status = error_prefix(p->error, STATUS_INVALID, "objective '%s'", p->spec);
	}
	free(part);
	return status;
}

/* Ids and quoted strings, separated by commas. */
static enum status parse_ids(const struct parser *p, const char *args, size_t n, struct token_list *list)
{
	size_t at = 0;
	while (at < n || (n > 0 && args[n - 1] == ',' && at == n)) {
		size_t begin = at, length;
		bool quoted = at < n && args[at] == '"';
		if (quoted) {
			begin++;
			const char *end = memchr(args + begin, '"', n - begin);
			if (!end)
				return error_set(p->error, STATUS_INVALID, "objective '%s': a quote is not closed",
						 p->spec);
			length = (size_t)(end - args) - begin;
			at = begin + length + 1;
		} else {
			const char *comma = memchr(args + at, ',', n - at);
			length = comma ? (size_t)(comma - args) - at : n - at;
			at += length;
		}
		enum status status = parse_id(p, args + begin, length, quoted, list);
		if (status)
			return status;
		if (at < n && args[at] != ',')
			return error_set(p->error, STATUS_INVALID, "objective '%s': expected a comma at '%s'", p->spec,
					 args + at);
		if (at == n)
			break;
		at++;
	}
	return STATUS_OK;
}

static enum status parse_text(const struct parser *p, const char *text, size_t n, struct token_list *list)
{
	if (n > 4 && memcmp(text, "ids=", 4) == 0)
		return parse_ids(p, text + 4, n - 4, list);
	if (!p->tokenizer)
		return error_set(p->error, STATUS_INVALID, "objective '%s' needs a tokenizer, and the model has none",
				 p->spec);
	if (n >= 2 && text[0] == '"' && text[n - 1] == '"') {
		text++;
		n -= 2;
	}
	struct tokenizer_options options = {.add_special = false, .recognise_special = false};
	enum status status = tokenizer_encode(p->tokenizer, text, n, options, list, p->error);
	if (status == STATUS_OK && list->count == 0)
		status = error_set(p->error, STATUS_INVALID, "objective '%s': the text has no tokens", p->spec);
	return status;
}

/* TEXT, or TEXT|PREFIX|PREFIX. */
static enum status parse_answer(const struct parser *p, struct objective_term *term, const char *args, size_t n)
{
	bool prefixes = term->kind == OBJECTIVE_ANTI_REFUSAL || term->kind == OBJECTIVE_SOFT_ANTI_REFUSAL ||
			term->kind == OBJECTIVE_FIRST_TOKEN_MARGIN;
	const char *bar = prefixes ? memchr(args, '|', n) : NULL;
	size_t first = bar ? (size_t)(bar - args) : n;
	enum status status = parse_text(p, args, first, &term->tokens);
	for (size_t at = first; at < n && status == STATUS_OK;) {
		at++;
		const char *next = memchr(args + at, '|', n - at);
		size_t length = next ? (size_t)(next - args) - at : n - at;
		if (term->prefix_count == OBJECTIVE_MAX_PREFIXES)
			return error_set(p->error, STATUS_INVALID, "objective '%s' has more than %d prefixes", p->spec,
					 OBJECTIVE_MAX_PREFIXES);
		status = parse_text(p, args + at, length, &term->prefixes[term->prefix_count++]);
		at += length;
	}
	if (status == STATUS_OK && prefixes && term->prefix_count == 0)
		status = error_set(p->error, STATUS_INVALID,
				   "objective '%s' needs discouraged prefixes: TEXT|PREFIX|...", p->spec);
	return status;
}

static enum status parse_probe(const struct parser *p, struct objective_term *term, const char *args, size_t n)
{
	const char *at = memchr(args, '@', n);
	size_t name = at ? (size_t)(at - args) : n;
	term->probe_layer = -1;
	if (name == 0)
		return error_set(p->error, STATUS_INVALID, "objective '%s' needs a class: probe_logit:CLASS[@LAYER]",
				 p->spec);
	if (at) {
		char *layer = mem_strndup(at + 1, n - name - 1);
		int64_t value = -1;
		bool good = text_int(layer, &value) && value >= 0 && value < ARCH_MAX_LAYERS;
		free(layer);
		if (!good)
			return error_set(p->error, STATUS_INVALID, "objective '%s': expected a layer behind '@'",
					 p->spec);
		term->probe_layer = (int)value;
	}
	term->probe_class = mem_strndup(args, name);
	return STATUS_OK;
}

static enum status check_count(const struct parser *p, const struct objective_term *term)
{
	size_t n = term->tokens.count;
	switch (term->kind) {
	case OBJECTIVE_LOGIT_DIFF:
		if (n != 2)
			return error_set(p->error, STATUS_INVALID,
					 "objective '%s': logit_diff takes two tokens, found %zu", p->spec, n);
		break;
	case OBJECTIVE_CHOICE_MARGIN:
	case OBJECTIVE_CHOICE_CE:
		if (n < 2)
			return error_set(p->error, STATUS_INVALID,
					 "objective '%s' takes the right token and at least one other, found %zu",
					 p->spec, n);
		break;
	case OBJECTIVE_VOCAB_MARGIN:
		if (n != 1)
			return error_set(p->error, STATUS_INVALID,
					 "objective '%s': vocab_margin takes one token, found %zu", p->spec, n);
		break;
	default:
		break;
	}
	return STATUS_OK;
}

static enum status parse_one(const struct parser *p, struct objective_term *term)
{
	const char *spec = p->spec;
	size_t n = strlen(spec);
	*term = (struct objective_term){.weight = 1, .probe_layer = -1};
	/* *WEIGHT at the end, if what stands there is a number. */
	for (size_t i = n; i-- > 0;)
		if (spec[i] == '*') {
			double weight;
			if (text_double(spec + i + 1, &weight)) {
				term->weight = weight;
				n = i;
			}
			break;
		}
	const char *colon = memchr(spec, ':', n);
	size_t name = colon ? (size_t)(colon - spec) : n;
	int kind = 0;
	while (kind < OBJECTIVE_KIND_COUNT &&
	       (strlen(kinds[kind].name) != name || strncmp(kinds[kind].name, spec, name) != 0))
		kind++;
	if (kind == OBJECTIVE_KIND_COUNT) {
		struct strbuf names = {0};
		for (int i = 0; i < OBJECTIVE_KIND_COUNT; i++)
			strbuf_printf(&names, "%s%s", i ? ", " : "", kinds[i].name);
		enum status status = error_set(p->error, STATUS_INVALID, "there is no objective '%.*s'; there are %s",
					       (int)name, spec, names.data);
		strbuf_done(&names);
		return status;
	}
	term->kind = (enum objective_kind)kind;
	const char *args = colon ? colon + 1 : spec + n;
	size_t length = (size_t)(spec + n - args);
	enum status status = kinds[kind].answers	     ? parse_answer(p, term, args, length)
			     : kind == OBJECTIVE_PROBE_LOGIT ? parse_probe(p, term, args, length)
							     : parse_ids(p, args, length, &term->tokens);
	return status ? status : check_count(p, term);
}

/* All answers must be one text, and probes stand alone. */
static enum status combine(struct objective *o, struct error *error)
{
	bool probe = false, other = false;
	for (int i = 0; i < o->count; i++) {
		const struct objective_term *term = &o->terms[i];
		probe = probe || term->kind == OBJECTIVE_PROBE_LOGIT;
		other = other || term->kind != OBJECTIVE_PROBE_LOGIT;
		if (!kinds[term->kind].answers)
			continue;
		if (o->answer.count == 0)
			for (size_t j = 0; j < term->tokens.count; j++)
				token_list_add(&o->answer, term->tokens.ids[j]);
		else if (o->answer.count != term->tokens.count ||
			 memcmp(o->answer.ids, term->tokens.ids, o->answer.count * sizeof *o->answer.ids) != 0)
			return error_set(
				error, STATUS_INVALID,
				"the objectives '%s' have different answers; one answer is teacher-forced at a time",
				o->text);
	}
	if (probe && (other || o->count > 1))
		return error_set(error, STATUS_INVALID, "probe_logit can't be summed with another objective ('%s')",
				 o->text);
	return STATUS_OK;
}

enum status objective_parse(struct objective *o, const char *const *specs, int count, const struct tokenizer *tokenizer,
			    int64_t vocab, struct error *error)
{
	*o = (struct objective){.vocab = vocab};
	if (count > OBJECTIVE_MAX_TERMS)
		return error_set(error, STATUS_INVALID, "at most %d objectives can be summed, found %d",
				 OBJECTIVE_MAX_TERMS, count);
	struct strbuf text = {0};
	enum status status = STATUS_OK;
	for (int i = 0; i < count && status == STATUS_OK; i++) {
		struct parser p = {tokenizer, vocab, specs[i], error};
		o->specs[o->count] = mem_strdup(specs[i]);
		status = parse_one(&p, &o->terms[o->count++]);
		strbuf_printf(&text, "%s%s", i ? " + " : "", specs[i]);
	}
	o->text = strbuf_take(&text);
	if (status == STATUS_OK)
		status = combine(o, error);
	if (status)
		objective_done(o);
	return status;
}

void objective_done(struct objective *o)
{
	for (int i = 0; i < o->count; i++) {
		token_list_done(&o->terms[i].tokens);
		for (int j = 0; j < o->terms[i].prefix_count; j++)
			token_list_done(&o->terms[i].prefixes[j]);
		free(o->terms[i].probe_class);
		free(o->specs[i]);
	}
	token_list_done(&o->answer);
	free(o->text);
	*o = (struct objective){0};
}

struct builder {
	struct objective_plan *plan;
	size_t read_capacity, coefficient_capacity, term_capacity, id_capacity;
};

static void add_read(struct builder *b, enum op_read_kind kind, int64_t row, int32_t column, double coefficient)
{
	struct objective_plan *plan = b->plan;
	size_t n = (size_t)plan->read_count;
	mem_reserve((void **)&plan->reads, &b->read_capacity, n + 1, sizeof *plan->reads);
	mem_reserve((void **)&plan->coefficients, &b->coefficient_capacity, n + 1, sizeof *plan->coefficients);
	plan->reads[n] = (struct op_read){kind, (uint32_t)row, (uint32_t)column, 0};
	plan->coefficients[n] = (float)coefficient;
	plan->read_count++;
	if (kind != OP_READ_LOGIT)
		plan->full = true;
	for (int64_t i = 0; i < plan->id_count; i++)
		if (plan->ids[i] == (uint32_t)column)
			return;
	mem_reserve((void **)&plan->ids, &b->id_capacity, (size_t)plan->id_count + 1, sizeof *plan->ids);
	plan->ids[plan->id_count++] = (uint32_t)column;
}

static void add_term(struct builder *b, enum op_term_kind kind, int64_t first, double weight, int groups)
{
	struct objective_plan *plan = b->plan;
	size_t n = (size_t)plan->term_count++;
	mem_reserve((void **)&plan->op_terms, &b->term_capacity, n + 1, sizeof *plan->op_terms);
	plan->op_terms[n] = (struct op_term){.kind = kind,
					     .first = (uint32_t)first,
					     .count = (uint32_t)(plan->read_count - first),
					     .weight = (float)weight,
					     .groups = (uint32_t)groups};
}

/* Mean log-probabilities of the answer's first tokens and of each discouraged prefix, at
 * the same positions: a read's coefficient is its group. */
static int add_prefixes(struct builder *b, const struct objective_term *term, int64_t rows)
{
	for (int g = 0; g <= term->prefix_count; g++) {
		const struct token_list *list = g == 0 ? &term->tokens : &term->prefixes[g - 1];
		for (size_t i = 0; i < list->count && i < OBJECTIVE_PREFIX_TOKENS && (int64_t)i < rows; i++)
			add_read(b, OP_READ_LOGPROB, (int64_t)i, list->ids[i], g);
	}
	return term->prefix_count + 1;
}

static void plan_answer(struct builder *b, const struct objective_term *term, const struct answer_limits *limits)
{
	int64_t n = (int64_t)term->tokens.count;
	double sum = 0;
	for (int pass = 0; pass < 2; pass++)
		for (int64_t i = 0; i < n; i++) {
			double weight = i < limits->prefix_tokens ? limits->prefix_weight : 1;
			if (limits->tokens > 0 && i >= limits->tokens)
				weight = 0;
			if (pass == 0)
				sum += weight;
			else
				add_read(b, OP_READ_LOGPROB, i, term->tokens.ids[i], weight / sum);
		}
}

static void plan_term(struct builder *b, const struct objective *o, const struct objective_term *term,
		      const struct answer_limits *limits)
{
	int64_t first = b->plan->read_count, n = (int64_t)term->tokens.count;
	const int32_t *ids = term->tokens.ids;
	enum op_term_kind kind = OP_TERM_LINEAR;
	int groups = 0;
	switch (term->kind) {
	case OBJECTIVE_LOGIT_DIFF:
		add_read(b, OP_READ_LOGIT, 0, ids[0], 1);
		add_read(b, OP_READ_LOGIT, 0, ids[1], -1);
		break;
	case OBJECTIVE_CHOICE_MARGIN:
		for (int64_t i = 0; i < n; i++)
			add_read(b, OP_READ_LOGIT, 0, ids[i], i == 0 ? 1 : -1.0 / (double)(n - 1));
		break;
	case OBJECTIVE_CHOICE_CE:
		kind = OP_TERM_CROSS_ENTROPY;
		for (int64_t i = 0; i < n; i++)
			add_read(b, OP_READ_LOGIT, 0, ids[i], 0);
		break;
	case OBJECTIVE_VOCAB_MARGIN: {
		/* target - (sum - target) / (V - 1) */
		double others = 1 / (double)(o->vocab - 1);
		add_read(b, OP_READ_LOGIT, 0, ids[0], 1 + others);
		add_read(b, OP_READ_SUM, 0, ids[0], -others);
		break;
	}
	case OBJECTIVE_ANSWER_LOGPROB:
		plan_answer(b, term, limits);
		break;
	case OBJECTIVE_FIRST_TOKEN_LOGPROB:
		add_read(b, OP_READ_LOGPROB, 0, ids[0], 1);
		break;
	case OBJECTIVE_PREFIX_LOGPROB: {
		int64_t m = n < OBJECTIVE_PREFIX_TOKENS ? n : OBJECTIVE_PREFIX_TOKENS;
		for (int64_t i = 0; i < m; i++)
			add_read(b, OP_READ_LOGPROB, i, ids[i], 1 / (double)m);
		break;
	}
	case OBJECTIVE_ANTI_REFUSAL:
	case OBJECTIVE_SOFT_ANTI_REFUSAL:
		kind = term->kind == OBJECTIVE_ANTI_REFUSAL ? OP_TERM_MEAN_MARGIN : OP_TERM_SOFT_MARGIN;
		groups = add_prefixes(b, term, b->plan->rows);
		break;
	case OBJECTIVE_FIRST_TOKEN_MARGIN:
		kind = OP_TERM_MARGIN;
		add_read(b, OP_READ_LOGIT, 0, ids[0], 0);
		for (int i = 0; i < term->prefix_count; i++)
			add_read(b, OP_READ_LOGIT, 0, term->prefixes[i].ids[0], 0);
		break;
	default:
		return; /* a probe reads no logits */
	}
	add_term(b, kind, first, term->weight, groups);
}

enum status objective_plan(struct objective_plan *plan, const struct objective *o, const struct answer_limits *limits,
			   struct error *error)
{
	*plan = (struct objective_plan){.rows = o->answer.count > 0 ? (int64_t)o->answer.count : 1};
	struct builder b = {.plan = plan};
	for (int i = 0; i < o->count; i++)
		plan_term(&b, o, &o->terms[i], limits);
	if (plan->read_count > 4096) {
		objective_plan_done(plan);
		return error_set(error, STATUS_INVALID, "the objective '%s' reads more than 4,096 logits", o->text);
	}
	return STATUS_OK;
}

void objective_plan_done(struct objective_plan *plan)
{
	free(plan->ids);
	free(plan->reads);
	free(plan->coefficients);
	free(plan->op_terms);
	*plan = (struct objective_plan){0};
}

static int64_t argmax(const float *logits, int64_t vocab)
{
	int64_t best = 0;
	for (int64_t i = 1; i < vocab; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

bool objective_present(const struct objective *o, const float *logits, int64_t vocab, double J)
{
	const struct objective_term *term = &o->terms[0];
	if (o->count == 0 || !logits)
		return J > 0;
	switch (term->kind) {
	case OBJECTIVE_LOGIT_DIFF:
		return logits[term->tokens.ids[0]] > logits[term->tokens.ids[1]];
	case OBJECTIVE_CHOICE_MARGIN:
	case OBJECTIVE_CHOICE_CE:
		for (size_t i = 1; i < term->tokens.count; i++)
			if (!(logits[term->tokens.ids[0]] > logits[term->tokens.ids[i]]))
				return false;
		return true;
	case OBJECTIVE_PROBE_LOGIT:
		return J > 0;
	default:
		return argmax(logits, vocab) == term->tokens.ids[0];
	}
}
