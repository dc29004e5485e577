#include "sessions/suffix_tokens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"

/* Embeddings read at once while their norms are computed. */
enum { CHUNK = 2048 };

struct suffix_reader {
	struct session *session; /* borrowed */
	int64_t count, d, vocab;
	float *norms;	    /* [V] */
	float *placeholder; /* [d] */
	struct tensor x, y; /* [count, d], [count, V] */
	float *products;    /* y on the host */
	struct arena *arena;
	struct recorder *product;
};

static double norm_of(const float *x, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

/* Embeddings [count, d] of the ids from `first` on. */
static enum status read_embeddings(const struct session *session, struct tensor x, struct tensor ids, int64_t first,
				   int64_t count, float *out, struct error *error)
{
	uint32_t numbers[CHUNK];
	struct tensor none = {0};
	for (int64_t i = 0; i < count; i++)
		numbers[i] = (uint32_t)(first + i);
	x.rows = count;
	ids.cols = count;
	enum status status = tensor_write(ids, numbers, error);
	if (status)
		return status;
	struct recorder *rec = recorder_create(session->device, "embeddings");
	recorder_begin(rec);
	op_embed(rec, x, ids, none, session->model.weights.model[WEIGHT_WTE], none, 1);
	status = recorder_run(rec, error);
	recorder_destroy(&rec);
	return status ? status : tensor_read(x, out, error);
}

static enum status measure_vocabulary(struct suffix_reader *r, int32_t placeholder, struct error *error)
{
	struct tensor x, ids;
	struct arena *arena = arena_create(r->session->device, BUFFER_HOST, "embeddings");
	int64_t most = r->vocab < CHUNK ? r->vocab : CHUNK, d = r->d;
	arena_add(arena, &x, DTYPE_F32, most, d);
	arena_add(arena, &ids, DTYPE_U32, 1, most);
	float *rows = mem_alloc((size_t)(most * d), sizeof *rows);
	enum status status = arena_allocate(arena, error);
	for (int64_t first = 0; first < r->vocab && status == STATUS_OK; first += most) {
		int64_t count = r->vocab - first < most ? r->vocab - first : most;
		status = session_check_cancel(r->session, error);
		if (status == STATUS_OK)
			status = read_embeddings(r->session, x, ids, first, count, rows, error);
		for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
			r->norms[first + i] = (float)norm_of(rows + i * d, d);
			if (first + i == placeholder)
				memcpy(r->placeholder, rows + i * d, (size_t)d * sizeof *rows);
		}
	}
	free(rows);
	arena_destroy(&arena);
	return status;
}

enum status suffix_reader_create(struct suffix_reader **out, struct session *session, struct error *error)
{
	const struct arch *arch = &session->model.arch;
	struct suffix_reader *r = mem_alloc(1, sizeof *r);
	*r = (struct suffix_reader){
		.session = session, .count = session->suffix.count, .d = arch->d, .vocab = arch->vocab};
	r->norms = mem_alloc((size_t)r->vocab, sizeof *r->norms);
	r->placeholder = mem_alloc((size_t)r->d, sizeof *r->placeholder);
	r->products = mem_alloc((size_t)(r->count * r->vocab), sizeof *r->products);
	r->arena = arena_create(session->device, BUFFER_HOST, "products with the vocabulary");
	arena_add(r->arena, &r->x, DTYPE_F32, r->count, r->d);
	arena_add(r->arena, &r->y, DTYPE_F32, r->count, r->vocab);
	enum status status = arena_allocate(r->arena, error);
	if (status == STATUS_OK)
		status = measure_vocabulary(r, session->prompt.ids[session->prompt.count - 1], error);
	if (status == STATUS_OK) {
		r->product = recorder_create(session->device, "products with the vocabulary");
		recorder_begin(r->product);
		op_linear(r->product, r->y, r->x, session->model.weights.model[WEIGHT_WTE], OP_OUT_IN, NULL);
		status = recorder_finish(r->product, error);
	}
	if (status)
		suffix_reader_destroy(&r);
	*out = r;
	return status;
}

void suffix_reader_destroy(struct suffix_reader **out)
{
	struct suffix_reader *r = *out;
	if (!r)
		return;
	recorder_destroy(&r->product);
	arena_destroy(&r->arena);
	free(r->norms);
	free(r->placeholder);
	free(r->products);
	free(r);
	*out = NULL;
}

enum status suffix_reader_read(struct suffix_reader *r, const float *delta, struct nearest_token *out,
			       struct error *error)
{
	size_t n = (size_t)(r->count * r->d);
	float *x = mem_copy(delta, n * sizeof *x);
	uint64_t ticket;
	for (size_t i = 0; i < n; i++)
		x[i] += r->placeholder[i % (size_t)r->d];
	enum status status = tensor_write(r->x, x, error);
	if (status == STATUS_OK)
		status = recorder_submit(r->product, &ticket, error);
	if (status == STATUS_OK)
		status = device_wait(r->session->device, ticket, error);
	if (status == STATUS_OK)
		status = tensor_read(r->y, r->products, error);
	for (int64_t i = 0; i < r->count && status == STATUS_OK; i++) {
		const float *row = r->products + i * r->vocab;
		double norm = norm_of(x + i * r->d, r->d);
		out[i] = (struct nearest_token){0, -INFINITY};
		for (int64_t v = 0; v < r->vocab; v++) {
			float cosine = r->norms[v] > 0 && norm > 0
					       ? (float)((double)row[v] / ((double)r->norms[v] * norm))
					       : 0;
			if (cosine > out[i].cosine)
				out[i] = (struct nearest_token){(int32_t)v, cosine};
		}
	}
	free(x);
	return status;
}
