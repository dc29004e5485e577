#include "models/pickle_machine.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* The only names that a pickle may mention. */
static const struct {
	const char *module, *name;
	enum pickle_global global;
	enum st_dtype dtype;
} globals[] = {
	{"torch._utils", "_rebuild_tensor_v2", GLOBAL_REBUILD_TENSOR, 0},
	{"torch._utils", "_rebuild_parameter", GLOBAL_REBUILD_PARAMETER, 0},
	{"collections", "OrderedDict", GLOBAL_ORDERED_DICT, 0},
	{"torch", "Size", GLOBAL_SIZE, 0},
	{"torch", "FloatStorage", GLOBAL_STORAGE, ST_F32},
	{"torch", "HalfStorage", GLOBAL_STORAGE, ST_F16},
	{"torch", "BFloat16Storage", GLOBAL_STORAGE, ST_BF16},
	{"torch", "DoubleStorage", GLOBAL_STORAGE, ST_F64},
	{"torch", "LongStorage", GLOBAL_STORAGE, ST_I64},
	{"torch", "IntStorage", GLOBAL_STORAGE, ST_I32},
	{"torch", "ShortStorage", GLOBAL_STORAGE, ST_I16},
	{"torch", "CharStorage", GLOBAL_STORAGE, ST_I8},
	{"torch", "ByteStorage", GLOBAL_STORAGE, ST_U8},
	{"torch", "BoolStorage", GLOBAL_STORAGE, ST_BOOL},
};

enum opcode {
	OP_MARK = '(',
	OP_STOP = '.',
	OP_NONE = 'N',
	OP_NEWTRUE = 0x88,
	OP_NEWFALSE = 0x89,
	OP_BININT = 'J',
	OP_BININT1 = 'K',
	OP_BININT2 = 'M',
	OP_LONG1 = 0x8a,
	OP_BINFLOAT = 'G',
	OP_BINUNICODE = 'X',
	OP_SHORT_BINUNICODE = 0x8c,
	OP_EMPTY_DICT = '}',
	OP_EMPTY_LIST = ']',
	OP_EMPTY_TUPLE = ')',
	OP_TUPLE = 't',
	OP_TUPLE1 = 0x85,
	OP_TUPLE2 = 0x86,
	OP_TUPLE3 = 0x87,
	OP_APPEND = 'a',
	OP_APPENDS = 'e',
	OP_SETITEM = 's',
	OP_SETITEMS = 'u',
	OP_BINPUT = 'q',
	OP_LONG_BINPUT = 'r',
	OP_MEMOIZE = 0x94,
	OP_BINGET = 'h',
	OP_LONG_BINGET = 'j',
	OP_GLOBAL = 'c',
	OP_STACK_GLOBAL = 0x93,
	OP_BINPERSID = 'Q',
	OP_REDUCE = 'R',
	OP_BUILD = 'b',
	OP_PROTO = 0x80,
	OP_FRAME = 0x95,
};

static enum status bad(const struct pickle_machine *m, const char *why, struct error *error)
{
	return error_set(error, STATUS_INVALID, "%s: bad pickle: %s at byte %zu", m->what, why, m->at);
}

static struct pickle_value *new_value(struct pickle_machine *m, enum pickle_kind kind)
{
	struct pickle_value *value = mem_alloc(1, sizeof *value);
	value->kind = kind;
	mem_reserve((void **)&m->values, &m->capacity, m->count + 1, sizeof(struct pickle_value *));
	m->values[m->count++] = value;
	return value;
}

static void push(struct pickle_machine *m, struct pickle_value *value)
{
	mem_reserve((void **)&m->stack, &m->stack_capacity, m->depth + 1, sizeof(struct pickle_value *));
	m->stack[m->depth++] = value;
}

static struct pickle_value *push_new(struct pickle_machine *m, enum pickle_kind kind)
{
	struct pickle_value *value = new_value(m, kind);
	push(m, value);
	return value;
}

static void add_item(struct pickle_value *to, struct pickle_value *item)
{
	mem_reserve((void **)&to->items, &to->capacity, to->count + 1, sizeof(struct pickle_value *));
	to->items[to->count++] = item;
}

/* The topmost value; NULL if the stack is empty or it is a mark. */
static struct pickle_value *pop(struct pickle_machine *m)
{
	if (m->depth == 0 || m->stack[m->depth - 1]->kind == PICKLE_MARK)
		return NULL;
	return m->stack[--m->depth];
}

/* Stack position just above the topmost mark; false if there is none. */
static bool find_mark(const struct pickle_machine *m, size_t *above)
{
	for (size_t i = m->depth; i > 0; i--) {
		if (m->stack[i - 1]->kind == PICKLE_MARK) {
			*above = i;
			return true;
		}
	}
	return false;
}

/* Little-endian unsigned operand; false past the end. */
static bool operand(struct pickle_machine *m, size_t bytes, uint64_t *out)
{
	if (m->size - m->at < bytes)
		return false;
	*out = 0;
	for (size_t i = bytes; i > 0; i--)
		*out = *out << 8 | m->bytes[m->at + i - 1];
	m->at += bytes;
	return true;
}

static enum status truncated(const struct pickle_machine *m, struct error *error)
{
	return error_set(error, STATUS_INVALID, "%s is truncated: the pickle of %zu bytes ends without its STOP",
			 m->what, m->size);
}

static enum status push_global(struct pickle_machine *m, const char *module, size_t module_length, const char *name,
			       size_t name_length, struct error *error)
{
	for (size_t i = 0; i < ARRAY_LEN(globals); i++) {
		if (strlen(globals[i].module) != module_length || strlen(globals[i].name) != name_length ||
		    memcmp(globals[i].module, module, module_length) != 0 ||
		    memcmp(globals[i].name, name, name_length) != 0)
			continue;
		struct pickle_value *value = push_new(m, PICKLE_GLOBAL);
		value->global = globals[i].global;
		value->dtype = globals[i].dtype;
		return STATUS_OK;
	}
	return error_set(
		error, STATUS_INVALID,
		"%s: forbidden global: the pickle names \"%.*s.%.*s\", which is not among those that rebuild tensors; "
		"nothing was executed",
		m->what, module_length < 100 ? (int)module_length : 100, module,
		name_length < 100 ? (int)name_length : 100, name);
}

/* GLOBAL: two lines of text. */
static enum status read_global(struct pickle_machine *m, struct error *error)
{
	const char *line[2];
	size_t length[2];
	for (int i = 0; i < 2; i++) {
		const unsigned char *end = memchr(m->bytes + m->at, '\n', m->size - m->at);
		if (!end)
			return truncated(m, error);
		line[i] = (const char *)m->bytes + m->at;
		length[i] = (size_t)(end - (m->bytes + m->at));
		m->at += length[i] + 1;
	}
	return push_global(m, line[0], length[0], line[1], length[1], error);
}

static enum status stack_global(struct pickle_machine *m, struct error *error)
{
	struct pickle_value *name = pop(m), *module = pop(m);
	if (!name || !module || name->kind != PICKLE_STRING || module->kind != PICKLE_STRING)
		return bad(m, "STACK_GLOBAL without two strings", error);
	return push_global(m, module->text, module->length, name->text, name->length, error);
}

/* ("storage", type, key, location, elements) */
static enum status load_storage(struct pickle_machine *m, struct error *error)
{
	struct pickle_value *id = pop(m);
	if (!id || id->kind != PICKLE_TUPLE || id->count != 5)
		return bad(m, "a persistent id that is no storage", error);
	const struct pickle_value *tag = id->items[0], *type = id->items[1], *key = id->items[2], *n = id->items[4];
	if (tag->kind != PICKLE_STRING || tag->length != 7 || memcmp(tag->text, "storage", 7) != 0 ||
	    type->kind != PICKLE_GLOBAL || type->global != GLOBAL_STORAGE || key->kind != PICKLE_STRING ||
	    n->kind != PICKLE_INT || n->integer < 0)
		return bad(m, "a persistent id that is no storage", error);
	struct pickle_value *storage = push_new(m, PICKLE_STORAGE);
	storage->dtype = type->dtype;
	storage->text = key->text;
	storage->length = key->length;
	storage->elements = n->integer;
	return STATUS_OK;
}

static bool read_sizes(const struct pickle_value *tuple, int64_t out[ARRAY_MAX_RANK])
{
	if (tuple->kind != PICKLE_TUPLE || tuple->count > ARRAY_MAX_RANK)
		return false;
	for (size_t i = 0; i < tuple->count; i++) {
		if (tuple->items[i]->kind != PICKLE_INT || tuple->items[i]->integer < 0)
			return false;
		out[i] = tuple->items[i]->integer;
	}
	return true;
}

/* True if offset + every index lies in the storage and no element is counted more
 * often than the storage has room for (an expanded tensor could be of any size). */
static bool fits_storage(const struct pickle_value *tensor)
{
	const struct array_view *shape = tensor->shape;
	int64_t last = tensor->offset, count = 1;
	for (int i = 0; i < shape->rank; i++) {
		int64_t step;
		if (shape->shape[i] == 0)
			count = 0;
		else if (count && __builtin_mul_overflow(count, shape->shape[i], &count))
			return false;
		if (shape->shape[i] > 1 && (__builtin_mul_overflow(shape->shape[i] - 1, shape->stride[i], &step) ||
					    __builtin_add_overflow(last, step, &last)))
			return false;
	}
	if (count == 0)
		return tensor->offset <= tensor->storage->elements;
	return last < tensor->storage->elements && count <= tensor->storage->elements;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, ...) */
static enum status rebuild_tensor(struct pickle_machine *m, const struct pickle_value *args, struct error *error)
{
	if (args->count < 4 || args->items[0]->kind != PICKLE_STORAGE || args->items[1]->kind != PICKLE_INT ||
	    args->items[1]->integer < 0 || args->items[2]->count != args->items[3]->count)
		return bad(m, "a tensor rebuilt from unexpected arguments", error);
	struct pickle_value *tensor = push_new(m, PICKLE_TENSOR);
	struct array_view *shape = tensor->shape = mem_alloc(1, sizeof *shape);
	tensor->storage = args->items[0];
	tensor->offset = args->items[1]->integer;
	shape->dtype = tensor->storage->dtype;
	if (!read_sizes(args->items[2], shape->shape) || !read_sizes(args->items[3], shape->stride))
		return bad(m, "a tensor whose shape or strides are not whole numbers from 0, or too many,", error);
	shape->rank = (int)args->items[2]->count;
	if (!fits_storage(tensor)) {
		char text[2][200];
		return error_set(
			error, STATUS_INVALID,
			"%s: size mismatch: a tensor of shape %s with strides %s from element %lld lies outside its "
			"storage of %lld numbers",
			m->what, array_view_shape_text(text[0], sizeof text[0], shape->rank, shape->shape),
			array_view_shape_text(text[1], sizeof text[1], shape->rank, shape->stride),
			(long long)tensor->offset, (long long)tensor->storage->elements);
	}
	return STATUS_OK;
}

static enum status reduce(struct pickle_machine *m, struct error *error)
{
	const struct pickle_value *args = pop(m), *callable = args ? pop(m) : NULL;
	if (!callable)
		return bad(m, "REDUCE on an empty stack", error);
	if (args->kind != PICKLE_TUPLE || callable->kind != PICKLE_GLOBAL)
		return bad(m, "REDUCE of something that is no known function", error);
	switch (callable->global) {
	case GLOBAL_REBUILD_TENSOR:
		return rebuild_tensor(m, args, error);
	case GLOBAL_REBUILD_PARAMETER:
		if (args->count < 1 || args->items[0]->kind != PICKLE_TENSOR)
			break;
		push(m, args->items[0]);
		return STATUS_OK;
	case GLOBAL_ORDERED_DICT:
		if (args->count != 0)
			break;
		push_new(m, PICKLE_DICT);
		return STATUS_OK;
	case GLOBAL_SIZE:
		if (args->count != 1 || args->items[0]->kind != PICKLE_TUPLE)
			break;
		push(m, args->items[0]);
		return STATUS_OK;
	case GLOBAL_STORAGE:
		break;
	}
	return bad(m, "REDUCE with unexpected arguments", error);
}

static enum status make_tuple(struct pickle_machine *m, size_t above, bool marked, struct error *error)
{
	for (size_t i = above; i < m->depth; i++)
		if (m->stack[i]->kind == PICKLE_MARK)
			return bad(m, "a mark inside a tuple", error);
	struct pickle_value *tuple = new_value(m, PICKLE_TUPLE);
	for (size_t i = above; i < m->depth; i++)
		add_item(tuple, m->stack[i]);
	m->depth = marked ? above - 1 : above;
	push(m, tuple);
	return STATUS_OK;
}

/* APPENDS and SETITEMS: what is above the mark goes into the container below it. */
static enum status add_marked(struct pickle_machine *m, enum pickle_kind kind, struct error *error)
{
	size_t above;
	if (!find_mark(m, &above) || above < 2 || m->stack[above - 2]->kind != kind)
		return bad(m, "items for no container", error);
	if (kind == PICKLE_DICT && (m->depth - above) % 2)
		return bad(m, "a key without a value", error);
	struct pickle_value *container = m->stack[above - 2];
	for (size_t i = above; i < m->depth; i++)
		add_item(container, m->stack[i]);
	m->depth = above - 1;
	return STATUS_OK;
}

static enum status add_one(struct pickle_machine *m, enum pickle_kind kind, struct error *error)
{
	struct pickle_value *value = pop(m), *key = NULL;
	if (value && kind == PICKLE_DICT && !(key = pop(m)))
		value = NULL;
	if (!value || m->depth == 0 || m->stack[m->depth - 1]->kind != kind)
		return bad(m, "an item for no container", error);
	if (key)
		add_item(m->stack[m->depth - 1], key);
	add_item(m->stack[m->depth - 1], value);
	return STATUS_OK;
}

static enum status memo_put(struct pickle_machine *m, uint64_t index, struct error *error)
{
	if (m->depth == 0)
		return bad(m, "a memo of an empty stack", error);
	/* Every entry costs at least two bytes of pickle, so a larger index is a trick. */
	if (index >= m->size)
		return bad(m, "a memo index that is out of proportion", error);
	if (!m->memo)
		m->memo = mem_alloc(m->size, sizeof(struct pickle_value *));
	m->memo[index] = m->stack[m->depth - 1];
	if (index >= m->memo_size)
		m->memo_size = (size_t)index + 1;
	return STATUS_OK;
}

static enum status memo_get(struct pickle_machine *m, uint64_t index, struct error *error)
{
	if (index >= m->memo_size || !m->memo[index] || m->memo[index]->kind == PICKLE_MARK)
		return bad(m, "a memo entry that was never put", error);
	push(m, m->memo[index]);
	return STATUS_OK;
}

static void push_int(struct pickle_machine *m, int64_t value)
{
	push_new(m, PICKLE_INT)->integer = value;
}

static enum status read_string(struct pickle_machine *m, size_t length_bytes, struct error *error)
{
	uint64_t length;
	if (!operand(m, length_bytes, &length) || length > m->size - m->at)
		return truncated(m, error);
	struct pickle_value *string = push_new(m, PICKLE_STRING);
	string->text = (const char *)m->bytes + m->at;
	string->length = (size_t)length;
	m->at += string->length;
	return STATUS_OK;
}

static enum status read_long(struct pickle_machine *m, struct error *error)
{
	uint64_t length, value;
	if (!operand(m, 1, &length))
		return truncated(m, error);
	if (length > 8)
		return bad(m, "an integer of more than 64 bits", error);
	if (!operand(m, (size_t)length, &value))
		return truncated(m, error);
	if (length > 0 && length < 8 && value >> (8 * length - 1) & 1)
		value |= UINT64_MAX << 8 * length;
	push_int(m, (int64_t)value);
	return STATUS_OK;
}

static enum status read_float(struct pickle_machine *m, struct error *error)
{
	if (m->size - m->at < 8)
		return truncated(m, error);
	push_new(m, PICKLE_FLOAT)->real = number_get(m->bytes + m->at, ST_F64, true);
	m->at += 8;
	return STATUS_OK;
}

/* Attributes of a state dictionary (its _metadata): not needed. */
static enum status build(struct pickle_machine *m, struct error *error)
{
	const struct pickle_value *state = pop(m);
	if (!state || m->depth == 0 || state->kind != PICKLE_DICT || m->stack[m->depth - 1]->kind != PICKLE_DICT)
		return bad(m, "BUILD of something other than a dictionary", error);
	return STATUS_OK;
}

/* Opcodes with an operand of fixed size: that size, else 0. */
static size_t operand_bytes(unsigned char opcode)
{
	switch (opcode) {
	case OP_BININT1:
	case OP_BINPUT:
	case OP_BINGET:
	case OP_PROTO:
		return 1;
	case OP_BININT2:
		return 2;
	case OP_BININT:
	case OP_LONG_BINPUT:
	case OP_LONG_BINGET:
		return 4;
	case OP_FRAME:
		return 8;
	default:
		return 0;
	}
}

static enum status step(struct pickle_machine *m, unsigned char opcode, struct error *error)
{
	uint64_t n = 0;
	size_t above;
	if (!operand(m, operand_bytes(opcode), &n))
		return truncated(m, error);
	switch (opcode) {
	case OP_PROTO:
		return n <= 5 ? STATUS_OK : bad(m, "an unknown protocol", error);
	case OP_FRAME:
		return STATUS_OK;
	case OP_MARK:
		push_new(m, PICKLE_MARK);
		return STATUS_OK;
	case OP_NONE:
		push_new(m, PICKLE_NONE);
		return STATUS_OK;
	case OP_NEWTRUE:
	case OP_NEWFALSE:
		push_new(m, PICKLE_BOOL)->integer = opcode == OP_NEWTRUE;
		return STATUS_OK;
	case OP_BININT:
		push_int(m, (int32_t)(uint32_t)n);
		return STATUS_OK;
	case OP_BININT1:
	case OP_BININT2:
		push_int(m, (int64_t)n);
		return STATUS_OK;
	case OP_LONG1:
		return read_long(m, error);
	case OP_BINFLOAT:
		return read_float(m, error);
	case OP_BINUNICODE:
		return read_string(m, 4, error);
	case OP_SHORT_BINUNICODE:
		return read_string(m, 1, error);
	case OP_EMPTY_DICT:
		push_new(m, PICKLE_DICT);
		return STATUS_OK;
	case OP_EMPTY_LIST:
		push_new(m, PICKLE_LIST);
		return STATUS_OK;
	case OP_EMPTY_TUPLE:
		push_new(m, PICKLE_TUPLE);
		return STATUS_OK;
	case OP_TUPLE:
		return find_mark(m, &above) ? make_tuple(m, above, true, error)
					    : bad(m, "a tuple without a mark", error);
	case OP_TUPLE1:
	case OP_TUPLE2:
	case OP_TUPLE3:
		above = (size_t)(opcode - OP_TUPLE1 + 1);
		return m->depth < above ? bad(m, "a tuple on a short stack", error)
					: make_tuple(m, m->depth - above, false, error);
	case OP_APPEND:
		return add_one(m, PICKLE_LIST, error);
	case OP_APPENDS:
		return add_marked(m, PICKLE_LIST, error);
	case OP_SETITEM:
		return add_one(m, PICKLE_DICT, error);
	case OP_SETITEMS:
		return add_marked(m, PICKLE_DICT, error);
	case OP_BINPUT:
	case OP_LONG_BINPUT:
		return memo_put(m, n, error);
	case OP_MEMOIZE:
		return memo_put(m, m->memo_size, error);
	case OP_BINGET:
	case OP_LONG_BINGET:
		return memo_get(m, n, error);
	case OP_GLOBAL:
		return read_global(m, error);
	case OP_STACK_GLOBAL:
		return stack_global(m, error);
	case OP_BINPERSID:
		return load_storage(m, error);
	case OP_REDUCE:
		return reduce(m, error);
	case OP_BUILD:
		return build(m, error);
	default:
		return error_set(error, STATUS_INVALID,
				 "%s: bad pickle: opcode 0x%02x at byte %zu is not among those read", m->what, opcode,
				 m->at - 1);
	}
}

enum status pickle_run(struct pickle_machine *m, const struct pickle_value **root, const char *what,
		       const unsigned char *bytes, size_t size, struct error *error)
{
	*m = (struct pickle_machine){.what = what, .bytes = bytes, .size = size};
	while (m->at < size) {
		unsigned char opcode = bytes[m->at++];
		if (opcode == OP_STOP) {
			if (m->depth != 1 || m->stack[0]->kind == PICKLE_MARK)
				return bad(m, "STOP with other than one value on the stack", error);
			*root = m->stack[0];
			return STATUS_OK;
		}
		enum status status = step(m, opcode, error);
		if (status)
			return status;
	}
	return truncated(m, error);
}

void pickle_machine_done(struct pickle_machine *m)
{
	for (size_t i = 0; i < m->count; i++) {
		free(m->values[i]->items);
		free(m->values[i]->shape);
		free(m->values[i]);
	}
	free(m->values);
	free(m->stack);
	free(m->memo);
	*m = (struct pickle_machine){0};
}
