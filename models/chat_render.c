/* Evaluation of a template's tree: expressions to values, statements to text. */
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "models/chat_value.h"

/* Far more than any template needs, and soon reached by one that does not end. */
enum { MOST_STEPS = 2000000, MOST_OUTPUT = 64 << 20, MOST_MEMORY = 256 << 20, MOST_ARGUMENTS = 16, DEEPEST = 400 };

struct variable {
	const char *name;
	size_t length;
	struct value value;
};

static bool evaluate(struct evaluation *e, const struct node *node, struct value *out);

static bool count_step(struct evaluation *e)
{
	if (++e->steps > MOST_STEPS || e->out->length > MOST_OUTPUT || e->arena.total > MOST_MEMORY)
		return evaluation_fail(e, "the chat template does not come to an end");
	return true;
}

/* ---- variables ----------------------------------------------------------- */

static void set_variable(struct evaluation *e, const char *name, size_t n, struct value v)
{
	for (size_t i = e->variable_count; i-- > e->frame;) {
		struct variable *variable = &e->variables[i];
		if (variable->length == n && memcmp(variable->name, name, n) == 0) {
			variable->value = v;
			return;
		}
	}
	mem_reserve((void **)&e->variables, &e->variable_capacity, e->variable_count + 1, sizeof *e->variables);
	e->variables[e->variable_count++] = (struct variable){name, n, v};
}

static void set_named(struct evaluation *e, const char *name, struct value v)
{
	set_variable(e, name, strlen(name), v);
}

static struct value get_variable(const struct evaluation *e, const char *name, size_t n)
{
	static const char *const functions[] = {"raise_exception", "strftime_now", "range", "namespace", "dict"};
	for (size_t i = e->variable_count; i-- > 0;)
		if (e->variables[i].length == n && memcmp(e->variables[i].name, name, n) == 0)
			return e->variables[i].value;
	for (size_t i = 0; i < ARRAY_LEN(functions); i++)
		if (strlen(functions[i]) == n && memcmp(functions[i], name, n) == 0)
			return (struct value){.kind = VALUE_FUNCTION, .s = name, .n = n};
	return (struct value){0};
}

/* ---- expressions --------------------------------------------------------- */

/* Evaluates arguments; keywords go to *map if there is one. */
static bool evaluate_arguments(struct evaluation *e, const struct node *first, struct value *args, size_t *count,
			       struct value *map)
{
	*count = 0;
	for (const struct node *node = first; node; node = node->next) {
		struct value v;
		if (!evaluate(e, node->kind == NODE_KEYWORD ? node->a : node, &v))
			return false;
		if (node->kind == NODE_KEYWORD && map)
			map_set(e, map, node->s, node->n, v);
		else if (node->kind == NODE_KEYWORD || *count == MOST_ARGUMENTS)
			return evaluation_fail(e, "such arguments are not supported");
		else
			args[(*count)++] = v;
	}
	return true;
}

static bool evaluate_call(struct evaluation *e, const struct node *node, struct value *out)
{
	struct value args[MOST_ARGUMENTS], callee;
	size_t n;
	if (node->a->kind == NODE_ATTRIBUTE) {
		return evaluate(e, node->a->a, &callee) && evaluate_arguments(e, node->b, args, &n, NULL) &&
		       apply_method(e, node->a, &callee, args, n, out);
	}
	if (!evaluate(e, node->a, &callee))
		return false;
	if (callee.kind != VALUE_FUNCTION)
		return evaluation_fail(e, "calling what is no function is not supported");
	if (callee.s[0] == 'n' || callee.s[0] == 'd') { /* namespace, dict */
		*out = value_new_map(e);
		return evaluate_arguments(e, node->b, args, &n, out);
	}
	return evaluate_arguments(e, node->b, args, &n, NULL) && apply_function(e, &callee, args, n, out);
}

static bool get_member(struct evaluation *e, const struct value *of, const char *key, size_t n, struct value *out)
{
	if (of->kind == VALUE_UNDEFINED)
		return evaluation_fail(e, "\"%.*s\" is asked of something undefined", (int)n, key);
	*out = of->kind == VALUE_MAP ? map_get(of, key, n) : (struct value){0};
	return true;
}

/* The byte position of the character at `index`; v->n for the one behind the last. */
static size_t character_at(const struct value *v, int64_t index)
{
	size_t at = 0;
	while (at < v->n && index > 0) {
		at++;
		while (at < v->n && ((unsigned char)v->s[at] & 0xC0) == 0x80)
			at++;
		index--;
	}
	return at;
}

static int64_t count_of(const struct value *v)
{
	int64_t count = 0;
	if (v->kind == VALUE_LIST)
		return (int64_t)v->n;
	for (size_t i = 0; i < v->n; i++)
		count += ((unsigned char)v->s[i] & 0xC0) != 0x80;
	return count;
}

static bool evaluate_index(struct evaluation *e, const struct node *node, struct value *out)
{
	struct value of, index;
	if (!evaluate(e, node->a, &of) || !evaluate(e, node->b, &index))
		return false;
	if (index.kind == VALUE_STRING)
		return get_member(e, &of, index.s, index.n, out);
	if (index.kind != VALUE_INTEGER || (of.kind != VALUE_LIST && of.kind != VALUE_STRING))
		return evaluation_fail(e, "such an index is not supported");
	int64_t count = count_of(&of);
	int64_t at = index.number < 0 ? index.number + count : index.number;
	*out = (struct value){0};
	if (at < 0 || at >= count)
		return true;
	if (of.kind == VALUE_LIST) {
		*out = of.items[at];
	} else {
		size_t start = character_at(&of, at);
		*out = value_string(of.s + start, character_at(&of, at + 1) - start);
	}
	return true;
}

static bool evaluate_bound(struct evaluation *e, const struct node *node, int64_t count, int64_t absent, int64_t *out)
{
	struct value v;
	*out = absent;
	if (!node)
		return true;
	if (!evaluate(e, node, &v))
		return false;
	if (v.kind != VALUE_INTEGER)
		return evaluation_fail(e, "such a slice is not supported");
	*out = v.number < 0 ? v.number + count : v.number;
	*out = *out < 0 ? 0 : *out > count ? count : *out;
	return true;
}

static bool evaluate_slice(struct evaluation *e, const struct node *node, struct value *out)
{
	struct value of, step = value_integer(1);
	int64_t start, end;
	if (!evaluate(e, node->a, &of) || (node->d && !evaluate(e, node->d, &step)))
		return false;
	bool backwards = step.kind == VALUE_INTEGER && step.number == -1 && !node->b && !node->c;
	if ((of.kind != VALUE_LIST && of.kind != VALUE_STRING) || step.kind != VALUE_INTEGER ||
	    (step.number != 1 && !(backwards && of.kind == VALUE_LIST)))
		return evaluation_fail(e, "such a slice is not supported");
	int64_t count = count_of(&of);
	if (!evaluate_bound(e, node->b, count, 0, &start) || !evaluate_bound(e, node->c, count, count, &end))
		return false;
	end = end < start ? start : end;
	if (of.kind == VALUE_STRING) {
		size_t first = character_at(&of, start), last = character_at(&of, end);
		*out = value_string(of.s + first, last - first);
		return true;
	}
	*out = value_list(e, (size_t)(end - start));
	for (int64_t i = start; i < end; i++)
		out->items[i - start] = of.items[backwards ? count - 1 - i : i];
	return true;
}

static bool contains(const struct value *in, const struct value *v, bool *out)
{
	*out = false;
	if (in->kind == VALUE_STRING && v->kind == VALUE_STRING) {
		*out = v->n == 0 || (in->n > 0 && memmem(in->s, in->n, v->s, v->n) != NULL);
	} else if (in->kind == VALUE_LIST) {
		for (size_t i = 0; i < in->n && !*out; i++)
			*out = value_equal(&in->items[i], v);
	} else if (in->kind == VALUE_MAP && v->kind == VALUE_STRING) {
		*out = map_get(in, v->s, v->n).kind != VALUE_UNDEFINED;
	} else {
		return false;
	}
	return true;
}

static bool arithmetic(struct evaluation *e, char operator, int64_t a, int64_t b, struct value *out)
{
	int64_t result = 0;
	bool overflow = false;
	if (operator== '+')
		overflow = __builtin_add_overflow(a, b, &result);
	else if (operator== '-')
		overflow = __builtin_sub_overflow(a, b, &result);
	else if (operator== '*')
		overflow = __builtin_mul_overflow(a, b, &result);
	else if (b <= 0 || a < 0)
		return evaluation_fail(e, "such a division is not supported");
	else
		result = operator== '%' ? a % b : a / b;
	if (overflow)
		return evaluation_fail(e, "so large a number is not supported");
	*out = value_integer(result);
	return true;
}

static bool compare(const char *operator, const struct value * a, const struct value *b, struct value *out)
{
	int64_t order;
	if (a->kind == VALUE_INTEGER && b->kind == VALUE_INTEGER) {
		order = a->number < b->number ? -1 : a->number > b->number;
	} else if (a->kind == VALUE_STRING && b->kind == VALUE_STRING) {
		size_t n = a->n < b->n ? a->n : b->n;
		order = n ? memcmp(a->s, b->s, n) : 0;
		order = order ? order : (a->n > b->n) - (a->n < b->n);
	} else {
		return false;
	}
	bool or_equal = operator[1] == '=';
	*out = value_boolean(operator[0] == '<' ? order < 0 || (or_equal && order == 0)
						: order> 0 ||(or_equal &&order == 0));
	return true;
}

static bool concatenate(struct evaluation *e, const struct value *a, const struct value *b, struct value *out)
{
	struct strbuf text = {0};
	bool ok = value_print(e, a, &text) && value_print(e, b, &text);
	*out = value_take(e, &text);
	return ok;
}

static bool add(struct evaluation *e, const struct value *a, const struct value *b, struct value *out)
{
	if (a->kind == VALUE_STRING && b->kind == VALUE_STRING)
		return concatenate(e, a, b, out);
	if (a->kind == VALUE_LIST && b->kind == VALUE_LIST) {
		*out = value_list(e, a->n + b->n);
		for (size_t i = 0; i < out->n; i++)
			out->items[i] = i < a->n ? a->items[i] : b->items[i - a->n];
		return true;
	}
	return evaluation_fail(e, "adding such values is not supported");
}

static bool evaluate_binary(struct evaluation *e, const struct node *node, struct value *out)
{
	struct value a, b;
	const char *name = node->s;
	bool found;
	if (!evaluate(e, node->a, &a))
		return false;
	if (strcmp(name, "or") == 0 || strcmp(name, "and") == 0) {
		bool decided = value_truth(&a) == (name[0] == 'o');
		*out = a;
		return decided || evaluate(e, node->b, out);
	}
	if (!evaluate(e, node->b, &b))
		return false;
	if (strcmp(name, "==") == 0 || strcmp(name, "!=") == 0) {
		*out = value_boolean(value_equal(&a, &b) == (name[0] == '='));
		return true;
	}
	if (strcmp(name, "in") == 0 || strcmp(name, "not in") == 0) {
		if (!contains(&b, &a, &found))
			return evaluation_fail(e, "\"in\" on such values is not supported");
		*out = value_boolean(found == (name[0] == 'i'));
		return true;
	}
	if (name[0] == '~')
		return concatenate(e, &a, &b, out);
	if (name[0] == '<' || name[0] == '>')
		return compare(name, &a, &b, out) || evaluation_fail(e, "comparing such values is not supported");
	if (a.kind == VALUE_INTEGER && b.kind == VALUE_INTEGER)
		return arithmetic(e, name[0], a.number, b.number, out);
	if (name[0] == '+')
		return add(e, &a, &b, out);
	return evaluation_fail(e, "\"%s\" on such values is not supported", name);
}

static bool evaluate_list(struct evaluation *e, const struct node *node, struct value *out)
{
	size_t count = 0;
	for (const struct node *item = node->b; item; item = item->next)
		count++;
	*out = value_list(e, count);
	count = 0;
	for (const struct node *item = node->b; item; item = item->next)
		if (!evaluate(e, item, &out->items[count++]))
			return false;
	return true;
}

static bool evaluate_dict(struct evaluation *e, const struct node *node, struct value *out)
{
	*out = value_new_map(e);
	for (const struct node *pair = node->b; pair; pair = pair->next) {
		struct value key, v;
		if (!evaluate(e, pair->a, &key) || !evaluate(e, pair->b, &v))
			return false;
		if (key.kind != VALUE_STRING)
			return evaluation_fail(e, "a key that is no string is not supported");
		map_set(e, out, key.s, key.n, v);
	}
	return true;
}

static bool evaluate_operand(struct evaluation *e, const struct node *node, struct value *out)
{
	struct value v, args[MOST_ARGUMENTS];
	size_t n;
	bool result;
	if (!evaluate(e, node->a, &v))
		return false;
	switch (node->kind) {
	case NODE_ATTRIBUTE:
		return get_member(e, &v, node->s, node->n, out);
	case NODE_FILTER:
		return evaluate_arguments(e, node->b, args, &n, NULL) && apply_filter(e, node, v, args, n, out);
	case NODE_TEST:
		if (!evaluate_arguments(e, node->b, args, &n, NULL) || !apply_test(e, node, &v, args, n, &result))
			return false;
		*out = value_boolean(result != (node->number == 1));
		return true;
	case NODE_NOT:
		*out = value_boolean(!value_truth(&v));
		return true;
	default: /* NODE_NEGATIVE */
		if (v.kind != VALUE_INTEGER)
			return evaluation_fail(e, "a minus in front of such a value is not supported");
		*out = value_integer(-v.number);
		return true;
	}
}

static bool evaluate_node(struct evaluation *e, const struct node *node, struct value *out)
{
	struct value condition;
	switch (node->kind) {
	case NODE_STRING:
		*out = value_string(node->s, node->n);
		return true;
	case NODE_INTEGER:
		*out = value_integer(node->number);
		return true;
	case NODE_BOOLEAN:
		*out = value_boolean(node->number != 0);
		return true;
	case NODE_NONE:
		*out = (struct value){.kind = VALUE_NONE};
		return true;
	case NODE_NAME:
		*out = get_variable(e, node->s, node->n);
		return true;
	case NODE_INDEX:
		return evaluate_index(e, node, out);
	case NODE_SLICE:
		return evaluate_slice(e, node, out);
	case NODE_CALL:
		return evaluate_call(e, node, out);
	case NODE_BINARY:
		return evaluate_binary(e, node, out);
	case NODE_LIST:
		return evaluate_list(e, node, out);
	case NODE_DICT:
		return evaluate_dict(e, node, out);
	case NODE_CONDITIONAL:
		if (!evaluate(e, node->b, &condition))
			return false;
		*out = (struct value){0};
		if (value_truth(&condition))
			return evaluate(e, node->a, out);
		return !node->c || evaluate(e, node->c, out);
	case NODE_ATTRIBUTE:
	case NODE_FILTER:
	case NODE_TEST:
	case NODE_NOT:
	case NODE_NEGATIVE:
		return evaluate_operand(e, node, out);
	default:
		return evaluation_fail(e, "this place for a statement is not supported");
	}
}

static bool evaluate(struct evaluation *e, const struct node *node, struct value *out)
{
	*out = (struct value){0};
	if (!count_step(e))
		return false;
	if (++e->depth > DEEPEST)
		return evaluation_fail(e, "an expression as deep as this is not supported");
	bool ok = evaluate_node(e, node, out);
	e->depth--;
	return ok;
}

/* ---- statements ---------------------------------------------------------- */

static bool run(struct evaluation *e, const struct node *first);

static bool bind_names(struct evaluation *e, const struct node *names, const struct value *item)
{
	if (!names->next) {
		set_variable(e, names->s, names->n, *item);
		return true;
	}
	size_t i = 0;
	for (const struct node *name = names; name; name = name->next, i++) {
		if (item->kind != VALUE_LIST || i >= item->n)
			return evaluation_fail(e, "a loop over such values is not supported");
		set_variable(e, name->s, name->n, item->items[i]);
	}
	return true;
}

static struct value loop_value(struct evaluation *e, const struct value *list, size_t i)
{
	struct value loop = value_new_map(e);
	map_set(e, &loop, "index", 5, value_integer((int64_t)i + 1));
	map_set(e, &loop, "index0", 6, value_integer((int64_t)i));
	map_set(e, &loop, "revindex", 8, value_integer((int64_t)(list->n - i)));
	map_set(e, &loop, "revindex0", 9, value_integer((int64_t)(list->n - i) - 1));
	map_set(e, &loop, "first", 5, value_boolean(i == 0));
	map_set(e, &loop, "last", 4, value_boolean(i + 1 == list->n));
	map_set(e, &loop, "length", 6, value_integer((int64_t)list->n));
	if (i > 0)
		map_set(e, &loop, "previtem", 8, list->items[i - 1]);
	if (i + 1 < list->n)
		map_set(e, &loop, "nextitem", 8, list->items[i + 1]);
	return loop;
}

/* The items that the loop's condition lets through. */
static bool select_items(struct evaluation *e, const struct node *node, struct value *list)
{
	struct value kept = value_list(e, list->n), condition;
	kept.n = 0;
	for (size_t i = 0; i < list->n; i++) {
		if (!bind_names(e, node->b, &list->items[i]) || !evaluate(e, node->d, &condition))
			return false;
		if (value_truth(&condition))
			kept.items[kept.n++] = list->items[i];
	}
	*list = kept;
	return true;
}

/* Assignments inside a loop end with each turn. */
static bool run_for(struct evaluation *e, const struct node *node)
{
	struct value list;
	if (!evaluate(e, node->a, &list))
		return false;
	if (list.kind == VALUE_UNDEFINED)
		return true;
	if (list.kind != VALUE_LIST)
		return evaluation_fail(e, "a loop over such a value is not supported");
	size_t frame = e->frame, count = e->variable_count;
	bool ok = true;
	e->frame = count;
	if (node->d)
		ok = select_items(e, node, &list);
	for (size_t i = 0; ok && i < list.n; i++) {
		e->variable_count = count;
		set_named(e, "loop", loop_value(e, &list, i));
		ok = bind_names(e, node->b, &list.items[i]) && run(e, node->c);
	}
	e->variable_count = count;
	e->frame = frame;
	return ok;
}

static bool run_set(struct evaluation *e, const struct node *node)
{
	struct value v;
	if (!evaluate(e, node->b, &v))
		return false;
	if (node->a->kind == NODE_NAME) {
		set_variable(e, node->a->s, node->a->n, v);
		return true;
	}
	struct value namespace = get_variable(e, node->a->a->s, node->a->a->n);
	if (namespace.kind != VALUE_MAP)
		return evaluation_fail(e, "setting an attribute of what is no namespace is not supported");
	map_set(e, &namespace, node->a->s, node->a->n, v);
	return true;
}

static bool run(struct evaluation *e, const struct node *first)
{
	for (const struct node *node = first; node; node = node->next) {
		struct value v;
		bool ok = count_step(e);
		if (ok && node->kind == NODE_TEXT) {
			strbuf_add(e->out, node->s, node->n);
		} else if (ok && node->kind == NODE_OUTPUT) {
			ok = evaluate(e, node->a, &v) && value_print(e, &v, e->out);
		} else if (ok && node->kind == NODE_IF) {
			ok = evaluate(e, node->a, &v);
			ok = ok && run(e, value_truth(&v) ? node->b : node->c);
		} else if (ok && node->kind == NODE_FOR) {
			ok = run_for(e, node);
		} else if (ok) {
			ok = run_set(e, node);
		}
		if (!ok)
			return false;
	}
	return true;
}

static struct value messages_value(struct evaluation *e, const struct chat_message *messages, size_t count)
{
	struct value list = value_list(e, count);
	for (size_t i = 0; i < count; i++) {
		list.items[i] = value_new_map(e);
		map_set(e, &list.items[i], "role", 4, value_string(messages[i].role, strlen(messages[i].role)));
		map_set(e, &list.items[i], "content", 7, value_string(messages[i].content, messages[i].length));
	}
	return list;
}

enum status template_render(const struct node *root, const struct chat_message *messages, size_t count,
			    bool add_generation_prompt, const char *bos, const char *eos, struct strbuf *out,
			    struct error *error)
{
	struct strbuf text = {0};
	struct evaluation e = {.out = &text, .error = error};
	set_named(&e, "messages", messages_value(&e, messages, count));
	set_named(&e, "add_generation_prompt", value_boolean(add_generation_prompt));
	set_named(&e, "bos_token", value_string(bos, strlen(bos)));
	set_named(&e, "eos_token", value_string(eos, strlen(eos)));
	set_named(&e, "tools", (struct value){.kind = VALUE_NONE});
	set_named(&e, "documents", (struct value){.kind = VALUE_NONE});
	if (run(&e, root))
		strbuf_add(out, text.data, text.length);
	strbuf_done(&text);
	free(e.variables);
	arena_done(&e.arena);
	return e.status;
}
