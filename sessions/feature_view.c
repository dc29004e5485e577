#include "sessions/feature_view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/base/mem.h"
#include "sessions/hooked_sae.h"

/* Bytes of the decoder that are read back at once. */
enum { CHUNK_BYTES = 16 << 20 };

static double norm_of(const float *v, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += (double)v[i] * (double)v[i];
	return sqrt(sum);
}

static double dot_of(const float *a, const float *b, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += (double)a[i] * (double)b[i];
	return sum;
}

/* Keeps the best of what is offered, the first of equals. */
static void offer(struct feature_score *best, int *count, uint32_t id, float score)
{
	int at = *count;
	while (at > 0 && score > best[at - 1].score)
		at--;
	if (at == FEATURE_BEST)
		return;
	if (*count < FEATURE_BEST)
		(*count)++;
	memmove(best + at + 1, best + at, (size_t)(*count - 1 - at) * sizeof *best);
	best[at] = (struct feature_score){id, score};
}

static enum status find_near(struct feature_facts *out, const struct session *session, const struct sae *sae,
			     uint32_t feature, const float *direction, struct error *error)
{
	int64_t d = sae->d, step = CHUNK_BYTES / (d * (int64_t)sizeof(float));
	if (step < 1)
		step = 1;
	if (step > sae->features)
		step = sae->features;
	float *rows = mem_alloc((size_t)(step * d), sizeof *rows);
	enum status status = STATUS_OK;
	for (int64_t first = 0; first < sae->features && status == STATUS_OK; first += step) {
		int64_t n = sae->features - first < step ? sae->features - first : step;
		status = session_check_cancel(session, error);
		if (status == STATUS_OK)
			status = tensor_read(tensor_rows(sae->w_dec, first, n), rows, error);
		for (int64_t i = 0; i < n && status == STATUS_OK; i++) {
			double norm = norm_of(rows + i * d, d);
			if (first + i != (int64_t)feature && norm > 0)
				offer(out->near, &out->near_count, (uint32_t)(first + i),
				      (float)(dot_of(rows + i * d, direction, d) / norm / out->decoder_norm));
		}
	}
	free(rows);
	return status;
}

/* What the final norm makes of a small step along the direction, but for the scale that all
 * directions share. */
static enum status fold_norm(float *direction, const struct model *model, struct error *error)
{
	const struct arch *arch = &model->arch;
	size_t d = (size_t)arch->d;
	float *weight = mem_alloc(d, sizeof *weight);
	enum status status = tensor_read(model->weights.model[WEIGHT_FINAL_NORM], weight, error);
	double mean = 0;
	for (size_t i = 0; i < d && arch->norm == ARCH_NORM_LAYER; i++)
		mean += (double)direction[i] / (double)d;
	for (size_t i = 0; i < d; i++)
		direction[i] = (float)(((double)direction[i] - mean) *
				       ((double)weight[i] + (arch->norm == ARCH_NORM_RMS_PLUS)));
	free(weight);
	return status;
}

static enum status unembed(const struct model *model, const float *direction, float *logits, struct error *error)
{
	struct arena *arena = arena_create(model->device, BUFFER_DEVICE, "a feature's logits");
	struct tensor x, y;
	arena_add(arena, &x, DTYPE_F32, 1, model->arch.d);
	arena_add(arena, &y, DTYPE_F32, 1, model->arch.vocab);
	enum status status = arena_allocate(arena, error);
	if (status == STATUS_OK)
		status = tensor_write(x, direction, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(model->device, "logit lens");
		recorder_begin(rec);
		op_linear(rec, y, x, model->weights.model[WEIGHT_UNEMBED], OP_OUT_IN, NULL);
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(y, logits, error);
	arena_destroy(&arena);
	return status;
}

static enum status find_tokens(struct feature_facts *out, const struct model *model, float *direction,
			       struct error *error)
{
	int64_t V = model->arch.vocab;
	float *logits = mem_alloc((size_t)V, sizeof *logits);
	enum status status = fold_norm(direction, model, error);
	if (status == STATUS_OK)
		status = unembed(model, direction, logits, error);
	for (int64_t i = 0; i < V && status == STATUS_OK; i++) {
		if (!isfinite(logits[i])) {
			status = error_set(error, STATUS_FAILED,
					   "the feature's logits are not finite (token %lld): the SAE or the "
					   "unembedding is at fault",
					   (long long)i);
			break;
		}
		/* Rows of the unembedding that no token has are padding. */
		if (model->tokenizer && !tokenizer_has(model->tokenizer, (int32_t)i))
			continue;
		if (logits[i] > 0)
			offer(out->promoted, &out->promoted_count, (uint32_t)i, logits[i]);
		if (logits[i] < 0)
			offer(out->demoted, &out->demoted_count, (uint32_t)i, -logits[i]);
	}
	for (int i = 0; i < out->demoted_count; i++)
		out->demoted[i].score = -out->demoted[i].score;
	free(logits);
	return status;
}

static enum status check_feature(const struct sae *sae, uint32_t feature, struct error *error)
{
	if ((int64_t)feature < sae->features)
		return STATUS_OK;
	return error_set(error, STATUS_INVALID, "feature %u does not exist: the SAE at layer %d has 0 to %lld", feature,
			 sae->layer, (long long)sae->features - 1);
}

enum status feature_facts_find(struct feature_facts *out, struct session *session, int site, uint32_t feature,
			       struct error *error)
{
	const struct sae *sae;
	*out = (struct feature_facts){0};
	enum status status = check_feature(&session->sites[site].sae, feature, error);
	if (status == STATUS_OK)
		status = session_sae(&sae, session, site, error);
	if (status)
		return status;
	float *encoder = mem_alloc((size_t)sae->d, sizeof *encoder);
	float *decoder = mem_alloc((size_t)sae->d, sizeof *decoder);
	status = tensor_read(tensor_rows(sae->w_enc, feature, 1), encoder, error);
	if (status == STATUS_OK)
		status = tensor_read(tensor_rows(sae->w_dec, feature, 1), decoder, error);
	if (status == STATUS_OK) {
		out->encoder_norm = norm_of(encoder, sae->d);
		out->decoder_norm = norm_of(decoder, sae->d);
		out->has_alignment = out->encoder_norm > 0 && out->decoder_norm > 0;
		if (out->has_alignment)
			out->alignment = dot_of(encoder, decoder, sae->d) / out->encoder_norm / out->decoder_norm;
	}
	if (status == STATUS_OK && out->decoder_norm > 0)
		status = find_near(out, session, sae, feature, decoder, error);
	if (status == STATUS_OK)
		status = find_tokens(out, &session->model, decoder, error);
	free(encoder);
	free(decoder);
	return status;
}

/* A clamp of one feature has just the rows that its activation needs. */
enum status feature_along(struct session *session, int site, uint32_t feature, const float *h, int64_t rows, float *z,
			  struct error *error)
{
	const struct sae *sae;
	struct clamp clamp;
	enum status status = session_sae(&sae, session, site, error);
	if (status)
		return status;
	status = clamp_create(&clamp, sae, &(struct clamp_rule){.feature = feature, .mode = OP_CLAMP_ABLATE}, 1, error);
	if (status)
		return status;
	struct arena *arena = arena_create(sae->device, BUFFER_DEVICE, "one feature of some rows");
	struct tensor x, pre, out;
	struct sae_scratch scratch;
	arena_add(arena, &x, DTYPE_F32, rows, sae->d);
	arena_add(arena, &pre, DTYPE_F32, rows, 1);
	arena_add(arena, &out, DTYPE_F32, rows, 1);
	sae_scratch_declare(&scratch, sae, arena, SAE_SCRATCH_SELECTED, rows, 0);
	status = arena_allocate(arena, error);
	if (status == STATUS_OK)
		status = tensor_write(x, h, error);
	if (status == STATUS_OK) {
		struct recorder *rec = recorder_create(sae->device, "one feature");
		recorder_begin(rec);
		clamp_record_encode(&clamp, rec, out, pre, &scratch, x);
		status = recorder_run(rec, error);
		recorder_destroy(&rec);
	}
	if (status == STATUS_OK)
		status = tensor_read(out, z, error);
	arena_destroy(&arena);
	clamp_done(&clamp);
	return status;
}

char *feature_page(const struct site *site, uint32_t feature)
{
	/* Only what can be two parts of an address: the name comes from a stranger's file. */
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	const char *id = site->spec.neuronpedia_id;
	if (!id)
		return NULL;
	size_t model = strspn(id, allowed);
	if (model == 0 || id[model] != '/')
		return NULL;
	size_t source = strspn(id + model + 1, allowed);
	if (source == 0 || id[model + 1 + source] != '\0')
		return NULL;
	return mem_printf("https://www.neuronpedia.org/%s/%u", id, feature);
}
