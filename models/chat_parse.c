/* From the text of a template to a tree, by recursive descent.
 *
 * White space as transformers sets it: the newline behind a block is dropped
 * (trim_blocks), so is the indentation in front of one (lstrip_blocks). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/chat_template.h"

enum { ARENA_BLOCK = 16 << 10, DEEPEST = 60 };

void *arena_alloc(struct arena *arena, size_t bytes)
{
	bytes = (bytes + 15) & ~(size_t)15;
	if (arena->count == 0 || arena->block_size - arena->used < bytes) {
		mem_reserve((void **)&arena->blocks, &arena->capacity, arena->count + 1, sizeof *arena->blocks);
		arena->block_size = bytes > ARENA_BLOCK ? bytes : ARENA_BLOCK;
		arena->blocks[arena->count++] = mem_alloc(arena->block_size, 1);
		arena->used = 0;
	}
	void *result = (char *)arena->blocks[arena->count - 1] + arena->used;
	arena->used += bytes;
	arena->total += bytes;
	return result;
}

char *arena_copy(struct arena *arena, const char *s, size_t n)
{
	char *copy = arena_alloc(arena, n + 1);
	if (n)
		memcpy(copy, s, n);
	return copy;
}

void arena_done(struct arena *arena)
{
	for (size_t i = 0; i < arena->count; i++)
		free(arena->blocks[i]);
	free(arena->blocks);
	*arena = (struct arena){0};
}

struct parser {
	struct arena *arena;
	const char *s;
	size_t n, at;
	int depth;
	struct error *error;
	enum status status;
	bool line_start; /* what was read last ended a line, white space included */
};

/* All parsing functions return NULL after the first failure. */
static struct node *fail(struct parser *p, const char *what)
{
	if (!p->status) {
		char near[48];
		text_printable(near, sizeof near, p->s + p->at, p->n - p->at);
		p->status = error_set(p->error, STATUS_INVALID, "%s is not supported, at byte %zu (\"%s\")", what,
				      p->at, near);
	}
	return NULL;
}

static struct node *new_node(struct parser *p, enum node_kind kind)
{
	struct node *node = arena_alloc(p->arena, sizeof *node);
	*node = (struct node){.kind = kind};
	return node;
}

static bool starts(const struct parser *p, const char *word)
{
	size_t n = strlen(word);
	return p->n - p->at >= n && memcmp(p->s + p->at, word, n) == 0;
}

static void skip_space(struct parser *p)
{
	while (p->at < p->n && isspace((unsigned char)p->s[p->at]))
		p->at++;
}

static bool at_tag_end(const struct parser *p)
{
	return starts(p, "%}") || starts(p, "-%}") || starts(p, "+%}") || starts(p, "}}") || starts(p, "-}}");
}

static bool is_name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* Takes a symbol or, if it is letters, a whole word. */
static bool take(struct parser *p, const char *word)
{
	skip_space(p);
	size_t n = strlen(word);
	if (!starts(p, word) || (!is_name_char(word[0]) && at_tag_end(p)))
		return false;
	if (is_name_char(word[0]) && p->at + n < p->n && is_name_char(p->s[p->at + n]))
		return false;
	p->at += n;
	return true;
}

static bool take_name(struct parser *p, const char **s, size_t *n)
{
	skip_space(p);
	size_t start = p->at;
	if (start >= p->n || !is_name_char(p->s[start]) || isdigit((unsigned char)p->s[start]))
		return false;
	while (p->at < p->n && is_name_char(p->s[p->at]))
		p->at++;
	*s = p->s + start;
	*n = p->at - start;
	return true;
}

static struct node *parse_expression(struct parser *p);
static struct node *parse_unary(struct parser *p);

/* ---- expressions --------------------------------------------------------- */

static struct node *parse_string(struct parser *p)
{
	char quote = p->s[p->at++];
	struct strbuf text = {0};
	while (p->at < p->n && p->s[p->at] != quote) {
		char c = p->s[p->at++];
		if (c == '\\' && p->at < p->n) {
			static const char names[] = "nrt\\'\"", values[] = "\n\r\t\\'\"";
			c = p->s[p->at++];
			const char *name = c ? strchr(names, c) : NULL;
			if (!name) {
				strbuf_done(&text);
				return fail(p, "an escape in a string");
			}
			c = values[name - names];
		}
		strbuf_add_char(&text, c);
	}
	struct node *node = NULL;
	if (p->at >= p->n) {
		fail(p, "a string without an end");
	} else {
		p->at++;
		node = new_node(p, NODE_STRING);
		node->s = arena_copy(p->arena, text.data, text.length);
		node->n = text.length;
	}
	strbuf_done(&text);
	return node;
}

static struct node *parse_integer(struct parser *p)
{
	struct node *node = new_node(p, NODE_INTEGER);
	while (p->at < p->n && isdigit((unsigned char)p->s[p->at])) {
		node->number = node->number * 10 + (p->s[p->at++] - '0');
		if (node->number > INT32_MAX)
			return fail(p, "so large a number");
	}
	if (p->at < p->n && (p->s[p->at] == '.' || is_name_char(p->s[p->at])))
		return fail(p, "a number that is not whole");
	return node;
}

/* Comma-separated items up to `close`: arguments (keyword=value too), list items,
 * pairs of a dict. */
static struct node *parse_items(struct parser *p, const char *close, bool keywords, bool pairs)
{
	struct node *first = NULL, **tail = &first;
	while (!p->status && !take(p, close)) {
		const char *s;
		size_t n;
		struct node *item = NULL;
		if (first && !take(p, ","))
			return fail(p, "a list like this");
		if (take(p, close))
			break;
		size_t before = p->at;
		if (keywords && take_name(p, &s, &n) && take(p, "=") && !starts(p, "=")) {
			item = new_node(p, NODE_KEYWORD);
			item->s = s;
			item->n = n;
			item->a = parse_expression(p);
		} else {
			p->at = before;
			item = parse_expression(p);
		}
		if (pairs && !p->status) {
			struct node *pair = new_node(p, NODE_PAIR);
			pair->a = item;
			if (!take(p, ":"))
				return fail(p, "a dict like this");
			pair->b = parse_expression(p);
			item = pair;
		}
		if (p->status || !item)
			return NULL;
		*tail = item;
		tail = &item->next;
	}
	return p->status ? NULL : first;
}

static struct node *parse_primary(struct parser *p)
{
	static const struct {
		const char *word;
		enum node_kind kind;
		int64_t number;
	} words[] = {{"true", NODE_BOOLEAN, 1},	 {"True", NODE_BOOLEAN, 1}, {"false", NODE_BOOLEAN, 0},
		     {"False", NODE_BOOLEAN, 0}, {"none", NODE_NONE, 0},    {"None", NODE_NONE, 0}};
	struct node *node;
	skip_space(p);
	if (p->at >= p->n || at_tag_end(p))
		return fail(p, "a tag that ends here");
	char c = p->s[p->at];
	if (c == '\'' || c == '"')
		return parse_string(p);
	if (isdigit((unsigned char)c))
		return parse_integer(p);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (take(p, words[i].word)) {
			node = new_node(p, words[i].kind);
			node->number = words[i].number;
			return node;
		}
	}
	if (take(p, "(")) {
		node = parse_expression(p);
		return p->status ? NULL : take(p, ")") ? node : fail(p, "a group like this");
	}
	if (take(p, "[")) {
		node = new_node(p, NODE_LIST);
		node->b = parse_items(p, "]", false, false);
		return node;
	}
	if (take(p, "{")) {
		node = new_node(p, NODE_DICT);
		node->b = parse_items(p, "}", false, true);
		return node;
	}
	node = new_node(p, NODE_NAME);
	return take_name(p, &node->s, &node->n) ? node : fail(p, "this");
}

static struct node *parse_subscript(struct parser *p, struct node *of)
{
	struct node *node = new_node(p, NODE_INDEX);
	node->a = of;
	skip_space(p);
	if (!starts(p, ":"))
		node->b = parse_expression(p);
	if (!p->status && take(p, ":")) {
		node->kind = NODE_SLICE;
		skip_space(p);
		if (!starts(p, ":") && !starts(p, "]"))
			node->c = parse_expression(p);
		if (!p->status && take(p, ":")) {
			skip_space(p);
			if (!starts(p, "]"))
				node->d = parse_expression(p);
		}
	}
	return p->status ? NULL : take(p, "]") ? node : fail(p, "an index like this");
}

static struct node *parse_filter_or_test(struct parser *p, struct node *of, bool is_test)
{
	struct node *node = new_node(p, is_test ? NODE_TEST : NODE_FILTER);
	node->a = of;
	if (is_test)
		node->number = take(p, "not");
	if (!take_name(p, &node->s, &node->n))
		return fail(p, is_test ? "a test without a name" : "a filter without a name");
	if (take(p, "("))
		node->b = parse_items(p, ")", true, false);
	return node;
}

/* What may follow a value: .name [index] (arguments) | filter, is test. */
static struct node *parse_postfix(struct parser *p, struct node *node)
{
	while (!p->status && node) {
		struct node *outer;
		if (take(p, ".")) {
			outer = new_node(p, NODE_ATTRIBUTE);
			outer->a = node;
			if (!take_name(p, &outer->s, &outer->n))
				return fail(p, "an attribute without a name");
			node = outer;
		} else if (take(p, "[")) {
			node = parse_subscript(p, node);
		} else if (take(p, "(")) {
			outer = new_node(p, NODE_CALL);
			outer->a = node;
			outer->b = parse_items(p, ")", true, false);
			node = outer;
		} else if (take(p, "|")) {
			node = parse_filter_or_test(p, node, false);
		} else if (take(p, "is")) {
			node = parse_filter_or_test(p, node, true);
		} else {
			break;
		}
	}
	return p->status ? NULL : node;
}

static struct node *parse_unary(struct parser *p)
{
	if (++p->depth > DEEPEST)
		return fail(p, "an expression as deep as this");
	struct node *node;
	if (take(p, "-")) {
		node = new_node(p, NODE_NEGATIVE);
		node->a = parse_unary(p);
	} else {
		node = parse_postfix(p, parse_primary(p));
	}
	p->depth--;
	return p->status ? NULL : node;
}

/* Operators by how tightly they bind, the loosest first; `not` stands between
 * "and" and the comparisons. */
static const char *const operators[][9] = {{"or"},     {"and"}, {"==", "!=", "<=", ">=", "<", ">", "in", "not in"},
					   {"+", "-"}, {"~"},	{"*", "//", "%"}};
enum { LEVEL_NOT = 2, LEVELS = 6 };

static const char *take_operator(struct parser *p, size_t level)
{
	for (size_t i = 0; i < 9 && operators[level][i]; i++) {
		const char *name = operators[level][i];
		size_t before = p->at;
		if (strcmp(name, "not in") == 0) {
			if (take(p, "not") && take(p, "in"))
				return name;
			p->at = before;
		} else if (take(p, name)) {
			return name;
		}
	}
	return NULL;
}

static struct node *parse_binary(struct parser *p, size_t level)
{
	if (level == LEVELS)
		return parse_unary(p);
	if (++p->depth > DEEPEST * LEVELS)
		return fail(p, "an expression as deep as this");
	struct node *left;
	if (level == LEVEL_NOT && take(p, "not")) {
		left = new_node(p, NODE_NOT);
		left->a = parse_binary(p, LEVEL_NOT);
		p->depth--;
		return p->status ? NULL : left;
	}
	left = parse_binary(p, level + 1);
	for (const char *name; !p->status && (name = take_operator(p, level)) != NULL;) {
		struct node *node = new_node(p, NODE_BINARY);
		node->s = name;
		node->n = strlen(name);
		node->a = left;
		node->b = parse_binary(p, level + 1);
		left = node;
	}
	p->depth--;
	return p->status ? NULL : left;
}

static struct node *parse_expression(struct parser *p)
{
	struct node *node = parse_binary(p, 0);
	while (!p->status && take(p, "if")) {
		struct node *conditional = new_node(p, NODE_CONDITIONAL);
		conditional->a = node;
		conditional->b = parse_binary(p, 0);
		if (!p->status && take(p, "else"))
			conditional->c = parse_expression(p);
		node = conditional;
	}
	return p->status ? NULL : node;
}

/* ---- statements ---------------------------------------------------------- */

/* The end of a tag, and the white space that goes with it. */
static void end_tag(struct parser *p, const char *close)
{
	skip_space(p);
	bool strip = starts(p, "-"), keep = starts(p, "+");
	if (strip || keep)
		p->at++;
	if (!starts(p, close)) {
		fail(p, "what stands in this tag");
		return;
	}
	p->at += 2;
	size_t start = p->at;
	if (strip)
		skip_space(p);
	else if (!keep && close[0] != '}' && starts(p, "\n"))
		p->at++;
	p->line_start = p->at > start && p->s[p->at - 1] == '\n';
}

static struct node *parse_block(struct parser *p, const char *const *ends, const char **end);

static struct node *parse_if(struct parser *p)
{
	static const char *const ends[] = {"elif", "else", "endif", NULL};
	static const char *const only_end[] = {"endif", NULL};
	if (++p->depth > DEEPEST)
		return fail(p, "nesting as deep as this");
	const char *end;
	struct node *node = new_node(p, NODE_IF);
	node->a = parse_expression(p);
	if (!p->status)
		end_tag(p, "%}");
	node->b = parse_block(p, ends, &end);
	if (p->status || !end)
		return NULL;
	if (strcmp(end, "elif") == 0) {
		node->c = parse_if(p);
	} else if (strcmp(end, "else") == 0) {
		end_tag(p, "%}");
		node->c = parse_block(p, only_end, &end);
		if (!p->status)
			end_tag(p, "%}");
	} else {
		end_tag(p, "%}");
	}
	p->depth--;
	return p->status ? NULL : node;
}

static struct node *parse_for(struct parser *p)
{
	static const char *const ends[] = {"endfor", NULL};
	if (++p->depth > DEEPEST)
		return fail(p, "nesting as deep as this");
	const char *end;
	struct node *node = new_node(p, NODE_FOR), **tail = &node->b;
	do {
		*tail = new_node(p, NODE_NAME);
		if (!take_name(p, &(*tail)->s, &(*tail)->n))
			return fail(p, "a loop like this");
		tail = &(*tail)->next;
	} while (take(p, ","));
	if (!take(p, "in"))
		return fail(p, "a loop like this");
	node->a = parse_binary(p, 0);
	if (!p->status && take(p, "if"))
		node->d = parse_expression(p);
	if (!p->status)
		end_tag(p, "%}");
	node->c = parse_block(p, ends, &end);
	if (!p->status)
		end_tag(p, "%}");
	p->depth--;
	return p->status ? NULL : node;
}

static struct node *parse_set(struct parser *p)
{
	struct node *node = new_node(p, NODE_SET);
	node->a = new_node(p, NODE_NAME);
	if (!take_name(p, &node->a->s, &node->a->n))
		return fail(p, "an assignment like this");
	if (take(p, ".")) {
		struct node *attribute = new_node(p, NODE_ATTRIBUTE);
		attribute->a = node->a;
		node->a = attribute;
		if (!take_name(p, &attribute->s, &attribute->n))
			return fail(p, "an assignment like this");
	}
	if (!take(p, "="))
		return fail(p, "an assignment like this");
	node->b = parse_expression(p);
	if (!p->status)
		end_tag(p, "%}");
	return p->status ? NULL : node;
}

/* Text up to the next tag. */
static struct node *parse_text(struct parser *p)
{
	size_t start = p->at;
	while (p->at < p->n && !starts(p, "{%") && !starts(p, "{{") && !starts(p, "{#"))
		p->at++;
	size_t end = p->at;
	char sign = p->at + 2 < p->n ? p->s[p->at + 2] : '\0';
	if (p->at < p->n && sign == '-') {
		while (end > start && isspace((unsigned char)p->s[end - 1]))
			end--;
	} else if (p->at < p->n && sign != '+' && !starts(p, "{{")) {
		size_t indent = end;
		while (indent > start && (p->s[indent - 1] == ' ' || p->s[indent - 1] == '\t'))
			indent--;
		if (indent > start ? p->s[indent - 1] == '\n' : p->line_start)
			end = indent;
	}
	struct node *node = new_node(p, NODE_TEXT);
	node->s = p->s + start;
	node->n = end - start;
	return node;
}

static void skip_comment(struct parser *p)
{
	const char *close = memmem(p->s + p->at, p->n - p->at, "#}", 2);
	if (!close) {
		fail(p, "a comment without an end");
		return;
	}
	p->at = (size_t)(close - p->s);
	if (close[-1] == '-')
		p->at--;
	end_tag(p, "#}");
}

static struct node *parse_statement(struct parser *p, const char *const *ends, const char **end)
{
	for (size_t i = 0; ends[i]; i++) {
		if (take(p, ends[i])) {
			*end = ends[i];
			return NULL;
		}
	}
	if (take(p, "if"))
		return parse_if(p);
	if (take(p, "for"))
		return parse_for(p);
	if (take(p, "set"))
		return parse_set(p);
	if (take(p, "generation") || take(p, "endgeneration")) { /* marks text for training only */
		end_tag(p, "%}");
		struct node *nothing = new_node(p, NODE_TEXT);
		nothing->s = "";
		return p->status ? NULL : nothing;
	}
	return fail(p, "a statement of this kind");
}

/* Statements up to one of `ends`, whose word is taken; at the end of the template *end is NULL. */
static struct node *parse_block(struct parser *p, const char *const *ends, const char **end)
{
	struct node *first = NULL, **tail = &first;
	*end = NULL;
	while (!p->status && p->at < p->n) {
		struct node *node = NULL;
		bool comment = starts(p, "{#"), output = starts(p, "{{");
		if (!comment && !output && !starts(p, "{%")) {
			node = parse_text(p);
		} else {
			p->at += 2;
			if (starts(p, "-") || (starts(p, "+") && !output))
				p->at++;
			if (comment) {
				skip_comment(p);
				continue;
			}
			if (output) {
				node = new_node(p, NODE_OUTPUT);
				node->a = parse_expression(p);
				if (!p->status)
					end_tag(p, "}}");
			} else {
				node = parse_statement(p, ends, end);
				if (*end)
					return first;
			}
		}
		if (node) {
			*tail = node;
			tail = &node->next;
		}
	}
	if (!p->status && ends[0])
		fail(p, "a block without an end");
	return p->status ? NULL : first;
}

enum status template_parse(struct node **out, struct arena *arena, const char *s, size_t n, struct error *error)
{
	static const char *const none[] = {NULL};
	/* Line ends are newlines, and the last one does not count. */
	char *copy = arena_alloc(arena, n + 1);
	size_t length = 0;
	for (size_t i = 0; i < n; i++)
		if (!(s[i] == '\r' && i + 1 < n && s[i + 1] == '\n'))
			copy[length++] = s[i];
	if (length > 0 && copy[length - 1] == '\n')
		length--;
	struct parser p = {.arena = arena, .s = copy, .n = length, .error = error, .line_start = true};
	const char *end;
	*out = parse_block(&p, none, &end);
	return p.status;
}
