#include "sessions/suffix.h"

static void suffix_forward(struct edit *base, struct recorder *rec, struct tensor x)
{
	struct suffix_edit *e = (struct suffix_edit *)base;
	struct tensor rows = tensor_rows(x, 0, e->delta.rows);
	op_add(rec, rows, rows, e->delta, e->scale);
}

static void suffix_backward(struct edit *base, struct recorder *rec, struct tensor dx)
{
	struct suffix_edit *e = (struct suffix_edit *)base;
	struct tensor rows = tensor_rows(dx, 0, e->delta.rows);
	op_add(rec, e->g, rows, rows, e->scale - 1);
}

void suffix_edit_init(struct suffix_edit *edit, const struct session *session, struct tensor delta, struct tensor g)
{
	*edit = (struct suffix_edit){
		.edit = {.point = 0, .forward = suffix_forward, .backward = suffix_backward},
		.delta = delta,
		.g = g,
		.scale = session->model.arch.embed_scale,
	};
}

enum status session_add_suffix(struct session *session, int64_t count, int32_t placeholder, double monitor_weight,
			       struct error *error)
{
	int64_t prompt = (int64_t)session->prompt.count, context = session->model.arch.context;
	if (session->suffix.count > 0)
		return error_set(error, STATUS_INVALID, "the prompt has a suffix already");
	if (count < 1 || count >= context || prompt + count > context)
		return error_set(error, STATUS_INVALID,
				 "a suffix of %lld tokens behind the prompt's %lld does not fit the model's context of "
				 "%lld",
				 (long long)count, (long long)prompt, (long long)context);
	if (placeholder < 0 || placeholder >= session->model.arch.vocab)
		return error_set(error, STATUS_INVALID,
				 "the suffix's placeholder %d is outside the vocabulary, which has ids 0 to %lld",
				 placeholder, (long long)session->model.arch.vocab - 1);
	for (int64_t i = 0; i < count; i++)
		token_list_add(&session->prompt, placeholder);
	session->suffix = (struct suffix){count, monitor_weight};
	return STATUS_OK;
}

struct suffix session_take_suffix(struct session *session)
{
	struct suffix suffix = session->suffix;
	session->prompt.count -= (size_t)suffix.count;
	session->suffix = (struct suffix){0};
	return suffix;
}

void session_return_suffix(struct session *session, struct suffix suffix)
{
	session->prompt.count += (size_t)suffix.count;
	session->suffix = suffix;
}
